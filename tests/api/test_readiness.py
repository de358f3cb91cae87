"""`ready` names what is red and what mends it; the figures are those of the record."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker import seat as seats
from broker.db import checkouts, meta
from broker.db import managers as manager_store
from broker.db import schedules as schedule_store
from broker.db import tables as t
from broker.db.checkouts import Checkout
from broker.errors import Conflict
from broker.model import Death, KeyRef, Schedule
from broker.seat import Place, Seat
from broker.service.host_guard import INSTANCE, SUPERSEDED
from broker.service.operators import Role
from clients.secret import Secret
from clients.venue import Credential, KeyType, Slot
from rotation.journal import Journal
from rotation.plan import draw_up
from tests.api.desk import REAL_SECRET, SAFE, UPSTREAM, Desk


async def ask(desk: Desk) -> Any:
    async with desk.client(Role.VIEWER) as client:
        return (await client.get("/v1/ready")).json()


async def figures(desk: Desk) -> str:
    async with desk.client(Role.VIEWER) as client:
        answer = await client.get("/v1/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain")
        return answer.text


def account(desk: Desk, name: str = "main", *, bound: bool = True, egress: str = "out") -> None:
    if egress == "out" and all(one.name != "out" for one in desk.service.accounts.egresses()):
        desk.service.accounts.create_egress("out", addresses=("127.0.0.7",))
    desk.service.accounts.create(name, venue="binance", egress=egress, upstream=UPSTREAM)
    for slot in (Slot.TRADE, Slot.STANDBY):
        key = Credential(f"KEY-{name}-{slot.value}", Secret(REAL_SECRET), KeyType.HMAC)
        facts = replace(SAFE, account_uid=name, ip_restricted=bound)
        desk.service.keys.import_key(name, slot=slot, credential=key, facts=facts, allow_any_address=True)


async def test_one_that_lacks_nothing_is_ready(desk: Desk) -> None:
    account(desk)
    found = await ask(desk)
    assert found["ready"]
    (one,) = found["accounts"]
    assert (one["deletes"], one["standby"], one["addresses"], one["red"]) == ("you", True, ["127.0.0.7"], [])


async def test_one_that_serves_nobody_says_who_does(desk: Desk) -> None:
    """Another host has this home's place: nothing else about it is of any use to who asks."""
    account(desk)
    served = await ask(desk)
    assert (served["ready"], served["serves"], served["instead"]) == (True, True, "")
    with desk.service.desk.database.write() as connection:
        meta.put(connection, SUPERSEDED, "2")
    found = await ask(desk)
    assert (found["ready"], found["serves"]) == (False, False)
    assert "restored elsewhere (generation 2, here 1)" in found["instead"]
    assert "serves now; end this one" in found["instead"]


@pytest.mark.parametrize(
    "seat", [seats.dump(Seat(4, Place("b"), "host b, process 7")), None, "odd", {"number": "x"}]
)
async def test_who_serves_instead_is_named_where_the_secret_store_says_so(desk: Desk, seat: object) -> None:
    guard, home = desk.service.desk.guard, desk.service.desk.home

    def restored(_: str | None) -> str:
        return json.dumps({"instance": home.instance, "generation": home.generation + 1, "seat": seat})

    desk.service.desk.secrets.mirror.change(INSTANCE, restored)
    guard.hear()
    found = await ask(desk)
    assert found["serves"] is False
    who = "host b, process 7" if isinstance(seat, dict) and "who" in seat else "the other host"
    assert f"(generation 2, here 1): {who} serves now" in found["instead"]


async def test_each_thing_that_lacks_is_red_with_its_command(desk: Desk) -> None:
    desk.service.accounts.create("empty", venue="binance", upstream=UPSTREAM)
    account(desk, "loose", bound=False, egress="direct")
    account(desk, "old")
    with desk.service.desk.database.write() as connection:
        schedule_store.add(connection, Schedule("old", Slot.TRADE, timedelta(days=90), timedelta(0)))
        late = round((datetime.now(UTC) - timedelta(days=2)).timestamp() * 1_000_000)
        schedule_store.work_out(connection, "old", Slot.TRADE, late, "cannot be rotated: why")
    found = await ask(desk)
    assert not found["ready"]
    red = {one["account"]: [row["what"] for row in one["red"]] for one in found["accounts"]}
    assert [text.split(":")[0] for text in red["empty"]] == [
        "it has no key in use", "its egress direct declares no addresses",
    ], "what bars its next step is said at once, not after it was taken"  # fmt: skip
    assert [text.split(":")[0] for text in red["loose"]] == [
        "its key works from ANY address", "its egress direct declares no addresses",
    ]  # fmt: skip
    assert "overdue" in red["old"][0]
    assert all(row["step"].startswith("portcullis ") for one in found["accounts"] for row in one["red"])


