"""What a question has no room for counts once: nothing of it is missing, whatever the broker has taken in meanwhile."""

import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.db import fills as record
from broker.db import taken
from broker.db.database import LOG_FILE, Database
from broker.db.weighing import BUY, SELL, Fill, Rest, Whose, weigh
from broker.gate import Mode
from broker.gateway import fills
from broker.gateway.fills import Placed, RecentFills
from broker.gateway.sent import Sent
from broker.link import frames
from broker.listed import list_of
from clients.paper.faults import Fault
from clients.venue import SymbolInfo
from clients.wire import Answer, OrderState
from tests.gateway.test_slow_log import locked, until
from tests.gateway.world import Bot, World, bots, running_world
from tests.places import database_at

LIMIT = {"type": "LIMIT", "timeInForce": "GTC"}
PAIRS = {name: SymbolInfo(name, "BTC", name.removeprefix("BTC")) for name in ("BTCUSDT", "BTCEUR")}
ZERO = Decimal(0)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = database_at(tmp_path)
    found.upgrade()
    yield found
    found.close()


LISTED = 24


class Both:
    """A gateway's memory and its broker's record; lines are written, taken in, and heard to be kept, one by one."""

    def __init__(self, database: Database, chance: random.Random) -> None:
        self.database, self.chance = database, chance
        self.recent, self.lines = RecentFills(), list[Any]()
        self.orders = dict[int, Fill]()
        self.taken = self.kept = 0

    def act(self) -> None:
        """An order is placed, or an answer shows more of one."""
        number = self.chance.randrange(60)
        known = self.orders.get(number)
        if known is None:
            # the first ones are of lists: of two alternatives, of two that wait, or of a purchase and a sale that waits
            of = number // 2 if number < LISTED else number
            kind = (
                (("wait", "wait"), ("buys", "wait"), ("", ""))[of % 3][number % 2] if number < LISTED else ""
            )
            waits = kind == "wait" or (number >= LISTED and number % 7 == 0)
            side = self.chance.choice([BUY, SELL]) if number >= LISTED else BUY if kind == "buys" else SELL
            known = Fill(
                "main", list(PAIRS)[of % 2], str(number), f"g{of % 4}", "BTC", side, ZERO, Decimal(-8 if waits else 8),
                listed=f"{of}/{int(waits)}" if number < LISTED else "",
            )  # fmt: skip
            placed = Placed((self._sent(known),))
        elif not known.open:
            return
        else:
            size = Decimal(self.chance.randrange(9))
            executed = min(Decimal(8), known.executed + size)
            left = ZERO if self.chance.random() < 0.3 else 8 - executed
            known = Fill(*self._of(known), executed, left, listed=known.listed)
            placed = Placed()
        self.orders[number] = known
        state = OrderState(
            known.symbol, known.order_id, f"x{number}", final=not known.open, executed_base=known.executed,
            side=known.side, quantity=Decimal(8), waits=known.open < 0, list_id=list_of(known.listed) or None,
        )  # fmt: skip
        answer = Answer(refused=False, unknown=False, orders=(state,))
        found = self.recent.take("main", known.grant, placed, answer, PAIRS, lambda *_: known.grant)
        self.lines.append(known)
        self.recent.written(found, len(self.lines))

    def take_in(self) -> None:
        upto = self.chance.randint(self.taken, len(self.lines))
        with self.database.log.write() as connection:
            record.note(connection, self.lines[self.taken : upto])
            taken.note(connection, "local", "b00t", upto)
        self.taken = upto

    def hear(self) -> None:
        self.kept = self.chance.randint(self.kept, self.taken)
        self.recent.kept(self.kept)

    def asked(self, grant: str, replaces: str) -> Any:
        """Return what the broker answers, with the line that the gateway asked as of."""
        named = (("main", "BTCUSDT", replaces)) if replaces else None
        told = self.recent.of("main", "BTC", grant, named)
        lists = {(symbol, order): listed for symbol, order, listed in self.recent.lists_in("main", told)}
        recent = [
            Fill(
                "main", symbol, order, whose, "BTC", side, Decimal(executed), Decimal(left),
                listed=lists.get((symbol, order), ""),
            )
            for whose, symbol, order, side, executed, left in told
        ]  # fmt: skip
        beyond = self.recent.untold("main", "BTC", grant, named)
        assert beyond.unsure == (0, 0)
        rest = [Rest(*part[:3], *map(Decimal, part[3:])) for part in beyond.parts]
        with self.database.log.read() as connection:
            upto = taken.upto(connection, "local", "b00t")
            assert upto == self.taken
            counted = rest if upto == beyond.as_of else ()
            found = record.stake(
                connection, "main", Whose(frozenset([grant])), "BTCUSDT", "BTC", recent, replaces, counted
            )
        if counted is not rest:
            found = found.less(beyond.doubted)
        return found, upto == beyond.as_of

    @staticmethod
    def _of(known: Fill) -> tuple[str, str, str, str, str, str]:
        return known.account, known.symbol, known.order_id, known.grant, known.base, known.side

    @staticmethod
    def _sent(known: Fill) -> Sent:
        return Sent(
            int(known.order_id) + 1, known.grant, "main", known.symbol, f"x{known.order_id}", known.side, Decimal(8),
            ZERO, 1, 2, order_id=known.order_id, asked=1, base="BTC", waits=known.open < 0,
            grouped=bool(known.listed),
        )  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
