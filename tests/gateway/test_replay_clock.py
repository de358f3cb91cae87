"""A clock that is put right makes no order one of before the gateway's start."""

from pathlib import Path

import pytest

from broker.gateway.replay import ReplayGuard
from tests.gateway.world import bots, running_world

HOUR = 3_600_000_000
START, BOOT = 1_800_000_000_000_000, 5_000_000


@pytest.mark.parametrize(
    ("stamp", "wall", "boot", "old"),
    [
        (START - 1, START, BOOT, True),
        (START, START, BOOT, False),
        (START + 59, START + 60, BOOT + 60, False),
        (START - HOUR + 60, START - HOUR + 60, BOOT + 60, False),  # set back by an hour
        (START - HOUR - 1, START - HOUR + 60, BOOT + 60, True),
        (START - 1, START + HOUR, BOOT + 60, True),  # set forward: what was before is before
        (START + 1, START + HOUR, BOOT + 60, False),
    ],
)
def test_before_the_start_is_told_by_the_clock_as_it_is_now(
    stamp: int, wall: int, boot: int, old: bool
) -> None:
    assert ReplayGuard(START, BOOT).too_old(stamp, 0, wall, boot) is old


async def test_bots_trade_on_after_a_clock_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway started while the clock was an hour ahead, and then it was put right."""
    async with running_world(tmp_path) as world:
        world.account()
        (bot,) = await bots(world)
        assert (await bot.order()).status == 200
        monkeypatch.setattr(
            world.gateway.forwarder._authenticator._replays,
            "_started_us",
            world.gateway.clock.wall_us() + HOUR,
        )
        for side in ("BUY", "SELL"):
            assert (await bot.order(side)).status == 200
