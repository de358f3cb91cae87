"""Nothing of a spool goes before what it tells was taken in, whatever is killed, ends slowly or cannot be read."""

import asyncio
import errno
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from broker.calllog import Answered, Ask, write_line
from broker.gateway import parts as naming
from broker.gateway import recall as recalling
from broker.gateway import upload as uploading
from broker.gateway.clock import SystemClock
from broker.gateway.doubts import Doubts, left
from broker.gateway.fills import RecentFills
from broker.gateway.owners import Owners
from broker.gateway.parts import Parts
from broker.gateway.recall import Recall
from broker.gateway.settlement import Settlement
from broker.gateway.spool import Spool
from broker.gateway.upload import Upload
from broker.link import frames
from tests.gateway.mortal import Mortal
from tests.gateway.test_doubts import absent, named, order, placed, recall, waiting
from tests.gateway.test_kept_lines import until
from tests.gateway.test_recall import at
from tests.gateway.world import Bot, World, running_world

pytestmark = pytest.mark.sockets

HANGS: dict[str, Any] = {"do": "hang", "match": {"path": "/api/v3/order", "method": "POST"}}


def answer(spool: Spool, of: int, outcome: str = "done", **more: Any) -> None:
    """Write down what came back."""
    orders = more.pop("orders", ())
    spool.write(
        write_line(Answered(spool.next(), of, 2, 200, None, 1, outcome, orders, (), **more))
    )  # fmt: skip


def amend(spool: Spool, target: str, *, at_us: int = 2) -> Ask:
    line = Ask(
        spool.next(), at_us, "grant", "c", "main", "k", "PUT", "order.amend", "amend", "BTCUSDT", None, None,
        (), target, "allow", None, 0, (), "", False,
    )  # fmt: skip
    spool.write(write_line(line))
    return line


async def found_by_next(path: Path) -> list[str]:
    """Return what the next start would ask about."""
    seen = recall(path, f"{99:08x}{'f' * 16}")
    await asyncio.wait_for(seen.run(), 60)
    return named(seen)


class Hurry:
    """A second passes with each look."""

    def __init__(self) -> None:
        self._now_us = 0

    def boot_us(self) -> int:
        self._now_us += 1_000_000
        return self._now_us


class Settlementless:
    """Holds nothing."""

    def hold(self, held: Any) -> None: ...


class Clock:
    def boot_us(self) -> int:
        return 1


async def world_and_bot(world: World, path: Path) -> tuple[Mortal, Bot]:
    world.account(USDT="100000")
    issued = world.issue()
    assert issued.secret is not None
    mortal = Mortal(world, path)
    await mortal.start()
    bot = Bot(mortal.port, issued.grant.key_id, issued.secret.reveal())
    await bot.ready()
    return mortal, bot


