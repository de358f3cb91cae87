"""The one guard before every deed (`broker.deeds`): what it knows it asks of the stores, and what follows it decides.

Rules:
1. `ensure` comes before the deed and asks the stores anew: the secret store who has this home's place (instance and
   generation), the database who holds its seat and what is closed by itself; a primary of before is believed by none
   that needs an answer. `fence` comes inside a transaction that records a deed, or looks for the last time before it
   (`last_look`), and asks that transaction once more: who was paused in between changes nothing.
2. `allows` is for what looks often: its answer may be as old as `KNOWN_FOR_S`. Leases and whatever else is a safety
   path take `serves`, or `lets_go` before a key goes to a gateway, which ask nothing.
3. Asks come one at a time, and who waited takes what the one before heard: a store that hangs costs each two at most.
4. No cut ever comes here.
5. Who was told once that another host has this home's place is told for good, and on record: a secret store that is put
   back to before that says the opposite.
6. The seat (`broker.seat`) lies in the database; where that is a file and the secrets are in a Vault, in the Vault: in
   what every copy of this home shares. The database's is kept by the heartbeat, the Vault's by upkeep.
7. No key leaves before the mirror of the gates was merged in this life (`took_in_cuts`). Who works beside a broker and
   merges nothing finds on record that its start has; a command in place hands out nothing.
"""

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from broker import seat as seats
from broker.db import Connection, history, meta
from broker.db import cuts as cut_store
from broker.db.database import Database
from broker.deeds import NEVER_ASKED, UNREAD, Deed, Known, No, judge
from broker.errors import BrokerError, StoreUnavailable, Withheld
from broker.history import Mark, load_mark
from broker.ports import SecretStore
from broker.seat import Seat, Seating

INSTANCE = "instance"
"""Name of the document in the mirror of the gates that says whose store this is."""

STORE_BACK = "store_back"
"""The fact that names a secret store's going back, until all is well again: as good as a closing."""

HISTORY = "history"
"""Name of the one that says how far the record had come; see `marks`."""

COMPARED, RECONCILED = "compared", "reconciled"
"""Facts: the closings since which the record was compared with the exchanges, and since which all is well."""

SUPERSEDED = "superseded_by"
"""The fact that says by which generation of the home this one was superseded."""

CUTS_READ = "cuts_read_by"
"""The fact that names the start of a broker that took in the cuts which the secret store holds."""

SEAT = "seat"
KNOWN_FOR_S = 2.0
_FAILED_FOR_S = 1.0
_NO_GENERATION = 2**62


