"""The replay guard: a signed write passes once. Pure, in memory.

Rules:
1. What passes once is a signed text. A signature covers neither method nor path, nor where query and body
   part, so none of them makes the same text another request; nor does the way it is escaped.
2. An entry lives until its request could no longer be accepted by any clock, and `BACK_US` longer: a wall clock that is
   set back goes through the same hour again, and what was signed in it is fresh again. That is counted on the boot
   clock, which nobody sets.
3. A restarted gateway has no memory, so it refuses writes timed before its start. That is when it started by the clock
   of now: one that was set back would have every order of hours to come timed before it.
4. Both spare cancels of one order: to cancel twice does nothing, to lose a cancel may cost money. But a name may be
   used again: a cancel by name means, when it comes again, the order that it was of, by the venue's id (`ended_by`).
5. What is let through is remembered when it leaves. Two of the same may wait at once for the facts they need, so
   each is looked up again in the moment it leaves.
6. Entries are 64-bit hashes under a random key, in buckets by the timestamp that was signed with them, so that one
   bucket is looked at. What only a clock that is set back could make fresh again is kept in 8 bytes, and given up,
   oldest first, where there are more than `MOST`.
7. So no text of a read is that of a write: the text of `GET openOrders` is that of a cancel of them all. Texts of reads
   are remembered when they come, whether they leave or not, beside those of writes: no number of them pushes a write
   out. A write that has the text of a read never left, so its sender is told to sign it anew: a bot that made both in
   one millisecond does. What is timed ahead of us is remembered, too: it is refused now, and fresh in a moment.
8. A key may come with any number of reads, so a grant has `PAGE` of them with timestamps of the same `BUCKET_S`: more
   than all of a minute's weight for reads pays for (2 each, at the least). More are refused and not remembered, and no
   write is refused for them: only who has the key can bring that about, and could cancel by it anyway.
9. No step is long, whoever filled what: entries are in pages of `PAGE` at the most, and each one that comes has
   `_AT_ONCE` of what is past packed.
"""

from array import array
from bisect import bisect_left
from typing import NamedTuple

from broker.gateway.clock import AHEAD_US
from broker.gateway.fair import Fair

BACK_US = 3_900_000_000
"""By how much a clock may be set back: an hour, and a little (`broker.steady.UNSURE_US`)."""

MOST, MOST_CANCELS = 500_000, 50_000
BUCKET_S, PAGE = 5, 2_500
_BUCKET_US, _AT_ONCE = BUCKET_S * 1_000_000, 1_000


class Entry(NamedTuple):
    """A request as it is remembered: the timestamp that was signed, the hash of the text, and the grant."""

    stamp_us: int
    hashed: int
    whose: str = ""


class _Bucket:
    """Requests with timestamps of the same few seconds. Both instants are of the boot clock.

    `open` has one page of each grant, `full` the pages before it: dicts, which the garbage collector does not walk
    through. `packed` is what no clock takes for fresh now, each part sorted.
    """

    __slots__ = ("_full", "_open", "_packed", "count", "fresh_until_us")

    def __init__(self) -> None:
        self._open: dict[str, dict[int, None]] = {}
        self._full: list[dict[int, None]] = []
        self._packed: list[array[int]] = []
        self.count = self.fresh_until_us = 0

    def __contains__(self, entry: Entry) -> bool:
        hashed = entry.hashed
        if hashed in self._open.get(entry.whose, ()):
            return True
        return any(hashed in page for page in self._full) or any(_has(part, hashed) for part in self._packed)

    @property
    def loose(self) -> bool:
        """Whether there is something to pack."""
        return bool(self._open or self._full)

    def add(self, entry: Entry, *, bounded: bool) -> bool:
        """Keep one; where the page of its grant is full, in another, or, `bounded`, not: False."""
        page = self._open.get(entry.whose)
        if page is None:
            page = self._open[entry.whose] = {}
        elif entry.hashed in page:
            return True
        elif len(page) >= PAGE:
            if bounded:
                return False
            self._full.append(page)
            page = self._open[entry.whose] = {}
        page[entry.hashed] = None
        self.count += 1
        return True

    def pack(self) -> None:
        """Keep some of it in little room."""
        hashes: list[int] = []
        while self.loose and len(hashes) < _AT_ONCE:
            page = self._full[-1] if self._full else next(reversed(self._open.values()))
            while page and len(hashes) < _AT_ONCE:
                hashes.append(page.popitem()[0])
            if not page:
                self._full.pop() if self._full else self._open.popitem()
        self._packed.append(array("q", sorted(hashes)))


