"""Lines of earlier starts that the record took in, and lost, go again while the gateway lives; so does what is in doubt."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.errors import StoreUnavailable
from broker.gateway.doubts import Doubts
from broker.gateway.fills import RecentFills
from broker.gateway.spool import Spool
from broker.gateway.unkept import Lane, Unkept
from broker.link import frames
from tests.gateway.test_doubts import named, order, placed, recall, waiting
from tests.gateway.test_kept_lines import SMALL, logged, until
from tests.gateway.test_whole_spool import answer, found_by_next, world_and_bot
from tests.gateway.world import running_world

pytestmark = pytest.mark.sockets
ALL = {"o0": "done", "o1": "done", "o2": "done"}


@pytest.mark.parametrize("own", [0, 2], ids=["none of its own", "some of its own"])
@pytest.mark.parametrize("over", [True, False], ids=["that are over", "that are not"])
async def test_lines_of_an_earlier_start_that_the_record_lost_go_again_while_the_gateway_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: int, over: bool
) -> None:
    """They were on disk, and stayed there until the gateway was started anew."""
    monkeypatch.setattr("broker.gateway.upload.LOOK_AGAIN_SECONDS", 0.05)
    monkeypatch.setattr("broker.gateway.upload._DONE_AGAIN_SECONDS", 0.05)
    async with running_world(tmp_path) as world:
        mortal, bot = await world_and_bot(world, tmp_path / "edge")
        for number in range(3):
            assert (await bot.order(newClientOrderId=f"o{number}", **SMALL)).status == 200
        await mortal.kill()
        covers, close, holds = Doubts.covers, world.service.calls.close_boot, [True]
        monkeypatch.setattr(Doubts, "covers", lambda self, boot: 0 if holds[0] else covers(self, boot))

        def closed(*args: Any, **more: Any) -> None:
            if not over and holds[0]:
                raise StoreUnavailable("database", "locked on purpose")
            close(*args, **more)

        world.service.calls.close_boot = closed  # type: ignore[method-assign]
        await mortal.start()
        bot.port = mortal.port
        upload, recent = mortal.gateway.link.upload, mortal.gateway.book.recent
        await until(lambda: set(logged(world)) == set(ALL))
        await until(lambda: bool(upload._sent) if over else bool(upload._earlier))
        if over:
            await until(lambda: upload._told)
            assert recent.of("main", "BTC") == ()
        for number in range(own):
            assert (await bot.order(newClientOrderId=f"new{number}", **SMALL)).status == 200
        await until(lambda: not mortal.gateway.spool.waiting)
        with world.service.desk.database.log.write() as connection:
            connection.exec_driver_sql("DELETE FROM calls")
            connection.exec_driver_sql("DELETE FROM orders")
        assert logged(world) == {}
        world.authority.intake.recount(world.authority.changes.links["edge"])
        wanted = ALL | {f"new{number}": "done" for number in range(own)}
        await until(lambda: logged(world) == wanted)
        assert len(recent.of("main", "BTC")) >= len(ALL) or upload._told, "what may be lost is told meanwhile"
        holds[0] = False
        upload.covered()
        boot = mortal.gateway.spool.boot
        await until(lambda: all(boot in one.name for one in (tmp_path / "edge").glob("calls-*")))
        await until(lambda: recent.of("main", "BTC") == ())
        await mortal.end()


async def test_what_the_record_had_before_our_own_last_lines_does_not_go_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is still there: the record went back to behind it."""
    monkeypatch.setattr(Doubts, "covers", lambda *_: 0)
    async with running_world(tmp_path) as world:
        mortal, bot = await world_and_bot(world, tmp_path / "edge")
        assert (await bot.order(newClientOrderId="o0", **SMALL)).status == 200
        await mortal.kill()
        await mortal.start()
        bot.port = mortal.port
        upload = mortal.gateway.link.upload
        await until(lambda: bool(upload._sent) and upload._told)
        for number in range(4):
            assert (await bot.order(newClientOrderId=f"new{number}", **SMALL)).status == 200
        await until(lambda: not mortal.gateway.spool.waiting)
        upload.forgotten(_forgotten(mortal.gateway.spool.boot, mortal.gateway.spool.seq))
        assert upload._sent
        upload.forgotten(_forgotten(mortal.gateway.spool.boot, 1))
        assert not upload._sent
        await asyncio.wait_for(mortal.end(), 60)


