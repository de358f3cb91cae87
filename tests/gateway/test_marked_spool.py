"""Budget that an exit took while the disk was full stays spent, although its line was in memory and died with the gateway."""

import errno
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import select

from broker.db import log_tables as t
from broker.gateway import spool
from broker.gateway.others import Others
from broker.gateway.spool import Spool
from tests.gateway.mortal import Mortal
from tests.gateway.test_kept_lines import logged, until
from tests.gateway.test_late_lines import full_disk
from tests.gateway.test_returned_slices import SPENT, bot_of
from tests.gateway.world import Bot, World, running_world

pytestmark = pytest.mark.usefixtures("very_patient")


async def sold(world: World, path: Path) -> tuple[Mortal, Bot, list[bool]]:
    """Sell within the limits while the disk is full; what is sold takes from the budget."""
    world.account(BTC="1", USDT="100000")
    issued = world.issue()
    mortal = Mortal(world, path)
    await mortal.start()
    bot = bot_of(issued, mortal.port)
    await bot.ready()
    full = [True]
    full_disk(mortal.gateway.spool, lambda _: full[0])
    assert (await bot.order("SELL", newClientOrderId="exit")).status == 200
    return mortal, bot, full


def slices_of(world: World) -> list[tuple[Decimal, bool]]:
    """Return what counts as spent of each slice that this gateway was ever lent, and whether it is closed."""
    with world.service.desk.database.log.read() as connection:
        rows = connection.execute(select(t.SLICES).where(t.SLICES.c.gateway == "edge")).all()
    return [(Decimal(row.amount) - Decimal(row.returned), row.closed_us is not None) for row in rows]


async def spent(world: World) -> Decimal:
    """Return what counts as spent once all of them are closed."""
    await until(lambda: all(closed for _, closed in slices_of(world)))
    return sum((amount for amount, _ in slices_of(world)), Decimal(0))


async def over(mortal: Mortal) -> None:
    """Begin again, and wait until the broker has closed what the start before left."""
    await mortal.start()
    upload = mortal.gateway.link.upload
    await until(lambda: upload.sent_once and not upload._sent and not upload._earlier)
    await mortal.end()


async def test_it_does_not_come_back_where_the_gateway_is_killed(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        mortal, _, _ = await sold(world, tmp_path / "edge")
        await mortal.kill()
        await over(mortal)
        assert await spent(world) >= SPENT
        assert "exit" not in logged(world)


async def test_what_was_not_spent_comes_back_once_the_line_is_written(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        mortal, _, full = await sold(world, tmp_path / "edge")
        full[0] = False
        mortal.gateway.ledger.catch_up()
        await mortal.kill()
        await over(mortal)
        await until(lambda: logged(world).get("exit") is not None)
        assert await spent(world) == SPENT


async def test_it_does_not_come_back_where_there_was_no_room_to_keep_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later one is written: that says nothing of those that were dropped."""
    async with running_world(tmp_path) as world:
        mortal, bot, full = await sold(world, tmp_path / "edge")
        monkeypatch.setattr(mortal.gateway.ledger._late._of, "_most", 1)
        assert (await bot.order("SELL", "0.001", newClientOrderId="later")).status == 200
        full[0] = False
        mortal.gateway.ledger.catch_up()
        assert not mortal.gateway.ledger._late
        await mortal.kill()
        await over(mortal)
        assert await spent(world) >= SPENT


def cannot_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(spool.os, "fchmod", read_only)


async def test_where_no_file_can_be_marked_the_broker_hears_at_once_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        cannot_mark(monkeypatch)
        mortal, _, _ = await sold(world, tmp_path / "edge")
        await until(lambda: (SPENT, True) in slices_of(world))
        await mortal.kill()
        await over(mortal)
        assert await spent(world) == SPENT


async def test_an_exit_that_takes_from_no_budget_marks_nothing(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(BTC="1", USDT="100000")
        issued = world.issue()
        mortal = Mortal(world, tmp_path / "edge")
        await mortal.start()
        bot = bot_of(issued, mortal.port)
        await bot.ready()
        assert (await bot.order()).status == 200
        full_disk(mortal.gateway.spool, lambda _: True)
        assert (await bot.order("SELL", "0.5")).status == 200, "above the caps"
        await mortal.kill()
        await over(mortal)
        assert await spent(world) == SPENT


# --- the mark -----------------------------------------------------------------------------------


def whole(directory: Path) -> bool:
    """Tell what the next start says of the one before."""
    (earlier,), _ = Others(directory, "next").earlier()
    return earlier.whole


STEPS: dict[str, tuple[Callable[[Spool], None], bool]] = {
    "marked": (lambda _: None, False),
    "taken back": (lambda one: one.lacks(some=False), True),
    "the next part": (lambda one: one._open(), False),
    "the next part, then taken back": (lambda one: (one._open(), one.lacks(some=False))[1], True),
    "deleted up to the last part": (lambda one: (one._open(), one.kept(1))[1], False),
}


@pytest.mark.parametrize(("step", "is_whole"), STEPS.values(), ids=STEPS)
def test_the_newest_file_tells(tmp_path: Path, step: Callable[[Spool], None], is_whole: bool) -> None:
    one = Spool(tmp_path / "spool")
    one.write("{}")
    one.lacks(some=True)
    step(one)
    one.close()
    assert whole(tmp_path / "spool") is is_whole
    assert one.whole is is_whole


def test_a_directory_that_was_moved_away_and_comes_back_is_marked(tmp_path: Path) -> None:
    one = Spool(tmp_path / "spool")
    one.write("{}")
    (tmp_path / "spool").rename(tmp_path / "away")
    with pytest.raises(spool.SpoolGone):
        one._go_on()
    one.lacks(some=True)
    one.close()
    assert not whole(tmp_path / "away")


def test_a_file_that_cannot_be_marked_is_said_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, real = Spool(tmp_path / "spool"), spool.os.fchmod
    cannot_mark(monkeypatch)
    one.lacks(some=True)
    assert not one.tells
    assert "cannot be marked" in one.said.in_short()
    monkeypatch.setattr(spool.os, "fchmod", real)
    one.lacks(some=True)
    assert one.tells
    assert not one.said.standing
    one.close()
    assert not whole(tmp_path / "spool")
