"""Who is alone on an account leaves with what the exchange shows late: it refuses what is not there, and nobody else does."""

import asyncio
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from broker.gateway import guard
from broker.gateway.fills import UNKNOWN
from broker.gateway.sales import Sale, Stakes
from broker.policy import Allow, Deny, Facts, Quote, Stake, evaluate
from broker.policy_document import parse
from clients.paper.faults import Fault
from clients.venue import Action, Intent, Order, Side, SymbolInfo
from tests.gateway.lagging import ACCOUNT, account_as
from tests.gateway.test_exits import LIMIT, view_of
from tests.gateway.test_followed import halt, shared
from tests.gateway.test_slow_log import until
from tests.gateway.test_taken_off_once import view
from tests.gateway.test_walked_book import book, sells_for
from tests.gateway.world import POLICY, Answer, Bot, World, bots, running_world, served
from tests.paper.harness import held

pytestmark = [pytest.mark.sockets, pytest.mark.usefixtures("very_patient")]
NOT_THERE = -2010
REFUSED = {NOT_THERE, -1021}
"""What the exchange says to a sale that was held back: on a busy machine longer than its receive window."""


@asynccontextmanager
async def alone(tmp_path: Path, there: str = "0.1", **more: str) -> AsyncIterator[tuple[World, Bot]]:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC=there, **more)
        (bot,) = await bots(world)
        assert (await bot.order()).status == 200
        yield world, bot


async def deposit(world: World, amount: str, asset: str = "BTC") -> None:
    values = {"account": "main@paper.test", "asset": asset, "amount": amount}
    status, _ = await world.paper.admin("POST", "deposit", values)
    assert status == 200


async def account_of(bot: Bot) -> Any:
    return (await bot.call("GET", ACCOUNT)).body


def orders_asked(world: World) -> int:
    return sum(row["path"].startswith("/api/v3/order") for row in world.asked())


async def oco(bot: Bot) -> Answer:
    return await bot.call(
        "POST", "/api/v3/orderList/oco", symbol="BTCUSDT", side="SELL", quantity="0.9",
        aboveType="LIMIT_MAKER", abovePrice="70000", belowType="STOP_LOSS", belowStopPrice="50000",
    )  # fmt: skip


async def leaves(bot: Bot, how: str) -> Answer:
    if how == "a list":
        return await oco(bot)
    if how == "in quote":
        sale = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quoteOrderQty": "50000"}
        return await bot.call("POST", "/api/v3/order", **sale)
    return await bot.order("SELL", "0.9", **(LIMIT | {"price": "59000"} if how == "a limit" else {}))


# --- an account of one grant ---------------------------------------------------------------


@pytest.mark.parametrize("next_one", ["at the market", "in quote"])
async def test_what_the_exchange_may_refuse_is_no_size_of_the_book_for_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, next_one: str
) -> None:
    """0.8 of 0.5 are on their way: 0.4 were told that the book takes no more than 0.2."""
    async with alone(tmp_path, there="0.5") as (world, bot):
        await halt(world)
        with book(monkeypatch, bids=[["59990.00", "1.0"], ["100.00", "5000"]]):
            with held(world.paper, "POST", "/api/v3/order", times=1) as orders:
                first = asyncio.ensure_future(bot.order("SELL", "0.8"))
                await until(lambda: bool(orders.waiting))
                if next_one == "in quote":
                    got = await sells_for(bot, "24000")
                else:
                    got = await bot.order("SELL", "0.4")
                assert got.status == 200, got
                more = await bot.order("SELL", "1.1")
                assert more.reason == "exit_size", "the book takes no more, whatever becomes of the first"
            assert (await first).code in REFUSED


async def test_what_is_there_and_on_its_way_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with alone(tmp_path, there="2") as (world, bot):
        await halt(world)
        with book(monkeypatch, bids=[["59990.00", "1.0"], ["100.00", "5000"]]):
            with held(world.paper, "POST", "/api/v3/order", times=1) as orders:
                first = asyncio.ensure_future(bot.order("SELL", "0.8"))
                await until(lambda: bool(orders.waiting))
                assert (await bot.order("SELL", "0.4")).reason == "exit_size"
            assert (await first).status == 200


