"""Of pairs that share assets the record and a gateway's memory say by asset what executions of orders come to."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from broker.calllog import Answered, Fills, Lists
from broker.db import calls, fills
from broker.db.database import Database
from broker.db.weighing import BUY, SELL, Fill, Rest, Whose
from broker.gateway import fills as memory
from broker.gateway.fills import RecentFills
from broker.gateway.reported import Placed
from broker.gateway.sent import Sent
from clients.venue import SymbolInfo
from clients.wire import Answer, OrderState
from tests.places import database_at

ZERO = Decimal(0)
PAIRS = {
    name: SymbolInfo(name, base, quote)
    for name, base, quote in (
        ("BTCUSDT", "BTC", "USDT"), ("ETHUSDT", "ETH", "USDT"), ("ETHBTC", "ETH", "BTC"), ("BNBETH", "BNB", "ETH")
    )
}  # fmt: skip
ASSETS = ("BTC", "ETH", "BNB")
ONE, TWO = "one", "two"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = database_at(tmp_path)
    found.upgrade()
    yield found
    found.close()


@dataclass
class Order:
    """An order as it is at the venue; `group`: 0 of what is in the book at once, 1 of what waits for that."""

    number: int
    whose: str
    symbol: str
    side: str
    quantity: Decimal
    price: Decimal
    of: str = ""
    group: int = 0
    executed: Decimal = ZERO
    final: bool = False

    @property
    def left(self) -> Decimal:
        return ZERO if self.final else self.quantity - self.executed

    def gives(self, asset: str) -> bool:
        pair = PAIRS[self.symbol]
        return asset == (pair.base if self.side == SELL else pair.quote)

    def moves(self, asset: str, amount: Decimal) -> Decimal:
        pair = PAIRS[self.symbol]
        return amount if asset == pair.base else amount * self.price if asset == pair.quote else ZERO


def placed(chance: random.Random, number: int) -> list[Order]:
    """Return what one request places: an order, two alternatives, or one and another that waits for it."""
    whose, symbol, kind = chance.choice([ONE, TWO]), chance.choice(list(PAIRS)), chance.randrange(3)

    def one(offset: int, side: str, group: int = 0) -> Order:
        size, price = Decimal(chance.randrange(1, 400)) / 100, Decimal(chance.randrange(1, 20)) / 100
        return Order(number + offset, whose, symbol, side, size, price, str(number) if kind else "", group)

    side = chance.choice([BUY, SELL])
    if not kind:
        return [one(0, side)]
    if kind == 1:
        return [one(0, side), one(1, side)]
    return [one(0, side), one(1, chance.choice([BUY, SELL]), group=1)]


def goes_on(chance: random.Random, orders: list[Order]) -> None:
    """Some of what is in the book executes; alternatives of that are over, and what waited for it is not yet."""
    first = chance.choice([one for one in orders if one.group == 0])
    if first.final or chance.random() < 0.3:
        return
    first.executed = min(first.quantity, first.executed + first.quantity * chance.randrange(1, 4) / 4)
    first.final = first.executed == first.quantity or chance.random() < 0.2
    for other in orders:
        other.final = other.final or (other is not first and other.group == 0)
    if first.final:
        for other in orders:
            other.final = other.final or chance.random() < 0.5


def told(orders: list[Order]) -> tuple[OrderState, ...]:
    return tuple(
        OrderState(
            one.symbol, str(one.number), f"x{one.number}", one.final, one.executed * one.price, one.executed,
            side=one.side, quantity=one.quantity, price=one.price, list_id=one.of or None, waits=one.group == 1, fees=(),
        )
        for one in orders
    )  # fmt: skip


def sent(orders: list[Order]) -> tuple[Sent, ...]:
    return tuple(
        Sent(
            one.number, one.whose, "main", one.symbol, f"x{one.number}", one.side, one.quantity, one.price, 1, 2,
            order_id=str(one.number), base=PAIRS[one.symbol].base, waits=one.group == 1, grouped=bool(one.of),
        )
        for one in orders
    )  # fmt: skip


def truth(requests: list[list[Order]], whose: str, asset: str) -> tuple[Decimal, Decimal, Decimal]:
    """Return what a bot has of an asset, what it offers, and what of that is bound."""
    has = offered = bound = ZERO
    for orders in requests:
        of_it = [
            one
            for one in orders
            if one.whose == whose and asset in {PAIRS[one.symbol].base, PAIRS[one.symbol].quote}
        ]
        for one in of_it:
            has += one.moves(asset, one.executed) * (-1 if one.gives(asset) else 1)
        gives = [one for one in of_it if one.gives(asset)]
        now = max((one.moves(asset, one.left) for one in gives if one.group == 0), default=ZERO)
        comes = max(
            (one.moves(asset, one.left) for one in of_it if one.group == 0 and one not in gives), default=ZERO
        )
        waits = max((one.moves(asset, one.left) for one in gives if one.group == 1), default=ZERO)
        bound += now
        offered += now + max(ZERO, waits - comes)
    return has, offered, bound


def write(
    database: Database, number: int, whose: str, orders: list[Order], told: Fills, lists: Lists
) -> None:
    own = tuple((one.symbol, f"#{one.number}", f"x{one.number}") for one in orders)
    line = Answered(
        number, number, number, 200, None, 1, "done", (), (), account="main", grant=whose, own=own, fills=told,
        lists=lists,
    )  # fmt: skip
    with database.log.write() as connection:
        calls.add_lines(connection, "edge", "b1", [line])


@pytest.mark.parametrize("seed", range(25))
def test_each_asset_is_whose_the_executions_say(database: Database, seed: int) -> None:
    chance, recent = random.Random(seed), RecentFills()  # noqa: S311 - a test
    requests: list[list[Order]] = []
    later: dict[tuple[str, str], Fill] = {}
    for line in range(1, 60):
        if not requests or chance.random() < 0.4:
            requests.append(placed(chance, line * 10))
        orders = chance.choice(requests)
        goes_on(chance, orders)
        whose = orders[0].whose
        answer = Answer(refused=False, unknown=False, orders=told(orders))
        found = recent.take(
            "main", whose, Placed(sent(orders), money="USDT"), answer, PAIRS, lambda *_, whose=whose: whose
        )
        lists = recent.lists_of(found)
        of = {one[:2]: one[2] for one in lists}
        for account, symbol, order_id, base, side, executed, left in found:
            at = (symbol, order_id)
            row = Fill(account, *at, whose, base, side, Decimal(executed), Decimal(left), 0, of.get(at, ""))
            later[at] = row
        if chance.random() < 0.8:
            write(database, line, whose, orders, found, lists)
            for _, symbol, order_id, *_ in found:
                del later[symbol, order_id]
    shown = [orders for orders in requests if recent.known(("main", orders[0].symbol, str(orders[0].number)))]
    for asset in ASSETS:
        symbol = next(name for name, pair in PAIRS.items() if pair.base == asset)
        has, offered, _ = truth(shown, ONE, asset)
        theirs, _, bound = truth(shown, TWO, asset)
        assert recent.seen_of("main", ONE, symbol, asset, "").own == max(ZERO, has - offered), asset
        with database.log.read() as connection:
            named = [row for row in later.values() if row.base == asset]
            stake = fills.stake(connection, "main", Whose(frozenset({ONE})), symbol, asset, named)
        assert (stake.own, stake.others) == (max(ZERO, has - offered), max(ZERO, theirs - bound)), asset


@pytest.mark.parametrize("seed", range(25))
def test_so_it_is_where_a_question_has_no_room_for_all_of_them(
    database: Database, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """What the record does not have yet is named in part, and the rest is added up beyond what it has."""
    monkeypatch.setattr(memory, "MOST_TOLD", 4)
    chance, recent = random.Random(seed), RecentFills()  # noqa: S311 - a test
    requests: list[list[Order]] = []
    for line in range(1, 90):
        if not requests or chance.random() < 0.4:
            requests.append(placed(chance, line * 10))
        orders = chance.choice(requests)
        goes_on(chance, orders)
        whose = orders[0].whose
        answer = Answer(refused=False, unknown=False, orders=told(orders))
        found = recent.take(
            "main", whose, Placed(sent(orders), money="USDT"), answer, PAIRS, lambda *_, whose=whose: whose
        )
        recent.written(found, line)
        if line < 50:
            write(database, line, whose, orders, found, recent.lists_of(found))
            recent.kept(line)
    shown = [orders for orders in requests if recent.known(("main", orders[0].symbol, str(orders[0].number)))]
    added_up = 0
    for asset in ASSETS:
        symbol = next(name for name, pair in PAIRS.items() if pair.base == asset)
        named, beyond = recent.of("main", asset, ONE), recent.untold("main", asset, ONE)
        of = {one[:2]: one[2] for one in recent.lists_in("main", named)}
        rows = [
            Fill("main", symbol, number, whose, asset, side, Decimal(executed), Decimal(left), 0, of.get((symbol, number), ""))
            for whose, symbol, number, side, executed, left in named
        ]  # fmt: skip
        rest = [Rest(*part[:3], *map(Decimal, part[3:])) for part in beyond.parts]
        added_up += len(rest)
        assert (len(rows) <= 4, beyond.unsure) == (True, (0, 0))
        has, offered, _ = truth(shown, ONE, asset)
        theirs, _, bound = truth(shown, TWO, asset)
        with database.log.read() as connection:
            stake = fills.stake(connection, "main", Whose(frozenset({ONE})), symbol, asset, rows, "", rest)
        assert (stake.own, stake.others) == (max(ZERO, has - offered), max(ZERO, theirs - bound)), asset
    assert added_up


def test_a_list_offers_nothing_of_what_its_pair_is_quoted_in(database: Database) -> None:
    """Seven of eight are on offer, and one was sold: that binds nothing of what another has there."""
    coins = Order(1, TWO, "BTCUSDT", BUY, Decimal("0.5"), Decimal(1), executed=Decimal("0.5"), final=True)
    ether = Order(2, TWO, "ETHUSDT", BUY, Decimal(9), Decimal(1), executed=Decimal(9), final=True)
    first = Order(3, TWO, "ETHBTC", SELL, Decimal(8), Decimal("0.05"), "3", executed=Decimal(1))
    then = Order(4, TWO, "ETHBTC", BUY, Decimal(1), Decimal("0.05"), "3", group=1)
    recent = RecentFills()
    for number, orders in enumerate(([coins], [ether], [first, then]), start=1):
        answer = Answer(refused=False, unknown=False, orders=told(orders))
        found = recent.take("main", TWO, Placed(sent(orders), money="USDT"), answer, PAIRS, lambda *_: TWO)
        write(database, number, TWO, orders, found, recent.lists_of(found))
    with database.log.read() as connection:
        stake = fills.stake(connection, "main", Whose(frozenset({ONE})), "BTCUSDT", "BTC")
    assert stake.others == Decimal("0.55")
