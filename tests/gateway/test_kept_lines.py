"""No line of the call log is forgotten that nobody kept: only what was committed is acknowledged, and deleted."""

import asyncio
import errno
import json
import os
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.authority.intake import LATELY_SECONDS, _note
from broker.authority.link import Link
from broker.calllog import Answered, Ask, parse, write_line
from broker.db import calls as store
from broker.errors import StoreUnavailable
from broker.gateway.clock import SystemClock
from broker.gateway.delivery import AGAIN_US, Delivery
from broker.gateway.fills import RecentFills
from broker.gateway.ledger import Ledger
from broker.gateway.process import Gateway
from broker.gateway.sent import Sent
from broker.gateway.spool import Spool
from broker.gateway.upload import Upload
from broker.link import frames
from broker.link.channel import LARGEST_FRAME, memory_pair
from broker.service.calls import Owned
from clients.venues.binance import WIRE
from tests.gateway.test_promises import started
from tests.gateway.world import POLICY, Bot, World, running_world

SMALL = {"quantity": "0.001"}


async def until(fits: Callable[[], bool]) -> None:
    """Look again and again, for as long as a busy machine may need."""
    async with asyncio.timeout(60):
        while not fits():  # noqa: ASYNC110 - the log tells nobody
            await asyncio.sleep(0.02)


def failing(world: World, fails: Callable[[int], bool]) -> list[int]:
    """Let some takings-in fail, by their number; return the numbers that came."""
    real, came = world.service.calls.ingest, list[int]()

    def ingest(gateway: str, boot: str, lines: Iterable[str], first: int = 0) -> tuple[int, ...]:
        came.append(len(came))
        if fails(came[-1]):
            raise StoreUnavailable("database", "locked on purpose")
        return real(gateway, boot, lines, first)

    world.service.calls.ingest = ingest  # type: ignore[method-assign]
    return came


def logged(world: World) -> dict[str, str | None]:
    """Return what came of each order by the client order id the log has for it."""
    with world.service.desk.database.log.read() as connection:
        rows = store.page(connection, (2**62, "~", 2**62), 1000, {})
    return {name: row.outcome for row in rows for name in json.loads(row.client_ids)}