def _boot_s() -> float:
    """Return seconds on a clock that runs while the host sleeps: what was known before is not known after."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Heard:
    """What the secret store said last, and when."""

    usurped: str = ""
    away: str = NEVER_ASKED
    at_s: float = -1e9
    mark: Mark | None = None


class HostGuard:
    """Asks and judges. `instance` and `generation` are those of the home as this process opened it."""

    def __init__(
        self, database: Database, secrets: SecretStore, instance: str, generation: int,
        now_s: Callable[[], float] = _boot_s,
    ) -> None:  # fmt: skip
        self._database, self._secrets, self._now_s = database, secrets, now_s
        self._instance, self._generation = instance, generation
        self._asking = threading.Lock()
        self._heard = Heard()
        self.seating, self.sits_in_store = Seating(), False
        self.start = ""
        """Names the start of the broker that this process is, or works beside; empty where there is none."""
        self._cuts_read = False
        self._above = 0
        """The highest generation of this home that the secret store ever told of."""
        self._leads = ""
        """Who sat there last at such a generation, as far as the store told."""
        self._usurped = ""
        """Why nothing is ever done here again, as the database says; the secret store's word is in `_heard`."""

    # --- what it is asked -----------------------------------------------------------------

    @property
    def superseded(self) -> str:
        """Why this process may do nothing any more, as it is known now; empty while it may."""
        return self.seating.usurped or self._usurped or self._heard.usurped

    @property
    def serves(self) -> bool:
        """Whether leases may go on, as it is known now: nothing is asked."""
        return judge(Deed.RENEW, Known(self.superseded)) is None

    @property
    def lets_go(self) -> bool:
        """Whether a key may go to a gateway that has none yet, as it is known now: nothing is asked."""
        return judge(Deed.LEASE, Known(self.superseded, unread="" if self._cuts_read else UNREAD)) is None

    def took_in_cuts(self) -> None:
        """What the secret store holds closed is closed on record by now: note it, for who works beside us as well.

        Raises:
            StoreUnavailable: The database cannot answer; for this process it is noted.
        """
        self._cuts_read = True
        if not self.start:
            return
        with self._database.read() as connection:
            known = meta.get(connection, CUTS_READ)
        if known != self.start:
            with self._database.write() as connection:
                meta.put(connection, CUTS_READ, self.start)

    def ensure(self, deed: Deed, within_s: float = 0.0) -> None:
        """Make sure that a deed may be done, as of this moment, or so lately. Blocks for as long as the stores take.

        Raises:
            Withheld: It may not, and why; nothing was done.
            StoreUnavailable: That cannot be known now; nothing was done.
        """
        _refuse(judge(deed, self._known(within_s, deed)))

    def refuse(self, deed: Deed) -> None:
        """Refuse a deed that is known to be none of ours; the secret store is not asked, nor is it missed.

        Raises:
            Withheld: It may not be done, and why.
            StoreUnavailable: The database cannot answer.
        """
        with self._database.read(at_primary=True) as connection:
            self.fence(connection, deed)

    def allows(self, deed: Deed) -> No | None:
        """Tell whether a deed may be done, as of the last two seconds; None where it may."""
        return judge(deed, self._known(KNOWN_FOR_S, deed))

    def fence(self, connection: Connection, deed: Deed) -> None:
        """Make sure once more, in the transaction that puts a deed on record. The secret store is not asked.

        Raises:
            Withheld: It may not be done; the transaction is to be given up.
        """
        _refuse(judge(deed, self._read(connection, Known(self.superseded))))

    def hear(self) -> None:
        """Ask the secret store who has this home's place, and claim it where it is nobody's, or was an earlier one's.

        Raises:
            StoreUnavailable: It cannot answer.
        """
        ours: dict[str, object] = {"instance": self._instance, "generation": self._generation}
        found: dict[str, object] = {}
        number = self.seating.number

        def claim(known: str | None) -> str | None:
            nonlocal found
            self.seating.number = number  # it may be asked again, where another writer was faster
            found = dict(ours) if known is None else facts_of(known)
            if self._above > self._generation:
                return None  # another host's place is not claimed where the store forgot it
            is_ours = found.get("instance") == self._instance
            before = is_ours and generation_of(found) < self._generation
            fresh = dict(ours) if before or known is None else found
            sits = self._sit(fresh) if self.sits_in_store and fresh.items() >= ours.items() else None
            return json.dumps(fresh | (sits or {})) if known is None or before or sits else None

        try:
            self._secrets.mirror.change(INSTANCE, claim)
            text = self._secrets.mirror.read(HISTORY)
            mark = None if text is None else mark_of(text)
        except BrokerError as fault:
            self._heard = replace(
                self._heard, away=f"the secret store cannot be asked ({fault})", at_s=self._now_s()
            )
            raise
        self._heard = Heard(self._whose(found), "", self._now_s(), mark)

    def remember(self) -> bool:
        """Keep on record that another host took this home's place, and tell whether one ever did, by the record.

        Raises:
            StoreUnavailable: The database cannot answer.
        """
        with self._database.read() as connection:
            known = _generation(meta.get(connection, SUPERSEDED))
        self._above = max(self._above, known)
        if self._above > max(known, self._generation):
            with self._database.write() as connection:
                meta.put(connection, SUPERSEDED, str(self._above))
        if self._above > self._generation and not self._heard.usurped:
            self._heard = replace(self._heard, usurped=self._restored_elsewhere())
        return self._above > self._generation

    # --- the seat -------------------------------------------------------------------------

    def take_seat(self) -> None:
        """Look whether the seat is ours to take, and take it; `seating` tells what came of it.

        Raises:
            StoreUnavailable: Where it lies cannot be asked.
        """
        if self.sits_in_store:
            self.hear()
            return
        with self._database.write() as connection:
            self._look(connection)

    def beat(self, connection: Connection) -> None:
        """Keep the seat, in the transaction of the heartbeat.

        Raises:
            Withheld: Somebody else holds it: this process is over.
        """
        if self.seating.keeps and not self.sits_in_store:
            self._look(connection)
            if self.seating.usurped:
                raise Withheld("superseded", self.seating.usurped)

    def leave_seat(self) -> None:
        """Say that the holder ends, so that the next one need not watch for long.

        Raises:
            StoreUnavailable: Where it lies cannot be asked; the next one watches.
        """
        if self.sits_in_store:
            self._secrets.mirror.change(INSTANCE, self._left)
            return
        with self._database.write() as connection:
            left = self.seating.ended(_seat(meta.get(connection, SEAT)))
            if left is not None:
                meta.put(connection, SEAT, json.dumps(seats.dump(left)))

    def _left(self, known: str | None) -> str | None:
        found = {} if known is None else facts_of(known)
        left = self.seating.ended(_seat(found.get(SEAT)))
        return None if left is None else json.dumps({**found, SEAT: seats.dump(left)})

    def _look(self, connection: Connection) -> None:
        fresh = self.seating.look(_seat(meta.get(connection, SEAT)))
        if fresh is not None:
            meta.put(connection, SEAT, json.dumps(seats.dump(fresh)))

    def _sit(self, found: dict[str, object]) -> dict[str, object] | None:
        fresh = self.seating.look(_seat(found.get(SEAT)))
        return None if fresh is None else {SEAT: seats.dump(fresh)}

    # --- what it knows --------------------------------------------------------------------

    def _whose(self, found: dict[str, object]) -> str:
        if found.get("instance") != self._instance:
            return "the secret store belongs to another Portcullis: check mount and prefix"
        told = generation_of(found)
        if told < _NO_GENERATION:  # what cannot be understood is nobody's generation
            self._above = max(self._above, told)
        if max(told, self._above) > self._generation:
            if told > self._generation:
                self._leads = seats.who(found.get(SEAT)) or self._leads
            return self._restored_elsewhere(told)
        return ""

    def _restored_elsewhere(self, told: int = 0) -> str:
        return (
            f"this instance was restored elsewhere (generation {max(told, self._above)}, here {self._generation}): "
            f"{self._leads or 'the other host'} serves now; end this one"
        )

    def _known(self, within_s: float, deed: Deed) -> Known:
        asked_s = self._now_s()
        with self._asking:
            heard = self._heard
            kept_s = min(within_s, _FAILED_FOR_S) if heard.away else within_s
            if heard.at_s < asked_s - kept_s:
                with suppress(BrokerError):  # `hear` noted why
                    self.hear()
                heard = self._heard
        try:
            with self._database.read(at_primary=deed.asks) as connection:
                return self._read(connection, Known(heard.usurped, heard.away))
        except StoreUnavailable as fault:
            return Known(self.superseded, f"the database cannot be asked ({fault})")

    def _read(self, connection: Connection, known: Known) -> Known:
        """Add what the database says."""
        facts = meta.read(connection)
        if not self.sits_in_store:
            self.seating.peek(_seat(facts.get(SEAT)))
        self._usurped = self.seating.usurped or self._replaced(facts)
        here, before = self._database.timeline(connection), facts.get(history.TIMELINE, "")
        doubt = ""
        if before and here != before:
            doubt = f"the database went from timeline {before} to {here}: everything is about to be closed"
        elif self._heard.mark is not None and not history.has(connection, self._heard.mark):
            doubt = "the database was put back, the secret store knows more of it: everything is about to be closed"
        is_read = self._cuts_read or (self.start and facts.get(CUTS_READ) == self.start)
        return replace(
            known, usurped=known.usurped or self._usurped, doubt=doubt, unread="" if is_read else UNREAD,
            closed=closings(connection), compared=_names(facts.get(COMPARED)), well=_names(facts.get(RECONCILED)),
        )  # fmt: skip

    def _replaced(self, facts: dict[str, str]) -> str:
        """Say why the database is not the one that this process opened."""
        if facts.get("instance") != self._instance:
            return "the database holds another Portcullis than it did: end this process, and look which it should be"
        if facts.get("generation") != str(self._generation):
            return (
                f"the database was replaced under this process (generation {facts.get('generation')}, here "
                f"{self._generation}): end it, and start it anew"
            )
        self._above = max(self._above, _generation(facts.get(SUPERSEDED)))
        return self._restored_elsewhere() if self._above > self._generation else ""


