"""A sale that the exchange has made, and not answered yet, is not taken off holdings that may show it: that is in doubt."""

import asyncio
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.gateway.account_view import AccountView
from broker.policy import Deny, Facts, Stake, evaluate
from broker.policy_document import parse
from clients.paper import server
from clients.paper.faults import Fault
from clients.venue import Action, Intent, Order, Side, SymbolInfo
from clients.venues.binance.market import Holding
from clients.wire import RefusalKind
from tests.gateway.test_exits import account_of
from tests.gateway.test_followed import BIG, halt, limit
from tests.gateway.world import Bot, World, bots, running_world

HALF, MOST, OLD_US = Decimal("0.5"), Decimal("0.8"), 3_000_000


def view() -> tuple[AccountView, SimpleNamespace]:
    """Return one that knows of 0.8, as it was asked at 100."""
    clock = SimpleNamespace(boot_us=lambda: clock.now, now=100)
    account = AccountView(SimpleNamespace(), clock)  # type: ignore[arg-type]
    account._holdings, account._asked_us = {"BTC": Holding(MOST, Decimal(0))}, 100
    return account, clock


@pytest.mark.parametrize(("sent_us", "perhaps"), [(99, HALF), (100, 0), (101, 0)])
async def test_holdings_may_show_a_sale_that_had_left_when_they_were_asked_for(
    sent_us: int, perhaps: Decimal
) -> None:
    account, clock = view()
    clock.now = sent_us
    sale = account.sells("BTC", HALF)
    account.sells("ETH", HALF)
    clock.now = 102
    account.landed(sale)
    assert account.free("BTC") == MOST - HALF
    assert account.perhaps("BTC") == perhaps


async def test_until_what_came_later_shows_it() -> None:
    account, clock = view()
    clock.now = 99
    sale = account.sells("BTC", HALF)
    clock.now = 200
    account.landed(sale)
    assert account.perhaps("BTC") == HALF, "its answer came after they were asked for"

    async def signed(*_: object) -> bytes:
        return b'{"balances":[{"asset":"BTC","free":"0.3","locked":"0"}],"canTrade":true}'

    account._venue = SimpleNamespace(signed=signed)  # type: ignore[assignment]
    clock.now = 201
    await account._fetch(None, None, "")  # type: ignore[arg-type]
    assert (account.free("BTC"), account.perhaps("BTC")) == (Decimal("0.3"), 0)


POLICY = parse(tomllib.loads(BIG))
PAIR = SymbolInfo("BTCUSDT", "BTC", "USDT")


@pytest.mark.parametrize(
    ("perhaps", "others", "kind"),
    [
        ("0.4", "0", RefusalKind.UNAVAILABLE),
        ("0", "0", RefusalKind.UNKNOWN_KEY),
        ("0.4", "0.3", RefusalKind.UNKNOWN_KEY),
    ],
)
def test_where_that_decides_it_is_no_definite_no(perhaps: str, others: str, kind: RefusalKind) -> None:
    order = Order("BTCUSDT", Side.SELL, quantity=HALF, market=True)
    sale = Intent(Action.PLACE, "spot.order.place", "trade", symbols=("BTCUSDT",), orders=((order,),))
    asked = {"holdings", "stake", "price:BTCUSDT", "landed"}
    facts = Facts(
        halted=True, alone=False, pairs={"BTCUSDT": PAIR}, free=Decimal("0.2"), perhaps=Decimal(perhaps),
        stake=Stake(others=Decimal(others)), asked=asked,
    )  # fmt: skip
    verdict = evaluate(POLICY, sale, facts, "/api/v3/order", "POST")
    assert isinstance(verdict, Deny)
    assert verdict.kind is kind, verdict


@contextmanager
def answered_late(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let what a fault delays take effect at once, and be answered that much later."""

    def misbehave(self: Any, fault: Fault, call: Any) -> None:
        answer, self._held = self._server.exchange.answer(call, server.ROUTES), True

        def later() -> None:
            self._held = False
            self._write(answer)
            self._next()

        asyncio.get_running_loop().call_later(fault.ms / 1000, later)

    with monkeypatch.context() as patch:
        patch.setattr(server.Connection, "_misbehave", misbehave)
        yield


async def sells_late(world: World, bot: Bot, size: str, ms: int) -> "asyncio.Future[Any]":
    """Let a bot sell; return once the exchange has done it, and has not said so."""
    world.paper.server.faults.append(Fault("delay", "POST", "/api/v3/order", times=1, ms=ms))
    sale = asyncio.ensure_future(bot.order("SELL", size))
    async with asyncio.timeout(10):
        while not any(  # noqa: ASYNC110 - an engine tells nobody
            order.side == "SELL" and order.quantity == Decimal(size)
            for order in world.paper.exchange.engine.orders.values()
        ):
            await asyncio.sleep(0.01)
    return sale


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("ms", [500, 1500])
@pytest.mark.parametrize("who", ["another", "itself"])
@pytest.mark.parametrize("how", ["cancelled", "quiet"])
async def test_what_was_there_is_sold_beside_a_sale_that_is_not_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str, how: str, ms: int
) -> None:
    """The exit asks for holdings, and they are without the other sale already: it was told a definite no."""
    with answered_late(monkeypatch):
        async with running_world(tmp_path) as world:
            world.account(USDT="1000000", BTC="0.8")
            one, two = await bots(world, "one", "two", policy=BIG)
            if who == "another":
                assert (await two.order("BUY", "0.4005")).status == 200
            await halt(world)
            rest = "0.7" if who == "another" else "0.39"
            if how == "cancelled":
                resting = await one.order("SELL", rest, **limit(world, "1.04"))
                assert resting.status == 200, resting
            sale = await sells_late(world, two if who == "another" else one, "0.4", ms)
            if how == "cancelled":
                number = resting.body["orderId"]
                assert (
                    await one.call("DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=number)
                ).status == 200
            else:
                account_of(world)._asked_us -= OLD_US
            got = await one.order("SELL", rest)
            if got.status == 503:
                assert (await sale).status == 200
                got = await one.order("SELL", rest)
            assert got.status == 200, got
            assert (await sale).status == 200


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
async def test_nor_is_what_the_sale_took_sold_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in doubt is no yes either: of 0.8 that were there 0.4 were sold, and no more than the rest is left."""
    with answered_late(monkeypatch):
        async with running_world(tmp_path) as world:
            world.account(USDT="1000000", BTC="0.8")
            one, two = await bots(world, "one", "two", policy=BIG)
            assert (await two.order("BUY", "0.5")).status == 200
            await halt(world)
            sale = await sells_late(world, one, "0.4", 1500)
            account_of(world)._asked_us -= OLD_US
            assert (await one.order("SELL", "0.6")).reason in {"halted", "holdings_unknown"}
            assert (await sale).status == 200
            assert (await one.order("SELL", "0.6")).reason == "halted"
            assert (await two.order("SELL", "0.49")).status == 200
