"""A secret that is lost leads out, in whatever way it is lost, and nothing is said to be kept that is not."""

from typing import Any

import pytest

from broker.gate import Mode
from broker.model import KeyRef
from clients.secret import Secret
from clients.venue import Credential, KeyType, Slot
from tests.api.desk import POLICY, SAFE, UPSTREAM, Desk
from tests.losing import WAYS, lose

PATH = KeyRef("main", Slot.TRADE, 1).path
SAME = {"key_id": "REAL", "secret": "planted-real-secret"}
FRESH = {"key_id": "FRESH", "secret": "fresh-secret-fresh-secret"}


@pytest.fixture(autouse=True)
def kept(desk: Desk) -> None:
    """A key in use, with its secret."""
    desk.service.accounts.create("main", venue="binance", upstream=UPSTREAM)
    credential = Credential("REAL", Secret("planted-real-secret"), KeyType.HMAC)
    desk.service.keys.import_key("main", slot=Slot.TRADE, credential=credential, facts=SAFE)


async def imported(desk: Desk, key: dict[str, str]) -> tuple[int, Any]:
    async with desk.client() as client:
        body = {"account": "main", "slot": "trade", "key_type": "hmac"} | key
        answer = await client.post("/v1/keys", json=body)
        return answer.status_code, answer.json()


@pytest.mark.parametrize("how", WAYS)
async def test_nothing_is_said_to_be_kept_that_is_not(desk: Desk, how: str) -> None:
    """And whoever asked is led to another key, by which the slot gets a secret again."""
    lose(desk.service.desk.secrets, PATH, how)
    status, problem = await imported(desk, SAME)
    assert (status, problem["reason"]) == (409, "not_kept")
    assert "portcullis rotation start --account main --slot trade --wait" in problem["detail"]
    status, key = await imported(desk, FRESH)
    assert (status, key["ref"], key["stage"]) == (201, "main/trade/2", "current")
    assert (
        desk.service.desk.secrets.read(KeyRef("main", Slot.TRADE, 2).path)["secret"].reveal()
        == FRESH["secret"]
    )


async def test_another_secret_in_its_place_is_not_the_one_that_was_brought(desk: Desk) -> None:
    status, problem = await imported(desk, SAME | {"secret": "another-secret-that-signs"})
    assert (status, problem["reason"]) == (409, "not_kept")
    assert (await imported(desk, SAME))[0] == 201, "the same once more is nothing"


@pytest.mark.parametrize("how", WAYS)
async def test_one_that_was_replaced_is_not_taken_back_without_its_secret(desk: Desk, how: str) -> None:
    assert (await imported(desk, FRESH))[0] == 201
    lose(desk.service.desk.secrets, PATH, how)
    status, problem = await imported(desk, SAME)
    assert (status, problem["reason"]) == (409, "not_kept")
    assert "Make another key" in problem["detail"]


@pytest.mark.parametrize("how", WAYS)
async def test_everything_that_is_closed_is_led_out_of(desk: Desk, how: str) -> None:
    """After a restore: no step calls the living key in use deleted, and another one can be brought."""
    desk.service.grants.create_consumer("bot")
    desk.service.grants.create(consumer="bot", account="main", policy=POLICY)
    desk.service.cuts.close(targets=("everything",), mode=Mode.CLOSED, reason="restored", actor="portcullis")
    lose(desk.service.desk.secrets, PATH, how)
    async with desk.client() as client:
        found = (
            await client.post("/v1/reconciliations", json={"confirmed": ["main"], "old_host_off": True})
        ).json()
        (step,) = found["steps"]
        assert "do not delete it" in step["do"]
        assert "With its secret, import it again" not in step["do"]
        assert step["commands"][-1] == "portcullis key import --account main --slot trade"
        assert not any("--deleted" in one for one in step["commands"])
    assert (await imported(desk, SAME))[1]["reason"] == "not_kept"
    assert (await imported(desk, FRESH))[0] == 201
    async with desk.client() as client:
        body = {"confirmed": ["main"], "old_host_off": True, "deleted": ["main/trade/1"]}
        assert (await client.post("/v1/reconciliations", json=body)).json()["well"]
