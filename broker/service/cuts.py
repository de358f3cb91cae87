"""Cuts, halts and thaws: closers on gates.

Rules:
1. A cut is one transaction for all it names, committed before it is answered.
2. A thaw removes the closers of its own cut and no others; what another cut holds stays closed.
3. A thaw is in the secret store's mirror before it is in the database: while the store is away, nothing opens.
4. A cut looks at no grants: it costs the same whether it stops one bot or ten thousand. The answer of a thaw does: a
   bot that is thawed by its account and cut by its name is cut.
5. A cut of a key version covers what replaces it: the closers go along when another takes its place (`db.coverage`).
6. A closed cut ends the checkouts in its scope: a key that was handed out heeds no gate, so it is rotated.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from broker import gate
from broker.audit.chain import Detail
from broker.db import Connection, checkouts, rows
from broker.db import accounts as account_store
from broker.db import cuts as store
from broker.db import grants as grant_store
from broker.db.database import DISK_FULL, MAYBE_WRITTEN
from broker.db.turns import Urgency
from broker.errors import Conflict, Malformed, NotFound, Problem, StoreUnavailable
from broker.gate import Gate, Mode
from broker.gate_document import NotedCut
from broker.model import EVERYTHING, KeyRef, ScopeKind, Stage, chain, moment, new_id, scope
from broker.service.audit import Audit
from broker.service.desk import VENUES, Change, Desk, Page, cursor_number, page
from broker.service.mirror import Mirror
from broker.service.reconcile import refuse_unreconciled

_LONGEST_REASON = 500
_MOST_TRIES = 3
_CURSOR_END = 2**62
_MOST_STILL = 200


@dataclass(frozen=True, slots=True)
class Cut:
    """A cut or halt: what it holds, why, since when, and until when."""

    id: str
    mode: Mode
    scopes: tuple[str, ...]
    reason: str
    actor: str
    opened_at: datetime
    thawed_at: datetime | None = None
    thawed_by: str | None = None
    thawed_why: str | None = None
    doubt: str = ""
    """Why it may be forgotten although it is in force, if it may."""


@dataclass(slots=True)
class _Making:
    """A cut that is being made, and the gates that it closed."""

    id: str
    targets: tuple[str, ...]
    mode: Mode
    reason: str
    actor: str
    now_us: int
    names: tuple[str, ...] = ()
    closed: list[Gate] = field(default_factory=list)


class Cuts:
    """Use cases on gates."""

    def __init__(self, desk: Desk, audit: Audit, mirror: Mirror) -> None:
        self._desk, self._audit, self._mirror = desk, audit, mirror

    def close(self, *, targets: tuple[str, ...], mode: Mode, reason: str, actor: str) -> tuple[Cut, Change]:
        """Close the gates of some scopes.

        Args:
            targets: Texts of scopes, as in `consumer:momentum-bot` or `everything`.
            mode: `closed` or `halt`.
            reason: For those who read it at 3 a.m.
            actor: The operator.

        Returns:
            The cut, committed, and the change to wait for at the gateways.

        Raises:
            Malformed: No target, a target that is none, or no reason.
            NotFound: A target does not exist; nothing was closed.
        """
        problems = []
        if not targets:
            problems.append(Problem("targets", "name at least one, or everything"))
        if not reason.strip() or len(reason) > _LONGEST_REASON:
            problems.append(Problem("reason", f"say why, in 1 to {_LONGEST_REASON} characters"))
        if problems:
            raise Malformed("bad_cut", tuple(problems))
        made = _Making(new_id("cut"), targets, mode, reason, actor, self._desk.clock.now_us())
        doubt = ""
        try:
            self._make(made)
        except StoreUnavailable as fault:
            self._refuse_unless_made(made.id, fault)
            doubt = str(fault) if fault.reason == "not_replicated" else ""
        change = self._desk.tell(made.closed, cut=made.id)
        return Cut(made.id, mode, made.names, reason, actor, moment(made.now_us), doubt=doubt), change

    def _make(self, made: "_Making") -> None:
        """Commit a cut. On a full disk it takes the room that is kept for it; others may be quicker, so more than once.

        Raises:
            StoreUnavailable: As `Database.write`.
        """
        for _ in range(_MOST_TRIES):
            try:
                return self._commit(made)
            except StoreUnavailable as fault:
                if fault.reason != DISK_FULL:
                    raise
                self._desk.database.reserve.free()
        return self._commit(made)

    def _commit(self, made: "_Making") -> None:
        made.closed.clear()
        with self._desk.database.write(Urgency.SAFETY) as connection:
            made.names = names = tuple(sorted({self._target(connection, target) for target in made.targets}))
            known = rows.gates(connection, names)
            record = {
                "id": made.id,
                "mode": made.mode.value,
                "reason": made.reason,
                "actor": made.actor,
                "opened_us": made.now_us,
            }
            store.add(connection, record, names)
            for name in names:
                made.closed.append(gate.close(known.get(name, Gate(name)), made.id, made.mode))
                rows.save_gate(connection, made.closed[-1])
            details: dict[str, Detail] = {
                "mode": made.mode.value,
                "scopes": list(names),
                "reason": made.reason,
            }
            closes = made.mode is Mode.CLOSED
            ended = self._end_checkouts(connection, names, made.now_us) if closes else []
            if ended:
                details["checkouts"] = ended
            self._audit.record(connection, "cut.close", made.id, details)

    def _refuse_unless_made(self, cut_id: str, fault: StoreUnavailable) -> None:
        """Refuse a cut that was not made. One that was made is in force, whatever went wrong after it."""
        if fault.reason not in MAYBE_WRITTEN:
            raise fault
        try:
            with self._desk.database.read() as connection:
                made = store.get(connection, cut_id) is not None
        except StoreUnavailable:
            raise StoreUnavailable(
                "cut_unknown",
                "the database was lost while it wrote: whether the cut is in force is not known; cut again, twice "
                "does no harm, or end the broker: no gateway serves without it",
            ) from None
        if not made:
            raise StoreUnavailable(
                "database", "the database was lost while it wrote: NOTHING was cut; do it again"
            )

    @staticmethod
    def _end_checkouts(connection: Connection, names: tuple[str, ...], now_us: int) -> list[str]:
        """End the checkouts that stand in some of the scopes; their keys live until they are rotated."""
        ended = []
        for out in checkouts.running(connection):
            account = account_store.account(connection, out.ref.account)
            grant = grant_store.grant(connection, out.grant)
            if account is None or grant is None:
                continue
            scopes = chain(account.venue, out.ref, "", grant.consumer, grant.id)
            if set(names) & set(scopes) and checkouts.close(connection, out.id, now_us):
                ended.append(out.id)
        return ended

    def thaw(self, cut_id: str, *, reason: str, actor: str) -> tuple[Cut, Change]:
        """Take the closers of one cut away; what other cuts hold stays closed.

        Raises:
            NotFound: No such cut.
            Conflict: It was thawed before.
            Malformed: No reason.
            StoreUnavailable: The secret store's mirror cannot be told; everything stays closed.
        """
        if not reason.strip() or len(reason) > _LONGEST_REASON:
            raise Malformed("bad_thaw", (Problem("reason", "say why it is safe to open again"),))
        now_us = self._desk.clock.now_us()
        cut = self.get(cut_id)
        _refuse_thawed(cut)
        refuse_unreconciled(self._desk, cut_id)
        self._mirror.note(replace(noted(cut), thawed_us=now_us))
        with self._desk.database.write(Urgency.SAFETY) as connection:
            row = store.get(connection, cut_id)
            _refuse_thawed(_cut(row, cut.scopes))
            names = store.scopes(connection, cut_id)
            opened = []
            for known in rows.gates(connection, names).values():
                thawed = gate.thaw(known, cut_id)
                if thawed is not None:
                    rows.save_gate(connection, thawed)
                    opened.append(thawed)
            store.thaw(connection, cut_id, now_us, actor, reason)
            self._audit.record(connection, "cut.thaw", cut_id, {"reason": reason, "scopes": list(names)})
        change = self._desk.tell(opened)
        return self.get(cut_id), change

    def replaced(self, cut: Cut) -> tuple[tuple[str, str], ...]:
        """Return the key versions of a cut that another one has replaced, each with the one in use now.

        A cut of a version covers what replaces it later, not what had replaced it before.
        """
        found = []
        with self._desk.database.read() as connection:
            for name in cut.scopes:
                kind, _, text = name.partition(":")
                if kind != ScopeKind.KEY_VERSION.value:
                    continue
                ref = KeyRef.parse(text)
                current = account_store.current_key(connection, ref.account, ref.slot)
                if current is not None and ref.version < current.ref.version:
                    covered = scope(ScopeKind.KEY_VERSION, str(current.ref)) in cut.scopes
                    found += [] if covered else [(text, str(current.ref))]
        return tuple(found)

    def still_holding(self, cut: Cut) -> tuple[Cut, ...]:
        """Return open cuts that hold bots of this one: by a scope of its own, or by another one that they stand in."""
        own, reached, where = set(cut.scopes), {EVERYTHING, *cut.scopes}, dict[str, set[str]]()
        with self._desk.database.read() as connection:
            for grant in grant_store.grants(connection):
                if grant.revoked_at is not None:
                    continue
                if grant.account not in where:
                    where[grant.account] = _stands_in(connection, grant.account)
                scopes = where[grant.account] | {f"consumer:{grant.consumer}", f"grant:{grant.id}"}
                reached |= scopes if own & scopes else set()
        found = self.list(open_only=True, limit=_MOST_STILL)
        return tuple(one for one in found.items if reached & set(one.scopes))

    def note_flights(
        self, cut_id: str, requests: int, unanswered: int, last_ms: int | None, silent: tuple[str, ...] = ()
    ) -> None:
        """Put on record what was on its way to the exchange when a cut came in force: nothing calls it back.

        Of what `silent` gateways had sent nothing is known.
        """
        details: dict[str, Detail] = {
            "requests": requests,
            "unanswered": unanswered,
            "last_answer_ms": last_ms,
        }
        if silent:
            details["not_known_of"] = list(silent)
        with self._desk.database.write(Urgency.UPKEEP) as connection:
            self._audit.record(connection, "cut.on_their_way", cut_id, details)

    def get(self, cut_id: str) -> Cut:
        """Return one cut.

        Raises:
            NotFound: No such cut.
        """
        with self._desk.database.read() as connection:
            row = store.get(connection, cut_id)
            if row is None:
                raise NotFound("no_cut", f"there is no cut {cut_id!r}; `portcullis cuts` shows them")
            return _cut(row, store.scopes(connection, cut_id))

    def list(self, *, open_only: bool = False, after: str = "", limit: int = 100) -> Page[Cut]:
        """List cuts, newest first."""
        before = cursor_number(after) if after else _CURSOR_END
        with self._desk.database.read() as connection:
            found = store.page(connection, before, limit + 1, open_only=open_only)
            whole = [(_cut(row, store.scopes(connection, row.id)), row.opened_us) for row in found]
        shown = page(whole, limit, lambda one: str(one[1]))
        return Page(tuple(cut for cut, _ in shown.items), shown.next)

    def _target(self, connection: Connection, target: str) -> str:
        """Return a target's scope, or refuse it."""
        if target == EVERYTHING:
            return EVERYTHING
        kind, _, ref = target.partition(":")
        known = {one.value for one in ScopeKind if one is not ScopeKind.EVERYTHING}
        if kind not in known or not ref:
            message = (
                f"{target[:60]!r} is none: write everything, or KIND:NAME with {', '.join(sorted(known))}"
            )
            raise Malformed("bad_cut", (Problem("targets", message),))
        if kind == ScopeKind.VENUE.value:
            if ref not in VENUES:
                raise NotFound("no_venue", f"there is no venue {ref[:60]!r}; known are {', '.join(VENUES)}")
        elif not store.exists(connection, kind, ref):
            raise NotFound(f"no_{kind}", f"there is no {kind} {ref[:60]!r}; NOTHING was cut")
        return scope(ScopeKind(kind), ref)


