"""A sale whose answer tells nothing may still be made until its receive window is over: till then it counts."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest

from broker.gateway.account_view import HOLDINGS_US, AccountView
from broker.gateway.sales import TAKEN_US, Sale
from clients.paper.faults import Fault
from clients.venues.binance.market import Holding
from tests.gateway.test_exits import account_of
from tests.gateway.test_followed import BIG, halt, limit, shared
from tests.gateway.test_replacements_under_way import REPLACE
from tests.gateway.test_slow_log import until
from tests.gateway.world import Answer, Bot, World, bots, running_world
from tests.paper.harness import held

pytestmark = [pytest.mark.sockets, pytest.mark.usefixtures("very_patient")]

NAME = "ETHBTC"
WIDE = BIG.replace('"ETHUSDT"]', '"ETHUSDT", "ETHBTC"]')
ORDER = "/api/v3/order"
UNTOLD = {"close": (0, 0), "-1006": (500, -1006), "-1007": (504, -1007), "503": (503, -1000)}
HALF = Decimal("0.5")


def lost(world: World, how: str, path: str = ORDER) -> None:
    """Let the exchange tell nothing of the next order, and not make it yet."""
    status, code = UNTOLD[how]
    kind = "close" if how == "close" else "error"
    world.paper.server.faults.append(Fault(kind, method="POST", path=path, status=status, code=code))


async def made_now(world: World, path: str = ORDER, **values: object) -> None:
    """Let the exchange make an order that it told nothing of."""
    key = world.paper.key("main@paper.test")
    status, body = (await world.paper.call("POST", path, key, **values))[:2]
    assert status == 200, body


def sale(quantity: str, name: str = "first") -> dict[str, object]:
    kind = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET"}
    return {**kind, "quantity": quantity, "newClientOrderId": name}


def windows_over(world: World) -> None:
    """The receive window of all that was sent is over."""
    for one in account_of(world)._sales:
        one.sent_us -= TAKEN_US


async def both_bought(world: World, one: Bot, two: Bot) -> None:
    for bot in (one, two):
        assert (await bot.order("BUY", "0.5")).status == 200
    await halt(world)


@pytest.mark.parametrize("how", list(UNTOLD))
async def test_who_tries_again_at_once_sells_nothing_of_anothers(tmp_path: Path, how: str) -> None:
    """The exchange made both: the second one out of the other bot's."""
    async with shared(tmp_path) as (world, one, two):
        await both_bought(world, one, two)
        lost(world, how)
        assert (await one.call("POST", ORDER, **sale("0.49"))).reason == "unknown_outcome"
        again = await one.order("SELL", "0.49")
        assert (again.status, again.reason) == (503, "holdings_unknown"), again
        await made_now(world, **sale("0.49"))
        assert (await two.order("SELL", "0.49")).status == 200


@pytest.mark.parametrize("how", list(UNTOLD))
async def test_nobody_waits_for_longer_than_its_window_and_others_for_nothing_that_is_theirs(
    tmp_path: Path, how: str
) -> None:
    """It is never made."""
    async with shared(tmp_path) as (world, one, two):
        await both_bought(world, one, two)
        lost(world, how)
        assert (await one.call("POST", ORDER, **sale("0.3"))).reason == "unknown_outcome"
        assert (await one.order("SELL", "0.19")).status == 200, "what it has beside that"
        assert (await two.order("SELL", "0.2")).status == 200, "its own"
        assert (await one.order("SELL", "0.3")).reason == "holdings_unknown"
        windows_over(world)
        assert (await one.order("SELL", "0.3")).status == 200
        assert (await two.order("SELL", "0.29")).status == 200


