"""What others bought is a bound until their fees are told: where an exit falls short by that alone, it is no no."""

import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.gateway.account_view import MOST_TRADES, AccountView
from broker.gateway.costs import MOST_TRIES, Costs
from broker.gateway.fees import Fees
from broker.gateway.fills import RecentFills
from broker.gateway.venue_view import NotKnown
from clients.paper.faults import Fault
from tests.gateway.test_alternatives import listed, oto, otoco
from tests.gateway.test_followed import buys_silently, halt, shared
from tests.gateway.world import Bot, World

sockets = pytest.mark.sockets
TRADES = "/api/v3/myTrades"
KEY = ("main", "BTCUSDT", "7")
BTC = ("main", "BTC")


async def bought(world: World, bot: Bot, how: str) -> None:
    """Buy 0.1, so that no answer tells the fee: 0.0999 came."""
    if how == "otoco":
        await listed(bot, how, otoco(world, "0.1") | {"pendingQuantity": "0.0999"})
    else:
        await buys_silently(world, bot, how, "0.1")


def questions(world: World) -> int:
    return sum(row["path"] == TRADES for row in world.asked())


def silent(world: World, times: int = 1000) -> None:
    world.paper.server.faults.append(Fault("error", path=TRADES, times=times))


@sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("how", ["otoco", "ack", "resting"])
async def test_all_that_is_not_others_leaves_in_a_halt(tmp_path: Path, how: str) -> None:
    async with shared(tmp_path, "0.15") as (world, one, two):
        await bought(world, two, how)
        await halt(world)
        assert (await one.order("SELL", "0.15")).status == 200
        if how != "otoco":  # all that it bought is there still
            assert (await two.order("SELL", "0.0999")).status == 200
        assert (await one.order("SELL", "0.0001")).reason == "halted"


@sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("kind", ["otoco", "oto"])
async def test_so_does_what_an_entry_that_was_filled_by_half_brought(tmp_path: Path, kind: str) -> None:
    """Its waiting sales offer more than it brought, so nothing of it is known to be its grant's."""
    async with shared(tmp_path) as (world, one, two):
        depth = {"symbol": "BTCUSDT", "quote": "9000"}
        await world.paper.admin("POST", "depth", depth)
        form = otoco(world, "0.3")
        if kind == "oto":
            form = oto(world, "0.3", "0.3") | {"workingSide": "BUY", "workingPrice": form["workingPrice"]}
        await listed(one, kind, form)
        await world.paper.admin("POST", "depth", depth | {"quote": "1000000"})
        await bought(world, two, "otoco")
        await halt(world)
        assert (await one.order("SELL", "0.1498")).status == 200


@sockets
@pytest.mark.usefixtures("very_patient")
async def test_while_the_venue_does_not_tell_it_is_not_known_and_then_it_passes(tmp_path: Path) -> None:
    async with shared(tmp_path, "0.15") as (world, one, two):
        await bought(world, two, "ack")
        await halt(world)
        silent(world)
        got = await one.order("SELL", "0.15")
        assert (got.status, got.reason) == (503, "holdings_unknown")
        assert (await one.order("SELL", "0.1498")).status == 200, "that is not others' whatever they paid"
        world.paper.server.faults.clear()
        assert (await one.order("SELL", "0.0002")).status == 200
        assert (await two.order("SELL", "0.0999")).status == 200


@sockets
@pytest.mark.usefixtures("very_patient")
async def test_a_no_is_definite_where_no_fee_explains_it_and_where_they_are_known(tmp_path: Path) -> None:
    async with shared(tmp_path, "0.15") as (world, one, two):
        await bought(world, two, "ack")
        await halt(world)
        refused = await one.order("SELL", "0.16")
        assert (refused.status, refused.reason, questions(world)) == (401, "halted", 0)
        refused = await one.order("SELL", "0.1502")
        assert (refused.status, refused.reason, questions(world)) == (401, "halted", 1)
        refused = await one.order("SELL", "0.1502")
        assert (refused.status, refused.reason, questions(world)) == (401, "halted", 1), "it is known by now"


@sockets
@pytest.mark.usefixtures("very_patient")
async def test_it_is_on_record_soon_without_any_exit(tmp_path: Path) -> None:
    async with shared(tmp_path, "0.15") as (world, one, two):
        await bought(world, two, "otoco")
        gateway = world.gateway
        await gateway.fees.turn(gateway.shared())
        assert gateway.book.recent.fees_untold(*BTC) == ()
        before = questions(world)
        silent(world)
        await halt(world)
        assert (await one.order("SELL", "0.15")).status == 200
        assert questions(world) == before


# --- what is known -----------------------------------------------------------------------------


class Venue:
    """Tells what one order executed by its record of trades."""

    def __init__(self, *fills: tuple[str, str]) -> None:
        self.rows: list[dict[str, Any]] = [
            {"id": number, "orderId": 7, "qty": size, "commission": fee, "commissionAsset": "BTC"}
            for number, (size, fee) in enumerate(fills)
        ]
        self.calls: list[int] = []

    async def signed(self, _: object, call: Any, *__: object) -> bytes:
        asked = dict(call.params)
        self.calls.append(int(asked["fromId"]))
        rows = [row for row in self.rows if row["id"] >= int(asked["fromId"])]
        return json.dumps(rows[: int(asked["limit"])]).encode()


