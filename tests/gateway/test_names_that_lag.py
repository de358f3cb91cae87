"""A venue whose reads lag shows an order that had a name before: it does not stand for the later one of the sender's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.gateway.owners import Owners, is_later
from clients.paper import spot_trade
from tests.gateway.test_names_used_again import GRID, listed, placed
from tests.gateway.test_namesakes import cancel, lose, order_named
from tests.gateway.world import Bot, bots, running_world

Lag = Callable[[object], None]


@pytest.fixture
def lags(monkeypatch: pytest.MonkeyPatch) -> Lag:
    """Have questions by a name show an order of before; cancels, and questions by an id, are answered as it is."""

    def begin(order_id: object) -> None:
        real = spot_trade.find_order

        def find(exchange: Any, seen: Any, refusal: Any, names: Any) -> Any:
            if refusal is spot_trade.NO_SUCH_ORDER and seen.params.whole("orderId") is None:
                return exchange.engine.orders[order_id]
            return real(exchange, seen, refusal, names)

        monkeypatch.setattr(spot_trade, "find_order", find)

    return begin


async def ended(bot: Bot, **more: object) -> object:
    """Place an order, and cancel it by its id."""
    order = await placed(bot, **more)
    assert (await cancel(bot, orderId=order.body["orderId"])).status == 200
    return order.body["orderId"]


@pytest.mark.sockets
@pytest.mark.parametrize("whose", ["own", "other", "person"])
async def test_a_cancel_goes_to_the_order_that_the_venues_own_answer_told_of(
    tmp_path: Path, lags: Lag, whose: str
) -> None:
    """Whoever had the name before: the bot's later order stayed, however often it was cancelled."""
    async with running_world(tmp_path) as world:
        world.account()
        one, two = await bots(world, "one", "two")
        if whose == "person":
            key, order = world.paper.key("main@paper.test"), {"symbol": "BTCUSDT", "side": "BUY"}
            _, before = await world.paper.call(
                "POST", "/api/v3/order", key, quantity="0.003", **(order | GRID)
            )
            first = before["orderId"]
            await world.paper.call("DELETE", "/api/v3/order", key, symbol="BTCUSDT", orderId=first)
        else:
            first = await ended(one if whose == "own" else two)
        second = await placed(one)
        lags(first)
        got = await cancel(one, origClientOrderId="grid-1")
        assert (got.status, got.body["orderId"]) == (200, second.body["orderId"]), got


@pytest.mark.sockets
async def test_an_order_whose_answer_was_lost_is_cancelled_by_its_name(tmp_path: Path, lags: Lag) -> None:
    """It has no id here; the one that is shown is over, and is not it."""
    async with running_world(tmp_path) as world:
        world.account()
        one, _ = await bots(world, "one", "two")
        first = await ended(one)
        await lose(world)
        order = GRID | {"price": "48000"}
        assert (await one.order("BUY", "0.002", **order)).status == 504
        lags(first)
        got = await cancel(one, origClientOrderId="grid-1")
        assert (got.status, got.body["orderId"]) == (200, order_named(world, "grid-1")), got


@pytest.mark.sockets
async def test_nor_does_a_list_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        one, _ = await bots(world, "one", "two")
        first = await listed(one)
        number = first.body["orderListId"]
        got = await one.call("DELETE", "/api/v3/orderList", symbol="BTCUSDT", orderListId=number)
        assert got.status == 200, got
        second = await listed(one)
        whose = world.gateway.forwarder._fetcher._whose
        real = whose._list

        async def lagging(job: Any, held: Any, ref: Any) -> Any:
            return (await real(job, held, ref))._replace(list_id=str(number))

        monkeypatch.setattr(whose, "_list", lagging)
        got = await one.call("DELETE", "/api/v3/orderList", symbol="BTCUSDT", listClientOrderId="list-1")
        assert (got.status, got.body["orderListId"]) == (200, second.body["orderListId"]), got


def test_what_is_told_late_takes_no_name_from_a_later_order() -> None:
    """But an amendment does: the order that it names has the name now, however old it is."""
    owners = Owners()
    owners.bear("a", "BTCUSDT", "stop", "#9", "one")
    owners.bear("a", "BTCUSDT", "stop", "#10", "one")
    owners.bear("a", "BTCUSDT", "stop", "#9", "two")
    assert owners.bearer("a", "BTCUSDT", "stop") == ("one", "#10")
    owners.bear("a", "BTCUSDT", "stop", "#9", "one", renamed=True)
    assert owners.bearer("a", "BTCUSDT", "stop") == ("one", "#9")
    assert not is_later("#abc", "#1")