@pytest.mark.parametrize("halted", [False, True])
@pytest.mark.parametrize("how", ["at the market", "a limit", "a list", "in quote"])
async def test_what_came_by_other_ways_leaves_though_the_exchange_shows_it_late(
    tmp_path: Path, how: str, *, halted: bool
) -> None:
    """Old code: a definite no, at which bots stop for good, of what was there."""
    async with alone(tmp_path) as (world, bot):
        if halted:
            await halt(world)
        with account_as(await account_of(bot)):
            await deposit(world, "0.9")
            got = await leaves(bot, how)
        assert got.status == 200, got


async def test_so_does_what_another_system_cancelled(tmp_path: Path) -> None:
    """Nobody here was told that it is free; more of it is free than was bound."""
    async with alone(tmp_path, there="1") as (world, bot):
        key = world.paper.key("main@paper.test")
        order = {"symbol": "BTCUSDT", "side": "SELL", "quantity": "0.5", "price": "70000", **LIMIT}
        status, resting = await world.paper.call("POST", "/api/v3/order", key, **order)
        assert status == 200
        await halt(world)
        late = await account_of(bot)
        for row in late["balances"]:
            if row["asset"] == "BTC":
                row["locked"] = "0"
        with account_as(late):
            ended = {"symbol": "BTCUSDT", "orderId": resting["orderId"]}
            assert (await world.paper.call("DELETE", "/api/v3/order", key, **ended))[0] == 200
            assert (await bot.order("SELL", "0.9")).status == 200


@pytest.mark.parametrize("halted", [False, True])
async def test_what_is_not_there_the_exchange_refuses_and_is_asked_for_first(
    tmp_path: Path, *, halted: bool
) -> None:
    async with alone(tmp_path) as (world, bot):
        if halted:
            await halt(world)
        before = len(world.executed())
        for _ in range(3):
            asked = len(world.asked())
            got = await bot.order("SELL", "0.9")
            assert (got.code, got.reason) == (NOT_THERE, None), got
            paths = [row["path"] for row in world.asked()[asked:]]
            assert ACCOUNT in paths, "what it shows of now decides whether it may be there"
            assert paths[-1] == "/api/v3/order"
        assert len(world.executed()) == before
        assert (await bot.order("SELL", "0.1")).status == 200


@pytest.mark.parametrize("status", [418, 429])
async def test_in_a_pause_only_what_is_known_to_be_there_leaves(tmp_path: Path, status: int) -> None:
    """The exchange counts each call then, also one that it refuses: all bots behind the address would pay for it."""
    async with alone(tmp_path, there="1") as (world, bot):
        await halt(world)
        view = view_of(world)
        view.meter.refused(status, 60.0, view._system.wall_us())
        before = orders_asked(world)
        got = await bot.order("SELL", "5")
        assert (got.status, int(got.headers["retry-after"]) > 0) == (status, True), got
        assert orders_asked(world) == before
        assert (await bot.order("SELL", "0.9")).status == 200
        view.meter = type(view.meter)()
        assert (await bot.order("SELL", "5")).code == NOT_THERE


async def test_where_holdings_cannot_be_asked_for_the_exchange_decides(tmp_path: Path) -> None:
    async with alone(tmp_path) as (world, bot):
        await halt(world)
        await account_of(bot)
        assert (await bot.order("SELL", "0.05")).status == 200, "holdings are known"
        world.paper.server.faults.append(Fault("error", path=ACCOUNT, times=1000, status=500))
        await deposit(world, "0.9")
        got = await bot.order("SELL", "0.9")
        assert got.status == 200, got


SALE = Order("BTCUSDT", Side.SELL, quantity=Decimal(2), market=True)
PAIRS: dict[str, SymbolInfo | None] = {
    "BTCUSDT": SymbolInfo("BTCUSDT", "BTC", "USDT"),
    "SOLUSDT": SymbolInfo("SOLUSDT", "SOL", "USDT"),
}
KNOWN = frozenset(
    {"holdings", "stake", "landed", "fees", *(f"{one}:{name}" for one in ("price", "book") for name in PAIRS)}
)
FACTS = Facts(
    halted=True, pairs=PAIRS, quotes={name: Quote(Decimal(60_000), 0) for name in PAIRS}, free=Decimal(1),
    stake=Stake(), asked=KNOWN,
)  # fmt: skip


