"""Is each account ready for a leak: who can delete its key, what it switches to, how old and how bound the key is.

A red fact comes with the command that mends it, and that works as things stand: what is being rotated already is
looked after, not started again. Pure but for reading the record.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from broker.db import checkouts as checkout_store
from broker.db import findings as finding_store
from broker.db import rotations as rotation_store
from broker.db import schedules as schedule_store
from broker.db.checkouts import Checkout
from broker.db.findings import Finding
from broker.model import Account, KeyVersion, Schedule, Stage
from broker.service import deaths, holding, steps
from broker.service.accounts import Accounts
from broker.service.desk import Desk
from broker.service.keys import Keys, was_replaced
from clients.venue import Slot

OVERDUE = timedelta(days=1)
_MOST = 500
_STANDS_STILL = frozenset({"stalled", "halting"})
_AN_EGRESS = (
    "portcullis egress create --name NAME --address ADDRESS, then "
    "portcullis account create --name ACCOUNT --egress NAME"
)


@dataclass(frozen=True, slots=True)
class Red:
    """What is not ready, and the command that mends it. `kind` and `subject` name it as a condition.

    `kind` is empty where other conditions say it one by one; `subject` where it is the account.
    """

    what: str
    step: str
    kind: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Readiness:
    """One account. `age_for` None: it has no trade key. `deletes` is `machine` or `you`."""

    account: str
    venue: str
    deletes: str
    standby: bool
    age_for: timedelta | None
    bound: bool | None
    addresses: tuple[str, ...]
    red: tuple[Red, ...]


@dataclass(frozen=True, slots=True)
class _Known:
    """What the record says of one account. `rotating`: its open rotations by slot; `out`: keys that left.

    `hold`: why what is open is held by the next comparison; empty where it is not.
    """

    account: Account
    keys: Sequence[KeyVersion]
    schedule: Schedule | None
    addresses: tuple[str, ...]
    found: Sequence[Finding]
    rotating: Mapping[str, Any]
    out: Sequence[Checkout]
    hold: str
    replaced: Sequence[KeyVersion]


class Ready:
    """Looks at every account."""

    def __init__(self, desk: Desk, accounts: Accounts, keys: Keys) -> None:
        self._desk, self._accounts, self._keys = desk, accounts, keys

    def rotate(self, account: str, slot: Slot) -> str:
        """Return the command that gives a slot of an account a new key, or looks after the rotation that does so."""
        with self._desk.database.read() as connection:
            rotating = rotation_store.every_open(connection)
        for row in rotating:
            if (row.account, row.slot) == (account, slot.value):
                return f"portcullis rotation show {row.id}"
        addresses = self._accounts.addresses(self._accounts.get(account).egress)
        return _start(account, slot) if addresses else _AN_EGRESS

    def look(self) -> tuple[Readiness, ...]:
        """Return every account's state by name."""
        with self._desk.database.read() as connection:
            found = finding_store.standing(connection)
            schedules = {(one.account, one.slot): one for one in schedule_store.every(connection)}
            rotating, hold = rotation_store.every_open(connection), holding.to_hold(connection)
            out = checkout_store.open_now(connection)
        addresses = {one.name: one.addresses for one in self._accounts.egresses()}
        every = self._keys.list()
        keys = [key for key in every if key.stage is Stage.CURRENT]
        replaced = [key for key in every if was_replaced(key)]
        after, ready, now = "", list[Readiness](), self._desk.clock.now()
        waits = steps.waits(self._desk.guard)
        while True:
            page = self._accounts.list(after=after, limit=_MOST)
            for account in page.items:
                known = _Known(
                    account,
                    [key for key in keys if key.ref.account == account.name],
                    schedules.get((account.name, Slot.TRADE)),
                    addresses.get(account.egress, ()),
                    [one for one in found if one.account == account.name],
                    {row.slot: row for row in rotating if row.account == account.name},
                    [one for one in out if one.ref.account == account.name],
                    hold,
                    [key for key in replaced if key.ref.account == account.name],
                )
                one = _one(known, now)
                ready.append(replace(one, red=tuple(map(_possible, one.red))) if waits else one)
            if page.next is None:
                return tuple(ready)
            after = page.next


def _possible(red: Red) -> Red:
    return replace(red, step=steps.possible(red.step))


