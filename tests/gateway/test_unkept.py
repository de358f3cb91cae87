"""What a grant bought is told to the broker, and remembered, whatever is read and whatever others do."""

import random
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from broker.calllog import progress
from broker.db.database import LOG_FILE
from broker.gate import Mode
from broker.gateway import fills
from broker.gateway import unkept as lanes_of
from broker.gateway.fills import Beyond, Placed, RecentFills
from broker.gateway.sent import Sent
from broker.gateway.unkept import Lane, Unkept
from clients.paper.faults import Fault
from clients.venue import SymbolInfo
from clients.wire import Answer, OrderState
from tests.gateway.test_slow_log import locked, until
from tests.gateway.world import bots, running_world

PAIRS = {name: SymbolInfo(name, name.removesuffix("USDT"), "USDT") for name in ("BTCUSDT", "ETHUSDT")}


def state(order: int, executed: str = "1", side: str = "BUY", symbol: str = "BTCUSDT") -> OrderState:
    return OrderState(
        symbol, str(order), f"x{order}", final=True, executed_base=Decimal(executed), side=side,
        quantity=Decimal(executed),
    )  # fmt: skip


def sent(order: int, grant: str, symbol: str = "BTCUSDT", side: str = "BUY") -> Sent:
    return Sent(
        order, grant, "main", symbol, f"x{order}", side, Decimal(1), Decimal(0), 1, 2, order_id=str(order),
        asked=1, base=symbol.removesuffix("USDT"),
    )  # fmt: skip


class Gateway:
    """Takes answers in, and writes them down."""

    def __init__(self) -> None:
        self.recent = RecentFills()
        self.line = 0

    def places(self, order: int, grant: str = "grt", side: str = "BUY", symbol: str = "BTCUSDT") -> None:
        self._take(
            grant,
            Placed((sent(order, grant, symbol, side),), money="USDT"),
            state(order, side=side, symbol=symbol),
        )

    def reads(self, *orders: int, whose: str = "grt", side: str = "BUY") -> None:
        self._take(whose, Placed(money="USDT"), *(state(order, side=side) for order in orders))

    def _take(self, grant: str, placed: Placed, *states: OrderState) -> None:
        answer = Answer(refused=False, unknown=False, orders=states)
        found = self.recent.take("main", grant, placed, answer, PAIRS, lambda *_: grant)
        self.line += 1
        self.recent.written(found, self.line)

    def told(self, *whose: str) -> set[str]:
        return {order for _, _, order, *_ in self.recent.of("main", "BTC", *whose)}

    def own(self, grant: str = "grt") -> Decimal:
        return self.recent.seen_of("main", grant, "BTCUSDT", "BTC", "").own


@pytest.mark.parametrize("reads", [300, 3_000, 30_000])
def test_reads_of_old_orders_take_no_place_of_a_purchase(reads: int) -> None:
    gateway = Gateway()
    gateway.places(1)
    for first in range(10**6, 10**6 + reads, 500):
        gateway.reads(*range(first, min(first + 500, 10**6 + reads)))
    assert "1" in gateway.told()
    assert len(gateway.told()) == fills.MOST_TOLD, "what is left of the room is theirs"
    assert len(gateway.recent._of) <= 2_100


@pytest.mark.parametrize("orders", [300, 3_000])
@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT"])
def test_another_grants_orders_take_no_place_of_a_purchase(orders: int, symbol: str) -> None:
    gateway = Gateway()
    gateway.places(1)
    for order in range(100, 100 + orders):
        gateway.places(order, "other", symbol=symbol)
    assert "1" in gateway.told("grt")
    assert "1" in gateway.told("other"), "else the other one sells it"
    gateway.recent.kept(gateway.line)
    assert gateway.told() == set()


def test_as_many_orders_as_can_be_unkept_are_remembered_and_each_grant_has_its_share() -> None:
    gateway = Gateway()
    gateway.places(1)
    for order in range(100, 100 + fills.MOST_KEPT + 500):
        gateway.places(order, "other")
    assert "1" in gateway.told("grt")
    assert len(gateway.recent._of) == fills.MOST_KEPT
    assert gateway.own("other") == fills.MOST_KEPT + 500


def test_a_question_tells_the_own_first_and_of_each_other_grant_some() -> None:
    gateway = Gateway()
    for order in range(1, 1_000):
        gateway.places(order, f"g{order % 3}")
    told: dict[str, int] = {}
    for whose, *_ in gateway.recent.of("main", "BTC", "g1"):
        told[whose] = told.get(whose, 0) + 1
    assert told == {"g1": 150, "g0": 25, "g2": 25}
    assert {whose for whose, *_ in gateway.recent.of("main", "BTC", "nobody")} == {"g0", "g1", "g2"}


