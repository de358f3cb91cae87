"""What a cut may name: the scope of a target by its form alone, and whether the record has it.

Whoever names several things that are not there is told all of them at once; what looks like a secret is not repeated.
"""

from collections.abc import Iterable

from broker.db import Connection
from broker.db import cuts as store
from broker.errors import Malformed, NotFound, Problem
from broker.model import EVERYTHING, NAME, ScopeKind, is_version, scope
from broker.pasted import looks_secret
from broker.service.desk import VENUES
from broker.service.words import is_text

_KINDS = {one.value for one in ScopeKind if one is not ScopeKind.EVERYTHING}
_NAMED = {ScopeKind.ACCOUNT.value, ScopeKind.CONSUMER.value}
_NOTHING = "; NOTHING was cut"
_GIVEN = {ScopeKind.GRANT.value, ScopeKind.GATEWAY.value}


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
        message = (
            f"{_quoted(target)} is none: write everything, or KIND:NAME with {', '.join(sorted(_KINDS))}"
        )
        raise Malformed("bad_cut", (Problem("targets", message),))
    if kind == ScopeKind.VENUE.value and ref not in VENUES:
        raise NotFound("no_venue", f"there is no venue {_quoted(ref)}; known are {', '.join(VENUES)}")
    if (
        (kind in _NAMED and not NAME.fullmatch(ref))
        or (kind == ScopeKind.KEY_VERSION.value and not is_version(ref))
        or (kind in _GIVEN and (looks_secret(ref) or not is_text(ref)))
    ):
        raise nothing([f"{kind}:{ref}"])
    return scope(ScopeKind(kind), ref)


def scopes_of(targets: Iterable[str], problems: tuple[Problem, ...] = ()) -> tuple[str, ...]:
    """Return the scopes of all targets, each once.

    Raises:
        Malformed: Some are none, or there were `problems` before; with all that is wrong.
        NotFound: Nothing can be called as some are.
    """
    names, absent = set[str](), list[NotFound]()
    for target in targets:
        try:
            names.add(scope_of(target))
        except Malformed as fault:
            problems += fault.problems
        except NotFound as fault:
            absent.append(fault)
    if problems:
        raise Malformed("bad_cut", (*problems, *(Problem("targets", str(fault)) for fault in absent)))
    if len(absent) > 1:
        said = "; ".join(str(fault).removesuffix(_NOTHING) for fault in absent)
        raise NotFound(absent[0].reason, said + _NOTHING)
    if absent:
        raise absent[0]
    return tuple(sorted(names))


def exists(connection: Connection, name: str) -> bool:
    """Tell whether there is what a scope names."""
    kind, _, ref = name.partition(":")
    return name == EVERYTHING or kind == ScopeKind.VENUE.value or store.exists(connection, kind, ref)


def ensure(connection: Connection, names: Iterable[str]) -> None:
    """Refuse scopes that name nothing there is.

    Raises:
        NotFound: Some do; all of these are said.
    """
    missing = [name for name in names if not exists(connection, name)]
    if missing:
        raise nothing(missing)


def nothing(names: Iterable[str]) -> NotFound:
    """Return what is said of scopes that name nothing there is."""
    parts = [name.partition(":") for name in names]
    listed = " and ".join(f"no {kind} {_quoted(ref)}" for kind, _, ref in parts)
    return NotFound(f"no_{parts[0][0]}", f"there is {listed}{_NOTHING}")


def _quoted(text: str) -> str:
    """Return a text as it was typed, but for what looks like a secret."""
    return "as pasted (a key? it is not repeated)" if looks_secret(text) else repr(text[:60])
