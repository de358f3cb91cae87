"""Nothing that stops somebody is refused for its `Idempotency-Key`, or answered from memory while it does not hold.

An automaton cuts under one key of its own, the name of its alert: cut, thawed, and cut again it was answered 201, and
the bot traded on.
"""

import asyncio
from typing import Any

import pytest

from broker.db import rows
from broker.errors import StoreUnavailable
from broker.gate import Mode
from broker.service.operators import Role
from tests.api.desk import Desk
from tests.gateway.test_refused_keys import until

BOT = "consumer:bot"
CUT = {"targets": [BOT], "reason": "drawdown"}
KEY = {"Idempotency-Key": "alert-drawdown"}
ODD = ["", "k" * 129, "\u00fcberverlust".encode(), b"a\tb", b"\xff"]


def mode(desk: Desk, scope: str = BOT) -> Mode:
    with desk.service.desk.database.read() as connection:
        gate = rows.gates(connection).get(scope)
        return Mode.OPEN if gate is None else gate.mode


async def kept(desk: Desk, key: str = KEY["Idempotency-Key"]) -> None:
    """Wait until an answer is on record: then the memory of this process has it no more."""
    await until(lambda: desk.service.operators.answered_at("the-admin", key) is not None)


@pytest.mark.parametrize("mode_asked", ["closed", "halt"])
@pytest.mark.parametrize("remembered", ["on record", "in memory"])
async def test_a_cut_that_was_thawed_is_made_anew_under_its_key(
    desk: Desk, remembered: str, mode_asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.trading()
    if remembered == "in memory":
        monkeypatch.setattr(desk.service.operators, "remember", away)
    body = CUT | {"mode": mode_asked}
    async with desk.client() as client:
        first = (await client.post("/v1/cuts", json=body, headers=KEY)).json()
        if remembered == "on record":
            await kept(desk)
        await client.post("/v1/thaws", json={"cut": first["id"], "reason": "over"})
        assert mode(desk) is Mode.OPEN
        again = (await client.post("/v1/cuts", json=body, headers=KEY)).json()
        assert mode(desk) is Mode(mode_asked)
        assert again["id"] != first["id"]
        assert "replayed" not in again
        retried = (await client.post("/v1/cuts", json=body, headers=KEY)).json()
    assert (retried["id"], retried["replayed"]) == (again["id"], True), "a true retry is answered as before"
    assert len(desk.service.cuts.list(open_only=True).items) == 1


async def test_of_a_cut_that_was_made_anew_the_answer_is_the_one_that_is_kept(desk: Desk) -> None:
    """The first one stood in its place: each retry was another cut."""
    desk.trading()
    async with desk.client() as client:
        for reason in ("one", "two"):
            made = (await client.post("/v1/cuts", json=CUT | {"reason": reason}, headers=KEY)).json()
            await until(lambda: not desk.app.state.answers._fresh)
        again = (await client.post("/v1/cuts", json=CUT | {"reason": "two"}, headers=KEY)).json()
    assert (again["id"], again["replayed"]) == (made["id"], True)


@pytest.mark.parametrize(
    "other", [{"reason": "drawdown 9.4 %"}, {"mode": "halt"}, {"targets": ["everything"]}]
)
@pytest.mark.parametrize("before", ["a cut", "another write"])
async def test_a_cut_in_other_words_is_made_under_a_key_that_was_used(
    desk: Desk, other: dict[str, Any], before: str
) -> None:
    desk.trading()
    async with desk.client() as client:
        if before == "a cut":
            first = (await client.post("/v1/cuts", json=CUT, headers=KEY)).json()
            await client.post("/v1/thaws", json={"cut": first["id"], "reason": "over"})
        else:
            await client.post("/v1/consumers", json={"name": "one"}, headers=KEY)
        await kept(desk)
        made = await client.post("/v1/cuts", json=CUT | other, headers=KEY)
        assert made.status_code == 201
        assert mode(desk, made.json()["targets"][0]) is Mode(made.json()["mode"])
        await until(lambda: not desk.app.state.answers._fresh)
        wrong = await client.post("/v1/consumers", json={"name": "two"}, headers=KEY)
    assert (wrong.status_code, wrong.json()["reason"]) == (409, "key_reused"), "what stops nobody is refused"


@pytest.mark.parametrize("key", ODD)
async def test_a_cut_is_made_whatever_its_key_is_and_says_that_the_key_was_passed_over(
    desk: Desk, key: Any
) -> None:
    desk.trading()
    async with desk.client(Role.RESPONDER) as client:
        made = await client.post("/v1/cuts", json=CUT, headers={"Idempotency-Key": key})
        assert mode(desk) is Mode.CLOSED
    assert made.status_code == 201
    assert "1 to 128 printable characters" in made.headers["Idempotency-Ignored"]


@pytest.mark.parametrize("key", [*ODD, "alert-drawdown"])
async def test_a_grant_is_revoked_whatever_its_key_is_and_was_used_for(desk: Desk, key: Any) -> None:
    body = desk.trading()
    async with desk.client() as client:
        grant = (await client.post("/v1/grants", json=body)).json()["id"]
        await client.post("/v1/consumers", json={"name": "one"}, headers=KEY)
        path, headers = f"/v1/grants/{grant}/revoke", {"Idempotency-Key": key}
        for reason in ("leaked", "leaked", "another"):
            done = await client.post(path, json={"reason": reason}, headers=headers)
            assert (done.status_code, bool(done.json()["revoked_at"])) == (200, True)
    assert desk.service.grants.get(grant).revoked_at is not None


async def test_an_operator_is_ended_under_a_key_by_which_one_of_that_name_was(desk: Desk) -> None:
    """A name is used again: the second one was never ended, and its token counted on."""
    async with desk.client() as client:
        for _ in range(2):
            await client.post("/v1/operators", json={"name": "ann", "roles": ["viewer"]})
            assert (await client.post("/v1/operators/ann/end", headers=KEY)).status_code == 200
            (ann,) = [one for one in desk.service.operators.list() if one.name == "ann"]
            assert ann.ended_at is not None


async def test_a_cut_whose_thaw_cannot_be_ruled_out_is_made_anew(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is away: it may have been thawed by another broker. Made twice does no harm."""
    desk.trading()
    async with desk.client() as client:
        first = (await client.post("/v1/cuts", json=CUT, headers=KEY)).json()
        await kept(desk)
        monkeypatch.setattr(desk.service.cuts, "get", away)
        again = (await client.post("/v1/cuts", json=CUT, headers=KEY)).json()
    assert again["id"] != first["id"]
    assert "replayed" not in again


async def test_a_cut_waits_for_no_other_write_under_its_key(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.trading()
    begun, go = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    real = desk.service.grants.create_consumer

    def slow(*given: Any, **more: Any) -> Any:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(go.wait(), loop).result(60)
        return real(*given, **more)

    monkeypatch.setattr(desk.service.grants, "create_consumer", slow)
    async with desk.client() as client:
        other = asyncio.create_task(client.post("/v1/consumers", json={"name": "one"}, headers=KEY))
        try:
            async with asyncio.timeout(50):
                await begun.wait()
                made = await client.post("/v1/cuts", json=CUT, headers=KEY)
                assert (made.status_code, mode(desk)) == (201, Mode.CLOSED)
        finally:
            go.set()
        assert (await other).status_code == 201


def away(*_: object, **__: object) -> Any:
    raise StoreUnavailable("away", "away on purpose")