async def test_what_is_nobodys_waits_for_no_longer_either(tmp_path: Path) -> None:
    """What another bot may be selling is no definite no for it."""
    async with shared(tmp_path, "0.5") as (world, one, two):
        await halt(world)
        lost(world, "-1007")
        assert (await one.call("POST", ORDER, **sale("0.4"))).reason == "unknown_outcome"
        assert (await two.order("SELL", "0.1")).status == 200, "there is so much whatever became of it"
        assert (await two.order("SELL", "0.4")).reason == "holdings_unknown"
        windows_over(world)
        assert (await two.order("SELL", "0.4")).status == 200


async def test_what_was_found_out_ends_the_wait(tmp_path: Path) -> None:
    """It was made, and the exchange shows it: that is told as what it is."""
    async with shared(tmp_path) as (world, one, two):
        await both_bought(world, one, two)
        world.paper.server.faults.append(Fault("error-after", "POST", ORDER, status=504, code=-1007))
        assert (await one.call("POST", ORDER, **sale("0.49"))).reason == "unknown_outcome"
        await one.order("SELL", "0.49")  # whoever asks finds it
        assert (await one.order("SELL", "0.49")).reason == "halted"
        assert (await two.order("SELL", "0.49")).status == 200


@pytest.mark.parametrize("then", ["nothing", "another sale"])
async def test_nor_where_holdings_were_not_known_as_its_answer_came(tmp_path: Path, then: str) -> None:
    """What passes by its limits asks for none."""
    async with shared(tmp_path) as (world, one, two):
        for bot in (one, two):
            assert (await bot.order("BUY", "0.5")).status == 200
        account_of(world)._asked_us -= 2 * HOLDINGS_US
        lost(world, "close")
        assert (await one.call("POST", ORDER, **sale("0.45"))).reason == "unknown_outcome"
        if then == "another sale":
            assert (await one.order("SELL", "0.04")).status == 200
        await halt(world)
        assert (await one.order("SELL", "0.45")).reason == "holdings_unknown"
        await made_now(world, **sale("0.45"))
        assert (await two.order("SELL", "0.49")).status == 200


async def test_nor_where_the_old_order_may_not_be_cancelled_that_it_replaces(tmp_path: Path) -> None:
    async with shared(tmp_path) as (world, one, two):
        for bot in (one, two):
            assert (await bot.order("BUY", "1.0")).status == 200
        rests = await one.order("SELL", "0.3", **limit(world, "1.04"))
        lost(world, "-1007", REPLACE)
        how = {"cancelReplaceMode": "ALLOW_FAILURE", "cancelOrderId": rests.body["orderId"]}
        assert (await one.call("POST", REPLACE, **sale("0.6"), **how)).reason == "unknown_outcome"
        await halt(world)
        gone = await one.call("DELETE", ORDER, symbol="BTCUSDT", orderId=rests.body["orderId"])
        assert gone.status == 200
        assert (await one.order("SELL", "0.9")).reason == "holdings_unknown"
        await made_now(world, **sale("0.6"))
        assert (await two.order("SELL", "0.99")).status == 200


async def test_nor_where_it_is_a_list(tmp_path: Path) -> None:
    async with shared(tmp_path) as (world, one, two):
        await both_bought(world, one, two)
        path = "/api/v3/orderList/oco"
        values = {
            "symbol": "BTCUSDT", "side": "SELL", "quantity": "0.49", "aboveType": "LIMIT_MAKER",
            "abovePrice": limit(world, "1.02")["price"], "belowType": "STOP_LOSS",
            "belowStopPrice": limit(world, "0.97")["price"],
        }  # fmt: skip
        lost(world, "-1007", path)
        assert (await one.call("POST", path, **values)).reason == "unknown_outcome"
        assert (await one.order("SELL", "0.49")).reason == "holdings_unknown"
        await made_now(world, path, **values)
        assert (await two.order("SELL", "0.49")).status == 200


