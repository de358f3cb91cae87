"""Gates in two places: the database, and their mirror in the secret store. The stricter of both is in force.

Rules:
1. A cut is in the database first, because that is quick; then in the mirror, again and again until it is there. One
   that the database does not take for a while is in the mirror first.
2. A thaw is in the mirror first. What the mirror holds and the database does not is closed here, too, with all that a
   cut does: it covers what took a key version's place since, and ends checkouts.
3. No lease is granted before the mirror was read once: a database restored from yesterday has forgotten a cut.
4. The mirror also knows whose it is, and the instance's generation: an instance that a restore has superseded,
   or that found another one's mirror, serves nothing.
"""

import hashlib
import json
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from broker import gate, gate_document
from broker.audit.chain import Detail
from broker.db import Connection, checkouts, coverage, rows
from broker.db import cuts as store
from broker.db.turns import Urgency
from broker.errors import StoreUnavailable
from broker.gate import Gate, Mode
from broker.gate_document import NotedCut
from broker.model import EVERYTHING
from broker.service.audit import Audit
from broker.service.desk import Desk

INSTANCE = "instance"
"""Name of the document that says whose mirror this is."""

_MOST_OPEN = 100_000
_LATE_US = 1_000_000
_LOG = logging.getLogger("portcullis.mirror")


class Mirror:
    """Keeps database and mirror together."""

    def __init__(self, desk: Desk, audit: Audit) -> None:
        self._desk, self._audit = desk, audit
        self._agreed: set[str] = set()
        self._owed: dict[str, NotedCut] = {}
        """Cuts that were taken back, until they are thawed there."""
        self._was_read = False
        self._writer = ThreadPoolExecutor(1, "mirror")
        self.superseded = ""
        """Why this instance may serve nothing any more; empty while it may."""

    @property
    def serves(self) -> bool:
        """Whether leases may be granted."""
        return self._was_read and not self.superseded

    def note_soon(self, cut: NotedCut) -> "Future[None]":
        """Write a cut down in a thread of its own, one after the other: a slow store holds up nobody else."""
        if cut.thawed_us is not None:
            self._owed[cut.id] = cut
        return self._writer.submit(self.note, cut)

    def has(self, cut: str) -> bool:
        """Tell whether a cut is known to be written down there."""
        return cut in self._agreed

    def close(self) -> None:
        """Let the thread end; what it did not write, `merge` does at the next start."""
        self._writer.shutdown(wait=False, cancel_futures=True)

    def note(self, cut: NotedCut) -> None:
        """Write a cut down, or that it is thawed. What was thawed stays thawed.

        Raises:
            StoreUnavailable: The secret store cannot answer.
        """

        def judge(known: str | None) -> str | None:
            if known is not None and cut.thawed_us is None:
                return None
            return gate_document.dump(cut)

        self._desk.secrets.mirror.change(cut.id, judge)
        self._agreed.add(cut.id)
        if cut.thawed_us is not None:
            self._owed.pop(cut.id, None)

    def merge(self) -> None:
        """Bring both together, as far as they differ; called every few seconds.

        Raises:
            StoreUnavailable: The secret store or the database cannot answer.
        """
        self._claim()
        if self.superseded:
            return
        for cut in list(self._owed.values()):
            self.note(cut)
        mirror = self._desk.secrets.mirror
        names = [name for name in mirror.names() if name != INSTANCE]
        for name in names:
            if name not in self._agreed:
                document = mirror.read(name)
                if document is not None:
                    self._adopt(_read(name, document))
                self._agreed.add(name)
        for cut in list(self._desk.closings.values()):
            if cut.id not in self._agreed and self._desk.clock.now_us() - cut.opened_us > _LATE_US:
                self.note(cut)  # it is in force, and the database has not taken it yet
        with self._desk.database.read() as connection:
            held = store.page(connection, 2**62, _MOST_OPEN, open_only=True)
            fresh = [
                NotedCut(row.id, Mode(row.mode), store.scopes(connection, row.id), row.reason, row.actor, row.opened_us)
                for row in held
                if row.id not in self._agreed
            ]  # fmt: skip
        for cut in fresh:
            self.note(cut)
        self._was_read = True

    def _claim(self) -> None:
        """Make sure that the mirror is ours, and nobody took our place."""
        home = self._desk.home
        ours = {"instance": home.instance, "generation": home.generation}
        found: dict[str, object] = {}

        def judge(known: str | None) -> str | None:
            nonlocal found
            found = ours if known is None else _facts(known)
            newer = found.get("instance") == home.instance and _number(found) < home.generation
            return json.dumps(ours) if known is None or newer else None

        self._desk.secrets.mirror.change(INSTANCE, judge)
        why = ""
        if found.get("instance") != home.instance:
            why = "the secret store belongs to another Portcullis: check mount and prefix"
        elif _number(found) > home.generation:
            why = (
                f"this instance was restored elsewhere (generation {_number(found)}, here {home.generation}): "
                "the other host serves now; end this one"
            )
        if why and why != self.superseded:
            _LOG.error("nothing is served here any more: %s", why)
        self.superseded = why

    def _adopt(self, noted: NotedCut) -> None:
        """Close here what the mirror holds closed."""
        if noted.thawed_us is not None:
            return
        with self._desk.database.read() as connection:
            before = store.get(connection, noted.id)
        if before is not None and (before.thawed_us is None or self._is_thawed(noted.id)):
            return
        with self._desk.database.write(Urgency.SAFETY) as connection:
            row = store.get(connection, noted.id)
            if row is not None and (before is None or row.thawed_us != before.thawed_us):
                return  # made or thawed here meanwhile: by somebody who told the mirror
            noted = replace(noted, scopes=_names(connection, noted))
            if row is None:
                record = {
                    "id": noted.id, "mode": noted.mode.value, "reason": noted.reason, "actor": noted.actor,
                    "opened_us": noted.opened_us,
                }  # fmt: skip
                store.add(connection, record, noted.scopes)
            else:
                store.unthaw(connection, noted.id)
            closed = _close(connection, noted)
            details: dict[str, Detail] = {"scopes": list(noted.scopes)}
            closes = noted.mode is Mode.CLOSED
            ended = checkouts.end_in(connection, noted.scopes, self._desk.clock.now_us()) if closes else []
            if ended:
                details["checkouts"] = ended
            self._audit.record(connection, "cut.adopt", noted.id, details)
        _LOG.warning("closed here, because the secret store's mirror says so: %s %s", noted.id, noted.scopes)
        self._desk.tell(closed)

    def _is_thawed(self, cut_id: str) -> bool:
        """Look again: a thaw is in the mirror before it is in the database, so what is thawed here is there."""
        document = self._desk.secrets.mirror.read(cut_id)
        try:
            return document is not None and gate_document.load(cut_id, document).thawed_us is not None
        except (ValueError, KeyError, TypeError):
            return False


