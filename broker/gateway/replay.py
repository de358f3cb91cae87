"""The replay guard: a signed write passes once. Pure, in memory.

Rules:
1. What passes once is a signed text. A signature covers neither method nor path, nor where query and body
   part, so none of them makes the same text another request; nor does the way it is escaped.
2. An entry lives until its request could no longer be accepted by any clock, and `BACK_US` longer: a wall clock that is
   set back goes through the same hour again, and what was signed in it is fresh again. That is counted on the boot
   clock, which nobody sets.
3. A restarted gateway has no memory, so it refuses writes timed before its start. That is when it started by the clock
   of now: one that was set back would have every order of hours to come timed before it.
4. Both spare cancels of a named order: to cancel twice does nothing, to lose a cancel may cost money.
5. What is let through is remembered when it leaves. Two of the same may wait at once for the facts they need, so
   each is looked up again in the moment it leaves.
6. Entries are 64-bit hashes under a random key, in buckets by the timestamp that was signed with them, so that one
   bucket is looked at. What only a clock that is set back could make fresh again is kept in 8 bytes, and given up,
   oldest first, where there are more than `MOST`.
"""

from array import array
from typing import NamedTuple

from broker.gateway.clock import AHEAD_US

BACK_US = 3_900_000_000
"""By how much a clock may be set back: an hour, and a little (`broker.steady.UNSURE_US`)."""

MOST = 500_000
_BUCKET_US = 5_000_000


class Entry(NamedTuple):
    """A request as it is remembered: the timestamp that was signed, and the hash of the text."""

    stamp_us: int
    hashed: int


class _Bucket:
    """Requests with timestamps of the same few seconds. Both instants are of the boot clock."""

    __slots__ = ("fresh", "fresh_until_us", "past")

    def __init__(self) -> None:
        self.fresh: set[int] = set()
        self.past = array("q")
        self.fresh_until_us = 0

    def __len__(self) -> int:
        return len(self.fresh) + len(self.past)

    def __contains__(self, hashed: int) -> bool:
        return hashed in self.fresh or hashed in self.past

    def pack(self) -> None:
        """Keep in little room what no clock takes for fresh now."""
        self.past.extend(self.fresh)
        self.fresh.clear()


class ReplayGuard:
    """What was already let through, by grant and signed text."""

    def __init__(self, started_us: int, boot_us: int = 0) -> None:
        """Begin; the same instant by the wall clock, and by one that nobody sets."""
        self._started_us, self._boot_us = started_us, boot_us
        self._buckets: dict[int, _Bucket] = {}

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def too_old(self, stamp_us: int, offset_us: int, wall_us: int, boot_us: int) -> bool:
        """Tell whether a write was timed before this gateway started, by our clock as it is now and the venue's.

        Args:
            stamp_us: When it was timed.
            offset_us: How far the venue's clock is ahead of our wall clock now.
            wall_us: Our wall clock now.
            boot_us: Our boot clock now.
        """
        began_us = wall_us - (boot_us - self._boot_us)
        return stamp_us < min(self._started_us, began_us, began_us + offset_us)

    def entry(self, grant: str, text: str, stamp_us: int) -> Entry:
        """Return the entry of a request.

        Args:
            grant: Whose key signed it.
            text: What was signed, query and body joined, escapes undone.
            stamp_us: The timestamp in it.
        """
        return Entry(stamp_us, hash((grant, text)))

    def passed(self, entry: Entry) -> bool:
        """Tell whether a request was let through before."""
        bucket = self._buckets.get(entry.stamp_us // _BUCKET_US)
        return bucket is not None and entry.hashed in bucket

    def remember(self, entry: Entry, lives_us: int, boot_us: int) -> None:
        """Keep an entry; `lives_us`: for how long its request is fresh by any clock, as they go now."""
        number = entry.stamp_us // _BUCKET_US
        bucket = self._buckets.get(number)
        if bucket is None:
            self._tidy(boot_us)
            bucket = self._buckets[number] = _Bucket()
        bucket.fresh.add(entry.hashed)
        bucket.fresh_until_us = max(bucket.fresh_until_us, boot_us + max(0, lives_us) + AHEAD_US)

    def _tidy(self, boot_us: int) -> None:
        """Let go of what no clock could take for fresh again, oldest first."""
        total = 0
        for number, bucket in sorted(self._buckets.items(), key=lambda one: -one[1].fresh_until_us):
            past_us = boot_us - bucket.fresh_until_us
            if past_us > 0:
                bucket.pack()
            total += len(bucket)
            if past_us > BACK_US or (past_us > 0 and total > MOST):
                del self._buckets[number]