async def test_nor_where_it_is_what_a_purchase_pays(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0")
        one, two = await bots(world, "one", "two", policy=WIDE)
        assert (await two.order("BUY", "0.1", symbol="ETHUSDT")).status == 200
        for bot in (one, two):
            assert (await bot.order("BUY", "0.5")).status == 200
        assert (await two.order("BUY", "0.1", symbol=NAME)).status == 200, "the pair is known"
        lost(world, "-1007")
        buys = {"symbol": NAME, "side": "BUY", "type": "MARKET", "quantity": "9", "newClientOrderId": "first"}
        assert (await one.call("POST", ORDER, **buys)).reason == "unknown_outcome"
        await halt(world)
        assert (await one.order("SELL", "0.49")).reason == "holdings_unknown"
        await made_now(world, **buys)
        assert (await two.order("SELL", "0.49")).status == 200


@pytest.mark.parametrize("how", list(UNTOLD))
async def test_who_is_alone_tries_again_at_once(tmp_path: Path, how: str) -> None:
    """The exchange refuses what is not there."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0.5")
        (one,) = await bots(world, policy=BIG)
        await halt(world)
        lost(world, how)
        assert (await one.call("POST", ORDER, **sale("0.5"))).reason == "unknown_outcome"
        assert (await one.order("SELL", "0.5")).status == 200


async def test_one_that_hung_for_longer_than_its_window_waits_for_nothing_more(tmp_path: Path) -> None:
    async with shared(tmp_path) as (world, one, two):
        await both_bought(world, one, two)
        with held(world.paper, "POST", ORDER, times=1) as orders:
            first: asyncio.Task[Answer] = asyncio.create_task(one.call("POST", ORDER, **sale("0.49")))
            await until(lambda: bool(orders.waiting))
            windows_over(world)
            assert (await one.order("SELL", "0.49")).status == 200
            first.cancel()


def looked(free: str = "1") -> tuple[AccountView, SimpleNamespace, Callable[[int], Awaitable[None]]]:
    """Return an account of which holdings are known as of 100, its clock, and a way to ask for them."""
    clock = SimpleNamespace(now_us=200)
    clock.boot_us = lambda: clock.now_us

    async def signed(*_: object) -> bytes:
        return b'{"canTrade":true,"balances":[{"asset":"BTC","free":"%s","locked":"0"}]}' % free.encode()

    account = AccountView(SimpleNamespace(signed=signed), clock)  # type: ignore[arg-type]
    account._holdings, account._asked_us = {"BTC": Holding(Decimal(free), Decimal(0))}, 100

    async def ask(now_us: int) -> None:
        clock.now_us = now_us
        await account._fetch(None, None, "")  # type: ignore[arg-type]

    return account, clock, ask


def untold(account: AccountView) -> Sale:
    sold = account.sells("BTC", HALF, grant="one")
    sold.unsure = True
    account.landed(sold)
    return sold


async def test_it_is_taken_off_to_the_end_of_its_window_and_is_no_definite_no() -> None:
    account, _, ask = looked()
    sold = untold(account)
    for now_us in (300, sold.sent_us + TAKEN_US):
        await ask(now_us)
        assert (account.free("BTC"), account.perhaps("BTC", grant="two")) == (HALF, HALF), now_us
        assert account.free("BTC", alone=True) == 1, now_us
    await ask(sold.sent_us + TAKEN_US + 1)
    assert (account.free("BTC"), account.perhaps("BTC", grant="two")) == (1, 0)


async def test_those_whose_windows_are_over_are_not_kept_where_nobody_asks_for_holdings() -> None:
    account, clock, _ = looked()
    for number in range(10):
        clock.now_us = 10 * HOLDINGS_US + number * (TAKEN_US + 1)
        untold(account)
        assert len(account._sales) == 1


async def test_what_is_known_to_have_become_of_it_ends_that() -> None:
    for made in (True, False):
        account, _, ask = looked()
        sold = untold(account)
        if made:
            sold.found(250)
        else:
            sold.never()
        await ask(300)
        assert account.free("BTC") == 1
