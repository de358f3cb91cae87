"""What was done is never answered as not done, although nothing can be read any more after it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from broker.db import audit as trail
from broker.errors import StoreUnavailable
from broker.gate import Mode
from clients.keys import VenueKey
from clients.secret import Secret
from clients.venue import Credential, KeyType, Slot
from tests.api.desk import POLICY, SAFE, UPSTREAM, Desk
from tests.api.test_alerts import rotator


@contextmanager
def blind_after(desk: Desk, monkeypatch: pytest.MonkeyPatch, deed: str) -> Iterator[None]:
    """Let the database answer no read any more once a deed is on record."""
    database, append = desk.service.desk.database, trail.append
    read, done = database.read, list[str]()

    def noted(connection: Any, chain: str, entry: Any) -> Any:
        done.extend([entry.action] if entry.action == deed else [])
        return append(connection, chain, entry)

    def blind(**how: Any) -> Any:
        if done:
            raise StoreUnavailable("database", "away on purpose")
        return read(**how)

    with monkeypatch.context() as patch:
        patch.setattr(trail, "append", noted)
        patch.setattr(database, "read", blind)
        yield
    assert done == [deed]


def destroys_nothing(_: str) -> None:
    raise StoreUnavailable("vault", "away on purpose")


async def test_the_token_of_a_new_operator_is_in_the_answer(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk.client() as client:
        with blind_after(desk, monkeypatch, "operator.create"):
            answer = await client.post("/v1/operators", json={"name": "eve", "roles": ["viewer"]})
        assert (answer.status_code, answer.json()["roles"]) == (201, ["viewer"])
        (listed,) = [
            one for one in (await client.get("/v1/operators")).json()["items"] if one["name"] == "eve"
        ]
    assert desk.service.operators.by_token(Secret(answer.json()["token"])) is not None
    assert listed.items() <= answer.json().items()


async def test_a_policy_and_a_thaw_are_done_and_say_what_is_not_known(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = desk.trading()
    cut, _ = desk.service.cuts.close(targets=("consumer:bot",), mode=Mode.CLOSED, reason="x", actor="x")
    async with desk.client() as client:
        grant = (await client.post("/v1/grants", json=body)).json()["id"]
        with blind_after(desk, monkeypatch, "grant.policy"):
            put = await client.put(
                f"/v1/grants/{grant}/policy", json={"policy": POLICY.replace("1000", "10")}
            )
        assert (put.status_code, put.json()["policy_version"]) == (200, 2)
        assert "could not be looked up" in put.json()["warnings"][0]
        with blind_after(desk, monkeypatch, "cut.thaw"):
            thawed = await client.post("/v1/thaws", json={"cut": cut.id, "reason": "safe"})
        assert (thawed.status_code, thawed.json()["still_closed"]) == (200, [])
        assert "could not be looked up" in thawed.json()["notes"][0]


async def test_an_account_that_was_put_under_a_manager_key_is_answered_so(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.service.accounts.create("main", venue="binance", upstream=UPSTREAM)
    key = Credential("REAL", Secret("planted-real-secret"), KeyType.HMAC)
    desk.service.keys.import_key("main", slot=Slot.TRADE, credential=key, facts=SAFE)
    desk.warden.keys["a@b.c"] = (VenueKey("REAL", ""),)
    new = {"name": "master", "key_id": "MANAGER", "secret": "planted", "upstream": UPSTREAM}
    async with desk.client() as client:
        await client.post("/v1/managers", json=new)
        with blind_after(desk, monkeypatch, "account.manage"):
            answer = await client.put(
                "/v1/accounts/main/manager", json={"manager": "master", "subaccount": "a@b.c"}
            )
        assert (answer.status_code, answer.json()["subaccount"]) == (200, "a@b.c")
        assert (await client.get("/v1/accounts/main")).json() == answer.json()


async def test_what_was_removed_is_gone_although_its_secret_cannot_be_destroyed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.service.accounts.create("main", venue="binance", upstream=UPSTREAM)
    desk.service.alerts.add("phone", "webhook", Secret("jsons://example.com/planted"))
    desk.service.destinations.create(
        "tool", account="main", slot=Slot.TRADE, kind="webhook", settings={"url": "https://example.com/"},
        secret=Secret("planted-secret-of-a-webhook-0123456789"),
    )  # fmt: skip
    monkeypatch.setattr(desk.service.desk.secrets, "destroy", destroys_nothing)
    async with desk.client() as client:
        for path in ("alert-channels/phone", "destinations/tool"):
            answer = await client.post(f"/v1/{path}/remove")
            assert (answer.status_code, answer.json()["done"]) == (503, "yes"), answer.text
            assert answer.json()["reason"] == "not_destroyed"
    assert not desk.service.alerts.channels()
    assert not desk.service.destinations.list()


@pytest.mark.parametrize("read", ["outcome", "findings"])
async def test_a_sweep_that_was_made_is_not_called_undone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    """A moment in which the outcome cannot be read is waited over; what came of it is said not to be known."""
    rotations, failed = desk.service.rotations, list[str]()
    real = getattr(rotations, read)

    def once(*args: Any) -> Any:
        if not failed:
            failed.append(read)
            raise StoreUnavailable("database", "away on purpose")
        return real(*args)

    monkeypatch.setattr(rotations, read, once)
    async with desk.client() as client, rotator(desk, ""):
        answer = await client.post("/v1/sweeps")
    assert failed
    if read == "outcome":
        assert answer.status_code == 200, answer.text
    else:
        assert (answer.status_code, answer.json()["done"]) == (503, "yes"), answer.text
        assert answer.json()["reason"] == "done_unread"


async def test_a_channel_that_could_not_be_taken_back_is_not_said_to_be_gone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(_: str) -> None:
        raise StoreUnavailable("store_busy", "busy on purpose: nothing was changed")

    monkeypatch.setattr(desk.service.alerts, "remove", busy)
    new = {"name": "phone", "kind": "webhook", "address": "jsons://example.com/planted"}
    async with desk.client() as client, rotator(desk, "not_sent: nobody there"):
        answer = await client.post("/v1/alert-channels", json=new)
    assert (answer.status_code, answer.json()["done"]) == (503, "yes"), answer.text
    assert [one.name for one in desk.service.alerts.channels()] == ["phone"]
