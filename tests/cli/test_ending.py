"""How a broker ends: none of its parts makes it wait until it is killed, because cuts go on record last of all."""

import asyncio
from pathlib import Path

import pytest

from clients.venue import Environment
from portcullis import foundation, install, run
from portcullis.gateway_child import GatewayChild
from portcullis.rotator_child import RotatorChild
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
