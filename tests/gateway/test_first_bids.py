"""An exit is sized by the first bids where these settle it, and by many where they do not."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.structs import replace

from broker.gateway.depth import DEEP_LEVELS, LEVELS, Depth, Taking, Takings
from broker.gateway.limits import Need
from broker.gateway.sales import Sale
from broker.policy import Allow, Deny
from broker.policy_book import Take
from broker.policy_facts import Facts, Page
from clients.paper.exchange import PaperExchange
from clients.paper.server import ROUTES
from clients.venue import Side, SymbolInfo
from tests.broker.test_exits_below_the_caps import FACTS, HELD, LOOKED, judged
from tests.gateway.test_followed import halt
from tests.gateway.test_market_buys import DEPTH
from tests.gateway.test_slow_log import until
from tests.gateway.test_walked_book import sells_for
from tests.gateway.world import POLICY, Bot, World, bots, running_world

GOOD_US = 1_000
RULE = POLICY.replace('["BTCUSDT", "ETHUSDT"]', '{ quote = ["USDT"] }')


def levels(*prices: int, size: int = 1) -> tuple[tuple[Decimal, Decimal], ...]:
    return tuple((Decimal(price), Decimal(size)) for price in prices)


def short(*prices: int, size: int = 1) -> Page:
    return Page(levels(*prices, size=size), is_full=True, seen_to=Decimal(prices[-1]))


class Clock:
    now = 100

    def boot_us(self) -> int:
        return self.now


def looked(*looks: tuple[Page, int], now: int = 100) -> Depth:
    clock = Clock()
    clock.now = now
    side = Depth(clock, Takings(clock, lambda: GOOD_US))  # type: ignore[arg-type]
    for page, asked_us in looks:
        side.learn("X", page, asked_us)
    return side


BIDS, LATER = Page(levels(9, 8, 7, 6, 5)), short(9, 8, size=3)
MERGED = (*LATER.levels, *levels(7, 6, 5))
LOOKS: dict[str, tuple[list[tuple[Page, int]], tuple[tuple[Decimal, Decimal], ...], bool]] = {
    "first bids alone": ([(LATER, 20)], LATER.levels, False),
    "first bids after many": ([(BIDS, 10), (LATER, 20)], MERGED, True),
    "which were told of later": ([(LATER, 20), (BIDS, 10)], MERGED, True),
    "many after the first": ([(LATER, 10), (BIDS, 20)], BIDS.levels, True),
    "the first once more": ([(BIDS, 10), (LATER, 20), (short(9, 8), 30)], BIDS.levels, True),
    "older ones that come late": ([(BIDS, 20), (LATER, 10)], BIDS.levels, True),
    "a market that rose": ([(BIDS, 10), (short(12, 11), 20)], (*levels(12, 11), *BIDS.levels), True),
    "one that fell below all": ([(BIDS, 10), (short(4, 3), 20)], levels(4, 3), False),
    "all of a thin book": ([(Page(levels(9, 8)), 20)], levels(9, 8), True),
    "asks": (
        [(Page(levels(5, 6, 7)), 10), (short(5, 6, size=3), 20)],
        (*levels(5, 6, size=3), *levels(7)),
        True,
    ),
}


@pytest.mark.parametrize(("looks", "there", "is_deep"), LOOKS.values(), ids=LOOKS)
def test_what_was_seen_behind_the_first_stays(
    looks: list[tuple[Page, int]], there: tuple[tuple[Decimal, Decimal], ...], is_deep: bool
) -> None:
    side = looked(*looks)
    found = side.of("X", 100)
    assert found is not None
    assert (found.levels, side.is_deep("X", 100)) == (there, is_deep)


def test_it_stays_for_as_long_as_a_look_is_good() -> None:
    side = looked((BIDS, 10), (LATER, 500))
    for now, there in ((10 + GOOD_US, MERGED), (11 + GOOD_US, LATER.levels)):
        found = side.of("X", now)
        assert found is not None
        assert (found.levels, side.is_deep("X", now)) == (there, there is MERGED)
    assert side.of("X", 501 + GOOD_US) is None
    assert not side.is_deep("X", 501 + GOOD_US)
    side.forget(501 + GOOD_US)
    assert not side._seen
    assert not side._deep


def test_what_is_on_its_way_takes_of_all_of_it() -> None:
    side, take = looked((BIDS, 10), (LATER, 20), now=30), Take(Side.SELL, Decimal(7))
    side.takes("X", Taking(Sale("", Decimal(0), 30), (take,), "me", (take,)))
    found = side.of("X", 30, "me")
    assert found is not None
    assert (found.levels, found.more, found.seen_to) == (levels(6, 5), None, Decimal(8))
    found = side.of("X", 30, "you")
    assert found is not None
    assert (found.more, found.best.levels, found.best.seen_to) == (MERGED, MERGED, Decimal(8))


# --- the verdict --------------------------------------------------------------------------

BOOK, MORE = "book:BTCUSDT", "deep:BTCUSDT"
INSIDE, OUTSIDE = short(99, 98, size=2), short(99, 90, size=2)
SALES = {"in base": "type=MARKET&quantity=5", "in quote": "type=MARKET&quoteOrderQty=495"}
SHARED = replace(FACTS, alone=False, asked=LOOKED)


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("sale", SALES)
def test_more_of_it_is_asked_for_before_a_no(sale: str, alone: bool) -> None:
    facts = replace(SHARED, alone=alone, bids=INSIDE)
    asks = judged(SALES[sale], facts)
    assert isinstance(asks, Deny)
    assert MORE in asks.missing
    whole = replace(facts, bids=Page(levels(99, 98, 97, size=2)), asked={*LOOKED, MORE})
    assert isinstance(judged(SALES[sale], whole), Allow)
    again = replace(whole, bids=short(99, 98, size=2)._replace(levels=levels(99, 98, 97, size=2)))
    assert isinstance(judged(SALES[sale], again), Allow), "by what was seen behind the first"
    thin = judged(SALES[sale], replace(whole, bids=Page(levels(99, 98, size=2))))
    assert isinstance(thin, Deny)
    assert (thin.reason, thin.missing) == ("exit_size", ())


@pytest.mark.parametrize("sale", SALES)
def test_where_more_cannot_be_had_it_is_no_reason_for_a_no(sale: str) -> None:
    facts = replace(SHARED, bids=INSIDE, asked={*LOOKED, MORE}, failed=frozenset({MORE}))
    alone = judged(SALES[sale], replace(facts, alone=True))
    assert isinstance(alone, Allow)
    assert alone.sells == (5 if sale == "in base" else Decimal("4.95")), "by the last price"
    beside = judged(SALES[sale], facts)
    if sale == "in base":
        assert isinstance(beside, Allow)
    else:  # nobody knows how much it sells
        assert isinstance(beside, Deny)
        assert (beside.reason, beside.missing) == ("book_unknown", (MORE,))


def test_first_bids_that_reach_beyond_the_collar_settle_it() -> None:
    facts = replace(SHARED, bids=OUTSIDE)
    refused = judged("type=MARKET&quantity=3", facts)
    assert isinstance(refused, Deny)
    assert (refused.reason, refused.missing) == ("exit_size", ())
    assert isinstance(judged("type=MARKET&quantity=2", facts), Allow)


def test_so_do_those_that_are_enough() -> None:
    for sale in ("type=MARKET&quantity=4", "type=MARKET&quoteOrderQty=390"):
        for alone in (True, False):
            assert isinstance(judged(sale, replace(SHARED, alone=alone, bids=INSIDE)), Allow)


@pytest.mark.parametrize("sale", SALES)
def test_which_look_is_asked_for_first(sale: str) -> None:
    for seen, look in ((None, BOOK), (Page(INSIDE.levels), BOOK), (INSIDE, MORE)):
        first = judged(SALES[sale], replace(SHARED, bids=seen, asked=HELD))
        assert isinstance(first, Deny)
        assert {BOOK, MORE} & set(first.missing) == {look}
    failed = replace(SHARED, bids=INSIDE, asked=HELD | {MORE}, failed=frozenset({MORE}))
    again = judged(SALES[sale], failed)
    assert isinstance(again, Deny)
    assert BOOK in again.missing


def test_what_was_seen_behind_the_first_lately_is_enough_where_more_cannot_be_had() -> None:
    seen = INSIDE._replace(levels=levels(99, 98, 97, size=2))
    facts = replace(SHARED, bids=seen, asked={*LOOKED, MORE}, failed=frozenset({MORE}))
    assert isinstance(judged("type=MARKET&quoteOrderQty=495", facts), Allow)


def test_a_sale_in_quote_that_a_limit_counts_is_counted_by_many() -> None:
    facts: Facts = replace(SHARED, halted=False, bids=INSIDE, limited=True, budget=Decimal(10_000))
    asks = judged("type=MARKET&quoteOrderQty=495", facts)
    assert isinstance(asks, Deny)
    assert MORE in asks.missing


# --- a gateway ----------------------------------------------------------------------------


class Book:
    """A book of many fine ticks below the last price; `asked` are the sizes of looks at it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, size: str) -> None:
        self.asked: list[int] = []
        self.size, self.told = size, dataclasses.replace(ROUTES[DEPTH], handler=self._shows)
        monkeypatch.setitem(ROUTES, DEPTH, self.told)

    def _shows(self, exchange: PaperExchange, seen: object) -> object:
        params = seen.params  # type: ignore[attr-defined]
        limit, symbol = params.whole("limit", 100), exchange.symbols[params.need("symbol")]
        self.asked.append(limit)
        bids = [[str(symbol.price - symbol.tick * (1 + at)), self.size] for at in range(limit)]
        return {"lastUpdateId": 1, "bids": bids, "asks": [[str(symbol.price), "100"]]}


