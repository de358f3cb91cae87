"""What is there and whose it is are of two instants: what another one buys between them is nobody else's to sell."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.gate import Mode
from broker.gateway import account_view
from broker.gateway.account_view import AccountView
from broker.gateway.fetch import Fetcher
from broker.gateway.job import Job
from broker.gateway.sales import Stakes
from broker.link import frames
from tests.gateway.test_slow_log import until
from tests.gateway.world import POLICY, Bot, World, bots, running_world

pytestmark = [pytest.mark.sockets, pytest.mark.usefixtures("very_patient", "long_known")]
BIG = POLICY.replace('"10000"', '"1000000"').replace('"1000"', '"100000"')
LIMIT = {"type": "LIMIT", "timeInForce": "GTC"}
HOLDINGS = "/api/v3/account"


@pytest.fixture
def long_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here grows old by time: a busy machine takes its."""
    monkeypatch.setattr(account_view, "HOLDINGS_US", 60_000_000)


@asynccontextmanager
async def shared(tmp_path: Path, there: str = "0") -> AsyncIterator[tuple[World, Bot, Bot]]:
    """Two bots on one account; the first is halted."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC=there)
        world.paper.exchange.limits.orders_10s = world.paper.exchange.limits.orders_day = 100_000
        one, two = await bots(world, "one", "two", policy=BIG)
        assert (await two.order("BUY", "0.01")).status == 200, (
            "the pair is known, else nothing is asked beside it"
        )
        await world.cut("consumer:one", mode=Mode.HALT)
        yield world, one, two


@dataclass
class Hanging:
    """Questions for holdings that wait for `go`. Not at the exchange: what it has too late, by its clock, it refuses."""

    go: asyncio.Event = field(default_factory=asyncio.Event)
    asked: bool = False


@contextmanager
def hanging() -> Iterator[Hanging]:
    """Let questions for holdings hang."""
    here, real = Hanging(), AccountView._fetch

    async def late(self: AccountView, *rest: Any) -> None:
        here.asked = True
        await here.go.wait()
        await real(self, *rest)

    AccountView._fetch = late  # type: ignore[method-assign]
    try:
        yield here
    finally:
        here.go.set()
        AccountView._fetch = real  # type: ignore[method-assign]


def stakes_of(world: World, consumer: str = "one") -> Stakes:
    return next(
        held for held in world.gateway.book.by_lease.values() if held.consumer == consumer
    ).standing.stakes


def asked_us(world: World) -> int:
    told = stakes_of(world)._told.get(("BTCUSDT", ""))
    return -1 if told is None else told[2]


def questions(world: World, *, unanswered: bool = False) -> list[frames.StakeQuery]:
    """Return those to the broker, as they leave from now on; or as they would."""
    found = list[frames.StakeQuery]()
    send, answer = world.gateway.link._channel.send, world.gateway.link._asking.answer

    def counted(frame: frames.Frame) -> None:
        if isinstance(frame, frames.StakeQuery):
            found.append(frame)
            if unanswered:
                asyncio.get_running_loop().call_soon(answer, frames.AskFailed(frame.ask))
                return
        send(frame)

    world.gateway.link._channel.send = counted  # type: ignore[method-assign]
    return found


def filled(world: World) -> None:
    """Let the market fall: what rests a little below is filled, and nobody says so."""
    exchange = world.paper.exchange
    pair = exchange.symbols["BTCUSDT"]
    exchange.engine.set_price(pair, pair.price * Decimal("0.98"), exchange.now_us())


async def rests(world: World, bot: Bot) -> None:
    price = (world.paper.exchange.symbols["BTCUSDT"].price * Decimal("0.99")).quantize(Decimal("0.01"))
    got = await bot.order("BUY", "0.5", price=str(price), **LIMIT)
    assert got.status == 200, got


@pytest.mark.parametrize("how", ["buys", "buys beside an order", "has an order filled"])
async def test_what_another_buys_while_ones_holdings_are_asked_for_is_not_sold(
    tmp_path: Path, how: str
) -> None:
    async with shared(tmp_path) as (world, one, two):
        if how == "has an order filled":
            await rests(world, two)
        elif how != "buys":
            assert (await two.order("BUY", "0.1", price="50000", **LIMIT)).status == 200
        with hanging() as slow:
            sells = asyncio.ensure_future(one.order("SELL", "0.4"))
            await until(lambda: slow.asked and asked_us(world) > 0)
            if how == "has an order filled":
                filled(world)
            else:
                assert (await two.order("BUY", "0.5")).status == 200
            slow.go.set()
            got = await sells
        assert (got.status, got.reason) == (503, "holdings_unknown")
        again = await one.order("SELL", "0.4")
        assert (again.status, again.reason) == (401, "halted"), "it is known by now"
        assert (await two.order("SELL", "0.49")).status == 200


async def test_nor_where_they_are_asked_for_because_there_is_too_little(tmp_path: Path) -> None:
    """What was known before this request is short, and only that is asked anew."""
    async with shared(tmp_path, there="0.1") as (world, one, two):
        assert (await one.order("SELL", "0.01")).status == 200, "holdings are known"
        before = asked_us(world)
        with hanging() as slow:
            sells = asyncio.ensure_future(one.order("SELL", "0.4"))
            await until(lambda: slow.asked and asked_us(world) > before)
            assert (await two.order("BUY", "0.5")).status == 200
            slow.go.set()
            got = await sells
        assert (got.status, got.reason) == (503, "holdings_unknown")


@pytest.mark.parametrize("buys", [False, True])
async def test_where_the_broker_falls_silent_what_others_bought_here_since_counts(
    tmp_path: Path, *, buys: bool
) -> None:
    async with shared(tmp_path, there="0.4") as (world, one, two):
        with hanging() as slow:
            sells = asyncio.ensure_future(one.order("SELL", "0.4" if not buys else "0.5"))
            await until(lambda: slow.asked and asked_us(world) > 0)
            asked = questions(world, unanswered=True)
            if buys:
                assert (await two.order("BUY", "0.5")).status == 200
            slow.go.set()
            got = await sells
        assert (got.status, got.reason) == ((503, "holdings_unknown") if buys else (200, None))
        assert len(asked) == 1


@pytest.mark.parametrize("buys_at", [None, 1, 2])
async def test_holdings_that_always_come_later_have_it_asked_once_more_and_no_exit_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, buys_at: int | None
) -> None:
    """Others on the account leave, too, and ask for holdings all the while."""
    async with shared(tmp_path, there="0.4") as (world, one, two):
        fetch_all, asked = Fetcher.fetch_all, questions(world)

        async def then_holdings(self: Fetcher, job: Job, names: Any) -> None:
            await fetch_all(self, job, names)
            if "stake" in names and job.held is not None and job.held.consumer == "one":
                if len(asked) == buys_at:
                    assert (await two.order("BUY", "0.5")).status == 200
                assert job.account is not None
                await job.account.fetch(world.gateway.book.material[job.held.key_text], job.need, job.asker)

        monkeypatch.setattr(Fetcher, "fetch_all", then_holdings)
        got = await one.order("SELL", "0.4" if buys_at is None else "0.5")
        assert (got.status, got.reason) == ((200, None) if buys_at is None else (503, "holdings_unknown"))
        assert len(asked) == 2


@pytest.mark.parametrize("filled_at", [1, 2])
async def test_what_was_filled_after_it_was_looked_at_may_be_in_later_holdings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filled_at: int
) -> None:
    """Nobody tells: it was seen open, and was in no count where holdings came once more after that."""
    async with shared(tmp_path, there="0.4") as (world, one, two):
        await rests(world, two)
        fetch_all, asked = Fetcher.fetch_all, questions(world)

        async def then_holdings(self: Fetcher, job: Job, names: Any) -> None:
            await fetch_all(self, job, names)
            if "stake" in names and job.held is not None and job.held.consumer == "one":
                if len(asked) == filled_at:
                    filled(world)
                assert job.account is not None
                await job.account.fetch(world.gateway.book.material[job.held.key_text], job.need, job.asker)

        monkeypatch.setattr(Fetcher, "fetch_all", then_holdings)
        got = await one.order("SELL", "0.6")
        assert got.status in {401, 503}, got


@pytest.mark.parametrize(("whose", "questioned"), [("older stock", 2), ("its own", 1)])
async def test_nobody_waits_for_it_but_who_sells_more_than_its_own(
    tmp_path: Path, whose: str, questioned: int
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0.5")
        one, two = await bots(world, "one", "two", policy=BIG)
        assert (await two.order("BUY", "0.01")).status == 200, (
            "the pair is known, else nothing is asked beside it"
        )
        if whose == "its own":
            assert (await one.order("BUY", "0.5")).status == 200
        await world.cut("consumer:one", mode=Mode.HALT)
        asked = questions(world)
        with hanging() as slow:
            sells = asyncio.ensure_future(one.order("SELL", "0.4"))
            await until(lambda: slow.asked and asked_us(world) > 0)
            slow.go.set()
            assert (await sells).status == 200
        assert len(asked) == questioned


async def test_who_is_alone_on_an_account_asks_nobody_whose_it_is(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0.5")
        (one,) = await bots(world, "one", policy=BIG)
        await world.cut("consumer:one", mode=Mode.HALT)
        asked, before = questions(world), len(world.asked())
        with hanging() as slow:
            sells = asyncio.ensure_future(one.order("SELL", "0.4"))
            await until(lambda: slow.asked)
            slow.go.set()
            assert (await sells).status == 200
        assert asked == []
        assert sum(row["path"] == HOLDINGS for row in world.asked()[before:]) == 1