@pytest.mark.parametrize("failures", [{0}, {1}, {0, 1, 2}, {1, 3}])
async def test_lines_that_could_not_be_kept_come_again_in_order(tmp_path: Path, failures: set[int]) -> None:
    """A later batch that is acknowledged says nothing of the one that failed before it."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        came = failing(world, lambda number: number in failures)
        for number in range(6):
            assert (await bot.order(newClientOrderId=f"o{number}", **SMALL)).status == 200
            await until(lambda: len(came) > 0)
        await until(lambda: not world.gateway.spool.waiting)
        assert logged(world) == {f"o{number}": "done" for number in range(6)}
        (grant,) = world.service.grants.list().items
        for number in range(6):
            assert world.service.calls.whose("main", "BTCUSDT", f"o{number}").grant == grant.id


async def test_an_acknowledgement_that_never_comes_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.gateway.delivery.AGAIN_US", 200_000)
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        real, swallowed = world.authority.intake.take, []

        def take(link: Any, frame: Any) -> None:
            if not swallowed:
                swallowed.append(frame)
                return
            real(link, frame)

        monkeypatch.setattr(world.authority.intake, "take", take)
        assert (await bot.order(newClientOrderId="first", **SMALL)).status == 200
        await until(lambda: bool(swallowed))
        assert (await bot.order(newClientOrderId="second", **SMALL)).status == 200
        await until(lambda: not world.gateway.spool.waiting)
        assert logged(world) == {"first": "done", "second": "done"}


async def test_at_stop_the_spool_stays_and_the_next_boot_sends_it(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        issued = world.issue()
        assert issued.secret is not None
        away = [True]
        came = failing(world, lambda _: away[0])
        first, port, end = await edge(world, tmp_path)
        bot = Bot(port, issued.grant.key_id, issued.secret.reveal())
        for number in range(3):
            assert (await bot.order(newClientOrderId=f"o{number}", **SMALL)).status == 200
        await end()
        assert [path for path in (tmp_path / "edge").iterdir() if first.spool.boot in path.name]
        tried = len(came)
        _, _, end = await edge(world, tmp_path)
        await until(lambda: len(came) > tried)  # in vain at first
        away[0] = False
        await until(lambda: set(logged(world).values()) == {"done"} and len(logged(world)) == 3)
        await until(
            lambda: not [path for path in (tmp_path / "edge").iterdir() if first.spool.boot in path.name]
        )
        await end()


class Read:
    """What an earlier boot left, read in a thread: something may happen before what was read is there."""

    boot, before, whole = "e" * 16, 0, True

    def __init__(self, meanwhile: Callable[[int], None]) -> None:
        self._meanwhile = meanwhile
        self.over = False

    def batch(self, after: int, most: int) -> list[tuple[int, str]]:
        del most
        self._meanwhile(after)
        return [(number, f"line {number}") for number in range(after + 1, 4)]

    def kept(self, seq: int, unreadable: tuple[int, ...] = ()) -> None:
        del seq, unreadable

    def done(self) -> None:
        self.over = True

    def let_go(self) -> None: ...


async def test_an_earlier_boot_is_not_over_because_its_lines_came_back_while_the_next_were_read() -> None:
    """A no between two lines of ours: nothing was left to read, nothing was kept, and so all of it was deleted."""
    loop, sent = asyncio.get_running_loop(), list[Any]()

    def meanwhile(after: int) -> None:
        if after == 3 and len(sent) == 1:
            told = asyncio.run_coroutine_threadsafe(not_kept(), loop)
            told.result(60)

    async def not_kept() -> None:
        upload.not_kept(frames.CallsNotKept(Read.boot, 1))

    def send(frame: Any) -> None:
        sent.append(frame)
        if isinstance(frame, frames.Calls) and len(sent) > 1:
            loop.call_soon(upload.kept, frames.CallsKept(frame.boot, 3, 1, ()))
        if isinstance(frame, frames.SpoolDone):
            loop.call_soon(upload.closed, frames.SpoolClosed(frame.boot))

    read = Read(meanwhile)
    spool: Any = SimpleNamespace(boot="b" * 16, earlier=lambda: ([read], False))
    upload = Upload(spool, SystemClock(), send, RecentFills())
    async with asyncio.timeout(60):
        await upload.send_earlier()
    assert [type(frame) for frame in sent[:3]] == [frames.Calls, frames.Calls, frames.SpoolDone]
    assert {frame.last for frame in sent[2:]} == {3}
    assert read.over


async def test_the_broker_calls_no_boot_over_whose_lines_it_has_refused(tmp_path: Path) -> None:
    """Whatever a gateway says of its last line: it deletes what it has once it hears that the boot is over."""
    async with running_world(tmp_path) as world:
        failing(world, lambda _: True)
        here, there = memory_pair()
        link = Link(here, "edge", "f" * 16)
        world.authority.intake.take(link, frames.Calls(Read.boot, 1, ("{}",)))
        world.authority.intake.take(link, frames.SpoolDone(Read.boot, 0))
        assert await there.receive() == frames.CallsNotKept(Read.boot, 1)
        assert await there.receive() == frames.CallsNotKept(Read.boot, 1)


async def test_lines_that_a_failover_lost_are_asked_for_though_later_ones_came_in_before_it_was_seen(
    tmp_path: Path,
) -> None:
    """The record's last line says nothing of a hole before it."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        for number in range(6):
            assert (await bot.order(newClientOrderId=f"o{number}", **SMALL)).status == 200
        await until(lambda: not world.gateway.spool.waiting)
        with world.service.desk.database.log.write() as connection:
            connection.exec_driver_sql("DELETE FROM calls WHERE client_ids IN ('[\"o1\"]', '[\"o2\"]')")
            connection.exec_driver_sql("DELETE FROM orders")
        assert set(logged(world)) == {"o0", "o3", "o4", "o5"}
        recent = world.gateway.book.recent
        assert recent.of("main", "BTC") == (), "the broker has it all, as far as is known here"
        taken, forgotten = world.gateway.link.upload.take, list[Any]()

        def take(frame: Any) -> None:
            taken(frame)
            if isinstance(frame, frames.CallsForgotten):
                forgotten.append(recent.of("main", "BTC"))

        world.gateway.link.upload.take = take  # type: ignore[method-assign]
        world.authority.intake.recount(world.authority.changes.links["local"])
        await until(lambda: logged(world) == {f"o{number}": "done" for number in range(6)})
        await until(lambda: not world.gateway.spool.waiting)
        (grant,) = world.service.grants.list().items
        for number in range(6):
            assert world.service.calls.whose("main", "BTCUSDT", f"o{number}").grant == grant.id
        assert len(forgotten[0]) >= 2, "what is lost is told with each question until it is there again"
        await until(lambda: recent.of("main", "BTC") == ())


