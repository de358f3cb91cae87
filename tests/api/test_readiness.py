"""`ready` names what is red and what mends it; the figures are those of the record."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from broker.db import managers as manager_store
from broker.db import schedules as schedule_store
from broker.db import tables as t
from broker.model import Schedule
from broker.service.operators import Role
from clients.secret import Secret
from clients.venue import Credential, KeyType, Slot
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
    assert red["empty"] == ["it has no key in use: no bot of it can trade"]
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