def account(venue: Venue) -> AccountView:
    made: Any = AccountView(venue, None)  # type: ignore[arg-type]
    return made  # type: ignore[no-any-return]


async def test_an_orders_trades_are_read_to_their_end() -> None:
    venue = Venue(*[("0.001", "0.000001")] * (2 * MOST_TRADES + 1))
    gross, fees = await account(venue).fetch_cost(None, "BTCUSDT", "7")  # type: ignore[arg-type]
    count = 2 * MOST_TRADES + 1
    assert (gross, fees) == (Decimal("0.001") * count, (("BTC", Decimal("0.000001") * count),))
    assert venue.calls == [0, MOST_TRADES, 2 * MOST_TRADES]


async def test_trades_of_another_order_are_no_answer() -> None:
    venue = Venue(("0.1", "0.0001"))
    venue.rows[0]["orderId"] = 8
    with pytest.raises(NotKnown):
        await account(venue).fetch_cost(None, "BTCUSDT", "7")  # type: ignore[arg-type]


def recent(executed: str = "0.1") -> RecentFills:
    found = RecentFills()
    found.keep(KEY, "two", "BTC", "BUY", Decimal(executed), Decimal(0), earlier=True)
    return found


def asking(found: RecentFills) -> Fees:
    fees = Fees(found)
    fees.on_state = found.learn
    return fees


async def turn(fees: Fees, fills: Sequence[tuple[str, str]]) -> None:
    view = account(Venue(*fills))
    view.may_ask = lambda _: True  # type: ignore[method-assign]
    await fees.turn({"main": (view, None)})  # type: ignore[dict-item]


async def test_a_record_of_trades_that_lags_tells_nothing() -> None:
    found = recent()
    fees = asking(found)
    await turn(fees, [("0.05", "0.00005")])
    assert found.known(KEY).executed == Decimal("0.1")  # type: ignore[union-attr]
    assert [key for key, _ in found.fees_untold(*BTC)] == [KEY]
    await turn(fees, [("0.05", "0.00005"), ("0.05", "0.00005")])
    assert found.known(KEY).executed == Decimal("0.0999")  # type: ignore[union-attr]
    assert found.fees_untold(*BTC) == ()


async def test_an_order_that_the_venue_tells_nothing_of_is_left_alone_in_the_end() -> None:
    found = recent()
    fees, venue = asking(found), Venue()
    view = account(venue)
    view.may_ask = lambda _: True  # type: ignore[method-assign]
    for _ in range(MOST_TRIES + 3):
        await fees.turn({"main": (view, None)})  # type: ignore[dict-item]
    assert len(venue.calls) == MOST_TRIES
    assert found.doubtful("main", "BTC", "one") == Decimal("0.001"), "but it stays unknown"
    assert found.doubtful("main", "BTC", "two") == 0, "what a grant's own cost makes nobody else's less"


def test_what_was_told_of_an_order_counts_for_it_whatever_is_told_of_others() -> None:
    costs = Costs()
    half, all_of_it = Decimal("0.5"), Decimal(1)

    def brought(key: tuple[str, str, str], gross: Decimal, *fees: tuple[str, Decimal]) -> Decimal:
        net = costs.received(key, "BTC", "BUY", gross, fees or None)
        costs.note(key, "BTC", "BUY", gross, net if fees else None)
        return net

    assert brought(KEY, half, ("BNB", Decimal("0.01"))) == half
    assert brought(("main", "BTCUSDT", "8"), all_of_it, ("BTC", Decimal("0.001"))) == Decimal("0.999")
    assert brought(KEY, half) == half
    assert not costs.untold(*BTC)
    assert brought(KEY, all_of_it) == half + half * Decimal("0.999"), "a guess is made for the rest alone"
    assert costs.untold(*BTC) == {KEY: all_of_it}
    costs.drop(KEY, "BTC")
    assert not costs.untold(*BTC)


def test_what_fees_may_come_to_is_added_up_not_counted_order_by_order() -> None:
    """Who leaves asks for it each time: of twenty thousand purchases nobody may have told the fees."""
    costs = Costs()
    for order in range(100):
        key, whose = ("main", "BTCUSDT", str(order)), "one" if order % 2 else "two"
        costs.note(key, "BTC", "BUY", Decimal("0.1"), whose=whose)
        costs.note(key, "BTC", "BUY", Decimal("0.2"), whose=whose)
    assert costs.bound(*BTC, but="one") == 50 * Decimal("0.002")
    for order in range(0, 98, 2):
        costs.note(("main", "BTCUSDT", str(order)), "BTC", "BUY", Decimal("0.2"), Decimal("0.1998"))
    assert costs.bound(*BTC, but="one") == Decimal("0.002")
    costs.drop(("main", "BTCUSDT", "98"), "BTC")
    assert (costs.bound(*BTC, but="one"), costs.bound(*BTC, but="two")) == (0, Decimal("0.1"))
