"""What is answered about a cut is true, whatever is slow, away, ended or asked again meanwhile."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from broker.api import access
from broker.errors import StoreUnavailable
from broker.service import cuts as cuts_service
from broker.service import making
from broker.service.making import Made
from portcullis.upkeep import Upkeep
from tests.gateway.test_cut_at_once import BOT, api, close, held, monkeyed_commit, on_record, until
from tests.gateway.world import running_world


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command line waits for is shorter here."""
    monkeypatch.setattr(cuts_service, "MIRROR_AFTER_S", 0.05)
    monkeypatch.setattr(cuts_service, "COMMITTED_WITHIN_S", 0.2)


async def test_a_404_of_a_cut_is_true_when_it_is_answered_and_stays_true(tmp_path: Path) -> None:
    """Nothing was cut: at no gateway while the database takes nothing, nor later when the name exists."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await bot.ready()
        async with api(world) as client:
            with held(world) as let_go:
                answer = await client.post(
                    "/v1/cuts", json=BOT | {"targets": ["consumer:bot", "consumer:new"]}
                )
                assert (answer.status_code, "NOTHING was cut" in answer.text) == (404, True)
                await until(lambda: world.gateway.book._gates.closing() == ())
                assert (await bot.call("GET", "/api/v3/account")).reason != "cut"
                assert (await client.get("/v1/cuts", params={"open": True})).json()["items"] == []
                let_go()
            world.service.grants.create_consumer("new")
            await until(lambda: world.service.cuts.closing.standing() == ())
        assert on_record(world) == {}


async def test_a_failure_of_the_mirror_that_nobody_foresaw_makes_no_error_of_a_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError("planted")

    async with running_world(tmp_path) as world:
        world.account()
        world.issue()
        async with api(world) as client:
            monkeypatch.setattr(world.service.mirror, "note", broken)
            answer = await client.post("/v1/cuts", json=BOT)
            assert (answer.status_code, answer.json()["durable"]) == (201, ["database"])
            world.service.mirror.close()
            answer = await client.post("/v1/cuts", json=BOT)
            assert (answer.status_code, answer.json()["durable"]) == (201, ["database"])


async def test_a_broker_that_ends_puts_on_record_what_it_has_closed(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        world.issue()
        with monkeyed_commit() as go:
            cuts = [await close(world, "consumer:bot") for _ in range(3)]
            await until(lambda: all(made.tries > 2 for made in world.service.cuts.closing.standing()))
            go.set()
            world.service.cuts.closing.end()
            assert on_record(world) == dict.fromkeys(cuts, True)


@pytest.mark.parametrize("in_flight", [0, 1, 2])
async def test_a_try_that_is_under_way_as_a_broker_is_told_to_end_is_not_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_flight: int
) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        world.issue()
        making = world.service.cuts.closing._making
        real, inside, fail = making._commit, threading.Event(), threading.Event()
        cuts: list[str] = []

        def commit(made: Made) -> None:
            if inside.is_set() and fail.is_set():
                return real(made)
            if len(cuts) == 3 and made.noted.id == cuts[in_flight]:
                inside.set()
                assert fail.wait(60)
            raise StoreUnavailable("away", "away on purpose")

        monkeypatch.setattr(making, "_commit", commit)
        cuts.extend([await close(world, "consumer:bot") for _ in range(3)])
        await until(inside.is_set)
        ending = asyncio.create_task(asyncio.to_thread(making.end, 60))
        await until(lambda: making._ends)
        fail.set()
        await ending
        assert on_record(world) == dict.fromkeys(cuts, True)


async def test_a_cut_is_in_force_and_answered_where_the_host_has_no_thread_left_for_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was answered with an error, and was on record only once somebody cut again."""

    def none_left(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(making, "_IDLE_S", 0.1)
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await bot.ready()
        async with api(world) as client:
            rehearsed = await client.post("/v1/cuts", json=BOT | {"targets": ["consumer:nobody"]})
            assert rehearsed.status_code == 404, "a start does that"
            await until(lambda: world.service.cuts.closing._making._thread is None)
            with monkeypatch.context() as patch:
                patch.setattr(threading.Thread, "start", none_left)
                answer = await client.post("/v1/cuts", json=BOT | {"targets": ["key-version:main/trade/1"]})
                assert (answer.status_code, answer.json()["on_record"]) == (201, False), answer.text
                assert (await bot.call("GET", "/api/v3/account")).reason == "cut"
            assert on_record(world) == {}
            await asyncio.to_thread(Upkeep(world.service).once)
            await until(lambda: on_record(world) == {answer.json()["id"]: True})


async def test_an_idempotency_key_never_answers_with_a_cut_that_is_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that was killed before the commit forgot it; asked again under its key it is made."""

    def away(*_: object) -> Any:
        raise StoreUnavailable("away", "away on purpose")

    async with running_world(tmp_path) as world:
        world.account()
        world.issue()
        async with api(world) as client:
            monkeypatch.setattr(world.service.mirror, "note", away)
            with monkeyed_commit():
                first = (await client.post("/v1/cuts", json=BOT, headers={"Idempotency-Key": "k"})).json()
                assert (first["on_record"], first["durable"]) == (False, [])
                again = (await client.post("/v1/cuts", json=BOT, headers={"Idempotency-Key": "k"})).json()
                assert again["id"] == first["id"]
                standing = world.service.cuts.closing._making._standing
                (made,) = standing.values()
                with made.lock:  # as if this broker were killed and started anew
                    standing.clear()
                    world.service.cuts.closing._making._failed.clear()
                    world.service.desk.take_back(made.noted.id)
            again = (await client.post("/v1/cuts", json=BOT, headers={"Idempotency-Key": "k"})).json()
            assert again["id"] != first["id"]
            await until(lambda: on_record(world) == {again["id"]: True})


async def test_cuts_get_a_place_while_others_of_their_lane_wait_for_the_database(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        issued = world.issue()
        async with api(world) as client:
            with held(world):
                revokes = [
                    asyncio.create_task(client.post(f"/v1/grants/{issued.grant.id}/revoke", json={}))
                    for _ in range(8)
                ]
                await asyncio.sleep(1)
                many = await asyncio.gather(*(client.post("/v1/cuts", json=BOT) for _ in range(40)))
                assert {one.status_code for one in many} == {201}
                for one in revokes:
                    one.cancel()
                await asyncio.gather(*revokes, return_exceptions=True)


async def test_who_is_not_remembered_is_looked_up_however_long_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session of a second ago, or a broker that just started: nobody but the database knows that a token is none."""
    async with running_world(tmp_path) as world:
        world.account()
        world.issue()
        async with api(world) as client:
            operators, real = world.service.operators, world.service.operators.by_token
            monkeypatch.setattr(access, "_CUT_WAITS_S", 0.01)

            def slow(token: Any) -> Any:
                time.sleep(0.3)  # a database that is slower than a cut waits for, not a wait of this test
                return real(token)

            monkeypatch.setattr(operators, "by_token", slow)
            assert (await client.post("/v1/cuts", json=BOT)).status_code == 201

            def away(_: Any) -> Any:
                raise StoreUnavailable("database", "away on purpose")

            monkeypatch.setattr(operators, "by_token", away)
            assert (await client.post("/v1/cuts", json=BOT)).status_code == 503
            operators.learn()
            assert (await client.post("/v1/cuts", json=BOT)).status_code == 201
            monkeypatch.setattr(operators, "by_token", slow)
            assert (
                await client.post("/v1/cuts", json=BOT, headers={"Authorization": "Bearer no"})
            ).status_code == 401