@asynccontextmanager
async def halted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str, *, coins: int = 0, beside: int = 0
) -> AsyncIterator[tuple[World, Bot, Book]]:
    book = Book(monkeypatch, size)
    async with running_world(tmp_path) as world:
        exchange = world.paper.exchange
        names = [f"C{number:03d}" for number in range(coins)]
        for name in names:
            pair = dataclasses.replace(exchange.symbols["ETHUSDT"], name=f"{name}USDT", base=name)
            exchange.symbols[pair.name] = pair
        exchange.limits.orders_10s = exchange.limits.orders_day = 100_000
        world.account(USDT="100000", BTC="5", **dict.fromkeys(names, "0.1"))
        bot, *_ = await bots(world, "one", *(f"n{number}" for number in range(beside)), policy=RULE)
        for view in world.gateway.mounts.views.values():  # it traded them before
            for name in names:
                view.pairs[f"{name}USDT"] = SymbolInfo(f"{name}USDT", name, "USDT")
        await halt(world)
        yield world, bot, book


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("beside", [0, 1])
async def test_small_ones_look_at_the_first_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: int
) -> None:
    """A hundred and twenty looks at many are the exchange's weight of a minute."""
    async with halted(tmp_path, monkeypatch, "1", coins=20, beside=beside) as (_, bot, book):
        for number in range(20):
            got = await bot.order("SELL", "0.1", symbol=f"C{number:03d}USDT")
            assert got.status == 200, (number, got)
        assert set(book.asked) == {100}, "which weigh 5, and a thousand 50"


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("beside", [0, 1])
async def test_a_large_one_is_sized_by_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: int
) -> None:
    """A hundred bids take 0.1, and a thousand 1."""
    async with halted(tmp_path, monkeypatch, "0.001", beside=beside) as (_, bot, book):
        assert (await bot.order("SELL", "0.5")).status == 200
        assert (book.asked[0], set(book.asked)) == (LEVELS, {LEVELS, DEEP_LEVELS})
        book.asked.clear()
        assert (await sells_for(bot, "9000")).status == 200
        assert DEEP_LEVELS in book.asked


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
async def test_who_looks_at_the_first_meanwhile_takes_nothing_from_who_looked_at_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with halted(tmp_path, monkeypatch, "0.001") as (world, bot, book):
        (view,) = world.gateway.mounts.views.values()
        asks, came, goes = view.fetch_book, asyncio.Event(), asyncio.Event()

        async def held(symbol: str, need: Need, whose: str, *, deep: bool = False) -> None:
            await asks(symbol, need, whose, deep=deep)
            if deep:
                came.set()
                await goes.wait()

        view.fetch_book = held  # type: ignore[method-assign,assignment]
        large = asyncio.ensure_future(bot.order("SELL", "0.5"))
        await until(came.is_set)
        assert (await sells_for(bot, "600")).status == 200
        assert LEVELS in book.asked[book.asked.index(DEEP_LEVELS) :]
        goes.set()
        got = await large
        assert got.status == 200, got


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
async def test_many_at_once_look_once_more_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would fit into the first bids, and all of them would not."""
    async with halted(tmp_path, monkeypatch, "0.001") as (_, bot, book):
        got = await asyncio.gather(*(bot.order("SELL", "0.03") for _ in range(10)))
        assert {one.status for one in got} == {200}, got
        assert set(book.asked) == {LEVELS, DEEP_LEVELS}
