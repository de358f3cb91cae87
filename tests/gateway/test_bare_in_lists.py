"""That an order of a list waits, and binds nothing, is known as long as what it waits for is open; no longer."""

from decimal import Decimal
from pathlib import Path

import pytest

from broker.db.weighing import Fill, Rest, Whose, weigh
from tests.gateway.test_alternatives import listed
from tests.gateway.test_followed import halt
from tests.gateway.test_paid import NAME, PAID, WIDE
from tests.gateway.test_slow_log import until
from tests.gateway.world import World, bots, running_world

ME = Whose(frozenset(["me"]))


def fill(number: str, side: str, left: str, of: str, executed: str = "0", grant: str = "two") -> Fill:
    return Fill("main", PAID, number, grant, "BTC", side, Decimal(executed), Decimal(left), listed=of)


WAITS = fill("8", "SELL", "-0.2", "9/1")
LISTS = {
    "what it waits for is open": ([fill("7", "BUY", "0.1", "9/0"), WAITS], True),
    "that is a purchase, too": ([fill("7", "SELL", "0.1", "9/0"), WAITS], True),
    "that is begun": ([fill("7", "SELL", "0.1", "9/0", "0.1"), WAITS], True),
    "that is over": ([fill("7", "BUY", "0", "9/0", "0.1"), WAITS], False),
    "nothing is told of that": ([WAITS], False),
    "that is of another list": ([fill("7", "BUY", "0.1", "5/0"), WAITS], False),
    "that is of another grant": ([fill("7", "BUY", "0.1", "9/0", grant="three"), WAITS], False),
    "two wait": ([WAITS, fill("9", "SELL", "-0.2", "9/1")], False),
    "it is of no list": ([fill("8", "SELL", "-0.2", "")], False),
}


@pytest.mark.parametrize(("fills", "sure"), LISTS.values(), ids=LISTS)
def test_it_is_no_reason_for_a_no_once_it_may_bind_something(fills: list[Fill], sure: bool) -> None:
    assert weigh(fills, ME, "BTCUSDT").sure is sure
    gone = Whose(frozenset(["me"]), gone=frozenset(["two", "three"]))
    assert weigh(fills, gone, "BTCUSDT").sure, "what was theirs is nobody's"


@pytest.mark.parametrize(("bound", "sure"), [("0.2", True), ("0", False)])
def test_so_are_those_that_a_question_has_no_room_for(bound: str, sure: bool) -> None:
    part = Rest("two", PAID, "SELL", Decimal(0), Decimal("0.2"), Decimal(bound))
    assert weigh([], ME, "BTCUSDT", rest=[part]).sure is sure


def list_of(world: World, kind: str, share: int) -> dict[str, str]:
    """Sell a tenth of an ETH, and then buy four above the market."""
    price = world.paper.exchange.symbols[NAME].price
    at, up, low = (str((price * part / 100).quantize(price)) for part in (share, 102, 97))
    form = {
        "symbol": NAME, "workingType": "LIMIT", "workingSide": "SELL", "workingTimeInForce": "GTC", "workingPrice": at,
        "workingQuantity": "0.1", "pendingSide": "BUY", "pendingQuantity": "4",
    }  # fmt: skip
    if kind == "oto":
        return form | {"pendingType": "STOP_LOSS", "pendingStopPrice": up}
    return form | {
        "pendingAboveType": "STOP_LOSS", "pendingAboveStopPrice": up, "pendingBelowType": "LIMIT_MAKER",
        "pendingBelowPrice": low,
    }  # fmt: skip


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("kind", ["oto", "otoco"])
async def test_nobodys_stock_beside_one_that_waits_no_more(tmp_path: Path, kind: str) -> None:
    """Two has .5, and some .2 of that are held at the exchange; so .95 of 1.31 that are free are nobody's, or one's."""
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="1")
        one, two = await bots(world, "one", "two", policy=WIDE)
        assert (await two.order("BUY", "0.5006")).status == 200
        assert (await one.order("BUY", "0.01")).status == 200
        assert (await two.order("BUY", "0.2", symbol="ETHUSDT")).status == 200
        await listed(two, kind, list_of(world, kind, 99))
        await until(lambda: not world.gateway.spool.waiting)
        await halt(world)
        got = await one.order("SELL", "0.95")
        assert got.status == 200 or (got.status, got.reason) == (503, "holdings_unknown"), got
        if got.status != 200:
            assert (await one.order("SELL", "0.8")).status == 200, "whatever is held of two's"
        assert (await one.order("SELL", "0.52")).status != 200, "some of that is two's"


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
async def test_beside_one_that_waits_it_is_known_whose_it_is(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="1")
        one, two = await bots(world, "one", "two", policy=WIDE)
        assert (await two.order("BUY", "0.5006")).status == 200
        assert (await two.order("BUY", "0.2", symbol="ETHUSDT")).status == 200
        await listed(two, "oto", list_of(world, "oto", 104))
        await until(lambda: not world.gateway.spool.waiting)
        await halt(world)
        got = await one.order("SELL", "1.1")
        assert (got.status, got.reason) == (401, "halted"), got
        assert (await one.order("SELL", "0.99")).status == 200