def test_orders_whose_lines_were_lost_leave_room_for_later_ones_for_good() -> None:
    """They are told with each question: three hundred exits that a full disk did not note hid every later purchase."""
    gateway = Gateway()
    for order in range(1, 301):
        gateway.places(order, side="SELL")
        gateway.recent.written((("main", "BTCUSDT", str(order), "BTC", "SELL", "1", "0"),), 0)
    gateway.places(1_000)
    for order in range(2_000, 2_050):
        gateway.places(order, "other")
    told = gateway.told("grt")
    assert "1000" in told
    assert len({"2000", "2049"} & told) == 2
    assert len([order for order in told if int(order) <= 300]) >= 100
    gateway.recent.kept(gateway.line)
    assert len(gateway.told("grt")) == fills.MOST_TOLD, "they stay"
    assert gateway.own() == 0


def test_a_sale_that_a_question_has_no_room_for_is_not_made_again() -> None:
    """The log is locked: behind two hundred small orders the sale of all was not told, and the same was sold again."""
    gateway = Gateway()
    gateway.places(1, side="SELL")
    assert gateway.recent.untold("main", "BTC", "grt") == Beyond()
    for order in range(100, 300):
        gateway.places(order, side="BUY" if order % 2 else "SELL")
    assert "1" not in gateway.told("grt")
    told = [
        (side, Decimal(executed))
        for whose, _, _, side, executed, _ in gateway.recent.of("main", "BTC", "grt")
    ]
    net = sum((size if side == "BUY" else -size for side, size in told), Decimal(0))
    beyond = gateway.recent.untold("main", "BTC", "grt")
    assert net - beyond.doubted == -1
    assert beyond.unsure == (0, 0), "what the broker has of it is known"
    rest = [(side, Decimal(executed)) for _, _, side, executed, _, _ in beyond.parts]
    assert sum((size if side == "BUY" else -size for side, size in rest), net) == -1
    gateway.recent.kept(gateway.line)
    assert gateway.recent.untold("main", "BTC", "grt") == Beyond(as_of=gateway.line)


async def test_what_was_sold_while_the_log_is_locked_is_not_sold_again_from_what_others_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fills, "MOST_TOLD", 4)
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        one, two = await bots(world, "one", "two")
        assert (await two.order("BUY", "0.0151")).status == 200
        assert (await one.order("BUY", "0.0101")).status == 200
        await until(lambda: not world.gateway.spool.waiting)
        with locked(tmp_path / LOG_FILE):
            assert (await one.order("SELL", "0.01")).status == 200
            for _ in range(5):
                assert (await one.order("BUY", "0.0001")).status == 200
            await world.cut("account:main", mode=Mode.HALT)
            again = await one.order("SELL", "0.01")
            assert (again.status, again.reason) == (401, "halted")
            assert (await two.order("SELL", "0.015")).status == 200


async def test_what_another_bought_while_the_log_is_locked_is_not_sold_however_much_it_bought_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fills, "MOST_TOLD", 4)
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        one, two = await bots(world, "one", "two")
        with locked(tmp_path / LOG_FILE):
            assert (await two.order("BUY", "0.0151")).status == 200
            for _ in range(5):
                assert (await two.order("BUY", "0.0001")).status == 200
            assert (await one.order("BUY", "0.0101")).status == 200
            await world.cut("account:main", mode=Mode.HALT)
            more = await one.order("SELL", "0.02")
            assert (more.status, more.reason) == (401, "halted")
            assert (await one.order("SELL", "0.01")).status == 200


def test_what_the_broker_has_is_forgotten_first_and_what_may_execute_last_of_that() -> None:
    gateway = Gateway()
    gateway.places(1)
    waiting = OrderState(
        "BTCUSDT", "2", "x2", final=False, executed_base=Decimal(0), side="BUY", quantity=Decimal(1)
    )
    gateway._take("grt", Placed((sent(2, "grt"),), money="USDT"), waiting)
    gateway.recent.kept(gateway.line)
    gateway.places(3)
    for order in range(100, 5_000):
        gateway.places(order, "other")
        gateway.recent.kept(gateway.line - 1)  # all but the last one
        if order == 100:
            gateway.recent.written((), 0)
            for key in [("main", "BTCUSDT", "3")]:
                gateway.recent._unkept.lose(key)
    orders = {order for _, _, order in gateway.recent._of}
    assert {"2", "3"} <= orders
    assert "1" not in orders
    assert len(orders) <= fills.MOST_SPARE + 10


