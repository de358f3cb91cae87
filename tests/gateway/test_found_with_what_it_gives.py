"""No order has its id on record before what it may give: where nobody heard its answer, whoever finds it tells both."""

from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import select

from broker.db import log_tables as t
from broker.gateway.fills import RecentFills
from broker.gateway.owners import Owners
from broker.gateway.reported import UNTOLD, shown
from broker.gateway.sent import Sent
from clients.paper.faults import Fault
from clients.wire import OrderState
from tests.gateway.test_followed import limit, shared
from tests.gateway.test_found_later import halted_everywhere, lose_a_reply, until
from tests.gateway.test_fresh_gateway import gateway_at
from tests.gateway.test_paid import NAME, WIDE
from tests.gateway.world import Answer, Bot, World, bots, running_world, served


def of_sent(world: World, quantity: str) -> list[tuple[str | None, list[str]]]:
    """Return of each order of a size its id on record, and the names under which rows say what it gives."""
    with world.service.desk.database.log.read() as connection:
        sent = connection.execute(
            select(t.SENT_ORDERS.c.known_as).where(t.SENT_ORDERS.c.quantity == quantity)
        )
        rows = connection.execute(select(t.FILLS.c.symbol, t.FILLS.c.order_id)).all()
        ids = [one.known_as for one in sent]
        return [(one, sorted(row.symbol for row in rows if one == f"#{row.order_id}")) for one in ids]