def test_what_is_answered_is_what_all_orders_say_whatever_was_taken_in(
    database: Database, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(fills, "MOST_TOLD", 5)
    chance = random.Random(seed)  # noqa: S311 - a test
    both, compared = Both(database, chance), 0
    for _ in range(60):
        for _ in range(chance.randrange(8)):
            both.act()
        if chance.random() < 0.5:
            both.take_in()
        if chance.random() < 0.7:
            both.hear()
        for grant in ("g0", "g1"):
            for replaces in ("", str(chance.randrange(60))):
                found, counted = both.asked(grant, replaces)
                compared += counted
                true = weigh(both.orders.values(), Whose(frozenset([grant])), "BTCUSDT", replaces)
                if counted:
                    assert found == true
                else:
                    assert found.own <= true.own, (
                        "what was bought and taken in meanwhile does not count twice"
                    )
    assert compared


def test_what_a_lost_line_told_is_no_more_taken_for_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fills, "MOST_TOLD", 2)
    recent = RecentFills()

    def places(number: int) -> Any:
        state = OrderState(
            "BTCUSDT", str(number), "x", final=True, executed_base=Decimal(1), side=SELL, quantity=Decimal(1)
        )
        known = Fill("main", "BTCUSDT", str(number), "grt", "BTC", SELL, Decimal(1), ZERO)
        answer = Answer(refused=False, unknown=False, orders=(state,))
        return recent.take("main", "grt", Placed((Both._sent(known),)), answer, PAIRS, lambda *_: "grt")

    for number in range(1, 11):
        recent.written(places(number), number)
    assert recent.untold("main", "BTC", "grt").unsure == (0, 0)
    recent.kept(5, (2, 3, 4, 5))
    beyond = recent.untold("main", "BTC", "grt")
    assert beyond.as_of == 5
    assert beyond.unsure[0] + sum(Decimal(part[3]) for part in beyond.parts) == 7, "of nine two are named"
    assert beyond.unsure[0] >= 2
    recent.kept(10)
    recent.forgotten(6, 8)
    beyond = recent.untold("main", "BTC", "grt")
    assert beyond.as_of == 7
    assert not beyond.parts, "what goes again is told again, and what the record has of it is not known"
    recent.kept(10)
    assert recent.of("main", "BTC", "grt"), "what was lost stays so"


