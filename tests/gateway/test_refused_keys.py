"""The exchange refuses the real key in use: seen on the first call, told to the bot and to every view, and over again."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.gateway.venue_view import NotKnown
from broker.gateway.wellbeing import Wellbeing, refusal_of
from clients.paper.faults import Fault
from tests.gateway.world import World, running_world

LIMIT = {"type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "59000"}


def refuse(world: World, code: int, status: int = 401, **more: Any) -> None:
    more = {"path": "/", "times": 100_000} | more
    world.paper.server.faults.append(Fault("error", status=status, code=code, text="Invalid key.", **more))


async def until(holds: Callable[[], bool], within_s: float = 60.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 - what the database says has no event
            await asyncio.sleep(0.02)


def refused(world: World) -> list[str]:
    return [one.says for one in world.service.conditions.look() if one.kind == "key-refused"]


@pytest.mark.parametrize(("status", "code"), [(401, -2015), (401, -2014), (400, -2008), (400, -1022)])
async def test_a_refused_key_is_told_to_its_bot_and_is_a_condition_until_it_works_again(
    tmp_path: Path, status: int, code: int
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        assert (await bot.call("GET", "/api/v3/account")).status == 200
        assert refused(world) == []
        refuse(world, code, status)
        answer = await bot.call("GET", "/api/v3/account")
        assert (answer.status, answer.code, answer.reason) == (status, code, "venue_refuses_key")
        assert answer.body["msg"].startswith("Invalid key. (The exchange said this of the real key")
        await until(lambda: refused(world) != [])
        assert "REFUSES the key main/trade/1" in refused(world)[0]
        world.paper.server.faults.clear()
        assert (await bot.call("GET", "/api/v3/account")).status == 200
        await until(lambda: refused(world) == [])


@pytest.mark.parametrize("path", ["/sapi/v1/capital/config/getall", "/sapi/v1/asset/tradeFee"])
async def test_the_wallet_read_that_a_bots_library_begins_with_tells_it(tmp_path: Path, path: str) -> None:
    """Bots of ccxt and freqtrade ask for the coins first and never come to another call: no view said a word."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        refuse(world, -2015)
        assert (await bot.call("GET", path)).reason == "venue_refuses_key"
        await until(lambda: refused(world) != [])
        world.paper.server.faults.clear()
        assert (await bot.call("GET", path)).status == 200
        await until(lambda: refused(world) == [])


async def test_a_call_of_our_own_sees_it_too(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="1")
        bot = world.bot()
        assert (await bot.order()).status == 200
        refuse(world, -2015, path="/api/v3/account")
        held = next(iter(world.gateway.book.by_lease.values()))
        with pytest.raises(NotKnown, match="refused"):
            await world.gateway.mounts.account_of(held).fetch(world.gateway.book.material[held.key_text])
        await until(lambda: refused(world) != [])


async def test_a_key_that_only_lost_its_right_to_trade_is_told_of_until_an_order_goes_through(
    tmp_path: Path,
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        refuse(world, -2015, method="POST")
        assert (await bot.order(**LIMIT)).reason == "venue_refuses_key"
        await until(lambda: refused(world) != [])
        assert "no order of its bots goes through" in refused(world)[0]
        assert (await bot.call("GET", "/api/v3/account")).status == 200
        await world.settled()
        assert refused(world) != [], "that it reads does not say that it trades"
        world.paper.server.faults.clear()
        assert (await bot.order(**LIMIT)).status == 200
        await until(lambda: refused(world) == [])


async def test_an_account_that_the_exchange_blocks_is_told_of_until_it_may_trade_again(
    tmp_path: Path,
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="1")
        bot = world.bot()
        await bot.order()
        await until(lambda: bool(world.gateway.book.by_lease))
        held = next(iter(world.gateway.book.by_lease.values()))
        account, key = world.gateway.mounts.account_of(held), world.gateway.book.material[held.key_text]

        def blocked() -> list[str]:
            return [one.account for one in world.service.conditions.look() if one.kind == "account-blocked"]

        for may in (False, True):
            world.paper.exchange.accounts["main@paper.test"].can_trade = may
            await account.fetch(key)
            world.gateway.link.tell_health()
            await until(lambda may=may: blocked() == ([] if may else ["main"]))  # type: ignore[misc]


def test_what_one_endpoint_wants_says_nothing_of_the_key() -> None:
    assert refusal_of(-2015, "margin-read") is None, "a permission it was never given"
    assert refusal_of(-2008, "margin-read") == -2008
    assert refusal_of(-1022, "trade", as_signed=False) is None, "the bot's way to encode"
    assert refusal_of(-2010, "trade") is None


def test_only_changes_are_told_and_silence_changes_nothing() -> None:
    told: list[int] = []
    here = Wellbeing()
    here.on_change = lambda: told.append(1)
    here.heard("K", 200, None)
    assert (told, here.words([("a/trade/1", "K")])[0].code) == ([], 0)
    for _ in range(3):
        here.heard("K", 401, -2015)
    assert len(told) == 1
    here.heard("K", 500, -1000)
    here.heard("K", 429, -1003)
    assert here.words([("a/trade/1", "K")])[0].code == -2015
    here.heard("K", 400, -2010, group="trade", write=True)
    assert {word.code for word in here.words([("a/trade/1", "K")])} == {0}
    here.forget("K")
    assert here.words([("a/trade/1", "K")]) == ()
