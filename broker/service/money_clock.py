"""The clock that windows of money are counted by: no step of a wall clock moves it, and a restart goes on with it.

Rules:
1. It is on record, in the same transaction with what is stamped by it, so all brokers behind one log store have one.
   It begins as the wall clock of the first process, and goes on by what has surely passed.
2. On the host where it was written last that is known. On another one, or after a reboot, it is what the wall clock
   went on, less `UNSURE_US`: it may have been set meanwhile. So it may fall behind, which costs a delay, once.
"""

import threading

from broker.db import Connection, clocks
from broker.steady import Counted, Watch, carried_us


class MoneyClock:
    """Tells the time of money. For several threads."""

    def __init__(self, spans: Watch) -> None:
        self._spans, self._lock = spans, threading.Lock()
        self._own: tuple[int, int] | None = None
        """How far it had come, and our sure clock then."""

    def now_us(self, connection: Connection) -> int:
        """Return it, as far as the record and this process know."""
        return self._counted(clocks.get(connection, clocks.MONEY)).us

    def kept_us(self, connection: Connection) -> int:
        """Return it and write it down, in this transaction."""
        counted = self._counted(clocks.get(connection, clocks.MONEY, keep=True))
        clocks.put(connection, clocks.MONEY, counted)
        return counted.us

    def _counted(self, known: Counted | None) -> Counted:
        now, sure_us = self._spans.now(), self._spans.sure_us()
        with self._lock:
            found = [] if known is None else [carried_us(known, now)]
            if self._own is not None:
                found.append(self._own[0] + sure_us - self._own[1])
            us = max(found, default=now.wall_us)
            self._own = us, sure_us
        return Counted(us, now)
