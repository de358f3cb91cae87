"""Real keys handed out to people: only where a grant's policy allows it, only while no gate is shut, never taken back.

Rules:
1. Who takes a key, why and until when is on record before the key leaves. The secret is read before that: a store that
   is slow must not stand between the look at the gates and the answer, where a cut would find nothing to end.
   All that it was judged by is judged once more after the record was waited for, as the last thing before the answer
   (`HandedOut`, `last_look`): where it is so no more (a cut, a grant revoked, another host in this one's place), the
   checkout ends at once, and the key goes to nobody; of one that was to be pasted the trail says so.
2. The end of a checkout, by its time or by hand, is a rotation of that key: what left cannot be taken back. Until that
   rotation is done, whoever kept the key can trade past gateway and policy. Nothing here claims otherwise.
3. What a failover forgets of it the process that did it puts on record again (`undone`).
4. A person who pastes a key into a tool of somebody else's takes it by its destination: it ends with its rotation.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial

from broker import policy_document
from broker.db import Connection
from broker.db import accounts as account_store
from broker.db import checkouts as store
from broker.db import destinations as destination_store
from broker.db import grants as grant_store
from broker.db import rotations as rotation_store
from broker.db.checkouts import Checkout
from broker.db.destinations import Delivery
from broker.deeds import Deed
from broker.destination import SHUT, Kind
from broker.errors import BrokerError, Conflict, Malformed, NotGranted, Problem
from broker.gate import Mode
from broker.model import KeyVersion, chain, moment, new_id
from broker.service import holding, last_look
from broker.service.accounts import Accounts
from broker.service.audit import Audit, acting
from broker.service.desk import Desk, missing
from broker.service.early import Early, mode_of, seen
from broker.service.last_look import Look
from broker.service.undone import note
from clients.secret import Secret
from clients.venue import Slot

NOBODY = "checkout"
"""The gateway that a key passes which passes none."""

_US = 1_000_000
_MOST = 500


@dataclass(frozen=True, slots=True)
class HandedOut:
    """A key on its way to a person, this once: its secret comes out of it by a look alone, which is the last."""

    key: KeyVersion
    checkout: Checkout | None
    _secret: Secret = field(repr=False)
    _look: Callable[[], Look] = field(repr=False, compare=False)
    _end: Callable[[str], object] = field(repr=False, compare=False)

    def look(self) -> Look:
        """Look whether it may leave still; where not, what was made for it ends. Blocks as the stores do.

        Raises:
            NotGranted: It may not: a gate was shut, or what allowed it is no more.
            Conflict: Another key came into use, or it is being rotated.
            Withheld: The guard forbids it by now.
            StoreUnavailable: That cannot be known now.
        """
        try:
            return self._look()
        except Exception as fault:
            self.withhold(fault)
            raise

    def take(self, look: Look) -> Secret | None:
        """Return the secret, in the step in which it leaves; None where the look counts no more."""
        return self._secret if look.counts else None

    def withhold(self, fault: Exception) -> None:
        """End what was made for it, which leaves no more; a checkout by its time where that cannot be put on record."""
        with suppress(BrokerError):
            self._end(fault.reason if isinstance(fault, BrokerError) else type(fault).__name__)


class Checkouts:
    """Use cases on keys that leave."""

    def __init__(self, desk: Desk, audit: Audit, accounts: Accounts) -> None:
        self._desk, self._audit, self._accounts = desk, audit, accounts

    def open(self, grant: str, *, ttl: timedelta, holder: str, reason: str) -> HandedOut:
        """Hand out the real key behind a grant; it leaves by its `HandedOut`.

        Args:
            grant: Whose policy allows it.
            ttl: For how long, at most; its end is a rotation.
            holder: Who gets it.
            reason: Why.

        Raises:
            NotFound: No such grant.
            NotGranted: Its policy does not allow it, or not for that long; or a gate is shut.
            Malformed: A field is missing.
            Conflict: There is no key, or it is being rotated: it would be dead soon.
            StoreUnavailable: A store cannot answer; nothing was handed out.
        """
        problems = [
            Problem(name, "is missing: it is kept, and asked for later")
            for name, text in (("holder", holder), ("reason", reason))
            if not text.strip()
        ]
        if ttl <= timedelta(0):
            problems.append(Problem("ttl_s", "is longer than nothing"))
        if problems:
            raise Malformed("bad_checkout", tuple(problems))
        self._desk.guard.ensure(Deed.CHECKOUT)
        early = seen(self._desk)
        with self._desk.database.read() as connection:
            before = self._allowed(connection, grant, ttl, early)
        secret = self._desk.secrets.read(before.path)["secret"]
        early = seen(self._desk)
        now_us = self._desk.clock.now_us()
        with self._desk.database.write() as connection:
            self._desk.guard.fence(connection, Deed.CHECKOUT)
            key = self._staying(connection, grant, ttl, before, early)
            ends_us = now_us + round(ttl.total_seconds() * _US)
            lasts = self._desk.spans.begin(ends_us - now_us)
            made = Checkout(
                new_id("out"), grant, key.ref, acting.get(), holder, reason, moment(now_us), moment(ends_us),
                base=lasts.base, skew_us=lasts.skew_us,
            )  # fmt: skip
            store.add(connection, made, now_us, ends_us)
            self._audit.record(
                connection, "checkout.open", made.id,
                {"key": str(key.ref), "holder": holder, "reason": reason, "ends": made.ends_at.isoformat()},
            )  # fmt: skip
        note(self._desk, made, key)

        def still(connection: Connection, early: Sequence[Early]) -> None:
            self._staying(connection, grant, ttl, key, early)
            known = store.get(connection, made.id)
            if known is None or known.closed_at is not None:
                raise NotGranted("ended", f"{made.id} was ended meanwhile: nothing was handed out")

        looks = partial(last_look.look, self._desk, Deed.CHECKOUT, still)
        return HandedOut(key, made, secret, looks, lambda _: self.close(made.id))

    def _staying(
        self, connection: Connection, grant: str, ttl: timedelta, before: KeyVersion, early: Sequence[Early]
    ) -> KeyVersion:
        """Return the key behind a grant, which it may be handed out by: the one of before, that nothing rotates."""
        key = self._allowed(connection, grant, ttl, early)
        _refuse_moved(before, key)
        busy = rotation_store.open_of(connection, key.ref.account, Slot.TRADE.value)
        if busy is not None:
            held = holding.held(busy, holding.to_hold(connection))
            raise Conflict(
                "rotating",
                f"the rotation of {key.ref} is held ({held}): {holding.moves(busy.id)}. Then again"
                if held
                else f"{key.ref} is being rotated: wait for it, portcullis rotation watch {busy.id}",
            )
        return key

    def _allowed(
        self, connection: Connection, grant: str, ttl: timedelta, early: Sequence[Early]
    ) -> KeyVersion:
        """Return the key behind a grant, where that lets it be handed out for so long."""
        known = grant_store.grant(connection, grant)
        if known is None:
            raise missing("grant", grant)
        longest_s = policy_document.load(known.policy).checkout_us // _US
        if known.revoked_at is not None or not longest_s:
            raise NotGranted(
                "no_checkout",
                f"{grant} does not let its key be handed out; its policy would say [checkout] max_seconds",
            )
        if ttl.total_seconds() > longest_s:
            raise NotGranted("too_long", f"{grant} lets its key be handed out for {longest_s} s at most")
        key = self._current(connection, known.account, Slot.TRADE)
        self.ensure_open(connection, key, known.consumer, grant, early=early)
        return key

    def close(self, checkout: str) -> Checkout:
        """End one now, or once more where its rotation was given up: its key is rotated.

        Raises:
            NotFound: No such checkout.
            Conflict: Another host took this home's place: only that one can end it.
        """
        self._desk.guard.refuse(Deed.CHECKOUT_END)
        with self._desk.database.write() as connection:
            if store.close(connection, checkout, self._desk.clock.now_us()):
                self._audit.record(connection, "checkout.close", checkout)
            found = store.get(connection, checkout)
            if found is None:
                raise missing("checkout", checkout)
            keys = {key.ref: key for key in account_store.keys(connection, found.ref.account)}
        note(self._desk, found, keys.get(found.ref))
        return found

    def list(self) -> tuple[Checkout, ...]:
        """List the newest."""
        with self._desk.database.read() as connection:
            return tuple(store.every(connection, _MOST))

    def paste(self, destination: str, reason: str) -> HandedOut:
        """Hand out the key that a person pastes into a tool, by its destination.

        During a rotation that is the new key, once it is in use.

        Raises:
            NotFound: No such destination.
            Conflict: It takes its key by itself, or there is none.
            NotGranted: A gate is shut.
        """
        self._desk.guard.ensure(Deed.CHECKOUT)
        early = seen(self._desk)
        with self._desk.database.read() as connection:
            before = self._pasted(connection, destination, early)
        secret = self._desk.secrets.read(before.path)["secret"]
        early = seen(self._desk)
        with self._desk.database.write() as connection:
            self._desk.guard.fence(connection, Deed.CHECKOUT)
            key = self._pasted(connection, destination, early)
            _refuse_moved(before, key)
            self._audit.record(
                connection, "destination.key", f"destination:{destination}",
                {"key": str(key.ref), "reason": reason},
            )  # fmt: skip
            shown = self._shown(connection, destination, key)

        def still(connection: Connection, early: Sequence[Early]) -> None:
            _refuse_moved(key, self._pasted(connection, destination, early))

        def kept(why: str) -> None:
            with self._desk.database.write() as connection:
                self._audit.record(
                    connection, "destination.key_kept", f"destination:{destination}",
                    {"key": str(key.ref), "why": why},
                )  # fmt: skip
                for one in shown:
                    now = destination_store.delivery(connection, one.rotation, destination, one.version)
                    destination_store.save(connection, replace(now, delivered_us=None))

        return HandedOut(key, None, secret, partial(last_look.look, self._desk, Deed.CHECKOUT, still), kept)

    def _shown(self, connection: Connection, destination: str, key: KeyVersion) -> tuple[Delivery, ...]:
        """Put on record that a key is shown for a destination: until then nobody's word is taken that it has it.

        In a rotation that has moved to it, and has not sent anybody yet, too.
        """
        busy = rotation_store.open_of(connection, key.ref.account, key.ref.slot.value)
        waited = destination_store.not_over(connection, destination, key.ref.version)
        if busy is not None and busy.new_version == key.ref.version and not waited:
            waited = [destination_store.delivery(connection, busy.id, destination, key.ref.version)]
        shown = tuple(one for one in waited if one.delivered_us is None and not one.over)
        for one in shown:
            destination_store.save(connection, replace(one, delivered_us=self._desk.clock.now_us()))
        return shown

    def _pasted(self, connection: Connection, destination: str, early: Sequence[Early]) -> KeyVersion:
        """Return the key that a person may paste into a destination now."""
        place = destination_store.get(connection, destination)
        if place is None:
            raise missing("destination", destination)
        if place.kind is not Kind.MANUAL:
            raise Conflict("takes_itself", f"{destination} gets its key by itself; nobody needs to see it")
        key = self._current(connection, place.account, place.slot)
        self.ensure_open(connection, key, destination, early=early)
        return key

    def _current(self, connection: Connection, account: str, slot: Slot) -> KeyVersion:
        key = account_store.current_key(connection, account, slot)
        if key is None:
            raise Conflict("no_key", f"{account}/{slot.value} has no key in use")
        return key

    def ensure_open(
        self, connection: Connection, key: KeyVersion, consumer: str, grant: str = "",
        *, early: Sequence[Early] | None = None,
    ) -> None:  # fmt: skip
        """Let a key leave only while every gate on its way is open: one that left heeds no gate any more.

        Args:
            connection: A transaction to read the gates in.
            key: What is to leave; it is in use.
            consumer: Who gets it: a consumer, or a destination.
            grant: Under which grant, if under one.
            early: What was `seen` before the transaction was waited for; None: it is looked for now, which holds a
                transaction that writes for as long as the home's disk likes.

        Raises:
            NotGranted: A gate is shut, if only half.
            StoreUnavailable: It cannot be seen what was cut and is on no record yet.
        """
        account = account_store.account(connection, key.ref.account)
        if account is None:
            raise missing("account", key.ref.account)
        scopes = chain(account.venue, key.ref, NOBODY, consumer, grant or consumer)
        early = seen(self._desk) if early is None else early
        if mode_of(connection, self._desk, early, scopes) is not Mode.OPEN:
            raise NotGranted(
                "cut",
                f"{key.ref} {SHUT}. portcullis cuts shows by what",
            )


def _refuse_moved(before: KeyVersion, key: KeyVersion) -> None:
    """Refuse where another key came into use while the secret of the one before was read."""
    if before.ref != key.ref:
        raise Conflict("moved", f"{key.ref} came into use this moment: ask again; nothing was handed out")
