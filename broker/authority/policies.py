"""Whether a policy changed while a lease was being opened.

A change that only widens raises no gate, and is told to gateways that have a lease on the grant. One that is being
opened meanwhile was read before and is told after: it would keep the old policy while it is renewed. So whoever
opens one notes the mark before the record is read, and asks before the lease leaves.
"""

import threading

from broker.service import Change, Desk


class PolicyMarks:
    """When policies were changed last, by grant, account and consumer: limits of the latter bind others too."""

    def __init__(self, desk: Desk) -> None:
        self._mark, self._lock = 0, threading.Lock()
        self._changed: dict[str, int] = {}
        desk.listeners.append(self._hear)

    def _hear(self, change: Change) -> None:
        """Hear of a committed change, in whatever thread made it."""
        if change.grant is None:
            return
        names = _names(change.grant, change.account, change.consumer)
        with self._lock:
            self._mark += 1
            self._changed.update(dict.fromkeys(names, self._mark))

    def now(self) -> int:
        """Return the mark of now."""
        with self._lock:
            return self._mark

    def changed_since(self, mark: int, grant: str, account: str, consumer: str) -> bool:
        """Tell whether a policy that binds a grant was changed after a mark."""
        with self._lock:
            return any(self._changed.get(name, 0) > mark for name in _names(grant, account, consumer))


def _names(grant: str, account: str | None, consumer: str | None) -> list[str]:
    return [f"grant:{grant}", f"account:{account}", f"consumer:{consumer}"]
