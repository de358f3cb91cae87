"""While the exchange asks to wait nothing of ours makes it longer, and bots are told that, not something else."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.gateway import limits
from broker.gateway.limits import MINUTE_US, Need, Pause, WeightMeter
from broker.gateway.process import Gateway
from broker.gateway.venue_view import WARM_US
from broker.link import frames
from broker.link.frames import Frame
from clients.paper.faults import Fault
from clients.venue import OrderRef
from clients.venues.binance import market
from tests.gateway.test_refused_keys import until
from tests.gateway.world import POLICY, Bot, World, running_world

S = 1_000_000
MOST = 100_000
LIMIT = {"type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}


def play(world: World, path: str | None = None, **more: Any) -> Fault:
    fault = Fault("error", path=path, times=MOST, **more)
    world.paper.server.faults.append(fault)
    return fault


def played(fault: Fault) -> int:
    return MOST - fault.times


def deaf(gateway: Gateway, kind: type[Frame]) -> None:
    """Frames of this kind never reach the broker."""
    channel = gateway.link._channel
    send = channel.send

    def passing(frame: Frame) -> None:
        if not isinstance(frame, kind):
            send(frame)

    channel.send = passing  # type: ignore[method-assign]


def view_of(world: World) -> Any:
    (view,) = world.gateway.mounts.views.values()
    return view


async def traded(world: World, **more: Any) -> Bot:
    """Return a bot that bought something, so that everything about its pair is known."""
    world.account(USDT="100000", BTC="3")
    bot = world.bot(**more)
    bought = await bot.order()
    for _ in range(20):
        if bought.status != 503:  # a busy machine: the broker had no time for it yet
            break
        bought = await bot.order()
    assert bought.status == 200, bought
    return bot


async def test_a_ban_is_not_prolonged_by_calls_of_our_own(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await traded(world)
        view = view_of(world)
        fault = play(world, status=418, code=-1003)
        held = next(iter(world.gateway.book.by_lease.values()))
        credential, account = (
            world.gateway.book.material[held.key_text],
            world.gateway.mounts.account_of(held),
        )
        own: dict[str, Callable[[], Any]] = {
            "price": lambda: view.fetch_prices(("BTCUSDT",)),
            "pair": lambda: view.fetch_pair("ETHUSDT"),
            "clock": view.fetch_time,
            "holdings": lambda: account.fetch(credential),
            "settlement": lambda: account.fetch_order(credential, OrderRef("BTCUSDT", "1")),
            "list": lambda: account.fetch_list(credential, OrderRef("BTCUSDT", "1", is_list=True)),
            "canary": lambda: view.signed(credential, market.holdings(), 20),
        }
        with pytest.raises(Exception, match="venue_pause"):
            await own["price"]()
        assert played(fault) == 1
        for name, ask in own.items():
            with pytest.raises(Exception, match="venue_pause"):
                await ask()
            assert played(fault) == 1, name
        tasks = [asyncio.ensure_future(view.keep_warm()) for _ in range(20)]
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        assert played(fault) == 1, f"what keeps prices warm every {WARM_US} us asks too"


async def test_an_exit_is_tried_during_a_ban_and_all_else_gets_the_ban_itself(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        bot = await traded(world)
        placed = await bot.order(price="59000", **LIMIT)
        fault = play(world, status=418, code=-1003, retry_after="300")
        reads = [await bot.call("GET", "/api/v3/account") for _ in range(3)]
        assert [read.status for read in reads] == [418] * 3
        assert played(fault) == 1
        for refused in (reads[-1], await bot.order(), await bot.order(symbol="ETHUSDT", quantity="0.1")):
            assert (refused.status, refused.code, refused.reason) == (418, -1003, "venue_banned")
            assert 240 < int(refused.headers["retry-after"]) <= 300
        assert played(fault) == 1, (
            "nor is a pair or a price asked for on behalf of an order that opens something"
        )
        cancel = {"symbol": "BTCUSDT", "orderId": placed.body["orderId"]}
        await bot.call("DELETE", "/api/v3/order", **cancel)
        assert played(fault) == 2
        world.paper.server.faults.clear()
        gone = await bot.call("DELETE", "/api/v3/order", **cancel)
        assert gone.status == 200, gone


@pytest.mark.parametrize("words", [{"retry_after": "240"}, {"text": "IP banned until {}. Please"}])
async def test_a_ban_lasts_as_long_as_the_exchange_says(tmp_path: Path, words: dict[str, str]) -> None:
    async with running_world(tmp_path) as world:
        bot = await traded(world)
        until_ms = world.gateway.clock.wall_us() // 1000 + 240_000
        play(world, status=418, code=-1003, **{name: text.format(until_ms) for name, text in words.items()})
        answer = await bot.call("GET", "/api/v3/account")
        assert answer.status == 418
        assert 180 < (view_of(world).meter.order_pause_s(world.gateway.clock.wall_us()) or 0) <= 241


async def test_too_many_orders_of_one_account_do_not_stop_the_others(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        bot = await traded(world)
        world.paper.exchange.limits.orders_10s = 0
        refused = await bot.order(quantity="0.001")  # of what is lent already: a busy broker is another test
        assert (refused.status, refused.code) == (429, -1015), refused
        assert (await bot.call("GET", "/api/v3/account")).status == 200


async def test_a_429_of_one_sapi_endpoint_stops_that_one_alone(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        bot = await traded(world)
        path = "/sapi/v1/asset/tradeFee"
        fault = play(world, path, status=429, code=-1003, retry_after="60")
        assert [(await bot.call("GET", path)).status for _ in range(3)] == [429] * 3
        assert played(fault) == 1
        assert (await bot.call("GET", "/api/v3/account")).status == 200


# --- facts that cannot be had are told as what they are -------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code"), [(500, -1000), (503, -1000), (400, -1000), (403, -1002), (404, -1)]
)
async def test_a_pair_that_could_not_be_looked_up_is_no_invalid_symbol(
    tmp_path: Path, status: int, code: int
) -> None:
    async with running_world(tmp_path) as world:
        bot = await traded(world)
        play(world, "/api/v3/exchangeInfo", status=status, code=code)
        refused = await bot.order(symbol="ETHUSDT", quantity="0.1")
        assert (refused.status, refused.body, refused.reason) == (503, None, "pair_unknown")
        world.paper.server.faults.clear()
        assert (await bot.order(symbol="ETHUSDT", quantity="0.1")).status == 200, "and it is asked for again"


async def test_a_pair_that_the_exchange_does_not_know_is_an_invalid_symbol(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot(policy=POLICY.replace('"ETHUSDT"', '"NOSUCHUSDT"'))
        refused = await bot.order(symbol="NOSUCHUSDT")
        assert (refused.status, refused.code) == (400, -1121)


async def test_a_price_that_could_not_be_had_is_no_refusal_of_the_policy(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        play(world, "/api/v3/ticker/price", status=500)
        refused = await bot.order()
        assert (refused.status, refused.body, refused.reason) == (503, None, "no_reference_price")


async def test_a_pause_is_told_where_a_price_is_missing_for_it(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        fault = play(world, "/api/v3/ticker/price", status=429, code=-1003, retry_after="333")
        for _ in range(3):
            refused = await bot.order()
            assert (refused.status, refused.code, refused.reason) == (429, -1003, "venue_weight")
            assert 270 < int(refused.headers["retry-after"]) <= 334
        assert played(fault) == 1


async def test_a_budget_that_could_not_be_lent_is_an_outage(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        bot = await traded(world)
        held = next(iter(world.gateway.book.by_lease.values()))
        deaf(world.gateway, frames.AskSlice)
        await until(lambda: world.gateway.link._asking.budget.idle)
        held.standing.purse.close(world.gateway.clock.boot_us(), everything=True)
        refused = await bot.order()
        assert (refused.status, refused.body, refused.reason) == (503, None, "budget_unknown")


async def test_a_budget_that_is_used_up_is_the_policys_no(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        bot = await traded(world, policy=POLICY.replace('"10000"', '"1000"'))
        refused = await bot.order()
        assert (refused.status, refused.code, refused.reason) == (400, -2010, "day_notional")


@pytest.mark.parametrize("silent", ["broker", "venue"])
async def test_an_owner_that_could_not_be_asked_is_no_unknown_order(tmp_path: Path, silent: str) -> None:
    """On a shared account: the only grant of one may cancel what is there, whoever placed it."""
    async with running_world(tmp_path) as world:
        bot = await traded(world)
        world.bot("other")
        _, foreign = await world.paper.admin(
            "POST", "orders/foreign",
            {"account": "main@paper.test", "symbol": "BTCUSDT", "side": "BUY", "quantity": "0.01", "price": "50000"},
        )  # fmt: skip
        if silent == "broker":
            deaf(world.gateway, frames.OwnerQuery)
        else:
            play(world, "/api/v3/order", status=500)
        refused = await bot.call("DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=foreign["orderId"])
        assert (refused.status, refused.body, refused.reason) == (503, None, "owner_unknown")


async def test_an_order_that_is_not_there_is_an_unknown_order(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        bot = await traded(world)
        refused = await bot.call("DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=999_999)
        assert (refused.status, refused.code) == (400, -2011)


# --- the meter --------------------------------------------------------------------------------------------


def test_a_ban_stops_all_but_exits_and_a_429_what_can_wait() -> None:
    meter = WeightMeter()
    meter.refused(429, 30, 5 * S)
    assert [meter.pause(need, "ip", 1, 6 * S) for need in Need] == [Pause(30), Pause(30), None]
    assert meter.banned(6 * S) is None
    assert meter.told_to_wait("ip", 6 * S) == Pause(30)
    assert meter.told_to_wait("sapi-ip:/x", 6 * S) is None, "each of those counts by itself"
    meter.refused(418, 10, 7 * S)
    assert [meter.pause(need, "sapi-ip:/x", 1, 8 * S) for need in Need] == [
        Pause(10, True),
        Pause(10, True),
        None,
    ]
    assert meter.pause(Need.READ, "ip", 1, 18 * S) == Pause(18), "a shorter word later takes nothing back"


def test_the_last_of_a_minute_is_kept_for_exits() -> None:
    meter = WeightMeter()
    meter.spend("ip", 4801, 5 * S)
    assert meter.pause(Need.READ, "ip", 1, 5 * S) is not None
    assert meter.pause(Need.RISK, "ip", 1, 5 * S) is None
    meter.spend("ip", 900, 5 * S)
    assert meter.pause(Need.RISK, "ip", 1, 5 * S) is not None
    assert isinstance(meter.admit(Need.EXIT, "ip", 1, 5 * S), limits.Permit)
    assert meter.pause(Need.RISK, "ip", 1, MINUTE_US) is None


def test_a_call_of_our_own_that_does_not_ask_cannot_be_written() -> None:
    """One place sends, and only the meter makes what it needs for that."""
    senders, makers = set(), set()
    for path in Path(limits.__file__).parent.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "pool.ask(" in text:
            senders.add(path.name)
        if "Permit()" in text:
            makers.add(path.name)
    assert (senders, makers) == ({"venue_view.py"}, {"limits.py"})
