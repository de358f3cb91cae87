"""The weight that a venue charges an address, which the rotator shares with the bots behind it. Pure, in memory.

Rules:
1. The venue counts by the minute of the clock and tells with its answers what everybody behind the address used of it.
   What we did not use ourselves, bots did.
2. Bots are expected to go on as they did, to the end of this minute; and to use as much as in the last one. What was
   told is drawn out to a whole minute: we stop asking once our share is spent, and they do not. Where nothing is known
   of the last minute yet, we use little.
3. We use what they leave of `_ALL`, a quarter at most. A fiftieth is ours even where they leave nothing: a busy address
   must not stop rotations for ever.
4. What is urgent is counted and never held up.

Binance keeps 6,000 a minute and address on `/api` (fact sheet section 10); a gateway stops its bots' reads at eight
tenths of that (`broker.gateway.limits`), so `_ALL` stays below.
"""

from dataclasses import dataclass

MINUTE_US = 60_000_000
_ALL, _MOST, _LEAST, _BLIND = 0.7, 0.25, 0.02, 0.1
_SHORTEST = 0.1
"""Of a minute: what came in less is not drawn out further than that."""

_UNSURE_US = 1_000_000
"""For so long after a minute began an answer may still speak of the last one."""


@dataclass(slots=True)
class Weight:
    """One address at one venue that grants `whole` in a minute. `others`: what bots will have used at its end."""

    whole: int
    minute: int = -1
    own: int = 0
    others: int | None = None
    others_before: int | None = None

    def left(self, now_us: int) -> int:
        """Return how much more we may use in this minute."""
        self._turn(now_us)
        known = max(self.others or 0, self.others_before or 0)
        room = int(self.whole * _ALL) - known
        most = self.whole * (_BLIND if self.others_before is None else _MOST)
        return int(max(self.whole * _LEAST, min(room, most))) - self.own

    def spend(self, weight: int, now_us: int) -> None:
        """Count what is being sent."""
        self._turn(now_us)
        self.own += weight

    def told(self, used: int, now_us: int) -> None:
        """Take in what an answer says of this minute."""
        self._turn(now_us)
        if now_us % MINUTE_US < _UNSURE_US:
            return
        others = max(0, used - self.own)
        self.others = round(others / max(_SHORTEST, now_us % MINUTE_US / MINUTE_US))

    def _turn(self, now_us: int) -> None:
        minute = now_us // MINUTE_US
        if minute == self.minute:
            return
        self.others_before = self.others if minute == self.minute + 1 else None
        self.minute, self.own, self.others = minute, 0, None