def test_what_was_bought_here_counts_also_where_it_was_forgotten_since() -> None:
    """The broker is silent: what a quiet grant bought is its own still, however many orders others placed since."""
    gateway = Gateway()
    gateway.places(1)
    gateway.places(2)
    gateway.places(3, side="SELL")
    gateway.recent.kept(gateway.line)
    for order in range(100, 5_000):
        gateway.places(order, "other")
        gateway.recent.kept(gateway.line)
    assert ("main", "BTCUSDT", "1") not in gateway.recent._of
    assert gateway.own() == 1
    assert gateway.recent.seen_of("main", "grt", "BTCUSDT", "BTC", "").bought_here
    gateway.reads(1, 2, 3)
    assert gateway.own() == 1, "it is not bought again by being read"


def test_who_reads_what_it_bought_and_not_what_it_sold_owns_nothing_by_that() -> None:
    """The broker is silent, and the gateway was started anew: what others hold is not sold by a read of old purchases."""
    gateway = Gateway()
    gateway.reads(1, 2, 3)
    assert gateway.own() == 0
    gateway.places(4)
    assert gateway.own() == 1
    gateway.reads(4)
    assert gateway.own() == 1


def test_what_an_order_of_before_the_start_buys_since_is_its_grants_while_the_broker_is_silent() -> None:
    line = 0
    recent, order = (
        RecentFills(),
        replace(sent(7, "grt"), sent_us=0, asked=0),
    )  # as one that rested over a restart
    for executed, final in (("2", False), ("2", False), ("2.5", False), ("3", True)):
        shown = OrderState(
            "BTCUSDT",
            "7",
            "x7",
            final=final,
            executed_base=Decimal(executed),
            side="BUY",
            quantity=Decimal(3),
        )
        line += 1
        recent.written(recent.learn(order, shown), line)
    recent.kept(line)
    seen = recent.seen_of("main", "grt", "BTCUSDT", "BTC", "")
    assert (seen.own, seen.bought_here) == (1, True)
    for number in range(100, 3_000):
        recent.keep(
            ("main", "BTCUSDT", str(number)), "other", "BTC", "BUY", Decimal(1), Decimal(0), placed=False
        )
    assert ("main", "BTCUSDT", "7") not in recent._of
    assert recent.seen_of("main", "grt", "BTCUSDT", "BTC", "").own == 1


def test_an_order_whose_answer_was_lost_is_its_senders_once_it_is_found() -> None:
    gateway = Gateway()
    gateway.recent.found("main", "BTCUSDT", "7")
    gateway.reads(7)
    assert gateway.own() == 1
    settled = RecentFills()
    assert settled.learn(sent(7, "grt"), state(7))
    assert settled.seen_of("main", "grt", "BTCUSDT", "BTC", "").own == 1


def test_an_order_that_was_read_before_its_answer_came_is_placed_with_that() -> None:
    gateway = Gateway()
    gateway.reads(1)
    gateway.places(1)
    for first in range(1_000, 4_000, 500):
        gateway.reads(*range(first, first + 500))
    assert gateway.own() == 1
    assert "1" in gateway.told()
    gateway.recent.kept(2)
    assert "1" not in gateway.told(), "a line of it is kept"


