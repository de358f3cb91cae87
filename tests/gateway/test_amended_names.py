"""A name is no identity: what an amendment was not of keeps its own, and is found absent where it never was."""

from decimal import Decimal
from pathlib import Path

import pytest

from broker.gateway import sent as sending
from broker.gateway.sent import Sent, Waiting
from tests.gateway.test_namesakes import DAY_1000, LIMIT, Later, lose
from tests.gateway.world import bots, running_world

pytestmark = pytest.mark.sockets
NEVER_MADE = {"do": "error", "status": 500, "match": {"path": "/api/v3/order", "method": "POST"}}
AMEND = "/api/v3/order/amend/keepPriority"


def sent(name: str, number: int = 1, symbol: str = "X") -> Sent:
    return Sent(number, "g", "acc", symbol, name, "SELL", Decimal(1), Decimal(1), 1, 2)


@pytest.mark.parametrize("other", [False, True], ids=["refused", "of an older namesake"])
async def test_what_an_amendment_was_not_of_is_found_absent_and_its_budget_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: bool
) -> None:
    """An amendment by name made each order in doubt of that name one that may go by another, for good."""
    async with running_world(tmp_path) as world:
        later = Later(world, monkeypatch)
        world.account(USDT="100000")
        (bot,) = await bots(world, policy=DAY_1000)
        if other:
            small = LIMIT | {"price": "59000", "quantity": "0.002", "newClientOrderId": "X"}
            assert (await bot.order(**small)).status == 200
        await world.paper.admin("POST", "faults", NEVER_MADE)
        assert (await bot.order(price="59000", newClientOrderId="X", **LIMIT)).status in {500, 504}
        before = later.held
        amended = await bot.call(
            "PUT", AMEND, symbol="BTCUSDT", origClientOrderId="X", newQty="0.001", newClientOrderId="Y"
        )
        assert amended.status == (200 if other else 400), amended
        for _ in range(4):
            await later.settle()
        assert later.held == before - 1


async def test_an_amendment_whose_answer_is_lost_may_have_been_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        later = Later(world, monkeypatch)
        world.account(USDT="100000")
        (bot,) = await bots(world, policy=DAY_1000)
        await lose(world)
        assert (await bot.order(price="59000", newClientOrderId="X", **LIMIT)).status == 504
        await lose(world, AMEND, "PUT")
        lost = await bot.call(
            "PUT", AMEND, symbol="BTCUSDT", origClientOrderId="X", newQty="0.009", newClientOrderId="Y"
        )
        assert lost.status == 504
        for _ in range(4):
            await later.settle()
        assert later.held == 1, "it lives under another name"


def test_it_takes_all_amendments_of_a_name_to_be_of_others() -> None:
    waiting, one = Waiting(), sent("n")
    waiting.add(one)
    waiting.amended("acc", "X", "n", 1)
    waiting.amended("acc", "X", "n", 2)
    waiting.not_amended(1)
    assert one.renamed
    waiting.amendment_over(2)
    waiting.not_amended(2)
    assert one.renamed, "what became of it is not known"
    again = sent("m", 2)
    waiting.add(again)
    waiting.amended("acc", "X", "m", 3)
    waiting.not_amended(3)
    assert not again.renamed
    waiting.amended("acc", "X", "m", 4)
    waiting.amended("acc", "X", None)
    waiting.not_amended(4)
    assert again.renamed, "one that names no known order may be of any"


def test_what_is_sent_after_an_amendment_is_not_what_it_is_of_and_what_is_noted_ends_with_it() -> None:
    waiting = Waiting()
    waiting.note_amendments(on=True)
    waiting.amended("acc", "X", "n", 1)
    later = sent("n")
    assert waiting.was_amended(later)
    waiting.amended("acc", "X", "n", 2)
    waiting.not_amended(1)
    assert waiting.was_amended(later)
    waiting.not_amended(2)
    assert not waiting.was_amended(later)
    assert not waiting.notes_any
    waiting.add(later)
    assert not later.renamed


def test_what_became_of_amendments_that_nobody_knows_is_one_mark_however_many_they_are() -> None:
    waiting, one = Waiting(), sent("n")
    waiting.add(one)
    for number in range(1, 1000):
        waiting.amended("acc", "X", "n", number)
        if number % 2:
            waiting.amendment_over(number)
        else:
            waiting.not_amended(number)
    assert one.renamed
    assert len(waiting._marks[one]) == 1
    assert not waiting._by


def test_what_there_was_no_room_to_note_may_be_of_any_whatever_is_taken_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sending, "MOST_WAITING", 3)
    waiting = Waiting()
    waiting.note_amendments(on=True)
    for number in range(1, 6):
        waiting.amended("acc", "X", f"n{number}", number)
    for number in range(1, 4):
        waiting.not_amended(number)
    assert waiting.was_amended(sent("n5"))
    waiting.note_amendments(on=False)
    assert not waiting.was_amended(sent("n5"))


def test_an_amendment_of_any_order_looks_at_each_order_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each walked all that wait for an id, of all accounts and pairs: fifty thousand."""
    waiting, looked = Waiting(), list[Sent]()
    orders = [sent(f"n{number}", number, symbol="X" if number % 2 else "Y") for number in range(200)]
    for one in orders:
        waiting.add(one)
    rename = Waiting.rename

    def counted(self: Waiting, one: Sent, number: int = 0) -> None:
        looked.append(one)
        rename(self, one, number)

    monkeypatch.setattr(Waiting, "rename", counted)
    monkeypatch.setattr(type(waiting._all), "__iter__", lambda _: pytest.fail("all were walked"))
    for _ in range(50):
        waiting.amended("acc", "X", None)
    assert len(looked) == 100
    for one in orders:
        assert one.renamed is (one.symbol == "X")
        waiting.remove(one)
    for left in (waiting._plain, waiting._renamed, waiting._marks, waiting._named):
        assert not left
