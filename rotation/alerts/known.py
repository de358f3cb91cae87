"""What is known of one channel while we run: what it took, what it refused, how much it takes.

Only the thread that tells a channel changes this. The look beside it reads what was taken.
"""

from collections import deque
from collections.abc import Collection, Sequence

from broker.db.alerts import Alert
from rotation.alerts.wording import Entry

MINUTE_US = 60_000_000
MOST_A_MINUTE = 15
"""Telegram lets a bot send 20 messages a minute to a group; the other services take more."""

_MOST_ENTRIES = 200
_LONGEST_US = 60 * MINUTE_US
Name = tuple[str, str]


class Known:
    """One channel."""

    def __init__(self) -> None:
        self.most, self.code = _MOST_ENTRIES, 0
        self._took: dict[Name, int] = {}
        self._refused: dict[tuple[Name, bool], tuple[int, int]] = {}
        self._sent_us: deque[int] = deque()
        self._rests_us: tuple[int, int] | None = None

    def owes(self, one: Alert) -> bool:
        """Tell whether somebody was told of it, and this channel was not."""
        return one.sent_us is not None and self._took.get((one.kind, one.subject), -1) < one.sent_us

    def forget(self, standing: Collection[Name], right: Collection[Name]) -> None:
        """Forget what neither stands nor has to be told to be right again."""
        self._took = {name: us for name, us in self._took.items() if name in standing}
        self._refused = {
            at: told for at, told in self._refused.items() if at[0] in (right if at[1] else standing)
        }

    def took(self, entries: Sequence[Entry], now_us: int) -> None:
        """Note what it took; it may take more at once than it did."""
        self.most = min(self.most * 2, _MOST_ENTRIES)
        self._rests_us = None
        for one in entries:
            self._refused.pop((one.name, one.right), None)
            if not one.right:
                self._took[one.name] = now_us

    def refused(self, one: Entry, code: int, now_us: int) -> None:
        """Note that it refused an entry alone; it is tried again after a minute, then two, up to an hour."""
        self.code = code
        times, _ = self._refused.get((one.name, one.right), (0, 0))
        self._refused[one.name, one.right] = (times + 1, now_us)

    def give_up(self, one: Entry) -> None:
        """Forget that it refused this: it is tried no more."""
        self._refused.pop((one.name, one.right), None)

    def is_refused(self, one: Entry) -> bool:
        """Tell whether it refused this alone."""
        return (one.name, one.right) in self._refused

    def may_try(self, one: Entry, now_us: int) -> bool:
        """Tell whether it is time to try what was refused."""
        times, refused_us = self._refused[one.name, one.right]
        return not 0 <= now_us - refused_us < min(MINUTE_US << min(times - 1, 10), _LONGEST_US)

    @property
    def still_refused(self) -> int:
        """How many entries it refuses, each alone."""
        return len(self._refused)

    def left(self, now_us: int) -> int:
        """Return how many messages may go to it now."""
        self._sent_us = deque(us for us in self._sent_us if 0 <= now_us - us < MINUTE_US)
        return MOST_A_MINUTE - len(self._sent_us)

    def sends(self, now_us: int) -> None:
        """Note that a message goes to it."""
        self._sent_us.append(now_us)

    def rest(self, now_us: int) -> None:
        """Send it nothing for a minute: it takes nothing at all, and said so."""
        self._rests_us = (now_us, now_us + MINUTE_US)

    def rests(self, now_us: int) -> bool:
        """Tell whether it is sent nothing now; a clock that was set back makes no rest longer."""
        return self._rests_us is not None and self._rests_us[0] <= now_us < self._rests_us[1]
