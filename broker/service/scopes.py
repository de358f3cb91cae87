"""What a cut may name: the scope of a target by its form alone, and whether the record has it."""

from broker.db import Connection
from broker.db import cuts as store
from broker.errors import Malformed, NotFound, Problem
from broker.model import EVERYTHING, NAME, ScopeKind, scope
from broker.service.desk import VENUES

_KINDS = {one.value for one in ScopeKind if one is not ScopeKind.EVERYTHING}
_NAMED = {ScopeKind.ACCOUNT.value, ScopeKind.CONSUMER.value}


def scope_of(target: str) -> str:
    """Return a target's scope, by its form alone.

    Raises:
        Malformed: It is none.
        NotFound: Nothing can be called so.
    """
    if target == EVERYTHING:
        return EVERYTHING
    kind, _, ref = target.partition(":")
    if kind not in _KINDS or not ref:
        message = f"{target[:60]!r} is none: write everything, or KIND:NAME with {', '.join(sorted(_KINDS))}"
        raise Malformed("bad_cut", (Problem("targets", message),))
    if kind == ScopeKind.VENUE.value and ref not in VENUES:
        raise NotFound("no_venue", f"there is no venue {ref[:60]!r}; known are {', '.join(VENUES)}")
    if (kind in _NAMED and not NAME.fullmatch(ref)) or (
        kind == ScopeKind.KEY_VERSION.value and not store.is_version(ref)
    ):
        raise _unknown(kind, ref)
    return scope(ScopeKind(kind), ref)


def exists(connection: Connection, name: str) -> bool:
    """Tell whether there is what a scope names."""
    kind, _, ref = name.partition(":")
    return name == EVERYTHING or kind == ScopeKind.VENUE.value or store.exists(connection, kind, ref)


def ensure(connection: Connection, name: str) -> None:
    """Refuse a scope that names nothing there is.

    Raises:
        NotFound: It does.
    """
    if not exists(connection, name):
        raise nothing(name)


def nothing(name: str) -> NotFound:
    """Return what is said of a scope that names nothing there is."""
    kind, _, ref = name.partition(":")
    return _unknown(kind, ref)


def _unknown(kind: str, ref: str) -> NotFound:
    return NotFound(f"no_{kind}", f"there is no {kind} {ref[:60]!r}; NOTHING was cut")
