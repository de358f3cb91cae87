"""What is wrong, read off the record. Every condition has a kind, a subject that stays the same, and a next step.

| Kind | When |
|---|---|
| withheld | the guard lets the rotator do nothing, and why: another host serves, or a store cannot be asked |
| stalled | a rotation waits for a person, with its runbook |
| waits | a person is asked to make or delete a key, or to paste one into a tool; each request is one of its own |
| slow | a rotation that waits for no person is in one state for half an hour |
| given-up | a rotation ended without a new key within a day, and no person wanted that |
| overdue | a key is a day past its date |
| expiring | the venue takes a key's rights away within a week |
| key | the sweep found one that is not as it is on record; or one is dead by a person's word alone |
| checkout | a key left, its time is over, and an hour later it is not proven dead, nor twice looked up by a person |
| refused-orders | a bot had many orders refused in a quarter of an hour |
| restarts | a gateway was started again and again in ten minutes |
| unseen | something could not be looked at; all else is told |
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from broker.db import accounts as account_store
from broker.db import alerts as store
from broker.db import asks as ask_store
from broker.db import calls as call_store
from broker.db import checkouts as checkout_store
from broker.db import destinations as destination_store
from broker.db import findings as finding_store
from broker.db import rotations as rotation_store
from broker.db import schedules as schedule_store
from broker.db.alerts import Alert
from broker.db.asks import Ask
from broker.deeds import Deed
from broker.destination import Destination, Kind
from broker.errors import NotGranted
from broker.model import Stage
from broker.service import Service, deaths, holding, steps
from broker.service.conditions import QUIET, as_alert
from broker.service.each import STEP, UNSEEN, each
from broker.service.readiness import OVERDUE
from broker.service.rotations import Wish
from clients.venue import Slot
from rotation.journal import Journal, microseconds
from rotation.planner import ends_at
from rotation.state import State

SOON = timedelta(days=7)
RETURN = timedelta(hours=1)
ORDERS, ORDERS_FOR = 5, timedelta(minutes=15)
SLOW, LATELY = timedelta(minutes=30), timedelta(days=1)
STARTS, STARTS_FOR = 3, timedelta(minutes=10)


def conditions(service: Service, now: datetime) -> list[Alert]:
    """Return everything that is wrong.

    Raises:
        StoreUnavailable: The database cannot answer.
    """
    service.accounts.list(limit=1)  # the database answers: what fails from here on is a fault of its own
    sources: dict[str, Callable[[], Iterable[Alert]]] = {
        "whether keys are rotated here": lambda: _withheld(service),
        "rotations": lambda: _rotations(service, now),
        "rotations that were given up": lambda: _given_up(service, now),
        "dates of keys": lambda: _dates(service, now),
        "keys that left": lambda: _keys(service, now),
        "refused orders": lambda: _refused_orders(service, now),
        "restarts of gateways": lambda: _restarts(service, now),
    }
    found = list(each(sources, lambda what, says: Alert(UNSEEN, what, says, STEP)))
    if not steps.waits(service.desk.guard):
        return found
    return [replace(one, step=steps.possible(one.step)) for one in found]


def all_that_is_wrong(service: Service, now: datetime) -> list[Alert]:
    """Return what people are told: what only a rotator finds, with what every view of the broker shows.

    Raises:
        StoreUnavailable: The database cannot answer.
    """
    shown = [as_alert(one) for one in service.conditions.look() if one.kind not in QUIET]
    found = {(one.kind, one.subject): one for one in shown}
    return list((found | {(one.kind, one.subject): one for one in conditions(service, now)}).values())


def _withheld(service: Service) -> Iterator[Alert]:
    """Yield why no key is rotated here; that everything is closed is said by the closing itself."""
    no = service.desk.guard.allows(Deed.PLAN)
    if no is not None and no.reason != "not_compared":
        step = (
            "RB-14" if no.reason == "superseded" else "RB-03"
        )  # what is in the way stands in the line itself
        yield Alert("withheld", "rotator", f"no key is rotated: {no.message}", step)


def _rotations(service: Service, now: datetime) -> Iterator[Alert]:
    with service.desk.database.read() as connection:
        rows, hold = rotation_store.every_open(connection), holding.to_hold(connection)
    for row in rows:
        if why := holding.held(row, hold):
            yield _held(row, why)
            continue
        pastes = list(_pastes(service, row))
        asks = list(_asks_for_a_person(row))
        yield from [*asks, *pastes] or _slow(service, row, now)


def _held(row: Any, why: str) -> Alert:
    """Return that one is held: nothing of it is done, and no person is asked to make, delete or paste a key."""
    return Alert(
        "stalled", row.id,
        f"the rotation of {row.account}/{row.slot} is held: {why}. Make and delete no key for it: "
        f"{holding.moves(row.id)}",
        f"portcullis reconcile, then portcullis rotation show {row.id}",
    )  # fmt: skip


def _asks_for_a_person(row: Any) -> Iterator[Alert]:
    name = f"{row.account}/{row.slot}"
    step = f"portcullis rotation show {row.id}"
    if row.state == State.STALLED.value:
        says = f"the rotation of {name} stands still: {row.reason}"
        yield Alert("stalled", row.id, says, f"{row.runbook}; {step}")
    elif row.state == State.HALTING.value:
        yield Alert("stalled", row.id, f"an incident retires keys of {name}: {row.reason}", step)
    elif row.todo:
        says = f"a person is waited for: {json.loads(row.todo)['title']}"
        yield Alert("waits", f"{row.id}/{row.state}", says, step)


def _slow(service: Service, row: Any, now: datetime) -> Iterator[Alert]:
    """Yield a rotation that goes on by itself and does not come on."""
    if row.paused or row.entered_us >= microseconds(now - SLOW):
        return
    with service.desk.database.read() as connection:
        notes = [step.note for step in rotation_store.last_steps(connection, row.id, 1) if step.note]
    yield Alert(
        "slow", f"{row.id}/{row.state}",
        f"the rotation of {row.account}/{row.slot} has been {row.state} for more than half an hour"
        + "".join(f": {note}" for note in notes),
        f"portcullis rotation show {row.id}",
    )  # fmt: skip


def _given_up(service: Service, now: datetime) -> Iterator[Alert]:
    """Yield each slot whose last rotation ended without a new key, unless a person wanted that or rotated it since."""
    with service.desk.database.read() as connection:
        rows = [
            row for row in store.given_up(connection, microseconds(now - LATELY))
            if not any(_gave_up(ask) for ask in ask_store.of(connection, row.id))
        ]  # fmt: skip
    now_in_use = {
        (key.ref.account, key.ref.slot.value): key.ref.version
        for key in service.keys.list()
        if key.stage is Stage.CURRENT
    }
    for row in rows:
        if now_in_use.get((row.account, row.slot), 0) >= row.new_version:
            continue
        yield Alert(
            "given-up", row.id,
            f"the rotation of {row.account}/{row.slot} was given up, no new key is in use: {row.reason}",
            f"portcullis rotation show {row.id}, then "
            f"portcullis rotation start --account {row.account} --slot {row.slot} --wait",
        )  # fmt: skip


def _gave_up(ask: Ask) -> bool:
    """Tell whether a person wanted a rotation to end without a new key, and was heard."""
    if ask.outcome != "":
        return False
    return ask.what == Wish.ROLL_BACK.value or (
        ask.what == Wish.RESUME.value and bool(json.loads(ask.body).get("discard"))
    )


def _pastes(service: Service, row: Any) -> Iterator[Alert]:
    """Yield each tool of a person's that a rotation waits for, with the commands: one shows the key, if nothing has."""
    version = _drained_to(row)
    if version is None:
        return
    with service.desk.database.read() as connection:
        places = destination_store.every(connection, row.account, Slot(row.slot))
        known = {one.destination: one for one in destination_store.deliveries(connection, row.id)
                 if one.version == version}  # fmt: skip
    for place in places:
        delivery = known.get(place.name)
        if place.kind is not Kind.MANUAL or delivery is None or delivery.over:
            continue
        says = f"a person is waited for: paste {row.account}/{row.slot}/{version} into {place.where}"
        step = f"portcullis destination confirm {place.name} --rotation {row.id}"
        if delivery.delivered_us is None and _is_shut(service, place):
            says += "; it is cut off or halted, and no key goes there before a thaw: thaw it, or do not wait for it"
            waive = f"portcullis rotation waive {row.id} --destination {place.name} --reason WHY"
            step = f"portcullis cuts, then {waive}"
        elif delivery.delivered_us is None:
            step = f"portcullis destination key {place.name} --reason rotation, then {step}"
        yield Alert("waits", f"{row.id}/{place.name}/{version}", says, step)


