"""What a revoked grant bought is left to one grant of its consumer: two would sell it twice, and the second another's."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.db.weighing import Fill, Whose, weigh
from broker.service.heirs import Heirs
from tests.gateway.test_followed import BIG, halt
from tests.gateway.test_heirs import revoke
from tests.gateway.world import bots, running_world

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("heir_first", [True, False])
async def test_two_grants_do_not_sell_it_twice(tmp_path: Path, *, heir_first: bool) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0")
        two, gone = await bots(world, "two", "gone", policy=BIG)
        assert (await two.order("BUY", "0.5")).status == 200
        assert (await gone.order("BUY", "0.5")).status == 200
        revoke(world, "gone")
        await world.settled()
        (heir,) = await bots(world, "gone", policy=BIG)
        (other,) = await bots(world, "gone", policy=BIG)
        await halt(world)
        if heir_first:
            assert (await heir.order("SELL", "0.49")).status == 200
        assert (await other.order("SELL", "0.49")).reason == "halted"
        if not heir_first:
            assert (await heir.order("SELL", "0.49")).status == 200, "also where the other one asks before"
        assert (await two.order("SELL", "0.49")).status == 200


def grants(*rows: tuple[str, str, bool]) -> list[Any]:
    return [
        SimpleNamespace(
            id=name, consumer=consumer, created_at=BEGAN + timedelta(days=day), revoked_at=BEGAN if gone else None
        )
        for day, (name, consumer, gone) in enumerate(rows)
    ]  # fmt: skip


def test_the_one_that_was_made_next_stands_for_it() -> None:
    heirs = Heirs.among(
        grants(
            ("a", "bot", True), ("x", "else", False), ("b", "bot", False), ("c", "bot", False), ("d", "bot", True),
            ("y", "none", True),
        )
    )  # fmt: skip
    assert [heirs.of(name) for name in "abcdxy"] == ["b", "b", "c", "c", "x", None]
    mine = heirs.whose("b", "bot")
    assert (mine.own, mine.left, mine.kin) == ({"a", "b"}, {"a"}, {"c"})
    assert (mine.gone, dict(mine.heirs)) == ({"y"}, {"a": "b", "d": "c"})


def fill(grant: str, side: str, executed: str, left: str = "0") -> Fill:
    number = f"{grant}{side}{executed}"
    return Fill("main", "BTCUSDT", number, grant, "BTC", side, Decimal(executed), Decimal(left))


LEFT = {
    "all of it": ([fill("was", "BUY", "5")], "5"),
    "less what it sold of it": ([fill("was", "BUY", "5"), fill("me", "SELL", "2")], "3"),
    "less what others of its consumer may have sold of it": (
        [fill("was", "BUY", "5"), fill("kin", "BUY", "1"), fill("kin", "SELL", "3")],
        "3",
    ),
    "and what they offer": ([fill("was", "BUY", "5"), fill("kin", "SELL", "0", "3")], "2"),
    "its own is its own": (
        [fill("was", "BUY", "5"), fill("me", "BUY", "1"), fill("kin", "SELL", "9")],
        "1",
    ),
    "not what they bought": ([fill("was", "BUY", "5"), fill("kin", "BUY", "3")], "5"),
}


@pytest.mark.parametrize(("fills", "own"), LEFT.values(), ids=LEFT)
def test_what_is_left_of_it(fills: list[Fill], own: str) -> None:
    whose = Whose(
        frozenset(["me", "was"]), heirs={"was": "me"}, left=frozenset(["was"]), kin=frozenset(["kin"])
    )
    assert weigh(fills, whose, "BTCUSDT").own == Decimal(own)
