"""How a broker ends: none of its parts makes it wait until it is killed, because cuts go on record last of all."""

import asyncio
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from broker.errors import StoreUnavailable
from broker.gate import Mode
from broker.gateway import process
from clients.venue import Environment
from portcullis import ending, foundation, install, run
from portcullis.gateway_child import GatewayChild
from portcullis.rotator_child import RotatorChild
from tests.broker.test_no_threads import none_left
from tests.paper.harness import running_paper

pytestmark = pytest.mark.process


async def test_gateway_and_rotator_are_told_to_end_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may take its whole patience: one after the other they took all that a service manager gives a stop."""
    told = {RotatorChild: asyncio.Event(), GatewayChild: asyncio.Event()}
    in_time = []

    def ends(kind: type[RotatorChild] | type[GatewayChild], other: type) -> None:
        real = kind.end

        async def end(self: object) -> None:
            told[kind].set()
            try:
                async with asyncio.timeout(60):
                    await told[other].wait()
                    in_time.append(kind)
            finally:
                await real(self)  # type: ignore[arg-type]

        monkeypatch.setattr(kind, "end", end)

    ends(RotatorChild, GatewayChild)
    ends(GatewayChild, RotatorChild)
    home = foundation.found(tmp_path / "home", Environment.PAPER, "solo").home
    async with running_paper() as paper:
        options = run.Options(api_port=0, gateway_port=0, paper_upstream=paper.base_url)
        async with run.running_broker(home, options):
            pass
    assert set(in_time) == {RotatorChild, GatewayChild}


async def test_a_part_that_does_not_end_in_order_keeps_no_other_from_it() -> None:
    ended = []

    async def falls() -> None:
        raise OSError("planted")

    async def ends() -> None:
        await asyncio.sleep(0)
        ended.append(True)

    await run._together(falls, ends)
    assert ended == [True]


def test_a_service_manager_tells_the_broker_alone_and_gives_it_time() -> None:
    """A part that was told beside it was started anew while it ended."""
    unit = install.unit(Path("/bin/true"), user="nobody")
    assert "KillMode=mixed" in unit
    assert "TimeoutStopSec=60" in unit
    compose = (Path(__file__).parents[2] / "docs/examples/compose.yaml").read_text(encoding="utf-8")
    assert "stop_grace_period: 60s" in compose


def test_all_that_an_end_may_take_is_well_within_what_a_service_manager_gives() -> None:
    """With a database that another process held the parts took 57 of 60 seconds, one after the other, cuts last."""
    (given_s,) = re.findall(r"TimeoutStopSec=(\d+)", install.unit(Path("/bin/true"), user="nobody"))
    assert int(given_s) - 20 >= ending.ALL_S
    assert ending.CHILDREN_S > process.DRAIN_SECONDS + 2, "requests in flight are not cut off"


async def test_a_part_that_hangs_or_fails_keeps_the_next_one_for_its_time_only() -> None:
    never = asyncio.Event()

    def fails() -> None:
        raise OSError("planted")

    async with asyncio.timeout(60):
        await ending.within(0.01, "a part", never.wait)
        await ending.beside(0.01, "a part", threading.Event().wait)
        await ending.beside(60, "a part", fails)
        with none_left():
            await ending.beside(60, "a part", fails)


def test_a_thread_that_waits_for_a_store_does_not_keep_a_process_that_has_ended() -> None:
    """The interpreter waits for the threads of every pool, without an end."""
    program = """
import asyncio, threading, uvloop
from portcullis import ending

async def lives():
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
    ending.leave_soon(3)
    return 3

uvloop.run(lives())
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=100)
    assert done.returncode == 3


async def test_a_cut_lies_in_the_home_before_any_part_is_told_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Children may take their whole patience, and a service manager may kill us before it was the cuts' turn."""
    seen: list[bool] = []
    home = foundation.found(tmp_path / "home", Environment.PAPER, "solo").home
    real = GatewayChild.end

    async def end(self: GatewayChild) -> None:
        seen.append(bool(list(home.cuts.glob("*.cut"))))
        await real(self)

    def away(*_: object) -> None:
        raise StoreUnavailable("away", "away on purpose")

    monkeypatch.setattr(GatewayChild, "end", end)
    async with running_paper() as paper:
        options = run.Options(api_port=0, gateway_port=0, paper_upstream=paper.base_url)
        async with run.running_broker(home, options) as broker:
            cuts = broker.service.cuts
            monkeypatch.setattr(cuts.closing, "_write", away)
            monkeypatch.setattr(broker.service.mirror, "note", away)
            cut, _ = await asyncio.to_thread(
                cuts.close, targets=("everything",), mode=Mode.CLOSED, reason="leak", actor="me"
            )
            cuts.closing._leaving._drop(cut.id)  # as if its first try were not over yet
            monkeypatch.setattr(cuts.closing, "_commit", lambda _: threading.Event().wait())
        monkeypatch.undo()
        assert seen == [True]
        async with run.running_broker(home, options) as broker:
            assert broker.service.cuts.get(cut.id).on_record
            assert cut.id in broker.authority.changes.gates["everything"].closers
