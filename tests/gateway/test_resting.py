"""Orders that nobody here follows are looked at, and the looks never use up what exits need."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.db import fills
from broker.gate import Mode
from broker.gateway import fetch, looks
from broker.gateway.account_view import ORDER_WEIGHT, AccountView
from broker.gateway.limits import MOST_IN_PAUSE, Need, Pause, Permit, WeightMeter
from broker.gateway.looks import Looks
from broker.gateway.resting import MOST, Resting
from broker.gateway.sent import Sent
from broker.gateway.settlement import Reservation, Settlement
from broker.gateway.venue_view import NotKnown
from clients.paper.faults import Fault
from clients.venue import OrderRef
from clients.wire import OrderState
from tests.gateway.test_fresh_gateway import gateway_at
from tests.gateway.test_slow_log import until
from tests.gateway.world import Bot, running_world

S = 1_000_000
NO_SUCH_ORDER = -2013


def rests(ref: OrderRef) -> OrderState:
    return OrderState("BTCUSDT", ref.order_id, "x", final=False, executed_base=Decimal(0))


def ended(ref: OrderRef) -> OrderState:
    return OrderState("BTCUSDT", ref.order_id, "x", final=True, executed_base=Decimal(1))


def unknown(ref: OrderRef) -> OrderState:
    del ref
    raise NotKnown("refused", NO_SUCH_ORDER)


def away(ref: OrderRef) -> OrderState:
    del ref
    raise OSError("away")


class Place:
    """One account, whose venue answers as it is told to."""

    def __init__(self, answer: Callable[[OrderRef], OrderState] = rests, settlement: Any = None) -> None:
        self.now_us = 10**9
        self.answer = answer
        self.asked: list[str] = []
        self.hangs: asyncio.Event | None = None
        self.meter: WeightMeter | None = None
        self.settlement = settlement or Settlement()
        self.resting = Resting(self.settlement, lambda: self.now_us)
        self.states: list[tuple[Sent, OrderState]] = []
        self.resting.on_state = lambda sent, state: self.states.append((sent, state))

    def leaves_room(self, whose: str) -> bool:
        return self.meter is None or self.meter.leaves_room("ip", ORDER_WEIGHT, self.now_us, whose)

    async def fetch_order(self, credential: Any, ref: OrderRef, need: Need, whose: str) -> OrderState:
        del credential
        if self.meter is not None:
            assert isinstance(self.meter.admit(need, "ip", ORDER_WEIGHT, self.now_us, "", whose), Permit)
        self.asked.append(ref.order_id or "")
        if self.hangs is not None:
            await self.hangs.wait()
        return self.answer(ref)

    async def exit(self, *orders: int, seconds: float = 60.0, where: str = "main", whose: str = "") -> bool:
        """An exit is judged, and the broker names these."""
        account: Any = self
        named = [("grt", "BTCUSDT", str(order), "BUY") for order in orders]
        return await self.resting.look(account, account, where, "BTC", named, seconds, whose)


class Full(Settlement):
    """Keeps nothing."""

    def hold(self, reservation: Reservation) -> None:
        del reservation


@pytest.mark.parametrize("answer", [rests, ended, unknown, away])
@pytest.mark.parametrize("settlement", [Settlement, Full])
async def test_an_order_is_not_asked_about_at_every_exit(
    answer: Callable[[OrderRef], OrderState], settlement: type[Settlement]
) -> None:
    """Five exits a second used a minute's weight up within 11 s; then the venue's own limit met exits."""
    place = Place(answer, settlement())
    for _ in range(5 * 60):
        place.now_us += S // 5
        await place.exit(*range(20))
    assert len(place.asked) <= 6 * 20
    assert len(place.asked) * ORDER_WEIGHT <= 480


@pytest.mark.parametrize("answer", [ended, unknown, away, rests])
async def test_orders_behind_those_that_fail_are_reached(answer: Callable[[OrderRef], OrderState]) -> None:
    place = Place(answer, Full())
    for _ in range(3):
        await place.exit(*range(60))
        place.now_us += 100 * S
    assert set(place.asked) == {str(number) for number in range(60)}


async def test_what_could_not_be_had_is_asked_for_again_soon_and_later_and_later() -> None:
    place = Place(away)
    assert not await place.exit(1)
    assert not await place.exit(1)
    assert len(place.asked) == 1
    place.now_us += S
    place.answer = ended
    assert await place.exit(1), "the next try has what the first one missed"
    assert not await place.exit(1)
    assert len(place.states) == 1
    place.answer = unknown
    for _ in range(24 * 60):
        place.now_us += 60 * S
        await place.exit(2)
    assert len(place.asked) <= 2 + 10 + 24 * 6


async def test_what_ended_is_looked_at_again_where_the_broker_names_it_for_long() -> None:
    """Its record may have gone back, and have lost what was told."""
    place = Place(ended)
    await place.exit(1)
    place.now_us += looks.LAST_PAUSE_US
    await place.exit(1)
    assert len(place.asked) == 2


async def test_who_comes_while_an_order_is_asked_about_waits_for_that_answer() -> None:
    place = Place(ended)
    place.hangs = asyncio.Event()
    exits = [asyncio.ensure_future(place.exit(1, 2)) for _ in range(5)]
    for _ in range(10):
        await asyncio.sleep(0)
    place.hangs.set()
    assert await asyncio.gather(*exits) == [True] * 5
    assert sorted(place.asked) == ["1", "2"]


async def test_who_gives_up_ends_no_look_of_others_and_a_hanging_one_ends_by_itself() -> None:
    place = Place(ended)
    place.hangs = asyncio.Event()
    first = asyncio.ensure_future(place.exit(1))
    second = asyncio.ensure_future(place.exit(1))
    for _ in range(10):
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    place.hangs.set()
    assert await second
    place.hangs = asyncio.Event()
    await place.exit(2, seconds=0.01)
    async with asyncio.timeout(60):
        while place.resting._under_way:  # noqa: ASYNC110 - its end tells nobody
            await asyncio.sleep(0.01)


async def test_looks_are_bounded_however_many_orders_there_are() -> None:
    """Another bot places and cancels through another gateway: each exit here meets orders never seen before."""
    place = Place(rests)
    for second in range(120):
        for number in range(5):
            await place.exit(*range(second * 1000 + number * 20, second * 1000 + number * 20 + 20))
        place.now_us += S
    assert len(place.asked) * ORDER_WEIGHT <= 960
    before = len(place.asked)
    await place.exit(*range(10**6, 10**6 + MOST), where="other")
    assert len(place.asked) == before + MOST, "another account has its own"


async def test_looks_leave_exits_the_facts_that_they_need_in_a_pause_of_the_venue() -> None:
    place = Place(unknown)
    place.meter = WeightMeter()
    place.meter.refused(429, 600.0, place.now_us)
    for number in range(10):
        await place.exit(*range(number * 20, number * 20 + 20))
    assert place.asked, "a few may go"
    needed = [place.meter.admit(Need.EXIT, "ip", 20, place.now_us) for _ in range(MOST_IN_PAUSE // 2)]
    assert not [one for one in needed if isinstance(one, Pause)]
    asked = len(place.asked)
    place.meter = WeightMeter()
    place.now_us += 700 * S
    place.meter.spend("ip", 6000, place.now_us)
    await place.exit(10**6)
    assert len(place.asked) == asked + 1
    for number in range(100):
        await place.exit(10**6 + number)
    assert not isinstance(place.meter.admit(Need.EXIT, "ip", 20, place.now_us), Pause)


def test_room_is_counted_by_the_clock_that_the_venues_weight_is_counted_by() -> None:
    """Asked by a wall clock that was set ahead, the meter let no fact of an exit pass in a pause any more."""
    meter, now_us = WeightMeter(), [10**9]
    meter.refused(429, 600.0, now_us[0])
    ahead: Any = SimpleNamespace(wall_us=lambda: now_us[0] + 3600 * S, boot_us=lambda: now_us[0])
    venue: Any = SimpleNamespace(meter=meter, now_us=lambda: now_us[0])
    assert AccountView(venue, ahead).leaves_room("")
    for _ in range(MOST_IN_PAUSE):
        assert not isinstance(meter.admit(Need.EXIT, "ip", 20, now_us[0]), Pause)
    assert not AccountView(venue, ahead).leaves_room("")
    now_us[0] += 5 * S
    assert not isinstance(meter.admit(Need.EXIT, "ip", 20, now_us[0]), Pause)


def test_what_came_of_looks_is_kept_within_bounds() -> None:
    known = Looks(most=3)
    for number in range(100):
        known.failed(("main", "BTCUSDT", str(number)), number)
    wanted = known.wanted(((("main", "BTCUSDT", str(number)), number) for number in range(100)), 100)
    assert [number for _, number in wanted] == list(range(97))


async def test_exits_go_on_where_the_venue_shows_none_of_what_is_named(tmp_path: Path) -> None:
    limit: dict[str, Any] = {"type": "LIMIT", "timeInForce": "GTC"}
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        one, two = world.bot("one"), world.bot("two")
        async with gateway_at(world, tmp_path / "edge") as port:
            one, two = Bot(port, one.key_id, one.secret), Bot(port, two.key_id, two.secret)
            await one.ready()
            await two.ready()
            assert (await one.order("BUY", "0.011")).status == 200
            for _ in range(5):
                assert (await two.order("BUY", "0.01", price="59000", **limit)).status == 200
        async with gateway_at(world, tmp_path / "edge") as port:
            one = Bot(port, one.key_id, one.secret)
            await one.ready()
            unknown = Fault("error", "GET", "/api/v3/order", times=1000, status=400, code=NO_SUCH_ORDER)
            world.paper.server.faults.append(unknown)
            for _ in range(8):
                assert (await one.order("SELL", "0.001")).status == 200
            assert 5 <= 1000 - unknown.times < 8 * 5


@pytest.mark.parametrize("slow", [False, True], ids=["all pages at one exit", "a page at each exit"])
@pytest.mark.usefixtures("very_patient")
async def test_orders_that_are_followed_here_hide_none_that_nobody_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    """Another gateway died, and a bid that rested there was filled: one sold it, because twenty older orders are named.

    Where the broker is slow an exit has time for one page: the next exits asked for the same one, over and over.
    """
    monkeypatch.setattr(fills, "MOST_RESTING", 2)
    monkeypatch.setattr(looks, "FROM_FIRST_US", 600 * S)
    limit: dict[str, Any] = {"type": "LIMIT", "timeInForce": "GTC"}
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        one, two = world.bot("one"), world.bot("two")
        await one.ready()
        assert (await one.order("BUY", "0.0101")).status == 200
        for _ in range(5):
            assert (await one.order("BUY", "0.001", price="49000", **limit)).status == 200
        await until(lambda: not world.gateway.spool.waiting)
        async with gateway_at(world, tmp_path / "edge") as port:
            two = Bot(port, two.key_id, two.secret)
            await two.ready()
            assert (await two.order("BUY", "0.01", price="59000", **limit)).status == 200
        await world.cut("account:main", mode=Mode.HALT)
        exchange = world.paper.exchange
        exchange.engine.set_price(exchange.symbols["BTCUSDT"], Decimal(58_900), exchange.now_us())
        monkeypatch.setattr(fetch, "PAGES_US", 0 if slow else 600 * S)
        for _ in range(3 if slow else 0):
            assert (await one.order("SELL", "0.001")).status == 200
        assert (await one.order("SELL", "0.012")).reason == "halted"
        assert (await one.order("SELL", "0.007")).status == 200


def test_pages_go_on_where_the_last_one_ended_and_begin_again_after_a_while() -> None:
    pages = looks.Pages()
    for now_us, after, more in (
        (0, "", "1:A:1"),
        (1, "1:A:1", "2:A:1"),
        (looks.FROM_FIRST_US - 1, "2:A:1", "3:A:1"),
    ):
        assert pages.after("main", "BTC", now_us) == after
        assert pages.after("main", "ETH", now_us) == ""
        pages.turn("main", "BTC", after, more, now_us)
    assert pages.after("main", "BTC", looks.FROM_FIRST_US) == "", "as it began, not as it went on"
    pages.turn("main", "BTC", "", "1:A:1", looks.FROM_FIRST_US)
    assert pages.after("main", "BTC", looks.FROM_FIRST_US + 1) == "1:A:1"