def test_what_was_kept_lately_is_known_from_ten_minutes_ago_on() -> None:
    lately = deque[tuple[float, int]]()
    for second in range(4000):
        _note(lately, second, float(second))
    assert 3999 - LATELY_SECONDS - 10 <= lately[0][1] <= 3999 - LATELY_SECONDS
    assert len(lately) < 200


async def test_what_a_gateway_left_that_still_ran_when_the_next_began_is_sent_once_it_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that was killed leaves a gateway that ends slowly, or one that is stopped: it locks what it wrote."""
    monkeypatch.setattr("broker.gateway.upload.LOOK_AGAIN_SECONDS", 0.1)
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        issued = world.issue()
        assert issued.secret is not None
        away = [True]
        came = failing(world, lambda _: away[0])
        first, port, end_first = await edge(world, tmp_path)
        bot = Bot(port, issued.grant.key_id, issued.secret.reveal())
        await bot.ready()
        for number in range(3):
            assert (await bot.order(newClientOrderId=f"o{number}", **SMALL)).status == 200
        looked = list[bool]()
        real = Spool.earlier

        def looking(spool: Spool) -> Any:
            found = real(spool)
            if spool not in others:
                looked.append(found[1])
            return found

        others = {first.spool, world.gateway.spool}  # they may look late
        monkeypatch.setattr(Spool, "earlier", looking)
        # under another name: the broker ends the link of an earlier namesake, and with it the first one
        _, _, end = await edge(world, tmp_path, name="next")
        await until(lambda: bool(looked))
        assert looked[0], "the first one still runs, so its files are not ours yet"
        tried = len(came)
        await end_first()
        await until(lambda: len(came) > tried)  # in vain at first
        away[0] = False
        await until(lambda: {f"o{number}" for number in range(3)} <= {*logged(world)})
        await until(
            lambda: not [one for one in (tmp_path / "edge").iterdir() if first.spool.boot in one.name]
        )
        await end()


async def test_large_lines_go_in_frames_that_the_broker_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame that is too large to be read would be sent again for ever, and the log stand still."""
    async with running_world(tmp_path) as world:
        sizes = list[tuple[int, int]]()
        real = world.authority.intake.take

        def take(link: Any, frame: Any) -> None:
            sizes.append((len(frame.lines), sum(map(len, frame.lines))))
            real(link, frame)

        monkeypatch.setattr(world.authority.intake, "take", take)
        spool = world.gateway.spool
        for number in range(120):
            spool.write(a_line(spool.next(), reason=f"{number} " + "x" * 100_000))
        world.gateway.link.written()
        await until(lambda: not spool.waiting)
        assert sum(lines for lines, _ in sizes) >= 120
        assert max(size for _, size in sizes) < LARGEST_FRAME // 4
        assert len(logged(world)) > 0


def a_line(seq: int, reason: str) -> str:
    return write_line(
        Ask(
            seq, 5, "grt", "bot", "main", "", "GET", "x", "read", None, None, None, (f"o{seq}",), None, "deny", reason,
            400, (), "", False,
        )
    )  # fmt: skip


