"""What a revoked grant has on its way is not sold once more by who stands for it; what a stranger has bothers nobody."""

import asyncio
from contextlib import nullcontext
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.gateway.fills import UNKNOWN, RecentFills
from broker.gateway.followed import Followed
from broker.gateway.sales import Old, Sale
from broker.gateway.sent import Sent
from broker.gateway.settlement import Reservation, Settlement
from broker.gateway.unseen import Asset, Doubt
from broker.policy import Stake
from clients.paper.faults import Fault
from tests.gateway.test_followed import BIG, ORDERS, halt
from tests.gateway.test_heirs import revoke
from tests.gateway.test_taken_off_once import HALF, answered_late
from tests.gateway.world import Bot, World, bots, running_world

ORDER = "/api/v3/order"


def test_a_doubt_about_ones_own_is_taken_off_it_and_the_larger_one_counts() -> None:
    stake = Stake(own=HALF, others=HALF)
    assert Doubt(own=HALF).of(stake) == Stake(others=HALF)
    assert Doubt(own=HALF).beside(Doubt(own=2 * HALF)).own == 2 * HALF


def a_sale(grant: str, side: str = "SELL", *, size: str | None = "0.4", order_id: str | None = None) -> Sent:
    quantity = None if size is None else Decimal(size)
    return Sent(
        1, grant, "main", "BTCUSDT", "x", side, quantity, Decimal(0), 1, 2, order_id=order_id, base="BTC"
    )


def doubted(sent: Sent, consumer: str = "bot", *, told: bool = False, lease: str = "") -> Decimal:
    """Return how much less may be the heir's own, while nobody tells of an order."""
    settlement, recent = Settlement(), RecentFills()
    settlement.hold(Reservation(1, sent.grant, "main", "BTCUSDT", (), None, (sent,), consumer=consumer))
    if told:
        recent.keep(("main", "BTCUSDT", "7"), sent.grant, "BTC", "SELL", Decimal(0), Decimal("0.4"))
    followed = Followed(settlement, None, recent, lambda: 9)  # type: ignore[arg-type]
    followed.consumer_of = lambda _: lease
    return followed.doubt(Asset("main", "BTC", "heir", "key", "BTCUSDT", "", "bot"), 5).own


def test_what_may_be_an_ancestors_is_taken_off_and_nothing_else() -> None:
    gone = a_sale("gone")
    assert doubted(gone) == Decimal("0.4")
    assert doubted(a_sale("gone", size=None)) == UNKNOWN, "nobody knows how much it sells"
    assert doubted(gone, "another") == 0, "a stranger's"
    assert doubted(gone, "", lease="another") == 0, "an earlier start sent it, and its bot is here"
    assert doubted(gone, "") == Decimal("0.4"), "nobody knows whose bot sent it"
    assert doubted(a_sale("gone", "BUY")) == 0
    assert doubted(a_sale("gone", order_id="7"), told=True) == 0, "what it offers counts already"


@pytest.mark.parametrize(("grant", "less"), [("heir", "0.4"), ("two", "0")])
def test_what_an_own_sale_replaces_is_in_doubt_until_the_venue_tells_of_it(grant: str, less: str) -> None:
    """It may have been filled in part before: then the sale takes that much more of the rest."""
    old = a_sale("heir", order_id="7")
    sale = old.moved = Sale("BTC", Decimal("0.4"), old=Old(("main", "BTCUSDT", "7"), grant, lambda: None))
    assert doubted(old, told=True) == Decimal(less)
    sale.refused = True
    assert doubted(old, told=True) == 0


def orders(world: World) -> list[Any]:
    return list(world.paper.exchange.engine.orders.values())


async def sells(world: World, bot: Bot, how: str) -> "asyncio.Task[object]":
    """Let a bot sell most of what it bought, and not hear of it."""
    fault = (
        Fault("lose-reply", "POST", ORDER, times=1)
        if how.startswith("lost")
        else Fault("delay", "POST", ORDER, times=1, ms=1900 if how == "made late" else 5000)
    )
    world.paper.server.faults.append(fault)
    if how == "lost and not told":
        for path in ORDERS:
            world.paper.server.faults.append(Fault("error", "GET", path, times=200))
    sale = asyncio.ensure_future(bot.order("SELL", "0.49"))
    async with asyncio.timeout(10):
        while not world.gateway.book.flights and not sale.done():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)
    return sale


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("how", ["answered late", "made late", "lost", "lost and not told"])
async def test_an_heir_sells_nothing_of_anothers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    with answered_late(monkeypatch) if how == "answered late" else nullcontext():
        async with running_world(tmp_path) as world:
            world.account(USDT="1000000", BTC="0")
            one, two = await bots(world, "one", "two", policy=BIG)
            for bot in (one, two):
                assert (await bot.order("BUY", "0.5")).status == 200
            sale = await sells(world, one, how)
            revoke(world, "one")
            await world.settled()
            (heir,) = await bots(world, "one", policy=BIG)
            await halt(world)
            got = await heir.order("SELL", "0.49")
            await sale
            made = sum((one.executed for one in orders(world) if one.side == "SELL"), Decimal(0))
            assert made <= Decimal("0.49"), "one of both"
            assert got.status in {200, 401, 503}, got
            assert (await two.order("SELL", "0.49")).status == 200


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
async def test_a_strangers_sale_on_its_way_keeps_nobody_from_leaving(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0")
        one, two = await bots(world, "one", "two", policy=BIG)
        for bot in (one, two):
            assert (await bot.order("BUY", "0.5")).status == 200
        await halt(world)
        sale = await sells(world, one, "made late")
        assert (await two.order("SELL", "0.49")).status == 200
        await sale
