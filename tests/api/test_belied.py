"""What an operator says of a key and the exchange belies in the same comparison opens nothing, and is not kept."""

import json
from dataclasses import replace

import pytest

from broker.db import accounts as account_store
from broker.db import meta
from broker.model import KeyRef, Stage
from broker.service.reconcile import RESTORED, RESTORED_KEYS
from clients.venue import Slot
from tests.api.desk import SAFE, Desk
from tests.api.test_reconcile import BODY, closed, thawed

__all__ = ["closed"]
SAID = BODY | {"deleted": ["main/trade/1"]}
CONFLICT = 409


async def test_a_slip_of_a_number_does_not_say_that_the_old_host_is_off(desk: Desk, closed: str) -> None:
    """Its key is served this moment: the old host may trade by it."""
    with desk.service.desk.database.write() as connection:
        meta.put(connection, RESTORED, "1")
        meta.put(connection, RESTORED_KEYS, '["main/trade/1"]')
    async with desk.client() as client:
        found = (await client.post("/v1/reconciliations", json=SAID | {"old_host_off": False})).json()
        again = (await client.post("/v1/reconciliations", json={})).json()
    assert found["keys"][0]["finding"] == "alive"
    for answer in found, again:
        assert not answer["well"]
        assert "--old-host-off" in str(answer["missing"])
    assert "is said to be deleted, and the exchange has it" in str(found["missing"])
    assert "is said to be deleted" not in str(again["missing"]), "a word that was untrue is forgotten"
    with desk.service.desk.database.read() as connection:
        assert json.loads(meta.get(connection, "reconcile_declared") or "")["deleted"] == []
    assert await thawed(desk, closed) == CONFLICT


@pytest.mark.parametrize("stage", [Stage.PREVIOUS, Stage.PENDING])
async def test_a_replaced_key_that_may_withdraw_by_now_and_is_served(
    desk: Desk, closed: str, stage: Stage
) -> None:
    with desk.service.desk.database.write() as connection:
        account_store.set_stage(connection, KeyRef("main", Slot.TRADE, 1), stage)
    desk.venue.facts = replace(SAFE, can_withdraw=True, ip_restricted=False)
    async with desk.client() as client:
        found = (await client.post("/v1/reconciliations", json=SAID)).json()
    assert found["keys"][0]["finding"] == "changed"
    assert not found["well"]
    assert await thawed(desk, closed) == CONFLICT