def _one(known: _Known, now: datetime) -> Readiness:
    account = known.account
    trade = next((key for key in known.keys if key.ref.slot is Slot.TRADE), None)
    standby = any(key.ref.slot is Slot.STANDBY for key in known.keys)
    by_hand = account.manager is None
    red = (
        *_of_the_key(known, trade), *_of_the_way(known, bare=by_hand and not standby and trade is not None),
        *_of_what_goes_on(known, now), *_of_what_was_replaced(known),
    )  # fmt: skip
    return Readiness(
        account.name, account.venue, "you" if by_hand else "machine", standby,
        None if trade is None else now - trade.created_at, None if trade is None else trade.ip_restricted,
        known.addresses, red,
    )  # fmt: skip


def _of_the_key(known: _Known, trade: KeyVersion | None) -> Iterator[Red]:
    name = known.account.name
    if trade is None:
        going_on = known.rotating.get(Slot.TRADE.value)
        step = f"key import --account {name}" if going_on is None else f"rotation show {going_on.id}"
        yield Red("it has no key in use: no bot of it can trade", f"portcullis {step}", "no-key")
        return
    if trade.ip_restricted is False:
        yield Red("its key works from ANY address", _rotate(known, Slot.TRADE), "any-address", str(trade.ref))
    if trade.can_withdraw:
        yield Red("its key can WITHDRAW", _rotate(known, Slot.TRADE), "withdraws", str(trade.ref))


def _of_the_way(known: _Known, *, bare: bool) -> Iterator[Red]:
    if not known.addresses:
        yield Red(
            f"its egress {known.account.egress} declares no addresses: no new key can be bound. An account keeps its "
            "egress for ever",
            _AN_EGRESS,
            "no-addresses",
        )
    if bare:
        yield Red(
            "no standby key: in an incident there is nothing to switch to",
            _rotate(known, Slot.STANDBY),
            "no-standby",
        )


def _of_what_goes_on(known: _Known, now: datetime) -> Iterator[Red]:
    for row in known.rotating.values():
        if held := holding.held(row, known.hold):
            yield Red(
                f"the rotation of its {row.slot} key is held: {held}. Make and delete no key for it",
                f"portcullis reconcile, then portcullis rotation show {row.id}",
                "stalled",
                row.id,
            )
        elif row.state in _STANDS_STILL:
            yield Red(
                f"the rotation of its {row.slot} key stands still: {row.reason}",
                f"portcullis rotation show {row.id}",
                "stalled",
                row.id,
            )
    for one in known.out:
        yield Red(f"its {deaths.of_one_that_left(one)}", _end(one), "checkout", one.id)
    schedule = known.schedule
    if schedule is not None and schedule.next_at is not None and schedule.next_at + OVERDUE < now:
        yield Red(
            f"its rotation is overdue since {schedule.next_at:%Y-%m-%d}: {schedule.why}",
            _rotate(known, Slot.TRADE),
            "overdue",
            f"{known.account.name}/{Slot.TRADE.value}",
        )
    if known.found:
        many = "s" if len(known.found) > 1 else ""
        yield Red(f"{len(known.found)} finding{many} of the sweep", "portcullis sweep show")


def _of_what_was_replaced(known: _Known) -> Iterator[Red]:
    """Yield each key that another one took the place of, until it is dead. A rotation and a finding tell it, too."""
    told = {one.key_id for one in known.found}
    for key in known.replaced:
        if key.ref.slot.value not in known.rotating and key.venue_key_id not in told:
            yield Red(
                f"its key {key.ref} was replaced, and nothing says that it is deleted: whoever has it can use it",
                deaths.retire(key.ref),
                "replaced",
                str(key.ref),
            )


def _rotate(known: _Known, slot: Slot) -> str:
    """Return the command that gives a slot a new key, or looks after the rotation that does so already."""
    going_on = known.rotating.get(slot.value)
    if going_on is not None:
        return f"portcullis rotation show {going_on.id}"
    if not known.addresses:
        return _AN_EGRESS
    return _start(known.account.name, slot)


def _start(account: str, slot: Slot) -> str:
    more = "" if slot is Slot.TRADE else f" --slot {slot.value}"
    return f"portcullis rotation start --account {account}{more} --wait"


def _end(one: Checkout) -> str:
    """Return the command that ends a checkout, or looks after the rotation that does so already."""
    if one.rotation is not None:
        step = f"portcullis rotation show {one.rotation}"
    elif one.closed_at is None:
        step = f"portcullis checkout close {one.id}"
    else:
        step = f"portcullis rotation list --account {one.ref.account}"
    return deaths.step(one, step)