def judged(facts: Facts, order: Order = SALE, policy: str = POLICY) -> Allow | Deny:
    intent = Intent(Action.PLACE, "spot.order.place", "trade", symbols=(order.symbol,), orders=((order,),))
    return evaluate(parse(tomllib.loads(policy)), intent, facts, "/api/v3/order", "POST")


def test_it_is_marked_and_only_where_holdings_of_now_do_not_show_it() -> None:
    asked = judged(replace(FACTS, asked=KNOWN - {"holdings", "stake"}))
    assert isinstance(asked, Deny)
    assert set(asked.missing) == {"holdings", "stake"}
    for facts, beyond in (
        (FACTS, True),
        (replace(FACTS, locked=Decimal("0.99")), True),
        (replace(FACTS, locked=Decimal(1)), False),
        (replace(FACTS, stake=Stake(own=Decimal(1))), False),
        (replace(FACTS, stake=None, failed={"stake"}), True),
        (replace(FACTS, free=Decimal(-3)), True),
    ):
        verdict = judged(facts)
        assert isinstance(verdict, Allow), facts
        assert (verdict.leaving, verdict.beyond) == (True, beyond), facts


def test_what_was_bought_in_a_pair_that_is_listed_no_more_leaves_likewise() -> None:
    sale = replace(SALE, symbol="SOLUSDT")
    bought = judged(replace(FACTS, stake=Stake(bought_here=True)), sale)
    assert isinstance(bought, Allow)
    assert bought.beyond
    assert isinstance(judged(FACTS, sale), Deny), "it was never bought there"


def test_every_other_limit_stays() -> None:
    below = replace(SALE, market=False, price=Decimal(50_000))
    refused = judged(FACTS, below)
    assert isinstance(refused, Deny)
    assert refused.reason == "collar"
    money = POLICY.replace(
        'symbols = ["BTCUSDT", "ETHUSDT"]', 'reference_asset = "BTC"\nsymbols = ["ETHBTC"]'
    )
    assert isinstance(judged(replace(FACTS, stake=Stake(bought_here=True)), SALE, money), Deny), "it is money"
    assert isinstance(judged(replace(FACTS, alone=False)), Deny), "it may be another's"


# --- two exits of one moment ----------------------------------------------------------------

MAKER: dict[str, object] = {"type": "LIMIT_MAKER", "price": "59900"}
"""It would trade at once, so the exchange refuses it."""
MONEY = """
allow = ["market", "account", "trade"]
reference_asset = "BTC"
symbols = ["BTCUSDT"]
[order]
max_notional = "10"
[day]
max_notional = "100"
"""


@asynccontextmanager
async def on_its_way(world: World, bot: Bot, quantity: str) -> AsyncIterator[None]:
    """A sale that the exchange has not looked at yet, and will refuse."""
    with held(world.paper, "POST", "/api/v3/order", times=1) as wire:
        first = asyncio.ensure_future(bot.order("SELL", quantity, **MAKER))
        async with asyncio.timeout(60):
            while not wire.waiting:  # noqa: ASYNC110 - a held call tells nobody
                await asyncio.sleep(0.005)
        yield
    assert (await first).code in REFUSED


def unknown(got: Answer) -> bool:
    return (got.status, got.reason) == (503, "holdings_unknown")