async def halted(world: World) -> None:
    """From now on only what orders tell counts: what the account holds cannot be had."""
    await world.cut("account:main", mode=Mode.HALT)
    world.paper.server.faults.append(Fault("error", "GET", "/api/v3/account", times=1000))


async def sold_all(one: Bot, size: str) -> None:
    sold = await one.order("SELL", size)
    assert (sold.status, sold.reason) == (200, None)


async def test_what_was_bought_while_the_log_is_locked_can_be_sold_however_many_orders_it_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what a question names counted: of three hundred small purchases the first half could not be sold."""
    monkeypatch.setattr(fills, "MOST_TOLD", 4)
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        one, two = await bots(world, "one", "two")
        assert (await two.order("BUY", "0.0151")).status == 200
        await until(lambda: not world.gateway.spool.waiting)
        with locked(tmp_path / LOG_FILE):
            for _ in range(12):
                assert (await one.order("BUY", "0.001")).status == 200
            await halted(world)
            await sold_all(one, "0.0119")
            assert (await one.order("SELL", "0.002")).status != 200
            await sold_all(two, "0.015")


async def executed_since(world: World, one: Bot) -> None:
    """Sales that are on record as open are executed, and the gateway sees it while the log is locked."""
    await world.paper.admin("POST", "price", {"symbol": "BTCUSDT", "price": "61000"})
    orders = await one.call("GET", "/api/v3/allOrders", symbol="BTCUSDT")
    for order in orders.body:
        if order["type"] == "LIMIT":
            assert order["status"] == "FILLED"
            read = await one.call("GET", "/api/v3/order", symbol="BTCUSDT", orderId=order["orderId"])
            assert read.status == 200


async def test_sales_that_rested_on_record_and_were_executed_since_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fills, "MOST_TOLD", 4)
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        one, two = await bots(world, "one", "two")
        assert (await two.order("BUY", "0.0151")).status == 200
        for _ in range(2):
            assert (await one.order("BUY", "0.0101")).status == 200
        for _ in range(10):
            assert (await one.order("SELL", "0.001", price="60500", **LIMIT)).status == 200
        await until(lambda: not world.gateway.spool.waiting)
        with locked(tmp_path / LOG_FILE):
            await executed_since(world, one)
            await halted(world)
            await sold_all(one, "0.01")
            await sold_all(two, "0.015")


@pytest.mark.parametrize("is_heard", [True, False], ids=["just behind the answer", "never"])
async def test_lines_that_are_taken_in_and_not_heard_of_yet_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_heard: bool
) -> None:
    """Own sales among them were taken off twice. Where nobody can tell that is said, and is no no."""
    monkeypatch.setattr(fills, "MOST_TOLD", 4)
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        one, two = await bots(world, "one", "two")
        assert (await two.order("BUY", "0.0151")).status == 200
        for _ in range(2):
            assert (await one.order("BUY", "0.0101")).status == 200
        await until(lambda: not world.gateway.spool.waiting)
        kept, held = world.gateway.link.upload.take, list[Any]()
        asked, answers = world.gateway.link.ask_stake, list[Any]()

        def late(frame: Any) -> None:
            (held.append if isinstance(frame, frames.CallsKept) else kept)(frame)

        async def heard(query: frames.StakeQuery) -> Any:
            answers.append(await asked(query))
            while held and is_heard:  # it comes just behind the answer
                kept(held.pop(0))
            return answers[-1]

        monkeypatch.setattr(world.gateway.link.upload, "take", late)
        monkeypatch.setattr(world.gateway.link, "ask_stake", heard)
        for _ in range(10):
            assert (await one.order("SELL", "0.001")).status == 200
        await until(lambda: len(held) > 0 and held[-1].seq == world.gateway.spool.seq)
        await halted(world)
        if is_heard:
            await sold_all(one, "0.01")
        else:
            assert (await one.order("SELL", "0.01")).status == 503
            await sold_all(one, "0.004")
        assert answers
        await sold_all(two, "0.015")