async def test_a_boot_with_a_line_that_cannot_be_read_is_reported_and_gives_no_budget_back(
    tmp_path: Path,
) -> None:
    """Nobody knows what the lost line spent, so what was lent counts as spent; the file is kept for people."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        issued = world.issue(policy=POLICY.replace('"10000"', '"1200"'))
        assert issued.secret is not None
        away = [True]
        failing(world, lambda _: away[0])
        first, port, end = await edge(world, tmp_path, crash=True)
        bot = Bot(port, issued.grant.key_id, issued.secret.reveal())
        assert (await bot.order()).status == 200
        lent = world.service.calls.used(issued.grant.id)
        await end()
        (path,) = [one for one in (tmp_path / "edge").iterdir() if first.spool.boot in one.name]
        lines = path.read_text().splitlines()
        path.write_text("\n".join(["{torn", *lines[1:]]) + "\n")
        away[0] = False
        _, _, end = await edge(world, tmp_path)
        await until(lambda: not path.exists())
        assert (tmp_path / "edge" / f"unreadable-{path.name}").exists()
        assert world.service.calls.used(issued.grant.id) >= lent - Decimal("0.01")
        found = [one for one in world.service.audit.list().items if one.entry.action == "calls.unreadable"]
        assert len(found) == 1
        await end()


async def edge(
    world: World, tmp_path: Path, *, crash: bool = False, name: str = "edge"
) -> tuple[Gateway, int, Callable[[], Any]]:
    """Start a second gateway; return it and what ends it: gracefully, or without a word to the broker."""
    here, there = memory_pair()
    serving = asyncio.ensure_future(world.authority.serve(here))
    gateway = Gateway(there, name, tmp_path / "edge", {WIRE.name: WIRE})
    gateway.book.recent.lately.lag_us = 0  # this exchange answers all questions from one database
    port, stop, running = await started(gateway)

    async def end() -> None:
        if crash:
            there._over = True
        stop.set()
        await running
        here.close()
        await asyncio.gather(serving, return_exceptions=True)

    return gateway, port, end


# --- the spool on disk ------------------------------------------------------------------------


def test_what_was_not_written_whole_has_no_number_and_spoils_no_later_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    spool.write("one")
    real = os.write
    with monkeypatch.context() as patched:
        patched.setattr("os.write", lambda fd, data: real(fd, data[: len(data) // 2]))
        for _ in range(2):
            with pytest.raises(OSError, match="short"):
                spool.write("a line that is torn")
    spool.write("two")
    assert spool.batch(0, 10) == [(1, "one"), (2, "two")]
    spool.close()
    ((earlier,), _) = Spool(tmp_path).earlier()
    assert earlier.batch(0, 10) == [(1, "one"), (2, "two")]
    assert earlier.whole


def test_a_torn_line_that_cannot_be_cut_off_is_left_behind_with_its_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    spool.write("one")
    real = os.write

    def refuse(*_: object) -> None:
        raise OSError("no")

    with monkeypatch.context() as patched:
        patched.setattr("os.write", lambda fd, data: real(fd, data[:2]))
        patched.setattr("os.ftruncate", refuse)
        with pytest.raises(OSError, match="short"):
            spool.write("torn")
    spool.write("two")
    spool.write("three")
    spool.close()
    ((earlier,), _) = Spool(tmp_path).earlier()
    assert earlier.batch(0, 10) == [(1, "one"), (2, "two"), (3, "three")]


def test_lines_come_from_disk_once_memory_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.gateway.spool.PART_LINES", 7)
    monkeypatch.setattr("broker.gateway.spool.MOST_HELD", 5)
    spool = Spool(tmp_path)
    for number in range(1, 41):
        spool.write(f"line {number}")
    found: list[tuple[int, str]] = []
    while len(found) < 40:
        found += spool.batch(len(found), 3)
    assert found == [(number, f"line {number}") for number in range(1, 41)]
    assert spool.batch(11, 4) == [(number, f"line {number}") for number in range(12, 16)], "and again"


def test_a_part_that_is_gone_is_said_to_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.gateway.spool.PART_LINES", 2)
    spool = Spool(tmp_path)
    for number in range(1, 7):
        spool.write(f"line {number}")
    spool.close()
    sorted(tmp_path.iterdir())[1].unlink()
    ((earlier,), _) = Spool(tmp_path).earlier()
    assert earlier.batch(0, 10) == [
        (1, "line 1"), (2, "line 2"), (3, ""), (4, ""), (5, "line 5"), (6, "line 6"),
    ]  # fmt: skip
    assert not earlier.whole


def test_a_torn_end_is_seen(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.write("one")
    spool.seq += 1  # keeps the file at close, as a crash does
    spool.close()
    (path,) = tmp_path.iterdir()
    path.write_text("one\ntor")
    ((earlier,), _) = Spool(tmp_path).earlier()
    assert earlier.batch(0, 10) == [(1, "one")]
    assert earlier.batch(1, 10) == []
    assert not earlier.whole


# --- what was sent and what is kept -----------------------------------------------------------


def test_what_lies_behind_a_gap_is_not_kept() -> None:
    delivery = Delivery(0, 1000)
    delivery.went(300, 0)
    assert not delivery.took(101, 200, 1)
    assert delivery.kept == 0
    assert delivery.took(1, 100, 2)
    assert delivery.kept == 100, "and not 200: that range is sent again"
    delivery.lost(101, 3)
    assert delivery.sent == 100
    assert not delivery.may_send(3)
    assert delivery.may_send(3 + 10_000_000)


def test_no_more_is_acknowledged_than_was_sent() -> None:
    delivery = Delivery(10, 1000)
    delivery.went(20, 0)
    assert delivery.took(1, 10_000, 1)
    assert delivery.kept == 20


def test_silence_counts_as_a_no_after_a_while() -> None:
    delivery = Delivery(0, 1000)
    delivery.went(50, 0)
    assert not delivery.overdue(AGAIN_US - 1)
    assert delivery.overdue(AGAIN_US)
    assert delivery.sent == 0
    assert not delivery.overdue(3 * AGAIN_US), "nothing is out"


def test_a_window_bounds_what_is_out() -> None:
    delivery = Delivery(0, 100)
    delivery.went(100, 0)
    assert not delivery.may_send(0)
    assert delivery.took(1, 1, 0)
    assert delivery.may_send(0)


async def test_the_same_lines_again_do_not_claim_an_order_that_was_refused(tmp_path: Path) -> None:
    """What comes again must not say anew whose an order is: the venue refused it, because it is another's."""
    async with running_world(tmp_path) as world:
        ask = Ask(
            1, 1_000_000, "grt_thief", "c", "main", "k", "POST", "order", "place", "BTCUSDT", "BUY", "1",
            ("anothers",), None, "allow", None, 0, (), "peer", False, (("anothers", "BUY", "1", "5", True),), (1, 2),
        )  # fmt: skip
        answer = Answered(2, 1, 1_000_001, 400, "-2010", 5, "refused", (), ())
        for _ in range(2):
            world.service.calls.ingest("local", "b00t", [write_line(ask), write_line(answer)])
            assert world.service.calls.whose("main", "BTCUSDT", "anothers") == Owned(None)


