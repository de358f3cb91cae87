"""What an order did is lost for whose an asset is only as long as its line is: one that is written late tells it."""

from decimal import Decimal
from pathlib import Path

import pytest

from broker.calllog import Answered
from broker.gateway.fills import RecentFills
from broker.gateway.late import Late
from tests.gateway.test_kept_lines import until
from tests.gateway.test_late_lines import Lines, answer, ask, full_disk, trading
from tests.gateway.world import running_world

KEY = ("main", "BTCUSDT", "7")
FILLS = ((*KEY, "BTC", "SELL", "0.5", "0.0"),)


def sold(recent: RecentFills, executed: str = "0.5") -> None:
    recent.keep(KEY, "g", "BTC", "SELL", Decimal(executed), Decimal("0.5") - Decimal(executed))


def late_line() -> RecentFills:
    recent = RecentFills()
    sold(recent)
    recent.written(FILLS, 0)
    assert recent._unkept.is_lost(KEY)
    return recent


def test_what_is_written_late_is_told_once_it_is_kept() -> None:
    recent = late_line()
    recent.written_late(FILLS, 5)
    assert recent.of("main", "BTC", "g"), "the broker does not have it yet"
    recent.kept(5)
    assert not recent.of("main", "BTC", "g")


@pytest.mark.parametrize("how", ["dropped", "lost before", "more is known", "unreadable"])
def test_what_may_not_have_been_told_stays_lost(how: str) -> None:
    recent = RecentFills() if how == "lost before" else late_line()
    if how == "lost before":
        sold(recent, "0.1")
        recent.written(((*KEY, "BTC", "SELL", "0.1", "0.4"),), 1)
        recent.kept(1, (1,))
        sold(recent)
        recent.written(FILLS, 0)
    if how == "more is known":
        recent.written(((*KEY, "BTC", "SELL", "0.5", "0.0"),), 4)
        recent.keep(KEY, "g", "BTC", "SELL", Decimal("0.6"), Decimal(0))
    recent.written_late(FILLS, 0 if how == "dropped" else 5)
    recent.written_late(FILLS, 6 if how == "dropped" else 5)
    recent.kept(6, (5,) if how == "unreadable" else ())
    assert recent._unkept.is_lost(KEY)
    assert recent.of("main", "BTC", "g")


def test_it_is_told_of_every_line_how_it_ended() -> None:
    late, lines, ended = Late(most=4), Lines(), list[int]()
    late.on_end = lambda fills, number: ended.append(number if fills == FILLS else -1)
    told = Answered(9, 7, 1, 200, None, 1, "done", (), (), fills=FILLS)
    late.answer(told, "g")
    first = late.ask(ask("a"), ())
    late.answer(told, "g", first)
    late.answer(answer(), "g", first)
    assert not ended
    late.ask(ask("b"), ())
    assert ended == [0], "the oldest had to go"
    late.write(lines.write, lines.following)
    assert ended == [0, 2]
    first.gone = True
    late.answer(told, "g", first)
    assert ended == [0, 2, 0]


@pytest.mark.sockets
async def test_an_exit_that_left_while_the_disk_was_full_is_lost_no_more_once_it_is_on_record(
    tmp_path: Path,
) -> None:
    """It was for good: beyond two hundred of them they were taken off twice, and what was bought could not be sold."""
    async with running_world(tmp_path) as world:
        mortal, bot = await trading(world, tmp_path / "edge")
        full, recent = [True], mortal.gateway.book.recent
        full_disk(mortal.gateway.spool, lambda _: full[0])
        assert (await bot.order("SELL", quantity="0.5", newClientOrderId="exit")).status == 200
        assert len(recent.of("main", "BTC")) == 1
        full[0] = False
        await until(lambda: not recent.of("main", "BTC"))
        await mortal.end()
