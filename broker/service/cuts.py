"""Cuts, halts and thaws: closers on gates.

Rules:
1. A cut is in force at once, and one transaction for all it names; it is answered when that is committed, or after
   a while with the word that it is not yet (`closing`).
2. A thaw removes the closers of its own cut and no others; what another cut holds stays closed.
3. A thaw is in the secret store's mirror before it is in the database: while the store is away, nothing opens. Where
   the database then does not take it, it is taken back there: a cut that holds is in both.
4. A cut looks at no grants: it costs the same whether it stops one bot or ten thousand. The answer of a thaw does: a
   bot that is thawed by its account and cut by its name is cut.
5. A cut of a key version covers what replaces it: the closers go along when another takes its place (`db.coverage`).
6. A closed cut ends the checkouts in its scope: a key that was handed out heeds no gate, so it is rotated.
"""

from collections.abc import Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from broker import gate
from broker.audit.chain import Detail
from broker.db import Connection, rows
from broker.db import accounts as account_store
from broker.db import cuts as store
from broker.db import grants as grant_store
from broker.db.faults import MAYBE_WRITTEN
from broker.db.turns import Urgency
from broker.deeds import Deed
from broker.errors import Conflict, Malformed, NotFound, Problem, StoreUnavailable
from broker.gate import Gate, Mode
from broker.gate_document import NotedCut
from broker.model import EVERYTHING, KeyRef, ScopeKind, Stage, moment, scope
from broker.service.audit import Audit
from broker.service.closing import Closing
from broker.service.desk import Change, Desk, Page, cursor_number, page
from broker.service.leaving import LEFT_WITHIN_S
from broker.service.making import Made
from broker.service.mirror import Mirror
from broker.service.reconciled import refuse_unreconciled
from broker.service.using import using
from broker.service.words import as_text, is_reason

COMMITTED_WITHIN_S = 2.0
"""How long an answer waits for the record; it is in force without."""

MIRROR_AFTER_S = 0.5
"""After how long without a commit the secret store is told, too."""

_CURSOR_END = 2**62
_LONGEST_ID = 64
_AT_ONCE = 200


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
    """Why it may be forgotten although it is on record, if it may."""
    on_record: bool = True
    """Whether it is in the database; it is in force without."""
    is_checked: bool = True
    """Whether what it names was found to exist."""