def _forgotten(boot: str, first: int) -> Any:
    return frames.CallsForgotten(boot, first)


def test_what_goes_again_is_unkept_until_it_went() -> None:
    unkept, lane = Unkept(), Lane("main", "BTC", "g", placed=True)
    unkept.add(("main", "BTCUSDT", "1"), lane, earlier=True)
    unkept.earlier_kept()
    assert (unkept.placed, unkept.has(("main", "BTCUSDT", "1"))) == (0, False)
    unkept.earlier_again()
    assert (unkept.placed, unkept.has(("main", "BTCUSDT", "1"))) == (1, True)
    unkept.earlier_kept()
    assert (unkept.placed, unkept.has(("main", "BTCUSDT", "1"))) == (0, False)
    recent = RecentFills()
    recent.keep(("main", "B", "2"), "g", "BTC", "BUY", Decimal(1), Decimal(0), earlier=True)
    recent.earlier_kept()
    recent.earlier_again()
    assert len(recent.of("main", "BTC")) == 1


# --- more in doubt than there is room for -----------------------------------------------------


NAMES = ["a", "b", "c", "d", "e", "f"]


@pytest.mark.parametrize("ends", [False, True], ids=["goes on", "ends"])
async def test_lines_stay_while_more_is_in_doubt_than_the_file_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    """Of a thousand and one requests the oldest was on record for good as if it had been made, and nobody asked."""
    monkeypatch.setattr("broker.gateway.spool.PART_LINES", 2)
    monkeypatch.setattr("broker.gateway.doubts.MOST", 3)
    spool = Spool(tmp_path)
    owners = waiting(
        *(order(number, name, asked=placed(spool, name).seq) for number, name in enumerate(NAMES))
    )
    kept = Doubts(tmp_path, spool.boot, owners, spool=spool)
    for _ in range(2):
        answer(spool, 99)
    spool.kept(spool.seq)
    kept.write(ends=ends)
    assert len(list(tmp_path.glob("calls-*"))) == 4
    assert not kept.said.standing
    if ends:
        spool.close()
        assert sorted(await found_by_next(tmp_path)) == NAMES
        return
    for sent in [*owners.waiting.latest(9)][3:]:
        owners.waiting.remove(sent)
    kept.write()
    assert len(list(tmp_path.glob("calls-*"))) == 1, "they go once the rest fits"


async def test_lines_do_not_stay_for_ever_for_what_is_in_doubt_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.gateway.spool.PART_LINES", 2)
    monkeypatch.setattr("broker.gateway.doubts.MOST", 3)
    monkeypatch.setattr("broker.gateway.doubts.MOST_LINES", 5)
    spool = Spool(tmp_path)
    owners = waiting(
        *(order(number, name, asked=placed(spool, name).seq) for number, name in enumerate(NAMES))
    )
    kept = Doubts(tmp_path, spool.boot, owners, spool=spool)
    spool.kept(spool.seq)
    kept.write(ends=True)
    assert "more than 3 requests are in doubt" in kept.said.standing[0]


async def test_what_there_is_no_room_to_ask_about_waits_for_a_later_start_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was passed over for good, and its lines went."""
    before = Spool(tmp_path)
    for name in NAMES:
        placed(before, name)
    before.close()
    with monkeypatch.context() as small:
        small.setattr("broker.gateway.bygone.MOST_TOLD", 2)
        seen = recall(tmp_path, f"{5:08x}{'a' * 16}")
        await asyncio.wait_for(seen.run(), 60)
        assert len(named(seen)) == 2
        assert "4 requests of earlier starts" in seen.said.standing[0]
        assert seen.reached == {}, "nothing of it goes"
        await seen.look()
        assert len(named(seen)) == 2
    assert sorted(await found_by_next(tmp_path)) == NAMES
