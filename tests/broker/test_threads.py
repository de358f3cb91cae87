"""What was answered as not done is not done later: a pool whose thread could not begin kept the work in line."""

import asyncio
import random
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.api import lanes
from broker.authority.order import InOrder
from broker.errors import StoreUnavailable
from broker.threads import Threads
from rotation.schedule import Rotator
from tests.broker.test_no_threads import PATIENCE_S, none_left
from tests.rotation.alerting import home_with_a_key

Submit = Callable[[Callable[[], object]], "Future[Any]"]


def pool() -> Submit:
    return Threads(2, "x").submit


def in_order() -> Submit:
    return InOrder("x", lambda: None).submit


@pytest.mark.parametrize("made", [pool, in_order])
def test_work_that_was_refused_is_never_done(made: Callable[[], Submit]) -> None:
    submit, done = made(), list[str]()
    with none_left(), pytest.raises(RuntimeError):
        submit(lambda: done.append("refused"))
    assert submit(lambda: done.append("taken")).result(PATIENCE_S) is None
    assert done == ["taken"]


async def test_a_request_that_no_thread_could_be_had_for_is_not_carried_out_by_the_next_one() -> None:
    """It was answered 500, and the grant was made all the same."""
    lane, done = lanes.Lane("x", 2, 4, 4), list[str]()
    async with lane.place():
        with none_left(), pytest.raises(StoreUnavailable, match="no thread can be had"):
            await lanes.run(done.append, "refused")
        await lanes.run(done.append, "taken")
    assert done == ["taken"]


def test_where_a_thread_lives_work_waits_for_it_rather_than_being_refused() -> None:
    threads, begun, go = Threads(2, "x"), threading.Event(), threading.Event()

    def held() -> int:
        begun.set()
        assert go.wait(PATIENCE_S)
        return 1

    first = threads.submit(held)
    assert begun.wait(PATIENCE_S)
    with none_left():
        second = threads.submit(lambda: 2)
    go.set()
    assert (first.result(PATIENCE_S), second.result(PATIENCE_S)) == (1, 2)


def test_what_fails_is_told_and_what_nobody_waits_for_any_more_is_not_done() -> None:
    threads, begun, go, done = Threads(1, "x"), threading.Event(), threading.Event(), list[int]()

    def held() -> None:
        begun.set()
        assert go.wait(PATIENCE_S)
        raise ValueError("planted")

    failing = threads.submit(held)
    assert begun.wait(PATIENCE_S)
    assert threads.submit(done.append, 1).cancel()
    go.set()
    with pytest.raises(ValueError, match="planted"):
        failing.result(PATIENCE_S)
    threads.end(time.monotonic() + PATIENCE_S)
    assert done == []


def test_an_end_waits_for_what_is_in_line_and_not_for_what_hangs() -> None:
    threads, begun, go, done = Threads(1, "x"), threading.Event(), threading.Event(), list[int]()
    for number in range(3):
        threads.submit(done.append, number)
    threads.end(time.monotonic() + PATIENCE_S)
    assert done == [0, 1, 2]
    with pytest.raises(RuntimeError):
        threads.submit(done.append, 3)
    hanging = Threads(1, "x")

    def hangs() -> None:
        begun.set()
        assert go.wait(PATIENCE_S)

    hanging.submit(hangs)
    waiting = hanging.submit(done.append, 4)
    assert begun.wait(PATIENCE_S)
    hanging.end(time.monotonic())
    go.set()
    assert waiting.cancelled(), "whoever waits for it is told"


def test_at_the_end_of_a_process_work_is_refused_and_nobody_waits_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pool that had a thread took that for a thread that will do it: the future was never done."""
    threads, done = Threads(2, "x"), list[str]()
    threads.submit(done.append, "before").result(PATIENCE_S)
    with monkeypatch.context() as patch:
        patch.setattr("concurrent.futures.thread._shutdown", True)
        with pytest.raises(RuntimeError):
            threads.submit(done.append, "too late")
    threads.end(time.monotonic() + PATIENCE_S)
    assert done == ["before"]


def test_what_waits_for_a_thread_that_hangs_is_cancelled_at_the_end() -> None:
    """No thread could be had for it, so the pool's own word of its end reached nobody."""
    threads, begun, go = Threads(2, "x"), threading.Event(), threading.Event()

    def hangs() -> None:
        begun.set()
        assert go.wait(PATIENCE_S)

    threads.submit(hangs)
    assert begun.wait(PATIENCE_S)
    with none_left():
        waiting = threads.submit(lambda: None)
    threads.end(time.monotonic())
    go.set()
    assert waiting.cancelled()


def test_what_waits_in_order_behind_what_hangs_is_cancelled_at_the_end() -> None:
    line, begun, go = InOrder("x", lambda: None), threading.Event(), threading.Event()

    def hangs() -> None:
        begun.set()
        assert go.wait(PATIENCE_S)

    held = line.submit(hangs)
    assert begun.wait(PATIENCE_S)
    waiting = line.submit(lambda: None)
    line.end(time.monotonic())
    go.set()
    assert held.result(PATIENCE_S) is None
    assert waiting.cancelled()


def test_a_rotator_goes_on_with_all_its_workers_after_a_moment_without_threads(tmp_path: Path) -> None:
    """The worker that could not begin was never put onto anything again."""
    with home_with_a_key(tmp_path) as service:
        rotator = Rotator(service, "one", lambda: datetime.now(UTC), random.SystemRandom(), workers=2)
        with pytest.MonkeyPatch.context() as patch, none_left():
            patch.setattr("rotation.schedule.store.waiting", lambda *_: 2)
            rotator.look()
        assert sorted(rotator._idle) == ["one-0", "one-1"]


def test_no_pool_of_pythons_own_is_used() -> None:
    """Each of them keeps work that it refused."""
    root = Path(__file__).parents[2]
    found = [
        str(path.relative_to(root))
        for tree in ("broker", "clients", "rotation", "portcullis")
        for path in (root / tree).rglob("*.py")
        if re.search(
            r"\bThreadPoolExecutor\(\d|= ThreadPoolExecutor\(|ProcessPoolExecutor", path.read_text("utf-8")
        )
    ]
    assert found == []


async def test_work_beside_the_loop_that_was_refused_is_never_done() -> None:
    done: list[str] = []
    asyncio.get_running_loop().set_default_executor(Threads(2, "work"))
    with none_left(), pytest.raises(RuntimeError):
        await asyncio.to_thread(done.append, "refused")
    await asyncio.to_thread(done.append, "taken")
    assert done == ["taken"]
