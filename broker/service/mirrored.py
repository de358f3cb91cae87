"""What documents of the mirror say, and which of them is looked at again when. Pure.

Rules:
1. A document that cannot be understood closes everything, under an id of what it says and where: another one in its
   place is another cut, and the same one that was thawed stays thawed.
2. A name can be used again, by whoever may write there, and says nothing of what is there now. So each document is read
   again: those with a name that a person gave it at each round, as far as they are not too many, ours in turn.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import Any

from broker import gate_document
from broker.db import rows
from broker.gate import Mode, strictest
from broker.gate_document import NotedCut
from broker.model import EVERYTHING, ITSELF

GIVEN_AGAIN = 100
"""How many documents with a name that a person gave are read again at each round, at most."""

OURS_AGAIN = 25
"""How many with a name of ours: two milliseconds of Vault and as much of a core each."""

_OURS = re.compile("cut_[0-9a-f]{20}")
_SOMEBODY = "mirror"
"""Who wrote there is not known."""


class Turns:
    """Whose turn it is to be read again."""

    def __init__(self) -> None:
        self._last = {True: "", False: ""}
        self._last_empty = ""

    def next(self, names: Iterable[str]) -> Iterator[str]:
        """Yield what is to be read again now: what a person named first. Who is not reached comes first next time."""
        known = sorted(names)
        for ours, most in ((False, GIVEN_AGAIN), (True, OURS_AGAIN)):
            some = [name for name in known if (_OURS.fullmatch(name) is not None) == ours]
            behind = [name for name in some if name > self._last[ours]]
            for name in (behind + some[: len(some) - len(behind)])[:most]:
                self._last[ours] = name  # before it is read: one that fails keeps no other from its turn
                yield name

    def deleted(self, names: Iterable[str]) -> Iterator[str]:
        """Yield all that was deleted there; who was not reached in time comes first next time."""
        known = sorted(names)
        behind = [name for name in known if name > self._last_empty]
        for name in behind + known[: len(known) - len(behind)]:
            self._last_empty = name
            yield name


def noted_of(row: Any, names: tuple[str, ...]) -> NotedCut:
    """Return a cut of the record as the mirror holds it."""
    return NotedCut(row.id, rows.mode(row.mode), names, row.reason, row.actor, row.opened_us)


def instead_of_thaw(cut: NotedCut, thaws: Collection[int], document: str | None) -> str | None:
    """Return what takes the place of the document that one of some thaws wrote; None where there is another."""
    try:
        is_that = document is not None and gate_document.load(cut.id, document).thawed_us in thaws
    except (ValueError, KeyError, TypeError):
        return None
    return gate_document.dump(cut) if is_that else None


def understood(name: str, document: str) -> NotedCut:
    """Read a document; one that cannot be understood closes everything. Under a name of theirs nobody writes as we."""
    try:
        found = gate_document.load(name, document)
    except (ValueError, KeyError, TypeError):
        return unreadable(name, document)
    is_ours = found.actor != ITSELF or _OURS.fullmatch(name) is not None
    return found if is_ours else replace(found, actor=_SOMEBODY)


def unreadable(name: str, document: str) -> NotedCut:
    """Return what holds in the place of a document that cannot be understood: the same each time it is looked at."""
    whole = f"{name}\0{document}"
    digest = hashlib.sha256(whole.encode(errors="surrogatepass")).hexdigest()[:20]
    reason = (
        f"the gate document {name[:60]!r} in the secret store cannot be understood: find out who wrote it, "
        "delete it there, then thaw this"
    )
    return NotedCut(f"cut_{digest}", Mode.CLOSED, (EVERYTHING,), reason, _SOMEBODY, 0)


def is_stricter(mode: Mode, known: str | None) -> bool:
    """Tell whether a mode is stricter than that of a closer on record; None is none."""
    before = Mode.OPEN if known is None else rows.mode(known)
    return strictest((mode, before)) is not before
