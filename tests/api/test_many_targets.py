"""A cut of many is made: one name said often is one, and hundreds are no reason to refuse."""

from broker.api.closing_inputs import MOST_TARGETS
from broker.db import rows, tables
from broker.gate import Mode
from tests.api.desk import Desk
from tests.gateway.test_refused_keys import until


def closed(desk: Desk) -> set[str]:
    with desk.service.desk.database.read() as connection:
        return {name for name, gate in rows.gates(connection).items() if gate.mode is Mode.CLOSED}


async def test_what_is_named_often_is_cut_once(desk: Desk) -> None:
    desk.trading()
    async with desk.client() as client:
        body = {"targets": ["consumer:bot"] * (MOST_TARGETS + 1), "reason": "r"}
        made = await client.post("/v1/cuts", json=body)
    assert (made.status_code, made.json()["targets"]) == (201, ["consumer:bot"])
    assert closed(desk) == {"consumer:bot"}


async def test_hundreds_are_cut_at_once(desk: Desk) -> None:
    """At 101 nobody was."""
    names = [f"bot-{number}" for number in range(MOST_TARGETS)]
    with desk.service.desk.database.write() as connection:
        connection.execute(
            tables.CONSUMERS.insert(), [{"name": name, "created_us": 0, "note": ""} for name in names]
        )
    async with desk.client() as client:
        body = {"targets": [f"consumer:{name}" for name in names], "reason": "r"}
        made = await client.post("/v1/cuts", json=body)
        assert made.status_code == 201
        cut = (await client.get(f"/v1/cuts/{made.json()['id']}")).json()
    assert len(cut["targets"]) == MOST_TARGETS
    await until(lambda: closed(desk) == set(body["targets"]))
