"""What orders move of the asset that their pair is quoted in counts as what they move of its base does."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.gateway.fees import Fees
from broker.gateway.fills import RecentFills
from broker.gateway.followed import Asset, Followed
from broker.gateway.limits import Need
from broker.gateway.reported import UNTOLD, Placed, paid_at_most
from broker.gateway.resting import Resting
from broker.gateway.sent import Sent
from broker.gateway.settlement import Reservation, Settlement
from broker.paid import is_paid, paid_in, pair_of
from clients.paper.faults import Fault
from clients.venue import SymbolInfo
from clients.wire import Answer, OrderState
from tests.gateway.test_followed import BIG, halt
from tests.gateway.test_fresh_gateway import gateway_at
from tests.gateway.test_slow_log import until
from tests.gateway.test_taken_off_once import answered_late
from tests.gateway.world import Bot, bots, running_world

NAME, PAID = "ETHBTC", "ETHBTC>"
PAIRS = {NAME: SymbolInfo(NAME, "ETH", "BTC")}
WIDE = BIG.replace('"ETHUSDT"]', '"ETHUSDT", "ETHBTC"]')
ZERO = Decimal(0)


def sent(side: str = "BUY", quantity: str | None = "10", price: str = "0.05", **more: Any) -> Sent:
    size = None if quantity is None else Decimal(quantity)
    given = {"order_id": "7", "base": "ETH", "quote": "BTC"} | more
    return Sent(1, "grt", "main", NAME, "x", side, size, Decimal(price), 1, 2, **given)


def state(
    executed: str | None, quote: str | None, *, final: bool = False, side: str = "BUY", **more: Any
) -> OrderState:
    given = {"quantity": Decimal(10), "price": Decimal("0.05")} | more
    return OrderState(
        NAME, "7", "x", final, None if quote is None else Decimal(quote),
        None if executed is None else Decimal(executed), side=side, **given,
    )  # fmt: skip


def took(one: Sent, told: OrderState, money: str = "USDT") -> tuple[RecentFills, list[tuple[str, ...]]]:
    recent = RecentFills()
    answer = Answer(refused=False, unknown=False, orders=(told,))
    fills = recent.take("main", "grt", Placed((one,), money=money), answer, PAIRS, lambda *_: None)
    return recent, [fill[1:] for fill in fills if is_paid(fill[1])]


FEES = (("BTC", Decimal("0.0005")),)
ANSWERS: dict[str, tuple[Sent, OrderState, tuple[str, str, str]]] = {
    "a purchase that rests": (sent(), state("0", "0"), ("SELL", "0", "0.50")),
    "one in part": (sent(), state("4", "0.19"), ("SELL", "0.19", "0.30")),
    "one that is over": (sent(), state("10", "0.45", final=True), ("SELL", "0.45", "0")),
    "one that came to nothing": (sent(), state("0", "0", final=True), ("SELL", "0", "0")),
    "one at the market, acknowledged": (
        sent(price="0", market=Decimal("0.05")),
        state(None, None, price=None, quantity=None),
        ("SELL", "0", "-1.00"),
    ),
    "one that is sized in quote, acknowledged": (
        sent(quantity=None, price="0", spends=Decimal("0.4")),
        state(None, None, price=None, quantity=None),
        ("SELL", "0", "0.4"),
    ),
    "one that waits": (sent(waits=True), state("0", "0", waits=True), ("SELL", "0", "-0.50")),
    "one of which nobody said for how much": (sent(), state("10", None, final=True), ("SELL", "0", "-0.50")),
    "one that waits for a price": (
        sent(price="0", market=Decimal("0.05"), trigger=Decimal("0.051")),
        state("0", "0", price=None),
        ("SELL", "0", "-0.510"),
    ),
    "one that follows the market": (
        sent(price="0", market=Decimal("0.05"), trigger=ZERO),
        state("0", "0", price=ZERO),
        ("SELL", "0", "-0.50"),
    ),
    "one of which no price is known": (
        sent(price="0"),
        state("0", "0", price=None),
        ("SELL", "0", str(-UNTOLD)),
    ),
    "a sale that waits for a price": (
        sent("SELL", price="0", market=Decimal("0.05"), trigger=Decimal("0.049")),
        state("0", "0", side="SELL", price=None),
        ("BUY", "0", "1.0E-7"),
    ),
    "a sale": (sent("SELL"), state("10", "0.51", final=True, side="SELL"), ("BUY", "0.51", "0")),
    "a sale and its fee": (
        sent("SELL"),
        state("10", "0.5", final=True, side="SELL", fees=FEES),
        ("BUY", "0.499500000000", "0"),
    ),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_an_answer_tells_of_both_assets(what: str) -> None:
    one, told, (side, executed, left) = ANSWERS[what]
    recent, paid = took(one, told)
    assert [row[:4] for row in paid] == [(PAID, "7", "BTC", side)]
    assert tuple(map(Decimal, paid[0][4:])) == (Decimal(executed), Decimal(left))
    known = recent.known(("main", NAME, "7"))
    assert known is not None
    assert known.base == "ETH", "and of the base, as before"


def test_who_reads_an_order_that_has_no_limit_says_nothing_of_what_it_pays() -> None:
    """Else what it may pay would be forgotten by looking at it, and sold once more."""
    one = sent(price="0", market=Decimal("0.05"), trigger=Decimal("0.051"))
    shows = state("0", "0", price=ZERO)
    recent, _ = took(one, shows)
    known = recent.known(("main", PAID, "7"))
    read = Answer(refused=False, unknown=False, orders=(shows,))
    told = recent.take("main", "grt", Placed(money="USDT"), read, PAIRS, lambda *_: "grt")
    assert [fill[1] for fill in told] == [NAME]
    assert recent.learn(sent(price="0"), shows) == ()
    assert recent.known(("main", PAID, "7")) == known


def test_what_a_policy_counts_in_is_no_stock() -> None:
    assert took(sent(), state("10", "0.45", final=True), money="BTC")[1] == []


def test_it_is_taken_off_and_added_where_the_broker_is_silent() -> None:
    recent, _ = took(sent(), state("4", "0.19"))
    recent.keep(("main", "BTCUSDT", "1"), "grt", "BTC", "BUY", Decimal("0.6"), ZERO)
    assert recent.seen_of("main", "grt", "BTCUSDT", "BTC", "").own == Decimal("0.11"), (
        "0.19 paid and 0.3 bound"
    )
    assert not recent.seen_of("main", "grt", NAME, "BTC", "").bought_here
    later = recent.learn(sent(), state("4", "0.19", final=True))
    assert [fill[1] for fill in later] == [NAME, PAID]
    assert recent.seen_of("main", "grt", "BTCUSDT", "BTC", "").own == Decimal("0.41")
    sale = sent("SELL", order_id="8")
    recent.learn(
        sale, OrderState(NAME, "8", "x", True, Decimal("0.1"), Decimal(2), side="SELL", quantity=Decimal(2))
    )
    assert recent.seen_of("main", "grt", "BTCUSDT", "BTC", "").own == Decimal("0.51")


def test_how_much_is_paid_at_most() -> None:
    assert paid_at_most(sent()) == Decimal("0.50")
    assert paid_at_most(sent(market=Decimal("0.04"))) == Decimal("0.50"), "its limit"
    assert paid_at_most(sent(price="0", market=Decimal("0.04"))) == Decimal("0.80")
    assert paid_at_most(sent("SELL", market=Decimal("0.04"))) == Decimal("0.80"), "a sale may bring more"
    assert paid_at_most(sent(quantity=None, spends=Decimal(3))) == 3
    assert paid_at_most(sent(price="0")) is None


@pytest.mark.parametrize(
    ("side", "grant", "others"),
    [("SELL", "two", "0.50"), ("BUY", "two", "0.3"), ("SELL", "one", "0"), ("BUY", "one", "0")],
)
def test_followed_orders_are_in_doubt_for_what_they_are_quoted_in(side: str, grant: str, others: str) -> None:
    """A sale of another may have brought the asset; a purchase may be over, and binds it no more."""
    settlement, recent = Settlement(), RecentFills()
    one = Sent(
        1,
        grant,
        "main",
        NAME,
        "x",
        side,
        Decimal(10),
        Decimal("0.05"),
        1,
        2,
        order_id="7",
        base="ETH",
        quote="BTC",
        market=Decimal("0.025"),
    )
    settlement.hold(Reservation(1, grant, "main", NAME, (), None, (one,)))
    if side == "BUY":
        recent.keep(("main", PAID, "7"), grant, "BTC", "SELL", Decimal("0.2"), Decimal("0.3"))
    asks = Followed(settlement, None, recent, lambda: 9)  # type: ignore[arg-type]
    for asset, counts in (("BTC", True), ("USDT", False)):
        found = asks.doubt(Asset("main", asset, "one", "key", f"{asset}USDT"), 5)
        assert (found.any, found.others) == (counts, Decimal(others) if counts else 0)


def test_one_that_ended_is_followed_for_each_asset() -> None:
    """What was found out for the one says nothing of the other."""
    settlement = Settlement()
    resting, found = Resting(settlement, lambda: 9), []
    for asset, named in (("BTC", ("two", PAID, "7", "SELL")), ("ETH", ("two", NAME, "7", "BUY"))):
        assert resting.take("main", asset, [named])
        one = settlement.by_id("main", NAME, "7")
        assert one is not None
        found.append((one.side, one.base, one.quote))
        settlement.settle("main", state("10", "0.45", final=True))
    assert found == [("BUY", "", "BTC"), ("BUY", "ETH", "")]


@pytest.mark.parametrize(
    ("listed", "others"),
    [(("9/0", "9/0"), "0.5"), (("9/0", "9/1"), "0.9"), (("9", "9"), "0.9"), (("", ""), "0.9")],
)
def test_alternatives_are_those_of_the_asset(listed: tuple[str, str], others: str) -> None:
    """Of two sales that bring it one is filled, or one after the other."""
    settlement, recent = Settlement(), RecentFills()
    for number, of, left in zip("78", listed, ("0.5", "0.4"), strict=True):
        one = sent("SELL", order_id=number)
        one.number, one.grant = int(number), "two"
        settlement.hold(Reservation(one.number, "two", "main", NAME, (), None, (one,)))
        recent.keep(("main", PAID, number), "two", "BTC", "BUY", ZERO, Decimal(left), listed=of)
    asks = Followed(settlement, None, recent, lambda: 9)  # type: ignore[arg-type]
    asset = Asset("main", "BTC", "one", "key", "BTCUSDT")
    assert asks.doubt(asset, 5).others == Decimal(others)
    known = asks.known(asset)
    assert not asks.learnt(known)
    recent.keep(("main", PAID, "7"), "two", "BTC", "BUY", Decimal("0.1"), Decimal("0.4"))
    assert asks.learnt(known), "of what it brings more is known, and nothing new of its base"


def test_of_an_asset_are_the_orders_that_pay_it_too() -> None:
    settlement = Settlement()
    money = sent(quote="", order_id="8")
    for number, one in enumerate((sent(), money)):
        one.number = number
        settlement.hold(Reservation(number, "grt", "main", NAME, (), None, (one,)))
    found = {
        asset: [one.order_id for _, one in settlement.of_asset("main", asset)]
        for asset in ("BTC", "ETH", "USDT")
    }
    assert found == {"BTC": ["7"], "ETH": ["7", "8"], "USDT": []}
    settlement.refused(0)
    assert not list(settlement.of_asset("main", "BTC"))


@pytest.mark.parametrize("left", ["0", "0.2"])
async def test_what_a_sale_cost_is_taken_off_what_it_brought(left: str) -> None:
    """Its trades are asked for in its pair; they tell the fee, and for how much it was made is known."""
    recent, told = RecentFills(), list[tuple[str, ...]]()
    one = sent("SELL", quantity="14" if Decimal(left) else "10")
    more = {"quantity": one.quantity}
    recent.learn(one, state("10", "0.5", final=not Decimal(left), side="SELL", **more))
    fees = Fees(recent)
    fees.on_state = lambda asked, shown: told.extend(fill[1:] for fill in recent.learn(asked, shown))

    class Account:
        asked: list[str] = []  # noqa: RUF012 - one test's

        async def fetch_cost(
            self, _: Any, symbol: str, *__: Any
        ) -> tuple[Decimal, tuple[tuple[str, Decimal], ...]]:
            self.asked.append(symbol)
            return Decimal(10), FEES

    account: Any = Account()
    ((key, known),) = recent.fees_untold("main", "BTC")
    assert (key, known.left) == (("main", PAID, "7"), Decimal(left))
    await fees._one(account, account, key, known, Need.READ)
    assert account.asked == [NAME]
    assert recent.fees_untold("main", "BTC") == ()
    assert [row[:4] for row in told] == [(PAID, "7", "BTC", "BUY")]
    assert tuple(map(Decimal, told[0][4:])) == (Decimal("0.4995"), Decimal(left))


def test_names() -> None:
    assert (paid_in(NAME), pair_of(PAID), pair_of(NAME)) == (PAID, NAME, NAME)


async def _bought(bot: Bot, *orders: tuple[str, str, str]) -> None:
    for side, quantity, symbol in orders:
        got = await bot.order(side, quantity, symbol=symbol)
        assert got.status == 200, got


HALF = ("BUY", "0.5", "BTCUSDT")
CASES: dict[str, tuple[str, list[tuple[str, str, str]], list[tuple[str, str, str]], list[tuple[str, str, bool]]]] = {
    "what one spent is not its own": (
        "0", [HALF, ("BUY", "9", NAME)], [HALF], [("one", "0.49", False), ("two", "0.49", True)]
    ),
    "what another spent is not taken off what was there": (
        "0.5", [], [HALF, ("BUY", "9.9", NAME)], [("one", "0.4", True)]
    ),
    "what one got is its own": (
        "0", [("BUY", "9", "ETHUSDT"), ("SELL", "8.9", NAME)], [HALF], [("one", "0.44", True), ("two", "0.49", True)]
    ),
    "what another got is not what was there": (
        "0.1", [], [("BUY", "9", "ETHUSDT"), ("SELL", "8.9", NAME)], [("one", "0.2", False), ("two", "0.44", True)]
    ),
}  # fmt: skip


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("case", CASES)
async def test_in_a_halt_both_ways_count(tmp_path: Path, case: str) -> None:
    there, ones, twos, exits = CASES[case]
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC=there)
        one, two = await bots(world, "one", "two", policy=WIDE)
        await _bought(two, *twos)
        await _bought(one, *ones)
        await halt(world)
        for who, size, passes in exits:
            got = await (one if who == "one" else two).order("SELL", size)
            assert (got.status, got.reason) == ((200, None) if passes else (401, "halted")), (who, got)


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
async def test_so_they_do_at_a_gateway_that_was_started_anew(tmp_path: Path) -> None:
    """All that it knows is on record."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0")
        one, two = await bots(world, "one", "two", policy=WIDE)
        await _bought(two, HALF)
        await _bought(one, HALF, ("BUY", "9", NAME))
        await until(lambda: not world.gateway.spool.waiting)
        await halt(world)
        async with gateway_at(world, tmp_path / "anew") as port:
            exits = [Bot(port, bot.key_id, bot.secret) for bot in (one, two)]
            for bot in exits:
                await bot.ready()
            assert (await exits[0].order("SELL", "0.49")).reason == "halted"
            assert (await exits[1].order("SELL", "0.49")).status == 200


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
async def test_a_purchase_that_is_not_answered_counts_as_paid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answered_late(monkeypatch):
        async with running_world(tmp_path) as world:
            world.account(USDT="1000000", BTC="0")
            one, two = await bots(world, "one", "two", policy=WIDE)
            await _bought(two, HALF, ("BUY", "0.1", NAME))  # the pair is known, else it is asked for first
            await _bought(one, HALF)
            world.paper.server.faults.append(Fault("delay", "POST", "/api/v3/order", times=1, ms=1500))
            buys = asyncio.ensure_future(one.order("BUY", "9", symbol=NAME))
            await until(
                lambda: any(order.quantity == 9 for order in world.paper.exchange.engine.orders.values())
            )
            await halt(world)
            got = await one.order("SELL", "0.49")
            assert got.status != 200, got
            assert (await buys).status == 200
            assert (await one.order("SELL", "0.49")).reason == "halted"
            assert (await two.order("SELL", "0.49")).status == 200