class Cuts:
    """Use cases on gates."""

    def __init__(self, desk: Desk, audit: Audit, mirror: Mirror) -> None:
        self._desk, self._audit, self._mirror = desk, audit, mirror
        self.closing = Closing(desk, audit, mirror)
        self._learned: tuple[Cut, ...] = ()
        self._thawed: frozenset[str] = frozenset()
        """Cuts that were thawed here since `learn` began to read the last time."""

    def close(self, *, targets: tuple[str, ...], mode: Mode, reason: str, actor: str) -> tuple[Cut, Change]:
        """Close the gates of some scopes, and wait for the record, but not for long.

        Args:
            targets: Texts of scopes, as in `consumer:momentum-bot` or `everything`.
            mode: `closed` or `halt`.
            reason: For those who read it at 3 a.m.
            actor: The operator.

        Returns:
            The cut, in force here and told to the gateways, and the change to wait for at them. `on_record` says
            whether it was committed within the time: if not, it will be.

        Raises:
            Malformed: No target, a target that is none, or no reason.
            NotFound: A target does not exist; nothing was closed.
        """
        made = self.closing.begin(targets=targets, mode=mode, reason=reason, actor=actor)
        try:
            made.settled.result(MIRROR_AFTER_S)
        except TimeoutError:
            self.closing.note(made)
            with suppress(TimeoutError):
                made.settled.result(COMMITTED_WITHIN_S - MIRROR_AFTER_S)
            wait((made.settled, made.left), LEFT_WITHIN_S, FIRST_COMPLETED)
        return self.made(made), replace(made.change, gates=tuple(made.closed))

    def made(self, made: Made) -> Cut:
        """Return a cut that was made as it is to be answered.

        Raises:
            NotFound: A target does not exist; nothing is closed.
        """
        if made.settled.done():
            made.settled.result()
            return _fresh(made)
        try:
            self.closing.look(made)
        except StoreUnavailable:
            return self.unchecked(made)
        self.closing.answered(made)
        return _fresh(made)

    def unchecked(self, made: Made) -> Cut:
        """Return a cut as it is to be answered where nobody can say whether its targets exist."""
        self.closing.answered(made)
        return _fresh(made, checked=False)

    def thaw(self, cut_id: str, *, reason: str, actor: str) -> tuple[Cut, Change]:
        """Take the closers of one cut away; what other cuts hold stays closed.

        Raises:
            NotFound: No such cut.
            Conflict: It was thawed before.
            Malformed: No reason.
            StoreUnavailable: The secret store's mirror cannot be told, or the database cannot be written; everything
                stays closed. With the reason `thaw_unknown` that is not known.
        """
        reason = as_text(reason)
        if not is_reason(reason):
            raise Malformed("bad_thaw", (Problem("reason", "say why it is safe to open again"),))
        if self._desk.guard.superseded:
            self._desk.guard.refuse(Deed.THAW)
        made = self.closing.get(cut_id)
        if made is not None and made.thawing is None:
            refuse_unreconciled(self._desk, cut_id)
            if using.get() is not None:
                with self._desk.database.write(Urgency.SAFETY) as connection:
                    self._audit.use_act(connection, "cut.thaw")
            try:
                change = self.closing.thaw(made, reason=reason, actor=actor)
            except StoreUnavailable:
                self._give_act_back()
                raise
            if change is not None:
                return _fresh(made), change
        now_us = self._desk.clock.now_us()
        cut = self.get(cut_id)
        _refuse_thawed(cut)
        refuse_unreconciled(self._desk, cut_id)
        self._desk.guard.ensure(Deed.THAW)
        opened: list[Gate] = []
        doubt = ""
        with self._mirror.thawing(noted(cut), now_us):
            try:
                with self._desk.database.write(Urgency.SAFETY) as connection:
                    self._desk.guard.fence(connection, Deed.THAW)
                    row = store.get(connection, cut_id)
                    _refuse_thawed(_cut(row, cut.scopes))
                    names = store.scopes(connection, cut_id)
                    for known in rows.gates(connection, names).values():
                        thawed = gate.thaw(known, cut_id)
                        if thawed is not None:
                            rows.save_gate(connection, thawed)
                            opened.append(thawed)
                    store.thaw(connection, cut_id, now_us, actor, reason)
                    details: dict[str, Detail] = {"reason": reason, "scopes": list(names)}
                    self._audit.record(connection, "cut.thaw", cut_id, details)
            except StoreUnavailable as fault:
                self._refuse_unless_thawed(cut_id, now_us, fault)
                doubt = str(fault) if fault.reason == "not_replicated" else ""
        self._thawed |= {cut_id}
        change = self._desk.tell(opened)
        done = replace(cut, thawed_at=moment(now_us), thawed_by=actor, thawed_why=reason, doubt=doubt)
        return done, change

    def _refuse_unless_thawed(self, cut_id: str, now_us: int, fault: StoreUnavailable) -> None:
        """Refuse a thaw that was not made. One that was made is in force, whatever went wrong after it."""
        if fault.reason not in MAYBE_WRITTEN:
            raise fault
        try:
            cut = self.get(cut_id)
        except StoreUnavailable:
            raise StoreUnavailable(
                "thaw_unknown",
                f"the database was lost while it wrote: whether {cut_id} is thawed is not known; thaw it again, twice "
                "does no harm; to be sure that nothing trades, cut again, or end the broker",
            ) from None
        if cut.thawed_at is None:
            raise StoreUnavailable(
                "database",
                f"the database was lost while it wrote: NOTHING was opened, {cut_id} holds; thaw it again",
            )
        if cut.thawed_at != moment(now_us):
            _refuse_thawed(cut)

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
        return tuple(one for one in self._open() if reached & set(one.scopes))

    def _open(self) -> Iterator[Cut]:
        """Yield every cut in force, however many there are."""
        after: str | None = ""
        while after is not None:
            found = self.list(open_only=True, after=after, limit=_AT_ONCE)
            yield from found.items
            after = found.next

    def note_flights(
        self, cut_id: str, requests: int, unanswered: int, last_ms: int | None, silent: tuple[str, ...] = (),
        patience_s: float | None = None,
    ) -> None:  # fmt: skip
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
        with self._desk.database.write(Urgency.UPKEEP, patience_s=patience_s) as connection:
            self._audit.record(connection, "cut.on_their_way", cut_id, details)

    def learn(self) -> None:
        """Read what is in force on record, for `known`.

        Raises:
            StoreUnavailable: The database cannot answer; what was read before stays.
        """
        before = (
            self._thawed
        )  # of these the record says itself what became of them: a failover may forget a thaw
        found = self.list(open_only=True, limit=_AT_ONCE).items
        self._learned = tuple(one for one in found if one.on_record)
        self._thawed -= before

    def known(self) -> tuple[Cut, ...]:
        """Return what is in force as far as is known without the database.

        That is what was on record a few seconds before it went away, less what was thawed and with what was cut here
        since.
        """
        early = [_fresh(made) for made in reversed(self.closing.standing())]
        ids = {one.id for one in early} | self._thawed
        return (
            *(one for one in early if not one.thawed_at),
            *(one for one in self._learned if one.id not in ids),
        )

    def get(self, cut_id: str) -> Cut:
        """Return one cut.

        Raises:
            NotFound: No such cut.
        """
        made = self.closing.get(cut_id)
        if made is not None:
            return _fresh(made)
        with self._desk.database.read() as connection:
            row = store.get(connection, cut_id)
            if row is None:
                raise NotFound("no_cut", f"there is no cut {cut_id!r}; `portcullis cuts` shows them")
            return _cut(row, store.scopes(connection, cut_id))

    def list(self, *, open_only: bool = False, after: str = "", limit: int = 100) -> Page[Cut]:
        """List cuts, newest first; those that are not on record yet are on the first page, beyond its limit."""
        opened, _, last = after.partition(".")
        before = cursor_number(opened) if after else _CURSOR_END
        # who wrote one into the secret store called it what they liked
        if len(last) > _LONGEST_ID or "\0" in last:
            raise Malformed("bad_cursor", (Problem("cursor", "is none of ours; start without it"),))
        with self._desk.database.read() as connection:
            found = store.page(connection, before, limit + 1, open_only=open_only, before_id=last)
            whole = [(_cut(row, store.scopes(connection, row.id)), row.opened_us) for row in found]
        shown = page(whole, limit, lambda one: f"{one[1]}.{one[0].id}")
        there = {cut.id for cut, _ in shown.items}
        waiting = [] if after else [_fresh(made) for made in reversed(self.closing.standing())]
        early = [one for one in waiting if one.id not in there and not (open_only and one.thawed_at)]
        return Page((*early, *(cut for cut, _ in shown.items)), shown.next)

    def _give_act_back(self) -> None:
        """Let the thaw that failed be sent again: it stays closed, and what was announced is this very thaw."""
        if using.get() is not None:
            with suppress(StoreUnavailable), self._desk.database.write() as connection:
                self._audit.give_act_back(connection)

    def of_everything(self, limit: int) -> tuple[Cut, ...]:
        """Return the open cuts by which everything is closed: the program's own first, then the newest."""
        with self._desk.database.read() as connection:
            found = store.of_everything(connection, limit)
            return tuple(_cut(row, store.scopes(connection, row.id)) for row in found)

    def others_open(self, known: Collection[str]) -> int:
        """Return how many cuts on record are open beside those that are known."""
        with self._desk.database.read() as connection:
            return len(store.every_open(connection) - set(known))


