"""Which checkpoints each anchor took, by whose it is and its name: what one that is looked at later has to hold.

Rules:
1. Whose it is tells the signing key of a home: two homes may each have a file of the same name.
2. Kept as runs of numbers, as in `1-5,7-12`; a run ends where an anchor failed.
3. A restored home forgets them: its anchors are where it was.
"""

import hashlib
import json
from collections.abc import Iterable

from sqlalchemy import Connection

from broker.audit.held import Runs, joined
from broker.db import meta

_MARK = "anchored "


def note(connection: Connection, owner: str, anchor: str, numbers: Iterable[int]) -> None:
    """Add numbers to what somebody's anchor took."""
    name = _MARK + hashlib.sha256(f"{owner} {anchor}".encode()).hexdigest()[:32]
    text = meta.get(connection, name)
    before = () if text is None else _runs(json.loads(text)["runs"])
    document = {"owner": owner, "anchor": anchor, "runs": joined(before, numbers)}
    meta.put(connection, name, json.dumps(document))


def every(connection: Connection) -> dict[tuple[str, str], Runs]:
    """Return what each took, by owner and anchor."""
    found: dict[tuple[str, str], Runs] = {}
    for name, text in meta.read(connection).items():
        if name.startswith(_MARK):
            document = json.loads(text)
            found[str(document["owner"]), str(document["anchor"])] = _runs(document["runs"])
    return found


def forget(connection: Connection) -> None:
    """Forget all of it."""
    for name in meta.read(connection):
        if name.startswith(_MARK):
            meta.remove(connection, name)


def _runs(found: object) -> Runs:
    return tuple((int(first), int(last)) for first, last in found) if isinstance(found, list) else ()