def _is_shut(service: Service, place: Destination) -> bool:
    """Tell whether a gate on the way of the key in use to a destination is shut, if only half."""
    with service.desk.database.read() as connection:
        key = account_store.current_key(connection, place.account, place.slot)
        try:
            if key is not None:
                service.checkouts.ensure_open(connection, key, place.name)
        except NotGranted:
            return True
    return False


def _drained_to(row: Any) -> int | None:
    """Return the key version that destinations are to have now; None where none is waited for."""
    state = State(row.state)
    if state is State.STALLED:
        state = Journal.read(row.document).stalled_from or state
    if state is State.DRAINING_NEW:
        return None if row.old_version is None else int(row.old_version)
    return int(row.new_version) if state is State.DRAINING else None


def _dates(service: Service, now: datetime) -> Iterator[Alert]:
    with service.desk.database.read() as connection:
        schedules = schedule_store.every(connection)
    for one in schedules:
        if one.next_at is not None and one.next_at + OVERDUE < now:
            name = f"{one.account}/{one.slot.value}"
            yield Alert(
                "overdue", name, f"{name} was to be rotated on {one.next_at:%Y-%m-%d}: {one.why}",
                f"portcullis rotation start --account {one.account} --slot {one.slot.value} --wait",
            )  # fmt: skip
    for key in service.keys.list():
        if key.stage is not Stage.CURRENT:
            continue
        end = ends_at(key, service.accounts.get(key.ref.account).venue)
        if end is not None and end - SOON < now:
            yield Alert(
                "expiring", str(key.ref), f"the exchange ends {key.ref} on {end:%Y-%m-%d}: it is bound to no address",
                f"portcullis rotation start --account {key.ref.account} --slot {key.ref.slot.value} --wait",
            )  # fmt: skip