async def test_what_is_on_its_way_is_in_doubt_though_the_broker_has_its_line_and_its_part_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The part went with the line, and no file told of a request that had no answer yet when the gateway was killed."""
    monkeypatch.setattr("broker.gateway.spool.PART_LINES", 4)
    async with running_world(tmp_path) as world:
        mortal, bot = await world_and_bot(world, tmp_path / "edge")
        await world.paper.admin("POST", "faults", HANGS)
        hangs = asyncio.ensure_future(bot.order(quantity="0.001", newClientOrderId="hangs"))
        spool = mortal.gateway.spool
        await until(lambda: bool(mortal.gateway.recall._owners.waiting.named(("main", "BTCUSDT", "hangs"))))
        first = spool._parts._parts[0].path
        other = at(mortal.port, bot)
        for _ in range(8):
            assert (await other.call("GET", "/api/v3/account")).status == 200
        await until(lambda: not first.exists())
        await mortal.kill()
        await asyncio.gather(hangs, return_exceptions=True)
        assert await found_by_next(tmp_path / "edge") == ["hangs"]


@pytest.mark.parametrize("small", [False, True], ids=["unreadable at first", "beside a large one"])
async def test_what_was_not_taken_in_yet_is_sent_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: bool
) -> None:
    """It was deleted as soon as the broker had it; then nobody ever asked the exchange about it."""
    monkeypatch.setattr(recalling, "AGAIN_S", 0.01)
    monkeypatch.setattr(uploading, "LOOK_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr("broker.gateway.process.FIRST_SECONDS", 0.1)
    async with running_world(tmp_path) as world:
        mortal, bot = await world_and_bot(world, tmp_path / "edge")
        await world.paper.admin("POST", "faults", HANGS)
        hangs = asyncio.ensure_future(bot.order(quantity="0.001", newClientOrderId="hangs"))
        await until(lambda: bool(mortal.gateway.recall._owners.waiting.named(("main", "BTCUSDT", "hangs"))))
        await mortal.kill()
        await asyncio.gather(hangs, return_exceptions=True)
        (path,) = (tmp_path / "edge").glob("calls-*")
        may, real = asyncio.Event(), Recall.run

        async def run(self: Recall) -> None:
            await may.wait()
            await real(self)

        monkeypatch.setattr(Recall, "run", run)
        closed = list[str]()
        taken = Upload.closed

        def close(self: Upload, frame: frames.SpoolClosed) -> None:
            taken(self, frame)
            closed.append(frame.boot)

        monkeypatch.setattr(Upload, "closed", close)
        if small:
            Spool(tmp_path / "edge").close()
        await mortal.start()
        await until(
            lambda: mortal.gateway.spool.boot not in path.name and any(one in path.name for one in closed)
        )
        for _ in range(20):
            await asyncio.sleep(0)
        assert path.exists(), "the broker has it, and slices came back; nobody here has read it"
        may.set()
        await until(lambda: not path.exists())
        await mortal.kill()
        assert await found_by_next(tmp_path / "edge") == ["hangs"], "it was written down before"


async def test_a_boot_that_appears_after_all_was_taken_in_is_taken_in_and_goes_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who deletes must not wait for ever for who reads, and who reads had ended."""
    monkeypatch.setattr(uploading, "LOOK_AGAIN_SECONDS", 0.01)
    ours = Spool(tmp_path)
    seen = Recall(tmp_path, ours.boot, Owners(), RecentFills(), Settlement(), Clock(), ours.others)  # type: ignore[arg-type]
    doubts = Doubts(tmp_path, ours.boot, seen._owners, seen.read, spool=ours, reached=seen.reached)
    loop = asyncio.get_running_loop()

    def send(frame: Any) -> None:
        if isinstance(frame, frames.Calls):
            last = frame.first + len(frame.lines) - 1
            loop.call_soon(upload.kept, frames.CallsKept(frame.boot, last, frame.first, ()))
        else:
            loop.call_soon(upload.closed, frames.SpoolClosed(frame.boot))

    upload = Upload(ours, SystemClock(), send, RecentFills())
    upload.covers, upload.on_uncovered = doubts.covers, seen.again
    seen.on_read, doubts.on_cover = doubts.soon, upload.covered
    tasks = [asyncio.ensure_future(work) for work in (seen.stay(), doubts.run())]
    await asyncio.wait_for(seen.done.wait(), 60)
    for name in ("", "late"):  # one of them is empty
        later = Spool(tmp_path)
        if name:
            placed(later, name)
        later.close()
    await asyncio.wait_for(upload.send_earlier(), 60)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert {path.name.split("-")[1].partition(".")[0] for path in tmp_path.iterdir()} == {ours.boot}
    assert [one.sent[0][0] for one in left(tmp_path, "1" * 16)] == ["late"]


