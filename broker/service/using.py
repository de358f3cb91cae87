"""An announced act is used up by its deed: in the transaction that puts the deed on record, or not at all.

Rules:
1. What a request that was let pass records first is its deed (`Audit.record`), but for what only begins one. If that is
   rolled back, the act is as it was; if another request used it, or somebody called it off meanwhile, the deed is.
2. What has no transaction of its own (a thaw of a cut that is on no record) uses the act up before it; where it fails,
   that is given back.
3. A request that takes no act because of what is on record rests on that: the transaction of its deed looks at it again
   (`still`), and a deed that does not is refused. What was narrowed meanwhile would be widened without a second step.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Protocol

from broker.db import Connection, acts
from broker.errors import Conflict

_BEGIN = frozenset({"key.import", "store.move-begin"})
"""Records of what is not done yet: a key that is named, and not in use; secrets that are copied, and used elsewhere."""


_BRING_KEYS = frozenset({"key.import", "key.current", "key.kept-again", "manager.import"})
"""Records of what brings the first key itself."""


class Premise(Protocol):
    """What lets a request pass: an act, or what is on record. It is looked at as the deed is recorded."""

    def use(self, connection: Connection, recorded: str) -> str:
        """Return the act that is used up by what is recorded in this transaction; none is empty."""


class Spared:
    """A fact on record by which a request takes no second step."""

    def __init__(self, fact: object) -> None:
        self._fact, self._looked = fact, False

    def look(self, fact: object) -> None:
        """Compare it with the same fact in the deed's transaction.

        Raises:
            Conflict: It is another by now; the transaction is to be given up.
        """
        if fact != self._fact:
            raise _changed()
        self._looked = True

    def use(self, _: Connection, recorded: str) -> str:
        """See `Premise`."""
        if not self._looked:
            raise RuntimeError(f"{recorded} rests on what its transaction did not look at")
        return ""


class Unkeyed:
    """That a young home holds no key."""

    def __init__(self, holds_key: Callable[[Connection], bool]) -> None:
        self._holds_key = holds_key

    def use(self, connection: Connection, recorded: str) -> str:
        """See `Premise`."""
        if recorded not in _BRING_KEYS and self._holds_key(connection):
            raise _changed()
        return ""


class Using:
    """The act of one request, which uses it up once."""

    def __init__(self, act: str, action: str, now_us: Callable[[], int]) -> None:
        self.act, self.action, self._now_us = act, action, now_us
        self._at_us: int | None = None

    def use(self, connection: Connection, recorded: str) -> str:
        """Use it up with what is recorded in this transaction; empty where it was before, or is not yet.

        Raises:
            Conflict: It is over, by somebody else; the transaction is to be given up.
        """
        if recorded in _BEGIN:
            return ""
        row = acts.get(connection, self.act, keep=True)
        if row is None:
            raise Conflict("over", f"{self.act} is gone; announce it anew")
        if row.ended_us is not None:
            if row.ended_us != self._at_us:
                raise Conflict("over", f"{self.act} was {row.ended_how} before")
            return ""
        self._at_us = self._now_us()
        return self.act if acts.end(connection, self.act, "used", self._at_us) else ""

    def give_back(self, connection: Connection) -> str:
        """Let the act be used again, since what it was used for was not done; empty where it was not used by this."""
        at_us, self._at_us = self._at_us, None
        return self.act if at_us is not None and acts.unuse(connection, self.act, at_us) else ""


using: ContextVar[Premise | None] = ContextVar("what lets this request pass", default=None)
"""Set where a request was let pass by something, until it is answered."""


def still(fact: object) -> None:
    """Look, in a deed's transaction, at the fact by which its request took no second step, if it rests on one.

    Raises:
        Conflict: It is another by now.
    """
    premise = using.get()
    if isinstance(premise, Spared):
        premise.look(fact)


def _changed() -> Conflict:
    return Conflict(
        "changed_meanwhile",
        "somebody else changed it at the same moment, so nothing was done; look, and ask again: it may need an act",
    )
