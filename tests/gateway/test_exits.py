"""Exits pass whatever our own limits say, and only exits do: through a gateway, at an exchange."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.gate import Mode
from broker.gateway.account_view import AccountView
from broker.gateway.venue_view import VenueView
from broker.link import frames
from clients.paper.faults import Fault
from clients.venue import Credential
from clients.venues.binance import market
from tests.gateway.world import POLICY, Answer, Bot, World, running_world

pytestmark = pytest.mark.usefixtures("very_patient")

HOUR_US = 3_600_000_000
LIMIT = {"type": "LIMIT", "timeInForce": "GTC"}
ONLY_BTC = POLICY.replace('["BTCUSDT", "ETHUSDT"]', '["BTCUSDT"]')


def view_of(world: World) -> VenueView:
    (view,) = world.gateway.mounts.views.values()
    return view


def account_of(world: World) -> AccountView:
    (account,) = world.gateway.mounts._accounts.values()
    return account


async def halt(world: World) -> None:
    await world.cut("account:main", mode=Mode.HALT)


async def test_what_a_cancel_just_freed_can_be_sold_at_once(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="1")
        bot = world.bot()
        bound = await bot.order("SELL", "1", price="70000", **LIMIT)
        assert bound.status == 200, bound
        assert (await bot.order("SELL", "1")).code == -2010, "the exchange says it, and nobody else"
        freed = await bot.call("DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=bound.body["orderId"])
        assert freed.status == 200, freed
        gone = await bot.order("SELL", "1")
        assert (gone.status, Decimal(gone.body["executedQty"])) == (200, 1)


@pytest.mark.parametrize("halted", [False, True])
async def test_what_a_cancel_freed_can_be_sold_though_the_venue_shows_it_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, halted: bool
) -> None:
    """What was bought besides as well, in the same order. Old code: a definite no, though the exchange takes it."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="1")
        bot = world.bot()
        bound = await bot.order("SELL", "1", price="70000", **LIMIT)
        assert (await bot.order("BUY", "0.0101")).status == 200
        if halted:
            await halt(world)
        late = {"BTC": market.Holding(Decimal(0), Decimal(1))}
        monkeypatch.setattr("clients.venues.binance.market.parse_holdings", lambda _: late)
        freed = await bot.call("DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=bound.body["orderId"])
        assert freed.status == 200, freed
        gone = await bot.order("SELL", "1.01")
        assert (gone.status, Decimal(gone.body["executedQty"])) == (200, Decimal("1.01"))
        got = await bot.order("SELL", "5")
        assert (got.code, got.reason) == (-2010, None), "nobody ever had that much: the exchange says it"


async def test_what_a_buy_just_brought_can_be_sold_at_once(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        for _ in range(3):
            assert (await bot.order("SELL", "0.02")).code == -2010
            assert (await bot.order("BUY", "0.0101")).status == 200
            assert (await bot.order("BUY", "0.0101")).status == 200
            assert (await bot.order("SELL", "0.02")).status == 200


async def test_holdings_that_were_under_way_when_a_request_came_are_asked_for_again(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="1")
        bot = world.bot()
        bound = await bot.order("SELL", "1", price="70000", **LIMIT)
        account, fetched = account_of(world), 0
        fetch = account._fetch

        async def freeing(credential: Credential, *more: Any) -> None:
            nonlocal fetched
            fetched += 1
            await fetch(credential, *more)
            if fetched == 1:  # the answer was on its way: the order ends while it comes
                world.paper.exchange.engine.cancel(
                    world.paper.exchange.engine.orders[bound.body["orderId"]], world.paper.exchange.now_us()
                )
                account._asked_us -= 1_000_000

        account._fetch = freeing  # type: ignore[method-assign]
        assert (await bot.order("SELL", "1")).status == 200


async def test_an_old_price_refuses_no_exit_after_a_quiet_hour(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="2")
        bot = world.bot()
        assert (await bot.order()).status == 200
        view = view_of(world)
        await halt(world)
        view._used.clear()
        world.paper.exchange.symbols["BTCUSDT"].price = Decimal(40_000)
        view._prices["BTCUSDT"] = (Decimal(60_000), view._prices["BTCUSDT"][1] - HOUR_US)
        answer = await bot.order("SELL", "1", price="39000", **LIMIT)
        assert answer.status == 200, answer
        # and an old price that is wrong the other way lets nothing pass below the collar
        world.paper.exchange.symbols["BTCUSDT"].price = Decimal(60_000)
        view._prices["BTCUSDT"] = (Decimal(40_000), view._prices["BTCUSDT"][1] - HOUR_US)
        assert (await bot.order("SELL", "0.5", price="40000", **LIMIT)).reason == "collar"


FORMS: dict[str, dict[str, object]] = {
    "at once or not at all": {"type": "LIMIT", "timeInForce": "IOC", "price": "39000"},
    "a limit in another pair": {"symbol": "ETHUSDT", "price": "1950", **LIMIT},
}


@pytest.mark.parametrize("moved", ["fell", "rose"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_whatever_its_form_the_price_of_now_judges_an_exit(
    tmp_path: Path, form: dict[str, object], moved: str
) -> None:
    """Under a halt, after an hour in which the market fell by a third to just above the limit, or rose by a half."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="2", ETH="20")
        bot = world.bot()
        symbol = str(form.get("symbol", "BTCUSDT"))
        assert (await bot.order(symbol=symbol)).status == 200
        view = view_of(world)
        await halt(world)
        view._used.clear()
        low = Decimal(40_000) if symbol == "BTCUSDT" else Decimal(2_000)
        before, now = (low * 3 / 2, low) if moved == "fell" else (low, low * 3 / 2)
        world.paper.exchange.symbols[symbol].price = now
        view._prices[symbol] = (before, view._prices[symbol][1] - HOUR_US)
        answer = await bot.order("SELL", "1", **form)
        assert answer.reason == (None if moved == "fell" else "collar"), answer


@pytest.mark.parametrize("status", [418, 429])
async def test_a_pause_stops_no_sale_within_the_limits_nor_above(tmp_path: Path, status: int) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="2")
        bot = world.bot()
        assert (await bot.order()).status == 200
        view = view_of(world)
        view.meter.refused(status, 60.0, view._system.wall_us())
        within, above = await bot.order("SELL", "0.01"), await bot.order("SELL", "0.5")
        assert (within.status, above.status) == (200, 200), (within, above)
        assert (await bot.call("GET", "/api/v3/account")).status in {418, 429}
        buy = await bot.order()
        assert buy.status == status, "what opens new risk waits as reads do"


@pytest.mark.parametrize("path", ["/api/v3/account", "/api/v3/depth", "/api/v3/ticker/price"])
async def test_a_fact_that_cannot_be_had_refuses_no_exit(tmp_path: Path, path: str) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="2")
        bot = world.bot()
        assert (await bot.order()).status == 200
        world.paper.server.faults.append(Fault("error", path=path, times=1000, status=500))
        await halt(world)
        answer = await bot.order("SELL", "0.5")
        assert answer.status == 200, answer
        assert (await bot.order("BUY", "0.001")).reason == "halted"


@pytest.mark.parametrize(
    ("symbol", "quantity"), [("ETHBTC", "0.2"), ("ETHBTC", "30"), ("SOLUSDT", "1"), ("SOLUSDT", "900")]
)
async def test_what_is_sold_in_no_pair_of_the_policy_is_no_exit(
    tmp_path: Path, symbol: str, quantity: str
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", ETH="50", SOL="1000")
        bot = world.bot(policy=ONLY_BTC)
        assert (await bot.order("SELL", quantity, symbol=symbol)).reason == "symbol"
        await halt(world)
        assert (await bot.order("SELL", quantity, symbol=symbol)).reason == "halted"
        assert world.executed() == []


async def test_a_market_exit_above_the_caps_is_sized_against_the_book(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="9")
        bot = world.bot()
        _, depth = await world.paper.admin("POST", "depth", {"symbol": "BTCUSDT", "quote": "60000"})
        assert depth
        refused = await bot.order("SELL", "5")
        assert refused.reason == "exit_size", refused
        assert "0.999" in refused.body["msg"] or "1 BTC" in refused.body["msg"], refused
        for stop in ("59000", "57001"):  # may be filled at once, so it is no way around the book
            answer = await bot.order("SELL", "5", type="STOP_LOSS", stopPrice=stop)
            assert answer.reason == "exit_size", answer
        assert world.executed() == []
        assert (await bot.order("SELL", "0.9")).status == 200
        assert (await bot.order("SELL", "5", type="STOP_LOSS", stopPrice="50000")).status == 200


PROTECTS: dict[str, dict[str, str]] = {
    "stop-loss": {"type": "STOP_LOSS", "stopPrice": "50000"},
    "stop-loss limit": {
        "type": "STOP_LOSS_LIMIT", "stopPrice": "50000", "price": "49000", "timeInForce": "GTC",
    },
    "take-profit": {"type": "TAKE_PROFIT", "stopPrice": "80000"},
    "trailing": {"type": "STOP_LOSS", "trailingDelta": "200"},
    "limit": {"type": "LIMIT", "price": "80000", "timeInForce": "GTC"},
    "limit at the market": {"type": "LIMIT", "price": "59000", "timeInForce": "IOC"},
    "maker": {"type": "LIMIT_MAKER", "price": "70000"},
    "market": {"type": "MARKET"},
}  # fmt: skip
TIGHT = POLICY.replace("[day]", "market = false\nrate = {orders = 1, seconds = 3600}\n[day]").replace(
    '"10000"', '"1000"'
)


@pytest.mark.parametrize("more", PROTECTS.values(), ids=PROTECTS)
async def test_every_kind_of_sale_of_what_is_held_passes(tmp_path: Path, more: dict[str, str]) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="2")
        bot = world.bot(policy=TIGHT)
        # the day and the order rate are used up by it
        assert (await bot.order("BUY", "0.0165", price="60000", **LIMIT)).status == 200
        for _ in range(2):
            answer: Answer = await bot.order("SELL", "0.5", **more)
            assert answer.status == 200, answer
            await halt(world)


async def test_a_list_that_protects_passes_under_a_halt(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="2")
        bot: Bot = world.bot()
        await halt(world)
        answer = await bot.call(
            "POST", "/api/v3/orderList/oco", symbol="BTCUSDT", side="SELL", quantity="1.5",
            aboveType="LIMIT_MAKER", abovePrice="70000", belowType="STOP_LOSS", belowStopPrice="50000",
        )  # fmt: skip
        assert answer.status == 200, answer


async def test_observed_or_not_no_replacement_buys_under_a_halt(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot(policy='mode = "observe"\n' + POLICY)
        await halt(world)
        answer = await bot.call(
            "POST", "/api/v3/order/cancelReplace", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01",
            cancelReplaceMode="ALLOW_FAILURE", cancelOrderId="404",
        )  # fmt: skip
        assert answer.status != 200, answer
        assert world.executed() == []


async def test_a_sale_sized_in_quote_passes(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="2")
        bot = world.bot()
        await halt(world)
        sale = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET"}
        answer = await bot.call("POST", "/api/v3/order", **sale, quoteOrderQty="60000")
        assert answer.status == 200, answer
        assert (await bot.call("POST", "/api/v3/order", **sale, quoteOrderQty="90000")).code == -2010


async def test_under_a_halt_own_orders_shrink_and_are_replaced_by_exits_only(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="1")
        bot = world.bot()
        old = await bot.order("SELL", "1", price="70000", **LIMIT)
        await halt(world)
        which = {"symbol": "BTCUSDT", "orderId": old.body["orderId"]}
        amended = await bot.call("PUT", "/api/v3/order/amend/keepPriority", **which, newQty="0.9")
        assert amended.status == 200, amended
        replaced = {"symbol": "BTCUSDT", "cancelReplaceMode": "STOP_ON_FAILURE",
                    "cancelOrderId": old.body["orderId"], "type": "MARKET", "quantity": "0.8"}  # fmt: skip
        buys = await bot.call("POST", "/api/v3/order/cancelReplace", **replaced, side="BUY")
        assert buys.reason == "halted", buys
        sells = await bot.call("POST", "/api/v3/order/cancelReplace", **replaced, side="SELL")
        assert sells.status == 200, sells


async def test_budget_that_cannot_be_lent_stops_no_exit(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="2")
        bot = world.bot()
        assert (await bot.order()).status == 200
        send = world.gateway.link._channel.send

        def deaf(frame: frames.Frame) -> None:
            if isinstance(frame, frames.AskSlice):
                answer = world.gateway.link._asking.answer
                asyncio.get_running_loop().call_soon(answer, frames.AskFailed(frame.ask))
            else:
                send(frame)

        world.gateway.link._channel.send = deaf  # type: ignore[method-assign]
        while not world.gateway.link._asking.budget.idle:  # noqa: ASYNC110 - nothing tells that a refill is over
            await asyncio.sleep(0.01)
        for standing in world.gateway.book.standing.values():
            standing.purse.close(0, everything=True)
        assert (await bot.order("SELL", "0.01")).status == 200
        assert (await bot.order("SELL", "0.5")).status == 200
        assert (await bot.order("BUY", "0.01")).reason == "budget_unknown"
        world.gateway.link._channel.send = send  # type: ignore[method-assign]


async def test_a_loop_of_sales_of_what_is_not_there_gets_nobody_banned(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="1")
        bot = world.bot()
        assert (await bot.order()).status == 200
        view = view_of(world)
        view.meter.refused(429, 600.0, view._system.wall_us())
        asked = len(world.paper.exchange.requests)
        for _ in range(60):
            assert (await bot.order("SELL", "5")).status != 200
        assert len(world.paper.exchange.requests) - asked < 60
        assert (await bot.order("SELL", "0.5")).status == 200


async def test_what_was_just_bought_is_left_though_the_venue_shows_it_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Balances lag behind executions at a busy venue: what it told of the orders themselves counts."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        await bot.ready()
        monkeypatch.setattr("clients.venues.binance.market.parse_holdings", lambda _: {})
        for _ in range(3):
            assert (await bot.order("BUY", "0.0101")).status == 200
        assert (await bot.order("SELL", "0.05")).code == -2010
        assert (await bot.order("SELL", "0.03")).status == 200
        assert (await bot.order("SELL", "0.03")).code == -2010


@pytest.mark.parametrize("kind", ["MARKET", "LIMIT"])
async def test_a_market_that_falls_this_second_is_left_at_its_price_of_now(tmp_path: Path, kind: str) -> None:
    """The last price is fresh by its age, and wrong: the market is 20 % below it already."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="2")
        bot = world.bot()
        assert (await bot.order()).status == 200
        exchange, view = world.paper.exchange, view_of(world)
        view._used.clear()  # nothing asks for it by and by
        exchange.engine.set_price(exchange.symbols["BTCUSDT"], Decimal(48_000), exchange.now_us())
        view._prices["BTCUSDT"] = (Decimal(60_000), view._system.boot_us())
        more = {} if kind == "MARKET" else LIMIT | {"price": "47900"}
        assert (await bot.order("SELL", "1", **{"type": kind} | more)).status == 200
        refused = await bot.order("SELL", "0.5", price="45000", **LIMIT)
        assert refused.reason == "collar", "and no further below than the collar"
