"""The replay guard: a signed write passes once. Pure, in memory.

Rules:
1. What passes once is a signed text. A signature covers neither method nor path, nor where query and body
   part, so none of them makes the same text another request; nor does the way it is escaped.
2. An entry lives until its request could no longer be accepted: timestamp, window and clock leeway.
3. A restarted gateway has no memory, so it refuses writes timed before its start. That is when it started by the clock
   of now: one that was set back would have every order of hours to come timed before it.
4. Both spare cancels of a named order: to cancel twice does nothing, to lose a cancel may cost money.
5. What is let through is remembered when it leaves. Two of the same may wait at once for the facts they need, so
   each is looked up again in the moment it leaves.
6. Entries are 64-bit hashes under a random key, in buckets by expiry; a bucket is dropped whole.
"""

from broker.gateway.clock import AHEAD_US

_BUCKET_US = 5_000_000


class ReplayGuard:
    """What was already let through, by grant and signed text."""

    def __init__(self, started_us: int, boot_us: int = 0) -> None:
        """Begin; the same instant by the wall clock, and by one that nobody sets."""
        self._started_us, self._boot_us = started_us, boot_us
        self._buckets: dict[int, set[int]] = {}

    def __len__(self) -> int:
        return sum(len(bucket) for bucket in self._buckets.values())

    def too_old(self, stamp_us: int, offset_us: int, wall_us: int, boot_us: int) -> bool:
        """Tell whether a write was timed before this gateway started, by our clock as it is now and the venue's."""
        started_us = min(self._started_us, wall_us - (boot_us - self._boot_us))
        return stamp_us < started_us + min(0, offset_us)

    def entry(self, grant: str, text: str) -> int:
        """Return the entry of a request.

        Args:
            grant: Whose key signed it.
            text: What was signed, query and body joined, escapes undone.
        """
        return hash((grant, text))

    def passed(self, entry: int) -> bool:
        """Tell whether a request was let through before."""
        return any(entry in bucket for bucket in self._buckets.values())

    def remember(self, entry: int, stamp_us: int, window_us: int, now_us: int) -> None:
        """Keep an entry for as long as its request could come again."""
        last = max(stamp_us, now_us) + window_us + AHEAD_US
        bucket = last // _BUCKET_US + 1
        kept = self._buckets.get(bucket)
        if kept is None:
            kept = self._buckets[bucket] = set()
            for old in [number for number in self._buckets if number * _BUCKET_US < now_us - AHEAD_US]:
                del self._buckets[old]
        kept.add(entry)