async def test_what_came_of_an_order_while_the_disk_was_full_is_on_record_once_it_is_not(
    tmp_path: Path,
) -> None:
    """On record it had no answer for good: nobody's order where it was bought, a sale that counted for ever."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        await bot.ready()
        spool, full = world.gateway.spool, [True]
        write = spool.write

        def no_room(line: str) -> None:
            if full[0] and '"k":"ans"' in line:
                raise OSError(errno.ENOSPC, "No space left on device")
            write(line)

        spool.write = no_room  # type: ignore[method-assign]
        assert (await bot.order(newClientOrderId="lost", **SMALL)).status == 200
        for _ in range(3):
            assert (await bot.call("GET", "/api/v3/account")).status == 200
        assert spool.holds
        full[0] = False
        await until(lambda: logged(world).get("lost") == "done")
        await until(lambda: not spool.holds)
        assert world.service.calls.whose("main", "BTCUSDT", "#1").grant is not None


@pytest.mark.parametrize("ends", [False, True], ids=["goes on", "ends"])
async def test_lines_stay_until_what_came_of_them_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    """Who is killed meanwhile finds at the next start that they have no answer, and asks the exchange."""
    monkeypatch.setattr("broker.gateway.spool.PART_LINES", 2)
    spool = Spool(tmp_path)
    ledger = Ledger(spool, SystemClock(), lambda: None)
    sent = Sent(1, "g", "main", "BTCUSDT", "a", "SELL", Decimal(1), Decimal(1), 0, 0, asked=1, order_id="5")
    spool.write("an ask")
    write = spool.write

    def no_room(line: str) -> None:
        raise OSError(errno.ENOSPC, f"no room for {len(line)} characters")

    monkeypatch.setattr(spool, "write", no_room)
    assert ledger.found(sent) == 0
    ledger.absent(replace(sent, order_id=None))
    ledger.catch_up()
    monkeypatch.setattr(spool, "write", write)
    for _ in range(4):
        spool.write("more")
    spool.kept(spool.seq)
    if ends:
        spool.close()
    first = min(tmp_path.glob("calls-*"))
    assert first.read_text(encoding="ascii") == "an ask\nmore\n"
    if ends:
        return
    assert ledger.found(sent) == 8, "behind the two that came before it"
    told = [parse(text) for _, text in spool.batch(5, 9)]
    assert [(one.seq, one.of, one.outcome) for one in told if isinstance(one, Answered)] == [
        (6, 1, "done"), (7, 1, "refused"), (8, 1, "done")
    ]  # fmt: skip
    spool.kept(spool.seq)
    assert not first.exists()