def _keys(service: Service, now: datetime) -> Iterator[Alert]:
    with service.desk.database.read() as connection:
        found = finding_store.standing(connection)
        late = checkout_store.over(connection, microseconds(now - RETURN))
    for one in found:
        shown = f"{one.key_id[:8]}...{one.key_id[-4:]}"
        yield Alert("key", f"{one.account}/{shown}/{one.what}", f"{one.account}: {one.says}", one.step)
    for out in late:
        if not out.is_answered_for and (out.closed_at or out.ends_at) + RETURN < now:
            step = f"portcullis rotation list --account {out.ref.account}"
            yield Alert(
                "checkout", out.id, f"{deaths.of_one_that_left(out)}; its time is over",
                deaths.step(out, step),
            )  # fmt: skip


def _refused_orders(service: Service, now: datetime) -> Iterator[Alert]:
    with service.desk.database.log.read() as connection:
        refused = call_store.refused_orders(connection, microseconds(now - ORDERS_FOR))
    for consumer, reasons in refused.items():
        if sum(reasons.values()) >= ORDERS:
            yield _refused(consumer, max(sorted(reasons), key=reasons.__getitem__))


def _restarts(service: Service, now: datetime) -> Iterator[Alert]:
    with service.desk.database.read() as connection:
        boots = store.boots(connection, microseconds(now - STARTS_FOR))
    for gateway, count in boots.items():
        if count >= STARTS:
            yield Alert(
                "restarts", gateway, f"the gateway {gateway} was started again and again", "portcullis status"
            )


def _refused(consumer: str, most: str) -> Alert:
    """Say whose orders are refused, and mostly why; of a virtual key that nothing is known of, that is said."""
    ago = "were refused here in the last quarter of an hour"
    if not consumer:
        return Alert(
            "refused-orders", "nobody",
            f"many orders {ago} whose virtual key is none of this home, or that could not be looked up ({most}): "
            "a bot runs with a key of another home, or one that was pasted wrongly",
            "portcullis calls --decision deny",
        )  # fmt: skip
    says = f"many orders of {consumer} {ago}, most of them for {most}"
    if most == "revoked":
        says += (
            ": they come with a virtual key that was replaced or revoked. Its bot runs on with the old one, or "
            "somebody else has that"
        )
    return Alert("refused-orders", consumer, says, f"portcullis calls --consumer {consumer}")