def noted(cut: Cut) -> NotedCut:
    """Return a cut as the mirror holds it."""
    opened_us = round(cut.opened_at.timestamp() * 1_000_000)
    return NotedCut(cut.id, cut.mode, cut.scopes, cut.reason, cut.actor, opened_us)


def _refuse_thawed(cut: Cut) -> None:
    if cut.thawed_at is not None:
        raise Conflict("thawed", f"{cut.id} was thawed before, by {cut.thawed_by}; nothing was changed")


def _cut(row: Any, names: tuple[str, ...]) -> Cut:
    return Cut(
        row.id, Mode(row.mode), names, row.reason, row.actor, moment(row.opened_us),
        None if row.thawed_us is None else moment(row.thawed_us), row.thawed_by, row.thawed_why,
    )  # fmt: skip


def _stands_in(connection: Connection, name: str) -> set[str]:
    """Return the scopes that every grant on an account stands in, whichever gateway serves it."""
    account = account_store.account(connection, name)
    keys = [key.ref for key in account_store.keys(connection, name) if key.stage is not Stage.TOMBSTONE]
    scopes = {EVERYTHING, f"account:{name}", *(scope(ScopeKind.KEY_VERSION, str(ref)) for ref in keys)}
    return scopes if account is None else scopes | {f"venue:{account.venue}"}