async def test_what_a_gateway_that_ends_slowly_writes_is_taken_in_by_who_began_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waited for the start after that: asks, answers and its file of doubts."""
    monkeypatch.setattr(recalling, "AGAIN_S", 0.01)
    slow = Spool(tmp_path)
    for name in ("answered later", "amended later", "unknown"):
        placed(slow, name)
    seen = recall(tmp_path)
    running = asyncio.ensure_future(seen.run())
    await asyncio.wait_for(seen.done.wait(), 60)
    assert named(seen) == ["amended later", "answered later", "unknown"]
    answer(slow, 1, account="main", grant="grant", own=(("BTCUSDT", "#7", "answered later"),))
    amend(slow, "amended later")
    answer(slow, 3, "unknown")
    placed(slow, "asked later")
    slow.seq += 100  # their lines are gone
    Doubts(tmp_path, slow.boot, waiting(order(1, "of its doubts", asked=50))).write(ends=True)
    assert not running.done(), "that one still runs"
    slow.seq -= 100
    slow.close()
    await asyncio.wait_for(running, 60)
    assert named(seen) == ["amended later", "asked later", "of its doubts", "unknown"]
    assert seen._owners.find("main", "BTCUSDT", "#7") == "grant"
    assert sorted(absent(seen._settlement)) == ["asked later", "of its doubts", "unknown"]
    assert len(seen.read) == 1


async def test_a_file_of_doubts_that_is_written_again_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recalling, "AGAIN_S", 0.01)
    slow = Spool(tmp_path)
    theirs = Doubts(tmp_path, slow.boot, waiting(order(1, "first")))
    theirs.write()
    seen = recall(tmp_path)
    running = asyncio.ensure_future(seen.run())
    await asyncio.wait_for(seen.done.wait(), 60)
    ours = Doubts(tmp_path, "e" * 16, seen._owners, seen.read)
    ours.write()
    assert theirs._path.exists(), "it may be written again"
    theirs._owners.waiting.add(order(2, "second", asked=2))
    theirs.write(ends=True)
    slow.close()
    await asyncio.wait_for(running, 60)
    assert named(seen) == ["first", "second"]
    ours.write()
    assert not theirs._path.exists()


async def test_what_was_amended_while_its_boot_cannot_be_read_is_not_absent_once_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who amended it had written so down: that file went as soon as it was read, and nothing told of it any more."""
    asked, amended = Spool(tmp_path), Spool(tmp_path)
    placed(asked, "a")
    amend(amended, "a", at_us=9)
    asked.close()
    amended.close()
    read, broken = Parts.read, [True]

    def failing(parts: Parts, after: int, most: int) -> Any:
        if broken[0] and asked.boot in str(parts.newest):
            raise OSError(errno.EIO, "Input/output error")
        return read(parts, after, most)

    monkeypatch.setattr(Parts, "read", failing)
    seen = recall(tmp_path, f"{99:08x}{'a' * 16}")
    await seen.look()
    assert amended.boot not in seen.reached, "what it tells is nowhere else"
    broken[0] = False
    await seen.look()
    assert seen.reached == {asked.boot: 1, amended.boot: 1}
    assert (named(seen), absent(seen._settlement)) == (["a"], [])


@pytest.mark.parametrize("name", ["a", None, "b"])
async def test_what_this_start_amended_before_it_was_taken_in_is_not_absent(
    tmp_path: Path, name: str | None
) -> None:
    """Its file could not be read yet, or a gateway that ends slowly asked for it; no name: of any order of the pair."""
    before = Spool(tmp_path)
    placed(before, "a")
    before.close()
    seen = recall(tmp_path, f"{99:08x}{'a' * 16}")
    seen._owners.waiting.amended("main", "BTCUSDT", name)
    await seen.run()
    assert absent(seen._settlement) == (["a"] if name == "b" else [])


@pytest.mark.parametrize("who", ["an earlier start", "this start"])
async def test_what_was_amended_while_a_file_of_doubts_cannot_be_read_is_not_absent_once_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """All else was read, so what was amended was forgotten, and its lines went."""
    first = Spool(tmp_path)
    asked = placed(first, "a")
    Doubts(tmp_path, first.boot, waiting(order(1, "a", asked=asked.seq))).write()
    first.close()
    for path in tmp_path.glob("calls-*"):
        path.unlink()  # the broker has them
    second = Spool(tmp_path)
    if who == "an earlier start":
        amend(second, "a", at_us=9)
    second.close()
    opened, broken = Path.open, [True]

    def failing(path: Path, *rest: Any) -> Any:
        if broken[0] and path.name.startswith("doubts-"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, *rest)

    monkeypatch.setattr(Path, "open", failing)
    seen = recall(tmp_path, f"{99:08x}{'a' * 16}")
    await seen.run()
    assert (named(seen), seen._owners.recalled) == ([], True)
    if who == "this start":
        seen._owners.waiting.amended("main", "BTCUSDT", "a")
    else:
        assert second.boot not in seen.reached, "what it tells is nowhere else"
    broken[0] = False
    await seen.run()
    assert (named(seen), absent(seen._settlement)) == (["a"], [])
    assert second.boot in seen.reached


