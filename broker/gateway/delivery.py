"""Which lines of one boot were sent to the broker, and which of them it has. Pure.

Rules:
1. Only an acknowledgement that begins where the kept lines end moves their end: what lies behind a gap is not kept.
2. After a no, or after `AGAIN_US` without any word, everything from the gap on is sent again, in order: an answer is
   worth nothing without the question that it follows.
3. No more than a window of lines is out at once, so that a broker which cannot write is not flooded.
"""

AGAIN_US = 10_000_000
_SHORTEST_US = 250_000
_LONGEST_US = 5_000_000


class Delivery:
    """One boot's lines."""

    def __init__(self, kept: int, window: int) -> None:
        self.kept = self.sent = kept
        self._window = window
        self._heard_us = self._wait_us = 0
        self._refused = 0

    def may_send(self, now_us: int) -> bool:
        """Tell whether more may go now."""
        return self.sent - self.kept < self._window and now_us >= self._wait_us

    def went(self, last: int, now_us: int) -> None:
        """Lines up to this one were sent."""
        if self.sent == self.kept:
            self._heard_us = now_us
        self.sent = last

    def took(self, first: int, last: int, now_us: int) -> bool:
        """The broker has these lines; tell whether that moved the end of what is kept."""
        last = min(last, self.sent)
        if first > self.kept + 1 or last <= self.kept:
            return False
        self.kept, self._heard_us, self._refused = last, now_us, 0
        return True

    def lost(self, first: int, now_us: int) -> None:
        """The broker did not take lines from this one on; it is given a moment."""
        back = max(self.kept, first - 1)
        if back >= self.sent:
            return
        self.sent = back
        self._wait_us = now_us + min(_LONGEST_US, _SHORTEST_US << min(self._refused, 10))
        self._refused += 1

    def forgotten(self, first: int) -> None:
        """The broker had these lines, and lost them."""
        self.kept = self.sent = min(self.kept, first - 1)

    def overdue(self, now_us: int) -> bool:
        """Tell whether the broker said nothing for too long; then everything unkept is sent again."""
        if self.sent == self.kept or now_us - self._heard_us < AGAIN_US:
            return False
        self.sent, self._heard_us = self.kept, now_us
        return True