class _Texts:
    """Texts by the timestamps that were signed with them; `bounded`: of each grant and time there is one page."""

    def __init__(self, *, bounded: bool) -> None:
        self._bounded = bounded
        self._buckets: dict[int, _Bucket] = {}
        self._due: list[_Bucket] = []
        """What is past and not packed, oldest last."""

    def __len__(self) -> int:
        return sum(bucket.count for bucket in self._buckets.values())

    def __contains__(self, entry: Entry) -> bool:
        bucket = self._buckets.get(entry.stamp_us // _BUCKET_US)
        return bucket is not None and entry in bucket

    def add(self, entry: Entry, lives_us: int, boot_us: int) -> bool:
        """Keep an entry; tell whether there was room. `lives_us`: for how long its request is fresh by any clock."""
        number = entry.stamp_us // _BUCKET_US
        bucket = self._buckets.get(number)
        if bucket is None:
            self._tidy(boot_us)
            bucket = self._buckets[number] = _Bucket()
        self._pack(boot_us)
        if not bucket.add(entry, bounded=self._bounded):
            return False
        bucket.fresh_until_us = max(bucket.fresh_until_us, boot_us + max(0, lives_us) + AHEAD_US)
        return True

    def _pack(self, boot_us: int) -> None:
        """Pack a little of what is past: more than the one that came, so that it does not pile up."""
        while self._due:
            bucket = self._due[-1]
            if bucket.loose and bucket.fresh_until_us < boot_us:
                bucket.pack()
                return
            self._due.pop()

    def _tidy(self, boot_us: int) -> None:
        """Let go of what no clock could take for fresh again, oldest first. What is not packed yet has to wait."""
        total = 0
        self._due.clear()
        for number, bucket in sorted(self._buckets.items(), key=lambda one: -one[1].fresh_until_us):
            past_us = boot_us - bucket.fresh_until_us
            total += bucket.count
            if past_us > 0 and bucket.loose:
                self._due.append(bucket)
            elif past_us > BACK_US or (past_us > 0 and total > MOST):
                del self._buckets[number]


def _has(part: "array[int]", hashed: int) -> bool:
    at = bisect_left(part, hashed)
    return at < len(part) and part[at] == hashed


class ReplayGuard:
    """What was already let through, by grant and signed text."""

    def __init__(self, started_us: int, boot_us: int = 0) -> None:
        """Begin; the same instant by the wall clock, and by one that nobody sets."""
        self._started_us, self._boot_us = started_us, boot_us
        self._writes, self._reads = _Texts(bounded=False), _Texts(bounded=True)
        self._cancels: Fair[Entry, str] = Fair(MOST_CANCELS)

    def __len__(self) -> int:
        return len(self._writes)

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
        return Entry(stamp_us, hash((grant, text)), grant)

    def passed(self, entry: Entry) -> bool:
        """Tell whether a write was let through before."""
        return entry in self._writes

    def cancelled(self, entry: Entry, target_id: str, grant: str) -> None:
        """A cancel by name is of this order or list: one of those that it ends, or ended."""
        self._cancels.put(entry, target_id, grant)

    def ended_by(self, entry: Entry) -> str | None:
        """Return which order or list a cancel by name was of, if the same was let through before."""
        return self._cancels.get(entry)

    def remember(self, entry: Entry, lives_us: int, boot_us: int) -> None:
        """Keep the entry of a write; `lives_us`: for how long it is fresh by any clock, as they go now."""
        self._writes.add(entry, lives_us, boot_us)

    def was_read(self, entry: Entry) -> bool:
        """Tell whether a read with this text came before."""
        return entry in self._reads

    def read(self, entry: Entry, lives_us: int, boot_us: int) -> bool:
        """Keep the entry of a read (see `remember`); tell whether there was room for it."""
        return self._reads.add(entry, lives_us, boot_us)