@pytest.mark.parametrize("closed", ["calls", "doubts"])
@pytest.mark.parametrize("ends", [False, True], ids=["its part is full", "it ends"])
async def test_what_this_start_amended_meanwhile_is_told_by_its_lines_until_all_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: bool, closed: str
) -> None:
    """They went as soon as the broker had them: the start after that took the order for absent, and it rested."""
    monkeypatch.setattr("broker.gateway.spool.PART_LINES", 2)
    first = Spool(tmp_path)
    asked = placed(first, "a")
    Doubts(tmp_path, first.boot, waiting(order(1, "a", asked=asked.seq))).write()
    first.close()
    opened, broken = Path.open, [True]

    def failing(path: Path, *rest: Any) -> Any:
        if broken[0] and first.boot in path.name and path.name.startswith(closed):
            raise OSError(errno.EIO, "Input/output error")
        return opened(path, *rest)

    monkeypatch.setattr(Path, "open", failing)
    ours = Spool(tmp_path)
    seen = Recall(tmp_path, ours.boot, Owners(), RecentFills(), Settlement(), Clock(), ours.others)  # type: ignore[arg-type]
    doubts = Doubts(tmp_path, ours.boot, seen._owners, seen.read, spool=ours, reached=seen.reached)
    await seen.look()
    amend(ours, "a", at_us=9)
    seen._owners.waiting.amended("main", "BTCUSDT", "a")
    for _ in range(6):
        answer(ours, 99)
    ours.kept(ours.seq)
    doubts.write()
    if ends:
        doubts.write(ends=True)
    ours.close()
    broken[0] = False
    later = recall(tmp_path, f"{99:08x}{'a' * 16}")
    await later.run()
    assert (named(later), absent(later._settlement)) == (["a"], [])


async def test_lines_do_not_stay_for_ever_for_what_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.gateway.spool.PART_LINES", 2)
    monkeypatch.setattr("broker.gateway.doubts.MOST_LINES", 5)
    spool, owners = Spool(tmp_path), Owners()
    owners.waiting.note_amendments(on=True)
    doubts = Doubts(tmp_path, spool.boot, owners, spool=spool)
    amend(spool, "a")
    owners.waiting.amended("main", "BTCUSDT", "a")
    for most in (3, 1):
        for _ in range(4):
            answer(spool, 99)
        spool.kept(spool.seq)
        doubts.write()
        assert len(list(tmp_path.glob("calls-*"))) == most


async def test_how_many_lines_stay_is_counted_from_those_that_went_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that had run for a month kept none of what it amended last."""
    monkeypatch.setattr("broker.gateway.spool.PART_LINES", 2)
    monkeypatch.setattr("broker.gateway.doubts.MOST_LINES", 5)
    spool, owners = Spool(tmp_path), Owners()
    owners.waiting.note_amendments(on=True)
    doubts = Doubts(tmp_path, spool.boot, owners, spool=spool)
    for _ in range(20):
        answer(spool, 99)
    spool.kept(spool.seq)
    doubts.write()
    amend(spool, "a")
    owners.waiting.amended("main", "BTCUSDT", "a")
    spool.kept(spool.seq)
    doubts.write(ends=True)
    spool.close()
    ((earlier,), _) = Spool(tmp_path).earlier()
    assert [number for number, _ in earlier.batch(earlier.before, 9)][-1:] == [21]


async def test_files_of_the_spool_that_cannot_be_read_are_a_trouble_until_they_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recalling, "AGAIN_S", 0.01)
    monkeypatch.setattr(uploading, "LOOK_AGAIN_SECONDS", 0.01)
    before = Spool(tmp_path / "edge")
    placed(before, "a")
    before.close()
    read, broken = Parts.read, [True]

    def failing(parts: Parts, after: int, most: int) -> Any:
        if broken[0] and before.boot in str(parts.newest):
            raise OSError(errno.EIO, "Input/output error")
        return read(parts, after, most)

    monkeypatch.setattr(Parts, "read", failing)
    monkeypatch.setattr("broker.gateway.process.FIRST_SECONDS", 0.1)
    async with running_world(tmp_path) as world:
        mortal = Mortal(world, tmp_path / "edge")
        await mortal.start()

        def told() -> bool:
            return any(one.kind == "spool" for one in mortal.gateway.health().troubles)

        await until(told)
        broken[0] = False
        await until(lambda: not told())
        await until(lambda: not list((tmp_path / "edge").glob(f"*{before.boot}*")))
        await mortal.end()


# --- on the disk itself -----------------------------------------------------------------------


def test_what_is_in_doubt_is_on_the_disk_itself_before_anything_is_deleted_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the machine may die and keep the deletions only: an empty file took the place of a good one."""
    Doubts(tmp_path, "1" * 16, waiting(order(1, "a"))).write()
    events, fsync, replaced, unlinked = list[str](), os.fsync, Path.replace, Path.unlink

    def sync(fd: int) -> None:
        events.append("folder" if os.path.isdir(f"/proc/self/fd/{fd}") else "file")  # noqa: PTH112
        fsync(fd)

    def replace(path: Path, to: Any) -> Any:
        events.append("replace")
        return replaced(path, to)

    def unlink(path: Path, missing_ok: bool = False) -> None:
        events.append("unlink")
        unlinked(path, missing_ok=missing_ok)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(Path, "unlink", unlink)
    Doubts(tmp_path, "2" * 16, waiting(order(1, "a", boot="1" * 16))).write()
    assert events == ["file", "replace", "folder", "unlink"]