def without_limit(world: World, kind: str) -> dict[str, str]:
    price = world.paper.exchange.symbols[NAME].price
    at = {share: str((price * share / 100).quantize(price)) for share in (97, 103)}
    return {
        "stop": {"type": "STOP_LOSS", "stopPrice": at[103]},
        "take": {"type": "TAKE_PROFIT", "stopPrice": at[97]},
        "trail": {"type": "STOP_LOSS", "trailingDelta": "200"},
    }[kind]


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("kind", ["stop", "take", "trail"])
async def test_a_purchase_without_a_limit_that_the_next_start_finds_gives_what_it_may_pay(
    tmp_path: Path, kind: str
) -> None:
    """Its row said what it buys and none what it pays: another bot's stock was sold in a halt."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0")
        one, two = await bots(world, "one", "two", policy=WIDE)
        for bot in (one, two):
            assert (await bot.order("BUY", "0.5006")).status == 200
        async with gateway_at(world, tmp_path / "edge") as port:
            bot = Bot(port, one.key_id, one.secret)
            await bot.ready()
            lose_a_reply(world)
            got = await bot.order("BUY", "4", symbol=NAME, **without_limit(world, kind))
            assert got.status != 200
        async with gateway_at(world, tmp_path / "edge") as port:
            bot = Bot(port, one.key_id, one.secret)
            await bot.ready()
            await until(lambda: any(known for known, _ in of_sent(world, "4")))
            assert [rows for _, rows in of_sent(world, "4")] == [[NAME, f"{NAME}>"]]
            await halted_everywhere(world)
            for asks in (bot, one):
                assert (await asks.order("SELL", "0.35")).status in {401, 503}
            got = await served(lambda: bot.order("SELL", "0.08"))
            assert got.status == 200, "the rest of its own leaves"
            assert (await two.order("SELL", "0.5")).status == 200


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize(
    "names", ["a cancel that fails", "a replacement that a halt refuses", "a refused amendment"]
)
async def test_a_sale_that_its_bot_names_is_on_record_with_what_it_offers(tmp_path: Path, names: str) -> None:
    """It was asked about whose it is; what it offers was on record with the next settling only, or never."""
    async with shared(tmp_path) as (world, one, two):
        for bot in (one, two):
            assert (await bot.order("BUY", "0.5006")).status == 200
        await until(lambda: not world.gateway.spool.waiting)
        async with gateway_at(world, tmp_path / "edge") as port:
            bot = Bot(port, one.key_id, one.secret)
            await bot.ready()
            lose_a_reply(world)
            got = await bot.order("SELL", "0.45", newClientOrderId="mine", **limit(world, "1.04"))
            assert got.status != 200
            await halted_everywhere(world)
            await served(lambda: named(world, bot, names))
            await until(lambda: any(known for known, _ in of_sent(world, "0.45")))
            assert [rows for _, rows in of_sent(world, "0.45")] == [["BTCUSDT"]]
            assert (await one.order("SELL", "0.45")).status in {401, 503}, "at another gateway"
        async with gateway_at(world, tmp_path / "edge") as port:
            bot = Bot(port, one.key_id, one.secret)
            await bot.ready()
            assert (await bot.order("SELL", "0.45")).status in {401, 503}, "after the next start"
        assert (await two.order("SELL", "0.45")).status == 200


async def named(world: World, bot: Bot, how: str) -> Answer:
    """Name the order in a request that changes nothing."""
    faults, order = world.paper.server.faults, {"symbol": "BTCUSDT"}
    if how == "a cancel that fails":
        faults.append(Fault("error", "DELETE", "/api/v3/order", times=1))
        got = await bot.call("DELETE", "/api/v3/order", **order, origClientOrderId="mine")
    elif how == "a replacement that a halt refuses":
        got = await bot.call(
            "POST", "/api/v3/order/cancelReplace", **order, side="BUY", type="MARKET", quantity="0.1",
            cancelReplaceMode="STOP_ON_FAILURE", cancelOrigClientOrderId="mine",
        )  # fmt: skip
    else:
        faults.append(Fault("error", "PUT", "/api/v3/order/amend", status=400, code=-2038, times=1))
        got = await bot.call(
            "PUT", "/api/v3/order/amend/keepPriority", **order, origClientOrderId="mine", newQty="0.44"
        )
    faults.clear()
    return got


def purchase(**more: object) -> Sent:
    fields = {
        "number": 7, "grant": "one", "account": "main", "symbol": NAME, "name": "mine", "side": "BUY",
        "quantity": Decimal(9), "price": Decimal(0), "sent_us": 1_000_000, "until_us": 2_000_000, "base": "ETH",
        "quote": "BTC", "boot": "before", "asked": 3,
    } | more  # fmt: skip
    return Sent(**fields)  # type: ignore[arg-type]


AT_THE_VENUE = OrderState(
    NAME, "10", "mine", final=False, executed_quote=Decimal(0), executed_base=Decimal(0), side="BUY",
    quantity=Decimal(9), price=Decimal(0), created_us=1_500_000,
)  # fmt: skip


def paid(sent: Sent, state: OrderState = AT_THE_VENUE) -> list[tuple[Decimal, str]]:
    return [(one.left, one.listed) for one in shown(sent, state) if one.base == "BTC"]


@pytest.mark.parametrize(
    ("sent", "told", "left"),
    [
        (purchase(), {}, -UNTOLD),
        (purchase(), {"trigger": Decimal("0.06")}, -UNTOLD),
        (purchase(market=Decimal("0.05")), {}, Decimal("-0.9")),
        (purchase(market=Decimal("0.05")), {"trigger": Decimal("0.06")}, Decimal("-0.54")),
        (purchase(market=Decimal("0.05")), {"trigger": Decimal("0.04")}, Decimal("-0.45")),
        (purchase(), {"executed_base": Decimal(9), "executed_quote": Decimal("0.5"), "final": True}, Decimal(0)),
    ],
)  # fmt: skip
def test_what_a_found_purchase_without_a_limit_may_pay(
    sent: Sent, told: dict[str, object], left: Decimal
) -> None:
    values = {name: getattr(AT_THE_VENUE, name) for name in OrderState.__struct_fields__}
    assert [one for one, _ in paid(sent, OrderState(**values | told))] == [left]


def test_what_it_waits_for_is_no_reason_for_a_no_where_no_bound_is_known() -> None:
    values = {name: getattr(AT_THE_VENUE, name) for name in OrderState.__struct_fields__}
    state = OrderState(**values | {"list_id": "5", "waits": True})
    assert paid(purchase(waits=True, grouped=True), state) == [(-UNTOLD, "5")]
    assert paid(purchase(waits=True, grouped=True, market=Decimal("0.05")), state) == [
        (Decimal("-0.9"), "5/1")
    ]


def test_an_order_that_is_only_looked_at_takes_nothing_from_what_was_told() -> None:
    assert paid(purchase(sent_us=0)) == []


def test_a_bound_that_comes_later_is_the_better_one() -> None:
    recent, sent = RecentFills(), purchase()
    recent.learn(sent, AT_THE_VENUE)
    sent.market = Decimal("0.05")
    assert [fill[-1] for fill in recent.learn(sent, AT_THE_VENUE)] == ["-0.90"]
    sent.market = None
    assert recent.learn(sent, AT_THE_VENUE) == ()
    assert [(fill[1], fill[-1]) for fill in recent.told_of(sent, AT_THE_VENUE)] == [
        (NAME, "9"),
        (f"{NAME}>", "-0.90"),
    ]


def test_an_order_of_which_nobody_knows_what_it_trades_is_not_found() -> None:
    owners, told = Owners(), list[tuple[Sent, OrderState | None]]()
    owners.on_found = lambda *what: told.append(what)
    sent = purchase()
    owners.waiting.add(sent)
    owners.is_known = lambda *_: False
    assert owners.identify("main", AT_THE_VENUE) is None
    assert owners.find("main", NAME, "#10") is None
    assert owners.waiting.named(sent.place) == (sent,)
    owners.is_known = lambda *_: True
    assert owners.identify("main", AT_THE_VENUE) is sent
    assert told == [(sent, AT_THE_VENUE)]


@pytest.mark.parametrize("size", [None, Decimal(0)])
def test_what_the_venue_does_not_say_the_size_of_is_not_told_as_over(size: Decimal | None) -> None:
    values = {name: getattr(AT_THE_VENUE, name) for name in OrderState.__struct_fields__}
    state = OrderState(**values | {"quantity": size, "waits": True, "side": "SELL"})
    looked_at = purchase(quantity=None, side="SELL", sent_us=0)
    assert not list(shown(looked_at, state))
    assert RecentFills().learn(looked_at, state) == ()
    assert next(one.left for one in shown(purchase(side="SELL"), state)) == -9
    over = OrderState(**values | {"quantity": size, "final": True})
    assert next(one.left for one in shown(looked_at, over)) == 0


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
async def test_a_sale_of_what_a_purchase_will_bring_is_offered_once_another_gateway_looked_at_it(
    tmp_path: Path,
) -> None:
    """The exchange says no size of it before: it was told as over, and another bot's stock was sold beside it."""

    def rows() -> list[tuple[str, str]]:
        with world.service.desk.database.log.read() as connection:
            found = connection.execute(
                select(t.FILLS.c.side, t.FILLS.c.open).where(t.FILLS.c.listed.is_not(None))
            )
            return sorted((row.side, row.open) for row in found)

    async with shared(tmp_path) as (world, one, two):
        assert (await two.order("BUY", "0.5006")).status == 200
        async with gateway_at(world, tmp_path / "edge") as port:
            bot = Bot(port, one.key_id, one.secret)
            await bot.ready()
            below, above = limit(world, "0.98"), limit(world, "1.04")
            got = await bot.call(
                "POST", "/api/v3/orderList/opo", symbol="BTCUSDT", workingType="LIMIT", workingSide="BUY",
                workingPrice=below["price"], workingQuantity="0.5", workingTimeInForce="GTC", pendingType="LIMIT",
                pendingSide="SELL", pendingPrice=above["price"], pendingTimeInForce="GTC",
            )  # fmt: skip
            assert got.status == 200
            await until(lambda: len(rows()) > 1)
        await halted_everywhere(world)
        assert (await one.order("SELL", "0.1")).status in {401, 503}, "it has none; the order is looked at"
        await until(lambda: not world.gateway.spool.waiting)
        exchange = world.paper.exchange
        exchange.engine.set_price(exchange.symbols["BTCUSDT"], Decimal(below["price"]) - 1, exchange.now_us())
        assert (await one.order("SELL", "0.45")).status in {401, 503}, "it offers what it bought"
        assert all(row[1] != "0" for row in rows() if row[0] == "SELL")
        assert (await two.order("SELL", "0.5")).status == 200