@pytest.mark.parametrize("seed", range(30))
def test_sums_are_those_of_the_orders_whatever_comes_in_which_order(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a test
    recent = RecentFills(most=10_000)
    known: dict[int, tuple[str, str, Decimal, Decimal]] = {}
    for _ in range(300):
        order = chance.randrange(40)
        whose, side, size, _ = known.get(
            order, (f"g{order % 2}", chance.choice(["BUY", "SELL"]), Decimal(0), 0)
        )
        executed = min(Decimal(9), size + chance.randrange(3))
        left = chance.choice([Decimal(0), 9 - executed])
        before = known.get(order)
        if before is None or progress(executed, left) >= progress(*before[2:]):
            known[order] = (whose, side, executed, left)
        recent.keep(("main", "BTCUSDT", str(order)), whose, "BTC", side, executed, left)
        for grant in ("g0", "g1"):
            for replaces in ("", str(chance.randrange(40))):
                own, freed = Decimal(0), Decimal(0)
                for number, (who, way, done, rest) in known.items():
                    if who != grant:
                        continue
                    own += done if way == "BUY" else -done
                    if way == "SELL" and str(number) == replaces:
                        freed = rest
                    elif way == "SELL":
                        own -= rest
                seen = recent.seen_of("main", grant, "BTCUSDT", "BTC", replaces)
                assert (seen.own, seen.freed) == (max(Decimal(0), own), freed)


async def test_a_bot_that_reads_its_old_orders_while_the_log_is_locked_can_sell_what_it_bought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fills, "MOST_TOLD", 4)
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        one, two = await bots(world, "one", "two")
        world.gateway.book.recent._most_spare = 5
        assert (await two.order("BUY", "0.01")).status == 200
        old = [(await one.order("BUY", "0.0001")).body["orderId"] for _ in range(16)]
        await until(lambda: not world.gateway.spool.waiting)
        with locked(tmp_path / LOG_FILE):
            assert (await one.order("BUY", "0.01")).status == 200
            for order in old:
                assert (await one.call("GET", "/api/v3/order", symbol="BTCUSDT", orderId=order)).status == 200
            await world.cut("account:main", mode=Mode.HALT)
            world.paper.server.faults.append(Fault("error", "GET", "/api/v3/account", times=1000))
            sold = await one.order("SELL", "0.0098")
            assert (sold.status, sold.reason) == (200, None)


class Simple:
    """What is unkept, order by order: where the line is that tells its state; None where it is in none yet."""

    def __init__(self) -> None:
        self.where: dict[int, int | str | None] = {}
        self.kept: dict[int, int] = {}
        self.lost: set[int] = set()
        self.on_the_way: list[tuple[int, int]] = []

    def add(self, order: int) -> None:
        self.kept.pop(order, None)
        self.where[order] = None

    def lose(self, order: int) -> None:
        self.add(order)
        self.lost.add(order)

    def written(self, order: int, line: int) -> None:
        if order in self.where and self.where[order] is None and order not in self.lost:
            self.where[order] = line
            self.on_the_way.append((line, order))

    def keep(self, line: int, unreadable: tuple[int, ...]) -> None:
        for number, order in sorted(self.on_the_way):
            if number > line:
                continue
            self.on_the_way.remove((number, order))
            if number in unreadable:
                self.lose(order)
            elif self.where.get(order) == number:
                del self.where[order]
                self.kept[order] = number

    def forgotten(self, first: int, again: int) -> None:
        for order, line in list(self.kept.items()):
            if line >= first:
                if line < again:
                    self.lose(order)
                else:
                    del self.kept[order]
                    self.where[order] = line
                    self.on_the_way.append((line, order))


@pytest.mark.parametrize("seed", range(40))
def test_what_is_unkept_is_so_in_whatever_lane_it_lies(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(lanes_of, "_MOST_LANES", 3 + seed % 5)
    chance = random.Random(seed)  # noqa: S311 - a test
    unkept, simple, line, upto = Unkept(), Simple(), 0, 0
    lanes = [
        Lane("main", "BTC", f"g{number}", placed=placed) for number in range(3) for placed in (True, False)
    ]
    lane_of = {order: chance.choice(lanes) for order in range(15)}
    for _ in range(400):
        order = chance.randrange(15)
        key = ("main", "BTCUSDT", str(order))
        known = order in simple.where or order in simple.kept
        deed = chance.randrange(7)
        if deed == 0:
            unkept.add(key, lane_of[order])
            simple.add(order)
        elif deed == 1 and known:
            lane_of[order] = lane_of[order]._replace(placed=True)
            unkept.move(key, lane_of[order])
        elif deed == 2 and known:
            line += 1
            unkept.written(key, line)
            simple.written(order, line)
        elif deed == 3 and chance.random() < 0.1 and known:
            unkept.lose(key)
            simple.lose(order)
        elif deed == 4 and line > upto:
            upto = chance.randrange(upto, line) + 1
            unreadable = (chance.randrange(line),) if chance.random() < 0.1 else ()
            unkept.kept(upto, unreadable)
            simple.keep(upto, unreadable)
        elif deed == 5 and upto and chance.random() < 0.3:
            first = chance.randrange(upto) + 1
            again = first + chance.randrange(3)
            unkept.forgotten(first, again)
            simple.forgotten(first, again)
            upto = first - 1
        found = [int(order) for _, _, order in unkept.latest("main", "BTC", "g1", 10**6)]
        assert sorted(found) == sorted(simple.where)
        assert unkept.placed == len([order for order in simple.where if lane_of[order].placed])
