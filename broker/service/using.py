"""An announced act is used up by its deed: in the transaction that puts the deed on record, or not at all.

Rules:
1. What a request that was let pass records first is its deed (`Audit.record`), but for what only begins one. If that is
   rolled back, the act is as it was; if another request used it, or somebody called it off meanwhile, the deed is.
2. What has no transaction of its own (a thaw of a cut that is on no record) uses the act up before it.
"""

from collections.abc import Callable
from contextvars import ContextVar

from broker.db import Connection, acts
from broker.errors import Conflict

_BEGIN = frozenset({"key.import"})
"""Records of what is not done yet: a key that is named, and not in use."""


class Using:
    """The act of one request, which uses it up once."""

    def __init__(self, act: str, action: str, now_us: Callable[[], int]) -> None:
        self.act, self.action, self._now_us = act, action, now_us
        self._at_us: int | None = None

    def use(self, connection: Connection, recorded: str) -> bool:
        """Use it up with what is recorded in this transaction; tell whether it is done by that, and not before.

        Raises:
            Conflict: It is over, by somebody else; the transaction is to be given up.
        """
        if recorded in _BEGIN:
            return False
        row = acts.get(connection, self.act, keep=True)
        if row is None:
            raise Conflict("over", f"{self.act} is gone; announce it anew")
        if row.ended_us is not None:
            if row.ended_us != self._at_us:
                raise Conflict("over", f"{self.act} was {row.ended_how} before")
            return False
        self._at_us = self._now_us()
        return acts.end(connection, self.act, "used", self._at_us)


using: ContextVar[Using | None] = ContextVar("the announced act of this request", default=None)
"""Set where a request was let pass by an act, until it is answered."""