def noted(cut: Cut) -> NotedCut:
    """Return a cut as the mirror holds it."""
    opened_us = round(cut.opened_at.timestamp() * 1_000_000)
    return NotedCut(cut.id, cut.mode, cut.scopes, cut.reason, cut.actor, opened_us)


def _fresh(made: Made, *, checked: bool = True) -> Cut:
    """Return a cut as it is while it is made."""
    noted, thawing = made.noted, made.thawing
    cut = Cut(
        noted.id, noted.mode, noted.scopes, noted.reason, noted.actor, moment(noted.opened_us), doubt=made.doubt,
        on_record=made.on_record, is_checked=checked,
    )  # fmt: skip
    if thawing is None:
        return cut
    at = moment(thawing.at_us)
    return replace(cut, thawed_at=at, thawed_by=thawing.actor, thawed_why=thawing.reason)


def _refuse_thawed(cut: Cut) -> None:
    if cut.thawed_at is not None:
        raise Conflict("thawed", f"{cut.id} was thawed before, by {cut.thawed_by}; nothing was changed")


def _cut(row: Any, names: tuple[str, ...]) -> Cut:
    return Cut(
        row.id, rows.mode(row.mode), names, row.reason, row.actor, moment(row.opened_us),
        None if row.thawed_us is None else moment(row.thawed_us), row.thawed_by, row.thawed_why,
    )  # fmt: skip


def _stands_in(connection: Connection, name: str) -> set[str]:
    """Return the scopes that every grant on an account stands in, whichever gateway serves it."""
    account = account_store.account(connection, name)
    keys = [key.ref for key in account_store.keys(connection, name) if key.stage is not Stage.TOMBSTONE]
    scopes = {EVERYTHING, f"account:{name}", *(scope(ScopeKind.KEY_VERSION, str(ref)) for ref in keys)}
    return scopes if account is None else scopes | {f"venue:{account.venue}"}