@pytest.mark.parametrize("bought", ["0", "0.4005"], ids=["what was there", "its own"])
@pytest.mark.parametrize("how", ["one after the other", "both at once"])
async def test_the_second_exit_of_a_moment_is_no_definite_no(tmp_path: Path, bought: str, how: str) -> None:
    """Both are judged by one answer for holdings. Old code: `halted` for one of them, of what is there."""
    async with shared(tmp_path, "0" if bought != "0" else "0.4") as (world, one, two):
        assert (await two.order("BUY", "0.5")).status == 200
        if bought != "0":
            assert (await one.order("BUY", bought)).status == 200
        await halt(world)
        if how == "both at once":
            with held(world.paper, "POST", "/api/v3/order", times=1):
                sales = [asyncio.ensure_future(one.order("SELL", "0.39", **MAKER)) for _ in range(2)]
                (done,), (waits,) = await asyncio.wait(sales, return_when=asyncio.FIRST_COMPLETED)
            assert unknown(done.result()), done.result()
            assert (await waits).code in REFUSED
        else:
            async with on_its_way(world, one, "0.39"):
                got = await one.order("SELL", "0.39")
                assert unknown(got), got
        assert (await served(lambda: one.order("SELL", "0.39"))).status == 200
        assert (await served(lambda: one.order("SELL", "0.39"))).status == 401, "the rest is another's"


async def test_nor_is_what_another_question_has_not_found_out_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two exits of one bot: the second one's question tells its first page, as the first one is judged."""
    real = guard.stake_of

    def at_worst(*asked: Any, **more: Any) -> Stake | None:
        stake = real(*asked, **more)
        return None if stake is None else replace(stake, others=UNKNOWN, sure=False)

    async with shared(tmp_path, "0.4") as (world, one, two):
        assert (await two.order("BUY", "0.5")).status == 200
        await halt(world)
        with monkeypatch.context() as patch:
            patch.setattr(guard, "stake_of", at_worst)
            got = await one.order("SELL", "0.3")
            assert unknown(got), got
        assert (await served(lambda: one.order("SELL", "0.3"))).status == 200


async def test_nor_of_what_counts_as_money(tmp_path: Path) -> None:
    """Of that only what was bought is left: an account of one grant or not."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="3")
        (bot,) = await bots(world, policy=MONEY)
        assert (await bot.order("BUY", "0.5")).status == 200
        await halt(world)
        async with on_its_way(world, bot, "0.4"):
            got = await bot.order("SELL", "0.4")
            assert unknown(got), got
        assert (await bot.order("SELL", "0.4")).status == 200
        assert (await bot.order("SELL", "0.4")).status == 401


async def test_on_an_account_of_its_own_the_exchange_decides(tmp_path: Path) -> None:
    async with alone(tmp_path, there="1") as (world, bot):
        await halt(world)
        async with on_its_way(world, bot, "0.9"):
            assert (await bot.order("SELL", "0.9")).status == 200
        assert (await bot.order("SELL", "0.9")).code == NOT_THERE


@pytest.mark.parametrize("after_us", [-1, 0, 1])
async def test_a_sale_that_is_not_answered_may_take_nothing(after_us: int) -> None:
    """Whether it left before holdings were asked for or after."""
    account, clock = view()
    clock.now = 100 + after_us
    sale = account.sells("BTC", Decimal("0.5"), grant="one")
    for grant, since_us in (("one", None), ("one", 200), ("two", None), ("two", 1)):
        assert account.perhaps("BTC", grant=grant, since_us=since_us) == Decimal("0.5")
    clock.now = 150
    account.landed(sale)
    assert account.perhaps("BTC", grant="one") == (Decimal("0.5") if after_us < 0 else 0)
    sale.unsure = True
    assert account.perhaps("BTC", grant="one") == Decimal("0.5"), "that answer told nothing"


def test_nor_is_it_known_to_be_of_ones_own() -> None:
    stakes, sale = Stakes(), Sale("BTC", Decimal("0.4"), 10)
    stakes.sells(sale)
    stakes.learn("BTCUSDT", "BTC", Stake(own=Decimal("0.5")), 20)
    assert _own(stakes) == (Decimal("0.1"), Decimal("0.5"))
    sale.lands(30, took_place=True)
    assert _own(stakes) == (Decimal("0.1"), 0)
    sale.unsure = True
    assert _own(stakes) == (Decimal("0.1"), Decimal("0.5"))
    sale.never()
    assert _own(stakes) == (Decimal("0.5"), 0)


def _own(stakes: Stakes) -> tuple[Decimal, Decimal]:
    found = stakes.of("BTCUSDT")
    assert found is not None
    return found.own, found.at_most
