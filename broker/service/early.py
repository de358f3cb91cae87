"""What is cut and on no record yet, for whoever lets a key leave: one answer for all of them.

Rules:
1. Known are the cuts of this process (`Desk.closings`), and those that lie in the home (`unrecorded`): of an earlier
   life, or of the broker beside us.
2. Such a cut of a key version holds what took its place since, as it will once it is on record (`db.coverage`).
3. The home is looked at while no transaction is open: a disk that hangs holds no lock of the database.
4. What was seen before a wait is no answer after it: who waits for a turn sees before that, judges in its transaction,
   and looks at all of it once more right before the key leaves (`last_look`). The file of a cut lies there before it is
   answered.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from broker import gate
from broker.db import Connection, coverage, rows
from broker.db import cuts as store
from broker.gate import Mode, strictest
from broker.gate_document import NotedCut
from broker.model import EVERYTHING, ScopeKind, is_readable
from broker.service.desk import Desk

_VERSION = f"{ScopeKind.KEY_VERSION.value}:"


@dataclass(frozen=True, slots=True)
class Early:
    """A cut that was on no record when it was seen, and which key versions were in use as it was made, if known.

    `name` is its id; where a file of that name cannot be read, `cut` is what holds in its place, by an id of its own.
    """

    cut: NotedCut
    before: Mapping[coverage.Place, int | None]
    name: str


def seen(desk: Desk) -> tuple[Early, ...]:
    """Return the cuts that are on no record. Blocks as the home's disk does: no transaction may be open.

    Raises:
        StoreUnavailable: It cannot be seen what was cut.
    """
    ours = tuple(_ours(desk))
    known = {one.name for one in ours}
    left = [Early(_whole(one.cut), {}, one.name) for one in desk.unrecorded.found() if one.name not in known]
    if not any(name.startswith(_VERSION) for one in left for name in one.cut.scopes):
        return (*ours, *left)
    with desk.database.read(at_primary=True) as connection:
        return (
            *ours,
            *(
                replace(one, before=coverage.in_use_at(connection, one.cut.scopes, one.cut.opened_us))
                for one in left
            ),
        )


def mode_of(connection: Connection, desk: Desk, early: Sequence[Early], scopes: tuple[str, ...]) -> Mode:
    """Return how far some scopes are shut, on record or before that.

    Args:
        connection: Reads the record.
        desk: Knows what this process cut by now.
        early: What was `seen`.
        scopes: Of one who is to get a key; a key version among them is in use, or is to be.
    """
    modes = [gate.mode_of(rows.gates(connection, scopes), scopes)]
    for one in {one.name: one for one in (*early, *_ours(desk))}.values():
        holds = any(coverage.covers(one.cut.scopes, one.before, name) for name in scopes)
        if holds and all(store.get(connection, name) is None for name in {one.name, one.cut.id}):
            modes.append(one.cut.mode)
    return strictest(modes)


def _whole(cut: NotedCut) -> NotedCut:
    """Return a cut with all that it will hold: where nobody knows whom it names, everybody (see `adoption`)."""
    return cut if all(map(is_readable, cut.scopes)) else replace(cut, scopes=(*cut.scopes, EVERYTHING))


def _ours(desk: Desk) -> Iterator[Early]:
    for cut in list(desk.closings.values()):
        yield Early(cut, desk.in_use.get(cut.id, {}), cut.id)
