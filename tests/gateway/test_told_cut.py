"""A bot in the scope of a cut that its gateway knows of is told `cut`, whatever else cannot be had just now."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.errors import StoreUnavailable
from broker.gateway.room import Limits
from tests.gateway.world import Answer, Bot, World, exchange_bytes, running_world

SMALL = {"quantity": "0.001"}
SCOPES = ["consumer:bot", "account:main", "grant", "key-version:main/trade/1", "venue:binance", "gateway:local",
          "everything"]  # fmt: skip


async def until(fits: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not fits():  # noqa: ASYNC110 - leases tell nobody
            await asyncio.sleep(0.02)


def away(*_: object, **__: object) -> Any:
    raise StoreUnavailable("database", "away on purpose")


def leased(world: World, bot: Bot) -> bool:
    return bot.key_id in world.gateway.book.by_key


async def everything_of(bot: Bot) -> list[Answer]:
    """Ask for a bit of everything, with its key."""
    return [
        await bot.order(**SMALL),
        await bot.call("GET", "/api/v3/account"),
        await bot.call("DELETE", "/api/v3/openOrders", symbol="BTCUSDT"),
        await exchange_bytes(bot.port, bot.plain("GET", "/api/v3/ticker/price", "symbol=BTCUSDT")),
    ]


def assert_cut(answers: list[Answer]) -> None:
    assert {(answer.status, answer.reason) for answer in answers} == {(401, "cut")}, answers


def aimed(world: World, scope: str) -> str:
    return f"grant:{world.service.grants.list().items[0].id}" if scope == "grant" else scope


@pytest.mark.parametrize("scope", SCOPES)
async def test_a_lease_that_is_gone_is_no_way_to_another_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scope: str
) -> None:
    """Key and lease were wiped, what was remembered of refusals is forgotten, and the broker cannot say anything."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await bot.ready()
        monkeypatch.setattr(world.authority.leases, "judge", away)
        cut = await world.cut(aimed(world, scope))
        await until(lambda: not leased(world, bot))
        world.gateway.book._unleased.forget()
        assert_cut(await everything_of(bot))
        monkeypatch.undo()
        await world.thaw(cut)
        await bot.ready()


async def test_a_lease_that_was_over_before_its_key_was_wiped_is_no_way_to_another_answer_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renewal ended it between the cut and the wipe."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await bot.ready()
        monkeypatch.setattr(world.authority.leases, "judge", away)
        book = world.gateway.book
        held = book.by_key[bot.key_id]
        cut = await world.cut(f"key-version:{held.key_text}")
        book.drop(held.lease.id)
        await until(lambda: not book.material)
        book._unleased.forget()
        assert_cut(await everything_of(bot))
        monkeypatch.undo()
        await world.thaw(cut)
        await bot.ready()


@pytest.mark.parametrize("scope", [one for one in SCOPES if not one.startswith("key-version")])
async def test_a_refusal_of_before_the_cut_does_not_stand_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scope: str
) -> None:
    """The broker could give no lease; the answer to that is remembered for a second, and the cut comes within it."""
    async with running_world(tmp_path) as world:
        world.account()
        monkeypatch.setattr(world.authority.leases, "judge", away)
        monkeypatch.setattr("broker.gateway.unleased.REFUSED_US", 10**12)
        bot = world.bot()
        await until(lambda: world.gateway.book.refused(bot.key_id, world.gateway.clock.boot_us()) is not None)
        before = await bot.order(**SMALL)
        assert (before.status, before.reason) == (503, "unavailable")
        await until(lambda: bot.key_id in world.gateway.book._unleased.stands)
        cut = await world.cut(aimed(world, scope))
        assert_cut(await everything_of(bot))
        await world.thaw(cut)
        after = await bot.order(**SMALL)
        assert after.status == 503, "it is cut no more, and there is no lease yet"


async def test_a_key_that_never_had_a_lease_here_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cut came before the grant: the gateway knows whose the key is from the list of those that it serves."""
    async with running_world(tmp_path) as world:
        world.account()
        world.service.grants.create_consumer("bot")
        monkeypatch.setattr(world.authority.leases, "judge", away)
        await world.cut("consumer:bot")
        bot, other = world.bot(), world.bot("other")
        await until(lambda: {bot.key_id, other.key_id} <= world.gateway.book._unleased.stands.keys())
        assert_cut(await everything_of(bot))
        refused = await other.order(**SMALL)
        assert (refused.status, refused.reason) == (503, "unavailable"), "who is not cut is not told so"


async def test_a_crowd_of_the_cut_is_told_so_and_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They do not wait for a lease, so they are not told that it is busy, nor is anybody else."""
    monkeypatch.setattr("broker.gateway.process.limits_of", lambda _: Limits(64, 8))
    async with running_world(tmp_path) as world:
        world.account()
        bot, other = world.bot(), world.bot("other")
        await bot.ready()
        await other.ready()
        monkeypatch.setattr(world.authority.leases, "judge", away)
        await world.cut("consumer:bot")
        world.gateway.book.drop(world.gateway.book.by_key[bot.key_id].lease.id)
        world.gateway.book._unleased.forget()
        answers = await asyncio.gather(*(bot.order(**SMALL) for _ in range(50)), other.order(**SMALL))
        assert answers[-1].status == 200
        assert_cut(list(answers[:-1]))
