"""What a question has no room to name is added up as orders change, and comes to what a walk through all of them finds.

The walk held the gateway's loop for a second while one key replaced its own orders and the broker was behind.
"""

import random
from decimal import Decimal
from typing import Any

import pytest

from broker.gateway import fills, tally
from broker.gateway.fills import RecentFills

ZERO = Decimal(0)
GRANTS, SIDES, PAIRS, BASES = ("g0", "g1", "g2"), ("BUY", "SELL"), ("BTCUSDT", "BTCEUR"), ("BTC", "ETH")


def walked(recent: RecentFills, base: str, grant: str, replaces: Any) -> Any:
    """Return what all unkept orders come to: the mechanism that was slow, and simple."""
    keys = [key for key, order in recent._of.items() if recent._unkept.has(key) and order.base == base]
    if len(keys) <= fills.MOST_TOLD:
        return {}, (ZERO, ZERO), ZERO
    named, parts, unsure, sold = (
        set(recent._named("main", base, grant, replaces)),
        dict[Any, Any](),
        dict[str, Decimal](),
        ZERO,
    )
    for key in keys:
        if key in named:
            continue
        order, had = recent._of[key], recent._record.of(key)
        size = abs(order.left)
        if had is not None:
            was = parts.get((order.whose, key[1], order.side), (ZERO, ZERO, ZERO))
            parts[order.whose, key[1], order.side] = (
                was[0] + order.executed - had.executed,
                was[1] + size - abs(had.left),
                was[2] + max(ZERO, order.left) - max(ZERO, had.left),
            )
        if order.placed and had is None:
            more = order.executed if order.side == "BUY" else -order.executed - size
            unsure[order.whose] = unsure.get(order.whose, ZERO) + more
        if order.placed and order.whose == grant and order.side != "BUY":
            sold += order.executed + size
    others = sum((max(ZERO, own) for whose, own in unsure.items() if whose != grant), ZERO)
    return parts, (max(ZERO, -unsure.get(grant, ZERO)), others), sold


def act(recent: RecentFills, chance: random.Random, line: int, told: list[Any]) -> int:
    """Let something happen to the memory; return the number of the last line."""
    number, deed = chance.randrange(40), chance.randrange(12)
    key = ("main", PAIRS[number % 2], str(number))
    if deed < 6:
        base, whose, side = BASES[number % 5 == 0], GRANTS[number % 3], SIDES[number % 4 > 1]
        executed = Decimal(chance.randrange(100)) / Decimal(7 if number % 11 == 0 else 8)
        left = Decimal(chance.choice([0, 3, -3]))
        if key not in recent._of and chance.random() < 0.7:
            recent._record.placed(key)
        recent.keep(
            key,
            whose,
            base,
            side,
            executed,
            left,
            placed=chance.random() < 0.8,
            earlier=chance.random() < 0.1,
        )
        told.append((*key, base, side, str(executed), str(left)))
    elif deed == 6 and told:
        line += 1
        one = told.pop(chance.randrange(len(told)))
        recent.written((one,), 0 if chance.random() < 0.1 else line)
    elif deed == 7 and told:
        recent.written_late((chance.choice(told),), line if chance.random() < 0.5 else 0)
    elif deed == 8 and line:
        recent.kept(chance.randint(1, line), (chance.randint(1, line),) if chance.random() < 0.2 else ())
    elif deed == 9 and line and chance.random() < 0.3:
        first = chance.randint(1, line)
        recent.forgotten(first, chance.randint(first, line))
    elif deed == 10 and chance.random() < 0.3:
        chance.choice([recent.earlier_again, recent.earlier_kept, recent.earlier_forgotten])()
    return line


@pytest.mark.parametrize("seed", range(20))
def test_sums_are_those_of_a_walk(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(fills, "MOST_TOLD", 4)
    monkeypatch.setattr(tally, "MOST_CHANGED", 3)
    chance, told = random.Random(seed), list[Any]()  # noqa: S311 - a test
    recent, line = RecentFills(most=30, most_spare=6), 0
    for _ in range(600):
        line = act(recent, chance, line, told)
        if chance.random() < 0.5:
            continue
        base, grant = chance.choice(BASES), chance.choice(GRANTS)
        replaces = None if chance.random() < 0.5 else ("main", "BTCUSDT", str(2 * chance.randrange(20)))
        found = recent.untold("main", base, grant, replaces)
        parts, unsure, sold = walked(recent, base, grant, replaces)
        close = {one[:3]: tuple(map(Decimal, one[3:])) for one in found.parts}
        assert close.keys() == parts.keys()
        for whose, amounts in parts.items():
            assert all(
                abs(one - other) < Decimal("1e-20") for one, other in zip(close[whose], amounts, strict=True)
            )
        assert all(
            abs(one - other) < Decimal("1e-20") for one, other in zip(found.unsure, unsure, strict=True)
        )
        assert abs(found.doubted - sold) < Decimal("1e-20")


def test_an_ask_looks_at_no_more_than_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    recent = RecentFills()
    for number in range(9_900):
        key = ("main", "BTCUSDT", str(number))
        recent._record.placed(key)
        recent.keep(key, f"g{number % 2}", "BTC", SIDES[number % 2], Decimal(1), ZERO, placed=True)
    assert recent.untold("main", "BTC", "g0").parts
    looked, added = [0], [0]
    look, add = recent._tally._look, tally._Asset.add

    def looks(key: Any) -> Any:
        looked[0] += 1
        return look(key)

    def adds(*args: Any) -> None:
        added[0] += 1
        add(*args)

    monkeypatch.setattr(recent._tally, "_look", looks)
    monkeypatch.setattr(tally._Asset, "add", adds)
    for grant in ("g0", "g1", "g2"):
        recent.untold("main", "BTC", grant)
    assert looked[0] == 0
    assert added[0] <= 3 * fills.MOST_TOLD
    recent.keep(("main", "BTCUSDT", "7"), "g1", "BTC", "SELL", Decimal(2), ZERO, placed=True)
    recent.untold("main", "BTC", "g1")
    assert looked[0] == 1
