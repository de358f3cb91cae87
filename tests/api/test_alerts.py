"""A channel of alerts is kept once it took a test; one that did not leaves nothing behind."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from broker.api import alerts
from broker.db import asks
from broker.errors import NotFound
from broker.service.operators import Role
from tests.api.desk import Desk

TOKEN = "planted-token-of-a-channel"
BODY = {"name": "phone", "kind": "webhook", "address": f"json://127.0.0.1:9/{TOKEN}"}
FAILED = "not_sent: phone did not take a test: it was not taken"


@asynccontextmanager
async def rotator(desk: Desk, outcome: str) -> AsyncIterator[None]:
    """Answer every ask with this."""

    async def work() -> None:
        while True:
            with desk.service.desk.database.write() as connection:
                ask = asks.claim(connection, "one", desk.service.desk.spans)
                if ask is not None:
                    asks.finish(connection, ask.id, 1, outcome)
            await asyncio.sleep(0.01)

    task = asyncio.create_task(work())
    try:
        yield
    finally:
        task.cancel()


async def add(desk: Desk) -> Any:
    async with desk.client(Role.ADMIN) as client:
        return await client.post("/v1/alert-channels", json=BODY)


def paths(desk: Desk) -> list[str]:
    return [one.path for one in desk.service.alerts.channels()]


async def test_a_channel_that_takes_the_test_is_kept(desk: Desk) -> None:
    """It is named and stands in the list."""
    async with rotator(desk, ""):
        assert (await add(desk)).status_code == 201
    assert len(paths(desk)) == 1


async def test_a_channel_that_does_not_take_the_test_is_taken_away_and_its_name_is_free(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer says so, the address is destroyed, and the same command works once what was wrong is mended."""
    stored: list[str] = []
    test = desk.service.alerts.test

    def watched(name: str) -> Any:
        stored.extend(paths(desk))
        return test(name)

    monkeypatch.setattr(desk.service.alerts, "test", watched)
    async with rotator(desk, FAILED):
        answer = await add(desk)
    assert (answer.status_code, answer.json()["reason"]) == (409, "not_sent")
    assert "The channel is not kept" in answer.json()["detail"]
    assert TOKEN not in answer.text
    assert paths(desk) == []
    with pytest.raises(NotFound):
        desk.service.desk.secrets.read(stored[0])
    async with rotator(desk, ""):
        assert (await add(desk)).status_code == 201
        assert (await add(desk)).json()["detail"].startswith("there is a channel 'phone'")
    assert len(paths(desk)) == 1


async def test_without_a_rotator_the_channel_is_not_kept_either(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody could try it, so nothing was changed."""
    monkeypatch.setattr(alerts, "_SENDING_S", 0.05)
    answer = await add(desk)
    assert (answer.status_code, answer.json()["reason"]) == (503, "no_rotator")
    assert answer.json()["done"] == "no"
    assert "it is not kept" in answer.json()["detail"]
    assert paths(desk) == []


async def test_the_name_of_a_removed_channel_can_be_given_again(desk: Desk) -> None:
    """What was removed is over: its name is free, and it stays a channel of its own."""
    async with rotator(desk, ""):
        await add(desk)
        (first,) = paths(desk)
        async with desk.client(Role.ADMIN) as client:
            assert (await client.post("/v1/alert-channels/phone/remove")).status_code == 200
        assert (await add(desk)).status_code == 201
    (second,) = paths(desk)
    assert second != first


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        ("heartbeat", "http://127.0.0.1@evil.example/ping"),
        ("heartbeat", "http://127.0.0.1.evil.example/ping"),
        ("heartbeat", "https://good.example:443@evil.example/ping"),
        ("heartbeat", "https://169.254.169.254/latest/meta-data"),
        ("heartbeat", "https://10.0.0.1/ping"),
        ("webhook", "jsons://user:pw@good.example@10.0.0.1/x"),
        ("webhook", "jsons://[::ffff:10.0.0.1]/x"),
        ("slack", "https://hooks.slack.com@evil.example/"),
    ],
)
async def test_an_address_that_is_odd_or_private_is_no_channel(desk: Desk, kind: str, address: str) -> None:
    """It is refused when it is named, without a word of what it holds; nothing is kept."""
    async with desk.client() as client:
        answer = await client.post("/v1/alert-channels", json={"name": "x", "kind": kind, "address": address})
        kept = (await client.get("/v1/alert-channels")).json()["items"]
    assert (answer.status_code, answer.json()["errors"][0]["field"], kept) == (400, "address", [])