@pytest.mark.parametrize("fails", ["write", "fsync", "replace"])
def test_lines_stay_while_what_is_in_doubt_of_them_cannot_be_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    monkeypatch.setattr("broker.gateway.spool.PART_LINES", 2)
    spool, owners = Spool(tmp_path), Owners()
    doubts = Doubts(tmp_path, spool.boot, owners, spool=spool)
    asked = placed(spool, "a")
    flying = order(1, "a", asked=asked.seq)
    flying.flying = True
    owners.waiting.add(flying)
    for _ in range(4):
        answer(spool, 99)
    spool.kept(5)

    def no(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(
            *{"write": (os, "fdopen"), "fsync": (os, "fsync"), "replace": (Path, "replace")}[fails], no
        )
        doubts.write()
        assert len(list(tmp_path.glob("calls-*"))) == 3
        assert not list(tmp_path.glob("*.new"))
    doubts.write()
    assert len(list(tmp_path.glob("calls-*"))) == 1
    assert [one.seq for one in left(tmp_path, "2" * 16)] == [asked.seq]
    doubts.write()
    assert [one.seq for one in left(tmp_path, "2" * 16)] == [asked.seq], "as long as it is on its way"
    owners.waiting.remove(flying)
    doubts.write()
    assert not list(left(tmp_path, "2" * 16))


async def test_what_a_kill_left_half_written_is_removed(tmp_path: Path) -> None:
    ended, running, now = Spool(tmp_path), Spool(tmp_path), f"{99:08x}{'a' * 16}"
    ended.close()
    for boot in (ended.boot, running.boot, now):
        (tmp_path / f"doubts-{boot}.jsonl.new").write_bytes(b"[")
    (tmp_path / f"calls-{ended.boot}-00000007.jsonl.new").write_bytes(b"")
    (tmp_path / f"calls-{ended.boot}-00000009.jsonl.new").write_bytes(b"a line\n")
    list(recall(tmp_path, now)._bygone.look())
    assert sorted(path.name for path in tmp_path.glob("*.new")) == sorted(
        [f"doubts-{running.boot}.jsonl.new", f"doubts-{now}.jsonl.new"]
    )
    assert (tmp_path / f"calls-{ended.boot}-00000009.jsonl").exists(), (
        "its name alone was lost with the machine"
    )
    running.close()


async def test_a_spool_behind_a_symbolic_link_is_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    spool = Spool(tmp_path / "link")
    asked = placed(spool, "a")
    Doubts(tmp_path / "link", spool.boot, waiting(order(1, "a", asked=asked.seq)), spool=spool).write(
        ends=True
    )
    spool.kept(1)
    spool.close()
    for way in ("real", "link"):
        assert await found_by_next(tmp_path / way) == ["a"]


# --- what is said -----------------------------------------------------------------------------


async def test_what_cannot_be_read_is_said_once_and_again_when_that_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It was said every five seconds, of every file."""
    bad = Spool(tmp_path)
    bad.close()
    (path,) = tmp_path.iterdir()
    doubt = tmp_path / f"doubts-{bad.boot}.jsonl"
    doubt.write_bytes(b"")
    opened, real, code = os.open, Path.open, [errno.EACCES]

    def refuse(at: Any) -> None:
        if code[0] and Path(at) in {path, doubt}:
            raise OSError(code[0], os.strerror(code[0]))

    def low(at: Any, *more: Any, **named: Any) -> int:
        refuse(at)
        return opened(at, *more, **named)

    def high(at: Path, *more: Any, **named: Any) -> Any:
        refuse(at)
        return real(at, *more, **named)

    monkeypatch.setattr(os, "open", low)
    monkeypatch.setattr(Path, "open", high)
    spool = Spool(tmp_path)
    seen = Recall(tmp_path, spool.boot, Owners(), RecentFills(), Settlementless(), Clock(), spool.others)  # type: ignore[arg-type]
    caplog.set_level(logging.INFO)
    for code[0], times in ((errno.EACCES, 1), (errno.EIO, 2), (errno.EACCES, 3), (0, 3)):
        for _ in range(4):
            list(seen._bygone.look())
            spool.earlier()
        told = [one.getMessage() for one in caplog.records]
        assert len([one for one in told if str(doubt) in one]) == times
        assert len([one for one in told if str(path) in one]) >= 1
        assert len(told) <= 3 * times


async def test_what_cannot_be_deleted_is_sent_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(uploading, "LOOK_AGAIN_SECONDS", 0.01)
    before = Spool(tmp_path)
    placed(before, "a")
    before.close()
    (path,) = tmp_path.iterdir()
    sent, loop, tries = list[Any](), asyncio.get_running_loop(), list[Path]()
    unlink = Path.unlink

    def stuck(at: Path, missing_ok: bool = False) -> None:
        if at == path and len(tries) < 6:
            tries.append(at)
            raise OSError(errno.EPERM, "Operation not permitted")
        unlink(at, missing_ok=missing_ok)

    def send(frame: Any) -> None:
        sent.append(frame)
        if isinstance(frame, frames.Calls):
            last = frame.first + len(frame.lines) - 1
            loop.call_soon(upload.kept, frames.CallsKept(frame.boot, last, frame.first, ()))
        else:
            loop.call_soon(upload.closed, frames.SpoolClosed(frame.boot))

    monkeypatch.setattr(Path, "unlink", stuck)
    upload = Upload(Spool(tmp_path), SystemClock(), send, RecentFills())
    await asyncio.wait_for(upload.send_earlier(), 60)
    assert not path.exists()
    assert len(tries) == 6
    assert [type(frame) for frame in sent if not isinstance(frame, frames.SpoolDone)] == [frames.Calls]
    assert len(sent) <= 3
    assert len(caplog.records) == 1


@pytest.mark.parametrize("never", ["kept", "closed"])
async def test_a_boot_that_the_broker_does_not_take_keeps_no_other_from_being_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, never: str
) -> None:
    """Those behind it waited for ever: what they tell was nowhere, and the slices that they held stayed lent."""
    monkeypatch.setattr(uploading, "LOOK_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(uploading, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(uploading, "_DONE_AGAIN_SECONDS", 0.0)
    boots = []
    for name in "ab":
        spool = Spool(tmp_path)
        placed(spool, name)
        spool.close()
        boots.append(spool.boot)
    loop, over = asyncio.get_running_loop(), list[str]()

    def send(frame: Any) -> None:
        stuck = frame.boot == boots[0] and not over
        if isinstance(frame, frames.Calls):
            last = frame.first + len(frame.lines) - 1
            if not (stuck and never == "kept"):
                loop.call_soon(upload.kept, frames.CallsKept(frame.boot, last, frame.first, ()))
        elif not stuck:
            over.append(frame.boot)
            loop.call_soon(upload.closed, frames.SpoolClosed(frame.boot))

    upload = Upload(Spool(tmp_path), Hurry(), send, RecentFills())  # type: ignore[arg-type]
    await asyncio.wait_for(upload.send_earlier(), 60)
    assert list(dict.fromkeys(over)) == boots[::-1]
    assert not [path for path in tmp_path.iterdir() if any(boot in path.name for boot in boots)]


# --- whose start, and in what order -----------------------------------------------------------


def test_starts_are_ordered_by_their_number_whatever_the_clock_says(tmp_path: Path) -> None:
    boots = []
    for number in range(20):
        spool = Spool(tmp_path)
        answer(spool, 1, account="main", grant=f"g{number}", own=(("BTCUSDT", f"#{number}", "name"),))
        spool.close()
        boots.append(spool.boot)
        for path in tmp_path.glob(f"*{spool.boot}*"):
            os.utime(path, (10**9 - number, 10**9 - number))
    assert [one.boot for one in Spool(tmp_path).earlier()[0]] == boots
    seen = recall(tmp_path, f"{99:08x}{'a' * 16}")
    for line in list(seen._bygone.look()):
        seen._take(line)
    assert seen._owners.bearer("main", "BTCUSDT", "name") == ("g19", "#19")


def test_a_start_has_a_number_above_all_that_left_something(tmp_path: Path) -> None:
    (tmp_path / f"doubts-{41:08x}{'a' * 16}.jsonl").write_bytes(b"")
    (tmp_path / f"calls-{'f' * 16}-00000000.jsonl").write_bytes(b"")
    assert [naming.started(Spool(tmp_path).boot) for _ in range(3)] == [42, 43, 44]
    (tmp_path / f"calls-{'f' * 24}-00000000.jsonl").write_bytes(b"")
    assert naming.started(Spool(tmp_path).boot) == 0xFFFFFFFF


Steps = list[tuple[str, str]]
RENAMED: dict[str, tuple[list[Steps], list[str]]] = {
    "before": ([[("amend", "a"), ("place", "a")]], []),
    "after": ([[("place", "a"), ("amend", "a")]], ["a"]),
    "both": ([[("amend", "a"), ("place", "a"), ("amend", "a")]], ["a"]),
    "by a start before": ([[("amend", "a")], [("place", "a")]], []),
    "by a start after": ([[("place", "a")], [("amend", "a")]], ["a"]),
    "by an id that nobody knows": ([[("place", "a"), ("amend", "#5")]], ["a"]),
    "by an id that nobody knows, before": ([[("amend", "#5"), ("place", "a")]], []),
    "by an id that is another's": ([[("own", "#5"), ("place", "a"), ("amend", "#5")]], []),
    "by an id that another start tells of": ([[("own", "#5")], [("place", "a"), ("amend", "#5")]], []),
    "refused": ([[("place", "a"), ("amend", "a"), ("answer", "refused")]], []),
    "unknown": ([[("place", "a"), ("amend", "a"), ("answer", "unknown")]], ["a"]),
    "of a namesake with an id": ([[("own", "#5"), ("place", "a"), ("amend", "a"), ("answer", "#5")]], []),
    "of one with an id that nobody knows": ([[("place", "a"), ("amend", "a"), ("answer", "#6")]], ["a"]),
}  # fmt: skip


@pytest.mark.parametrize("doubted", [False, True], ids=["by its line", "by a file of doubts"])
@pytest.mark.parametrize("case", RENAMED)
async def test_an_order_in_doubt_was_renamed_by_what_may_have_been_an_amendment_of_it_alone(
    tmp_path: Path, case: str, doubted: bool
) -> None:
    """A name is used again: what was amended before an order left was another one."""
    for steps in RENAMED[case][0]:
        spool = Spool(tmp_path)
        for number, (what, name) in enumerate(steps):
            if what == "amend":
                last = amend(spool, name)
            elif what == "own":
                answer(spool, 99, account="main", grant="grant", own=(("BTCUSDT", name, "a"),))
            elif what == "answer":
                orders = (("BTCUSDT", name[1:], "b", False),) if name.startswith("#") else ()
                answer(spool, last.seq, "done" if orders else name, orders=orders)
            else:
                asked = placed(spool, name)
                if doubted:
                    one = waiting(order(number, name, asked=asked.seq))
                    Doubts(tmp_path, spool.boot, one).write()
        spool.close()
    seen = recall(tmp_path, f"{99:08x}{'a' * 16}")
    await seen.run()
    assert named(seen) == ["a"]
    assert absent(seen._settlement) == ([] if RENAMED[case][1] else ["a"])


async def test_a_namesake_of_what_was_amended_is_not_taken_for_it(tmp_path: Path) -> None:
    """What has no id yet was marked by its name: also what this start sent since."""
    before = Spool(tmp_path)
    placed(before, "a")
    amend(before, "a")
    before.close()
    seen = recall(tmp_path, f"{99:08x}{'a' * 16}")
    own = order(5, "a")
    seen._owners.waiting.add(own)
    await seen.run()
    assert not own.renamed
    assert len([one for one in seen._owners.waiting.latest(9) if one.renamed]) == 1


async def test_an_answer_counts_though_its_file_is_read_before_that_of_its_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later start found it out, and the file of the start that asked could not be read at first."""
    monkeypatch.setattr(recalling, "AGAIN_S", 0.0)
    first, second = Spool(tmp_path), Spool(tmp_path)
    asked = placed(first, "a")
    answer(second, asked.seq, account="main", grant="grant", own=(("BTCUSDT", "#3", "a"),), boot=first.boot)
    first.close()
    second.close()
    read, tries = Parts.read, []

    def failing(parts: Parts, after: int, most: int) -> Any:
        if first.boot in str(parts.newest) and not tries:
            tries.append(1)
            raise OSError(errno.EIO, "Input/output error")
        return read(parts, after, most)

    monkeypatch.setattr(Parts, "read", failing)
    seen = recall(tmp_path, f"{99:08x}{'a' * 16}")
    await asyncio.wait_for(seen.run(), 60)
    assert tries
    assert named(seen) == []


# --- two at once, and thousands ---------------------------------------------------------------


def test_a_gateway_that_begins_its_next_part_is_never_taken_for_one_that_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lets go of one part after it has locked the next: who looks between its two looks sees no lock."""
    monkeypatch.setattr("broker.gateway.spool.PART_LINES", 2)
    spool, other = Spool(tmp_path), Spool(tmp_path)
    listed = naming.listed
    looks = []

    def meanwhile(directory: Path) -> Any:
        found = listed(directory)
        looks.append(1)
        if len(looks) == 1:
            for _ in range(3):
                answer(spool, 1)
        return found

    monkeypatch.setattr("broker.gateway.others.listed", meanwhile)
    assert other.earlier() == ([], True)


def test_a_part_is_locked_before_anybody_sees_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who began at the same moment took it for what an earlier one had left, sent it and deleted it."""
    other = Spool(tmp_path)
    seen = list[Any]()

    def locking(fd: int) -> bool:
        del fd
        seen.append(other.earlier())
        return True

    monkeypatch.setattr("broker.gateway.spool.lock", locking)
    Spool(tmp_path)
    assert seen == [([], False)]


async def test_a_thousand_boots_take_no_more_files_than_one(tmp_path: Path) -> None:
    """Each was locked before the first of them was sent: no file was left for bots."""
    for number in range(1000):
        (tmp_path / f"calls-{number:08x}{'a' * 16}-00000000.jsonl").write_bytes(b"")
    loop, most = asyncio.get_running_loop(), [0]

    def send(frame: Any) -> None:
        most.append(len(os.listdir("/proc/self/fd")))  # noqa: PTH208
        loop.call_soon(upload.closed, frames.SpoolClosed(frame.boot))

    upload = Upload(Spool(tmp_path), SystemClock(), send, RecentFills())
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    await asyncio.wait_for(upload.send_earlier(), 120)
    assert len(most) == 1001
    assert max(most) < before + 20
    assert len(list(tmp_path.iterdir())) == 1


async def test_two_that_begin_at_once_lose_nothing_and_send_no_line_as_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.gateway.spool.PART_LINES", 2)
    before = Spool(tmp_path)
    for number in range(5):
        placed(before, f"o{number}")
    before.close()
    first, second = Spool(tmp_path), Spool(tmp_path)
    ((one,), _), ((two,), _) = first.earlier(), second.earlier()
    assert len(one.batch(0, 2)) == 2
    with pytest.raises(BlockingIOError):
        two.batch(0, 9)
    one.kept(2)
    one.let_go()
    with pytest.raises(BlockingIOError):
        two.batch(0, 9)
    two.let_go()
    ((three,), _) = second.earlier()
    assert three.before == 2
    assert [number for number, _ in three.batch(2, 9)] == [3, 4, 5]
    assert three.whole
    three.let_go()
