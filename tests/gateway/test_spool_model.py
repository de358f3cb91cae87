"""Whatever order gateways ask, hear, begin, end slowly, are killed and cannot read or write in: nothing of it is lost.

A model of some starts on one spool. After every step each line is on disk or with the broker; nobody sends a line as
gone, or calls one over that runs. What is in doubt at any time is asked about by the next start, and what was found out
is asked about no more in the end.
"""

import asyncio
import errno
import logging
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.calllog import Answered, Ask, write_line
from broker.gateway.doubts import Doubts, line_of
from broker.gateway.fills import RecentFills
from broker.gateway.owners import Owners
from broker.gateway.parts import Parts, boot_of, listed
from broker.gateway.recall import Recall
from broker.gateway.sent import Sent
from broker.gateway.settlement import Settlement
from broker.gateway.spool import Spool
from broker.gateway.upload import Upload
from broker.link import frames
from tests.long import LONG

SEEDS = range(2_000 if LONG else 60)
STEPS = 60


class Killed(BaseException):
    """The process is no more."""


class Disk:
    """Fails on purpose: full, of which some files cannot be read, or the process is killed as it asks for something."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.full = self.dead = False
        self.unreadable = set[str]()
        self.kill_in = 0
        self.parts = set[int]()
        """Descriptors of parts: those of who is killed are closed."""
        shut = os.close
        read, fsync, write, opened, open_file = Parts.read, os.fsync, os.write, os.open, Path.open
        unlink, replace, rename = Path.unlink, Path.replace, Path.rename

        def may_read(boot: str) -> None:
            if boot and boot in self.unreadable:
                raise OSError(errno.EIO, "Input/output error")

        def part_read(parts: Parts, after: int, most: int) -> Any:
            may_read("" if parts.newest is None else boot_of(parts.newest))
            return read(parts, after, most)

        def file_open(path: Path, *more: Any, **named: Any) -> Any:
            may_read(boot_of(path))
            return open_file(path, *more, **named)

        def low_open(path: Any, flags: int, *more: Any, **named: Any) -> int:
            if flags & os.O_CREAT:
                self._step(writes=True)
            fd = opened(path, flags, *more, **named)
            if flags & os.O_CREAT and str(path).endswith(f"{'.jsonl'}.new") and "calls-" in str(path):
                self.parts.add(fd)
            return fd

        def close(fd: int) -> None:
            self.parts.discard(fd)
            shut(fd)

        def writes(fd: int, data: bytes) -> int:
            self._step(writes=True)
            return write(fd, data)

        def syncs(fd: int) -> None:
            self._step(writes=True)
            fsync(fd)

        def around(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*these: Any, **named: Any) -> Any:
                self._step()
                done = real(*these, **named)
                self._step()
                return done

            return call

        patch.setattr(Parts, "read", part_read)
        patch.setattr(Path, "open", file_open)
        patch.setattr(os, "open", low_open)
        patch.setattr(os, "close", close)
        patch.setattr(os, "write", writes)
        patch.setattr(os, "fsync", syncs)
        for name, real in (("unlink", unlink), ("replace", replace), ("rename", rename)):
            patch.setattr(Path, name, around(real))

    def _step(self, *, writes: bool = False) -> None:
        if self.kill_in:
            self.kill_in -= 1
            self.dead = self.dead or not self.kill_in
        if self.dead:
            raise Killed
        if writes and self.full:
            raise OSError(errno.ENOSPC, "No space left on device")

    @contextmanager
    def well(self) -> Iterator[None]:
        self.full = self.dead = False
        self.kill_in = 0
        self.unreadable.clear()
        yield


class Broker:
    """Keeps lines."""

    def __init__(self) -> None:
        self.kept = dict[tuple[str, int], str]()
        self.refuses = False
        self.alive = set[str]()

    def keep(self, frame: frames.Calls) -> bool:
        assert frame.boot not in self.alive, "somebody sends the lines of a gateway that runs"
        if self.refuses:
            return False
        for number, line in enumerate(frame.lines, frame.first):
            assert line, "a line was sent as gone"
            assert self.kept.setdefault((frame.boot, number), line) == line
        return True

    def close(self, frame: frames.SpoolDone) -> None:
        assert frame.boot not in self.alive, "somebody calls a gateway over that runs"
        assert frame.whole


class Clock:
    def boot_us(self) -> int:
        return 1


class Hurry:
    """No wait is a wait."""

    def __init__(self) -> None:
        self._now_us = 0

    def boot_us(self) -> int:
        self._now_us += 1_000_000
        return self._now_us


class Life:
    """One start."""

    def __init__(self, model: "Model") -> None:
        self._model = model
        self.spool = Spool(model.path)
        self.owners, self.settlement = Owners(), Settlement()
        self.owners.recalled = False
        boot = self.spool.boot
        self.recall = Recall(
            model.path, boot, self.owners, RecentFills(), self.settlement, Clock(), self.spool.others  # type: ignore[arg-type]
        )  # fmt: skip
        self.doubts = Doubts(
            model.path, boot, self.owners, self.recall.read, spool=self.spool, reached=self.recall.reached
        )
        self.upload = Upload(self.spool, Hurry(), self._send, RecentFills())
        self.upload.covers = self.doubts.covers
        self.waiting = dict[str, Sent]()
        """What it sent itself."""

    def _send(self, frame: Any) -> None:
        loop, broker = asyncio.get_running_loop(), self._model.broker
        if isinstance(frame, frames.Calls):
            if broker.keep(frame):
                last = frame.first + len(frame.lines) - 1
                loop.call_soon(self.upload.kept, frames.CallsKept(frame.boot, last, frame.first, ()))
            else:
                broker.refuses = False
                loop.call_soon(self.upload.not_kept, frames.CallsNotKept(frame.boot, frame.first))
        else:
            broker.close(frame)
            loop.call_soon(self.upload.closed, frames.SpoolClosed(frame.boot))

    def write(self, entry: Ask | Answered) -> None:
        line = write_line(entry)
        self.spool.write(line)
        self._model.lines[self.spool.boot, self.spool.seq] = line

    def killed(self) -> None:
        """Let go of everything, as the kernel does."""
        if self.spool._fd >= 0:
            os.close(self.spool._fd)
            self.spool._fd = -1
        for earlier, _, _ in self.upload._earlier.values():
            earlier.let_go()
        for earlier, _ in self.upload._sent.values():
            earlier.let_go()


class Model:
    """Some starts, one of which began last, and what they did."""

    def __init__(self, path: Path, disk: Disk, dice: random.Random) -> None:
        self.path, self.disk, self.dice = path, disk, dice
        self.broker = Broker()
        self.lines = dict[tuple[str, int], str]()
        self.lives: list[Life] = []
        self.open = dict[str, bool]()
        """What is in doubt, by name, and whether it was amended."""
        self.maybe = set[str]()
        """What may be in doubt: what was found out of it could not be written down."""
        self._names = 0
        self.acting: Life | None = None

    def _one(self) -> Life:
        self.acting = self.dice.choice(self.lives)
        return self.acting

    # --- steps ----------------------------------------------------------------------------

    async def begin(self) -> None:
        if len(self.lives) < 3:
            self.acting = None
            life = Life(self)
            self.lives.append(life)
            self.broker.alive.add(life.spool.boot)

    async def ask(self) -> None:
        life = self._one()
        self._names += 1
        name, seq = f"o{self._names}", life.spool.next()
        at_us = self._names * 1_000
        sent = Sent(
            self._names, "grant", "main", "BTCUSDT", name, "SELL", Decimal(1), Decimal(0), at_us, at_us + 9, asked=seq
        )  # fmt: skip
        self.maybe.add(name)
        try:
            life.write(
                Ask(
                    seq, at_us, "grant", "c", "main", "k", "POST", "order.new", "place", "BTCUSDT", "SELL", None,
                    (name,), None, "allow", None, 0, (), "", False, (line_of(sent),), (at_us, at_us + 9),
                )
            )  # fmt: skip
        except OSError:
            return
        sent.flying = True
        life.owners.waiting.add(sent)
        life.waiting[name] = sent
        self.open[name] = False
        self.maybe.discard(name)

    async def answer(self) -> None:
        life = self._one()
        if not life.waiting:
            return
        name = self.dice.choice(sorted(life.waiting))
        sent = life.waiting.pop(name)
        outcome = self.dice.choice(("done", "refused", "unknown"))
        sent.flying = False
        if outcome != "unknown":
            life.owners.waiting.remove(sent)
        self._found(life, name, sent, outcome)

    async def settle(self) -> None:
        """One that has no answer is found out at the exchange."""
        life = self._one()
        held = [
            one for one in life.owners.waiting.latest(999) if not one.flying and one.name not in life.waiting
        ]
        if held:
            sent = self.dice.choice(held)
            life.owners.waiting.remove(sent)
            self._found(life, sent.name, sent, "done")

    def _found(self, life: Life, name: str, sent: Sent, outcome: str) -> None:
        own = ((sent.symbol, f"#{name}", name),) if outcome == "done" else ()
        if outcome != "unknown":
            self.maybe.add(name)
            self.open.pop(name, None)
        try:
            life.write(
                Answered(
                    life.spool.next(), sent.asked, 2, 200, None, 1, outcome, (), (), "main", "grant", own, boot=sent.boot
                )
            )  # fmt: skip
        except OSError:
            return
        if outcome != "unknown":
            self.maybe.discard(name)

    async def amend(self) -> None:
        life = self._one()
        known = [one.name for one in life.owners.waiting.latest(999) if one.name in self.open]
        if not known:
            return
        name = self.dice.choice(known)
        self._names += 1
        try:
            life.write(
                Ask(
                    life.spool.next(), self._names * 1_000, "grant", "c", "main", "k", "PUT", "order.amend", "amend",
                    "BTCUSDT", None, None, (), name, "allow", None, 0, (), "", False,
                )
            )  # fmt: skip
        except OSError:
            return
        life.owners.waiting.amended("main", "BTCUSDT", name)
        self.open[name] = True

    async def acknowledge(self) -> None:
        """The broker has some of a gateway's own lines."""
        life = self._one()
        kept = max((seq for boot, seq in self.broker.kept if boot == life.spool.boot), default=0)
        upto = self.dice.randint(kept, life.spool.seq)
        for number, line in life.spool.batch(kept, upto - kept) if upto > kept else ():
            self.broker.kept[life.spool.boot, number] = line
        life.spool.kept(upto)

    async def note(self) -> None:
        self._one().doubts.write()

    async def look(self) -> None:
        await self._one().recall.look()

    async def send(self) -> None:
        life = self._one()
        self.broker.refuses = self.dice.random() < 0.3
        for boot in list(life.upload._sent):
            await life.upload._delete(boot)
        await life.upload._send_found()

    async def end(self) -> None:
        life = self._one()
        for sent in life.waiting.values():
            sent.flying = False
        life.doubts.write(ends=True)
        self.broker.alive.discard(life.spool.boot)
        life.spool.close()
        self._gone(life)

    async def kill(self) -> None:
        self._gone(self._one())

    def _gone(self, life: Life) -> None:
        life.killed()
        self.broker.alive.discard(life.spool.boot)
        if life in self.lives:
            self.lives.remove(life)

    async def trouble(self) -> None:
        boots = sorted({boot_of(path) for path in self.path.iterdir()} - {""})
        if self.dice.random() < 0.3:
            self.disk.full = not self.disk.full
        elif self.disk.unreadable or not boots:
            self.disk.unreadable.clear()
        else:
            self.disk.unreadable.add(self.dice.choice(boots))

    # --- what must hold -------------------------------------------------------------------

    def whole(self) -> None:
        """Each line that was written is on disk or with the broker."""
        disk = dict[tuple[str, int], str]()
        for boot, parts in listed(self.path).items():
            for part in parts:
                with open(part.path, encoding="ascii") as file:  # noqa: PTH123 - `Path.open` may fail
                    for number, line in enumerate(file, part.first):
                        disk[boot, number] = line.rstrip("\n")
        lost = [
            key for key, line in self.lines.items() if line not in {disk.get(key), self.broker.kept.get(key)}
        ]
        assert not lost

    async def next_start_knows(self) -> Life:
        """Kill all there is; what is in doubt is known to who begins then, and stays so."""
        for life in list(self.lives):
            self._gone(life)
        await self.begin()
        (life,) = self.lives
        assert await life.recall.look()
        known = {one.name: one.renamed for one in life.owners.waiting.latest(9_999)}
        assert self.open.keys() <= known.keys(), "what is in doubt is asked about"
        for name, renamed in self.open.items():
            assert known[name] or not renamed, "what was amended is never absent"
        return life