async def test_a_standby_is_missed_only_where_a_person_deletes(desk: Desk) -> None:
    account(desk)
    with desk.service.desk.database.write() as connection:
        connection.execute(t.KEY_VERSIONS.delete().where(t.KEY_VERSIONS.c.slot == "standby"))
    assert "no standby key" in (await ask(desk))["accounts"][0]["red"][0]["what"]
    with desk.service.desk.database.write() as connection:
        manager_store.assign(connection, "main", "master", "a@b.c")
    (one,) = (await ask(desk))["accounts"]
    assert (one["deletes"], one["red"]) == ("machine", [])


async def steps(desk: Desk) -> list[tuple[str, str]]:
    """Return what is red of main, and the command of each."""
    (one,) = [row for row in (await ask(desk))["accounts"] if row["account"] == "main"]
    return [(red["what"], red["step"]) for red in one["red"]]


def planned(desk: Desk, slot: Slot) -> str:
    """Put a rotation of main on record."""
    made = draw_up(desk.service, "main", slot, "asked", datetime.now(UTC))
    Journal(desk.service.desk.database, desk.service.audit, "one").plan(made)
    return made.id


async def test_where_no_key_can_be_bound_no_rotation_is_named(desk: Desk) -> None:
    """A rotation would be refused for want of addresses, so the command is the one that gives them."""
    account(desk, bound=False, egress="direct")
    mends = (
        "portcullis egress create --name NAME --address ADDRESS, then "
        "portcullis account create --name ACCOUNT --egress NAME"
    )
    assert {step for _, step in await steps(desk)} == {mends}
    with pytest.raises(Conflict, match="egress create --name NAME --address ADDRESS") as refused:
        draw_up(desk.service, "main", Slot.TRADE, "asked", datetime.now(UTC))
    assert refused.value.reason == "no_addresses"
    assert "keeps its egress for ever" in str(refused.value)


async def test_what_is_being_rotated_is_looked_after_not_started_again(desk: Desk) -> None:
    """A command that could only be answered with `is being rotated already` is not named."""
    account(desk, bound=False)
    with desk.service.desk.database.write() as connection:
        connection.execute(t.KEY_VERSIONS.delete().where(t.KEY_VERSIONS.c.slot == "standby"))
    assert [step for _, step in await steps(desk)] == [
        "portcullis rotation start --account main --wait",
        "portcullis rotation start --account main --slot standby --wait",
    ]
    trade, standby = planned(desk, Slot.TRADE), planned(desk, Slot.STANDBY)
    assert [step for _, step in await steps(desk)] == [
        f"portcullis rotation show {trade}", f"portcullis rotation show {standby}",
    ]  # fmt: skip


@pytest.mark.parametrize("state", ["stalled", "halting"])
async def test_a_rotation_that_stands_still_is_red(desk: Desk, state: str) -> None:
    """Nobody is ready for a leak whose rotation waits for them."""
    account(desk)
    rotation = planned(desk, Slot.TRADE)
    assert await steps(desk) == [], "one that goes on is no fault"
    with desk.service.desk.database.write() as connection:
        connection.execute(t.ROTATIONS.update().values(state=state, reason="a gateway is silent"))
    assert await steps(desk) == [
        (
            "the rotation of its trade key stands still: a gateway is silent",
            f"portcullis rotation show {rotation}",
        )
    ]


async def test_a_key_in_somebodys_hands_is_red_until_it_is_dead(desk: Desk) -> None:
    """A key that left works for its holder, whatever is cut here."""
    account(desk)
    now = datetime.now(UTC)
    out = Checkout(
        "out_1", "g", KeyRef("main", Slot.TRADE, 1), "owner", "Ann", "tax", now, now + timedelta(hours=1)
    )
    database, us = desk.service.desk.database, round(now.timestamp() * 1_000_000)
    with database.write() as connection:
        checkouts.add(connection, out, us, us + 3_600_000_000)
    said = "its key main/trade/1 left with Ann, and is not proven dead"
    assert await steps(desk) == [(said, "portcullis checkout close out_1")]
    with database.write() as connection:
        checkouts.close(connection, "out_1", us)
    assert await steps(desk) == [(said, "portcullis rotation list --account main")]
    with database.write() as connection:
        checkouts.being_ended(connection, "out_1", "rot_1", us)
    assert await steps(desk) == [(said, "portcullis rotation show rot_1")]
    with database.write() as connection:
        checkouts.dead(connection, "out_1", us)
    assert await steps(desk) == [(said, "portcullis rotation show rot_1")], (
        "the key's own record says it, or nothing"
    )
    with database.write() as connection:
        connection.execute(t.KEY_VERSIONS.update().values(death=Death.PROVEN.value))
    assert await steps(desk) == []


async def test_the_figures_are_those_of_the_record(desk: Desk) -> None:
    account(desk)
    text = await figures(desk)
    assert 'portcullis_key_age_seconds{account="main",slot="trade"}' in text
    assert 'portcullis_oldest_key_age_seconds{slot="trade"}' in text
    assert 'portcullis_rotations_total{outcome="done"} 0.0' in text
    assert 'portcullis_rotations_open{state="stalled"} 0.0' in text
    assert REAL_SECRET not in text
    async with desk.client(None) as client:
        assert (await client.get("/v1/metrics")).status_code == 401
