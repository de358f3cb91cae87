"""Which PostgreSQL server takes writes: asked anew whenever one says that it does not.

A failover moves that to another server, while a connection stays where it was opened. A primary of before that was
fenced, or is a standby now, goes on answering: whoever kept a connection to it could write nothing any more, and read
what was true then.

Rules:
1. Every transaction begins by asking its server whether it takes writes. One that does not is the reason to look for
   one that does, by a connection of its own; where there is one, every connection from before is thrown away.
2. Where there is none, nothing is thrown away: writers are told so, and who reads may read what there is: also while
   another looks, or has just found none. What is read so is of before, and may be no yes to what no write comes after:
   such a read (`Store.read`, `at_primary`) is told what a writer is. A key is lent by a read for no longer than from
   the last heartbeat, a write; by the last look before a key leaves, by the guard, and before one is deleted, the
   primary alone is believed.
3. It is looked for once in a second at most, by one at a time. Whoever is to have the primary waits for that look; who
   reads what there is does not.
"""

import threading
import time
from collections.abc import Callable

_PAUSE_S = 1.0


class Primary:
    """Numbers the connections of one store by the server that they were opened to."""

    def __init__(self, look: Callable[[], bool] = lambda: False) -> None:
        """`look` tells whether a connection that is opened now is to a server that takes writes."""
        self._look = look
        self._lock = threading.Lock()
        self._not_before = 0.0
        self.number = 0
        """The number of a connection that is opened now; one with another is of no use any more."""

    def is_elsewhere(self, number: int, *, waits: bool) -> bool:
        """Tell whether another connection than one of that number is to a server that takes writes.

        Args:
            number: Of the connection whose server takes none.
            waits: Whether to wait while somebody else is looking.
        """
        if not self._lock.acquire(blocking=waits):
            return False
        try:
            if number != self.number:
                return True
            if time.monotonic() < self._not_before:
                return False
            try:
                if not self._look():
                    return False
                self.number += 1
                return True
            finally:
                self._not_before = time.monotonic() + _PAUSE_S
        finally:
            self._lock.release()