STEPS_OF: dict[str, int] = {
    "begin": 6, "ask": 14, "answer": 9, "settle": 4, "amend": 3, "acknowledge": 10, "note": 6, "look": 8, "send": 8,
    "end": 3, "kill": 4, "trouble": 4,
}  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
async def test_nothing_is_lost_and_all_that_is_in_doubt_is_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    monkeypatch.setattr("broker.gateway.spool.PART_LINES", 3)
    monkeypatch.setattr("broker.gateway.upload._LOOK_SECONDS", 0.0)
    caplog.set_level(logging.CRITICAL, "portcullis")
    dice = random.Random(seed)  # noqa: S311 - a test
    disk = Disk(monkeypatch)
    model = Model(tmp_path, disk, dice)
    for _ in range(STEPS):
        await one_step(model, dice)
        model.whole()
    with disk.well():
        life = await model.next_start_knows()
        life.doubts.write()
        await life.upload._send_found()
        life = await model.next_start_knows()
        while left := [one.name for one in life.owners.waiting.latest(9_999)]:
            await model.settle()
            assert left
        await model.end()
        await model.begin()
        (life,) = model.lives
        await life.recall.look()
        assert not [*life.owners.waiting.latest(9_999)], "nothing is asked about for ever"
        life.doubts.write()
        await life.upload._send_found()
        life.doubts.write()
        assert {boot_of(path) for path in tmp_path.iterdir()} == {life.spool.boot}, "and nothing stays"


async def one_step(model: Model, dice: random.Random) -> None:
    disk = model.disk
    if not model.lives:
        await model.begin()
    (what,) = dice.choices(list(STEPS_OF), list(STEPS_OF.values()))
    disk.kill_in = dice.randint(1, 8) if dice.random() < 0.15 else 0
    before = set(disk.parts)
    try:
        await getattr(model, what)()
    except Killed:
        disk.dead = True
    disk.kill_in = 0
    if disk.dead:
        disk.dead = False
        if model.acting is not None:
            model._gone(model.acting)
        for fd in disk.parts - before:
            os.close(fd)