def _names(connection: Connection, noted: NotedCut) -> tuple[str, ...]:
    """Return what a cut holds: what it names, here or there, and what took a named key version's place since."""
    known = {*noted.scopes, *store.scopes(connection, noted.id)}
    then = coverage.in_use_at(connection, known, noted.opened_us)
    return tuple(sorted({*known, *coverage.heirs(connection, known, then)}))


def _close(connection: Connection, noted: NotedCut) -> list[Gate]:
    known = rows.gates(connection, noted.scopes)
    closed = [
        gate.close(known.get(scope, Gate(scope)), noted.id, noted.mode) for scope in sorted(noted.scopes)
    ]
    for one in closed:
        rows.save_gate(connection, one)
    return closed


def _read(name: str, document: str) -> NotedCut:
    """Read a document; one that cannot be understood closes everything."""
    try:
        return gate_document.load(name, document)
    except (ValueError, KeyError, TypeError):
        digest = hashlib.sha256(name.encode()).hexdigest()[:20]
        reason = (
            f"the gate document {name[:60]!r} in the secret store cannot be understood: find out who wrote it, "
            "delete it there, then thaw this"
        )
        return NotedCut(f"cut_{digest}", Mode.CLOSED, (EVERYTHING,), reason, "mirror", 0)


def _facts(document: str) -> dict[str, object]:
    try:
        found = json.loads(document)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise StoreUnavailable(
            "mirror_unreadable",
            "gates/instance in the secret store cannot be understood: restore it, nothing is served until then",
        )
    return found


def _number(facts: dict[str, object]) -> int:
    generation = facts.get("generation")
    return generation if isinstance(generation, int) else 2**62