def _generation(fact: str | None) -> int:
    return int(fact) if fact is not None and fact.isascii() and fact.isdigit() else 0


def closings(connection: Connection) -> frozenset[str]:
    """Return what the record has to be compared for: the closings by ourselves, and a secret store that went back."""
    back = meta.get(connection, STORE_BACK)
    return cut_store.by_itself(connection) | (frozenset() if back is None else {back})


def _seat(found: object) -> Seat | None:
    try:
        return seats.load(found)
    except ValueError as fault:
        raise StoreUnavailable(
            "seat_unreadable", f"{fault}: end whatever runs this home, and remove it"
        ) from None


def _refuse(no: No | None) -> None:
    if no is None:
        return
    if no.reason in {"guard_away", "cuts_not_read"}:
        raise StoreUnavailable(no.reason, no.message)
    raise Withheld(no.reason, no.message)


def facts_of(document: str) -> dict[str, object]:
    """Read the document that says whose store this is.

    Raises:
        StoreUnavailable: It cannot be understood.
    """
    try:
        found = json.loads(document)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise StoreUnavailable(
            "mirror_unreadable",
            "gates/instance in the secret store cannot be understood: restore it, nothing is served until then",
        )
    return found


def generation_of(facts: dict[str, object]) -> int:
    """Return a generation; one that cannot be understood is beyond ours."""
    generation = facts.get("generation")
    return generation if isinstance(generation, int) and not isinstance(generation, bool) else _NO_GENERATION


def mark_of(document: str) -> Mark:
    """Read the document that says how far the record had come.

    Raises:
        StoreUnavailable: It cannot be understood.
    """
    try:
        return load_mark(document)
    except (ValueError, RecursionError):
        raise StoreUnavailable(
            "mirror_unreadable",
            "gates/history in the secret store cannot be understood: restore it, no key is leased until then",
        ) from None


def _names(document: str | None) -> frozenset[str]:
    try:
        found = json.loads(document or "[]")
    except ValueError:
        found = None
    return frozenset(map(str, found)) if isinstance(found, list) else frozenset()
