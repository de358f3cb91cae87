"""A cut as the mirror in the secret store holds it: enough to close the same gates without the database. Pure.

Rules:
1. Strictly read: what cannot be understood is no cut that could be passed over, and the reader closes everything. So
   is what no record could hold: a scope that names no key version, an instant of no calendar, a text too long for it.
2. No program closes again what was thawed, but where the database never took its thaw. A person may, under the name
   that was thawed: a name is no identity, and what is written there counts.
"""

import json
from dataclasses import dataclass
from typing import Any

from broker.gate import Mode
from broker.model import EVERYTHING, ScopeKind, is_version

VERSION = 1
_KINDS = frozenset(kind.value for kind in ScopeKind)
_LONGEST = {"cut": 32, "actor": 64, "reason": 10_000, "scope": 160}
_LAST_US = 253_402_300_799_999_999
"""The end of the year 9999."""
_FIELDS = {"version", "cut", "mode", "scopes", "reason", "actor", "opened_us", "thawed_us"}


@dataclass(frozen=True, slots=True)
class NotedCut:
    """One cut. `thawed_us` is None while it holds."""

    id: str
    mode: Mode
    scopes: tuple[str, ...]
    reason: str
    actor: str
    opened_us: int
    thawed_us: int | None = None


def dump(cut: NotedCut) -> str:
    """Return the document of a cut."""
    fields = {
        "version": VERSION, "cut": cut.id, "mode": cut.mode.value, "scopes": list(cut.scopes),
        "reason": cut.reason, "actor": cut.actor, "opened_us": cut.opened_us, "thawed_us": cut.thawed_us,
    }  # fmt: skip
    return json.dumps(fields, sort_keys=True)


def load(name: str, document: str) -> NotedCut:
    """Read the document of a cut.

    Args:
        name: What it is filed under; the cut's id.
        document: What `dump` wrote.

    Raises:
        ValueError: It is something else.
    """
    try:
        found: Any = json.loads(document)
    except RecursionError:
        raise ValueError("nested without end") from None
    if not isinstance(found, dict) or set(found) != _FIELDS or found["version"] != VERSION:
        raise ValueError("no gate document of this version")
    if found["cut"] != name or not name:
        raise ValueError("filed under another name")
    mode = Mode(found["mode"])
    scopes = found["scopes"]
    if mode is Mode.OPEN or not isinstance(scopes, list) or not scopes:
        raise ValueError("closes nothing")
    for field in ("cut", "reason", "actor"):
        _ensure_text(found[field], _LONGEST[field])
    for scope in scopes:
        _ensure_scope(scope, holds=found["thawed_us"] is None)
    for instant in (found["opened_us"], *([] if found["thawed_us"] is None else [found["thawed_us"]])):
        if type(instant) is not int or not 0 <= instant <= _LAST_US:
            raise ValueError("no instant")
    return NotedCut(
        name, mode, tuple(scopes), found["reason"], found["actor"], found["opened_us"], found["thawed_us"]
    )


def _ensure_text(text: object, longest: int) -> None:
    if not isinstance(text, str) or not 0 < len(text) <= longest or "\0" in text:
        raise ValueError("text expected")
    text.encode()  # half a character is none; its error is a ValueError


def _ensure_scope(scope: object, *, holds: bool) -> None:
    """Refuse what is no scope; of a cut that holds, also what could never hold anybody."""
    if not isinstance(scope, str):
        raise ValueError("no scope")  # noqa: TRY004 - the reader knows one kind of fault
    kind, _, ref = scope.partition(":")
    if scope != EVERYTHING and (kind not in _KINDS or kind == EVERYTHING or not ref):
        raise ValueError("no scope")
    if holds:
        _ensure_text(scope, _LONGEST["scope"])
        if kind == ScopeKind.KEY_VERSION.value and not is_version(ref):
            raise ValueError("no key version")
