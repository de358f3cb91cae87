"""The thread of heartbeat and leases: in order, the heartbeat first, and whoever waits is always told."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from broker.authority.order import InOrder
from tests.gateway.world import running_world


def test_work_is_done_in_order_and_what_goes_first_waits_for_none_that_waits() -> None:
    thread, begun, go, done = InOrder("x", lambda: None), threading.Event(), threading.Event(), list[str]()

    def held() -> None:
        begun.set()
        assert go.wait(60)

    thread.submit(held)
    assert begun.wait(60)
    for number in range(5):
        thread.submit(lambda number=number: done.append(f"lease {number}"))  # type: ignore[misc]
    thread.submit(lambda: done.append("heartbeat"), first=True)
    go.set()
    thread.end(time.monotonic() + 60)
    assert done == ["heartbeat", *(f"lease {number}" for number in range(5))]


def test_a_failure_is_told_to_who_waits_and_ends_nothing_and_nothing_is_taken_after_the_end() -> None:
    thread = InOrder("x", lambda: None)

    def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        thread.submit(fails).result(60)
    assert thread.submit(lambda: 1).result(60) == 1
    thread.end(time.monotonic() + 60)
    with pytest.raises(RuntimeError):
        thread.submit(lambda: 1)


def test_what_nobody_waits_for_any_more_is_not_done() -> None:
    thread, begun, go, done = InOrder("x", lambda: None), threading.Event(), threading.Event(), list[int]()

    def held() -> None:
        begun.set()
        assert go.wait(60)

    thread.submit(held)
    assert begun.wait(60)
    assert thread.submit(lambda: done.append(1)).cancel()
    go.set()
    thread.end(time.monotonic() + 60)
    assert done == []


@pytest.mark.sockets
async def test_a_heartbeat_passes_by_a_thousand_leases_that_wait_to_be_opened(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        opened, go = list[int](), threading.Event()

        def opens(number: int) -> None:
            assert go.wait(60)
            opened.append(number)

        waiting = [
            asyncio.ensure_future(world.authority.in_safety(lambda number=number: opens(number)))  # type: ignore[misc]
            for number in range(1000)
        ]
        await asyncio.sleep(0)
        before, beats = list[int](), world.service.continuity.beat

        def beat(*given: Any, **more: Any) -> Any:
            before.append(len(opened))
            return beats(*given, **more)

        world.service.continuity.beat = beat  # type: ignore[method-assign]
        beating = asyncio.ensure_future(world.authority.beat())
        await asyncio.sleep(0)
        go.set()
        await beating
        await asyncio.gather(*waiting)
        assert before[0] <= 1, "what was being done as it came, and nothing else"
