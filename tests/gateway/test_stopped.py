"""What is sent is of the moment in which it was judged: a gateway that was stopped in between sends what nobody takes."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from broker.gateway.clock import SystemClock
from broker.gateway.pulse import STALL_US, Pulse
from tests.gateway.test_standstill import trading

pytestmark = pytest.mark.sockets
STOOD_US = 60_000_000
FAR = {
    "type": "LIMIT",
    "timeInForce": "GTC",
    "price": "58000",
    "quantity": "0.001",
    "newClientOrderId": "rests",
}


@pytest.mark.parametrize("what", ["buy", "sell", "cancel"])
async def test_who_is_stopped_behind_the_look_at_its_lease_does_nothing_when_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """It was stamped anew: sent a minute after the lease, and taken, whatever had been cut meanwhile."""
    async with trading(tmp_path) as (world, bot):
        assert (await bot.order(**FAR)).status == 200
        gateway, exchange, stood = world.gateway, world.paper.exchange, [0]
        clock, sender = gateway.clock, gateway.forwarder._sender
        boot_us, wall_us, send = clock.boot_us, clock.wall_us, sender.send

        def stopped(*asked: Any) -> None:
            stood[0], exchange.offset_us = STOOD_US, exchange.offset_us + STOOD_US
            send(*asked)

        monkeypatch.setattr(clock, "boot_us", lambda: boot_us() + stood[0])
        monkeypatch.setattr(clock, "wall_us", lambda: wall_us() + stood[0])
        monkeypatch.setattr(sender, "send", stopped)
        before = len(world.executed())
        if what == "cancel":
            answer = await bot.call("DELETE", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="rests")
        else:
            answer = await bot.order(what.upper())
        assert answer.code == -1021, answer
        assert len(world.executed()) == before


class Stops(SystemClock):
    """A clock of a process that is stopped right behind one of its looks."""

    def __init__(self) -> None:
        self.now_us, self.behind_look = 10**12, 0

    def boot_us(self) -> int:
        now_us = self.now_us
        self.behind_look -= 1
        if not self.behind_look:
            self.now_us += 2 * STALL_US
        return now_us


async def test_a_beat_that_is_stopped_behind_its_look_is_missed_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("broker.gateway.pulse.BEAT_SECONDS", 0)
    clock, caught_up = Stops(), asyncio.Event()

    async def catch_up() -> bool:
        caught_up.set()
        return True

    pulse = Pulse(clock, catch_up)
    beating = asyncio.ensure_future(pulse.run())
    await asyncio.sleep(0)
    assert not pulse.behind(clock.boot_us())
    clock.behind_look = 1
    await asyncio.wait_for(caught_up.wait(), 60)
    await asyncio.sleep(0)
    assert not pulse.behind(clock.boot_us())
    beating.cancel()
