"""The same signed bytes once more: HTTP libraries send a write again whose answer was lost, by themselves.

A definite no there would have the bot sign a second order while the first is in the book.
"""

from pathlib import Path

import pytest

from broker.gateway import authenticate
from tests.gateway.world import World, bots, exchange_bytes, running_world

BUY = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
ALL = {"symbol": "BTCUSDT"}


def starts(world: World) -> None:
    """Have the gateway have begun just now: after what the bot signed, whose clock may be a moment ahead."""
    clock, replays = world.gateway.clock, world.gateway.forwarder._authenticator._replays
    replays.__init__(clock.wall_us() + 1_000_000, clock.boot_us() + 1_000_000)  # type: ignore[misc]


def outlives_its_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have so much time pass that no request is fresh any more."""
    monkeypatch.setattr(authenticate, "fresh", lambda *_: False)


@pytest.mark.parametrize("late", [False, True], ids=["at once", "after its window"])
@pytest.mark.parametrize("lost", [True, False], ids=["lost", "answered"])
async def test_what_was_let_through_is_of_unknown_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, late: bool, lost: bool
) -> None:
    """However late it comes: the first waits up to twelve seconds for its answer, and a window may be shorter."""
    async with running_world(tmp_path) as world:
        world.account()
        (bot,) = await bots(world)
        if lost:
            await world.paper.admin(
                "POST", "faults", {"do": "lose-reply", "match": {"path": "/api/v3/order"}}
            )
        raw = bot.signed("POST", "/api/v3/order", body=True, **BUY)
        assert (await exchange_bytes(world.port, raw)).status == (504 if lost else 200)
        if late:
            outlives_its_window(monkeypatch)
        again = await exchange_bytes(world.port, raw)
        assert (again.status, again.body, again.reason) == (504, None, "replay")
        assert len(world.executed()) == 1


@pytest.mark.parametrize("late", [False, True], ids=["at once", "after its window"])
@pytest.mark.parametrize(
    ("method", "path", "params"),
    [("POST", "/api/v3/order", BUY), ("DELETE", "/api/v3/openOrders", ALL)],
    ids=["order", "cancel-all"],
)
async def test_nothing_is_known_of_what_came_before_the_start(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    path: str,
    params: dict[str, str],
    *,
    late: bool,
) -> None:
    """A gateway that ended had no memory to leave: the one that comes up may be asked again what the old one sent."""
    async with running_world(tmp_path) as world:
        world.account()
        (bot,) = await bots(world)
        raw = bot.signed(method, path, **params)
        first = await exchange_bytes(world.port, raw)
        assert first.status == 200 or first.code == -2011, first
        starts(world)
        if late:
            outlives_its_window(monkeypatch)
        again = await exchange_bytes(world.port, raw)
        assert (again.status, again.body, again.reason) == (504, None, "before_start")
        assert len(world.executed()) <= 1


async def test_a_wrong_clock_is_still_told(tmp_path: Path) -> None:
    """What nobody sent, and no library sends again any more, is the exchange's own no: before the start, too."""
    async with running_world(tmp_path) as world:
        world.account()
        (bot,) = await bots(world)
        for slow_ms in (90_000, 3_600_000):
            late = await bot.order(timestamp=bot._instant() - slow_ms)
            assert (late.status, late.code, late.reason) == (400, -1021, "stale")
        assert world.executed() == []
