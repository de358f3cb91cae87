"""Time in which the process did not run is no time that anybody was waited for.

An exit was refused (`link_behind`, `no_lease`) whose own second was eaten by a standstill: what it waited for lay in a
socket. Standstills are made by the loop's clock, so no test sleeps for one.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.gateway.pulse import LONGEST_US
from broker.gateway.waits import MOST_LOST, Wait
from tests.gateway.test_standstill import Unread, stand_still, trading

pytestmark = pytest.mark.sockets
LONG_S = 20.0


def standing_still() -> Callable[[float], None]:
    """Return what makes the loop find that it did not run for so many seconds."""
    loop, lost = asyncio.get_running_loop(), [0.0]
    real = loop.time
    loop.time = lambda: real() + lost[0]  # type: ignore[method-assign]

    def stall(seconds: float) -> None:
        lost[0] += seconds

    return stall


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(3600):
        while not what():  # noqa: ASYNC110 - a request that waits tells nobody
            await asyncio.sleep(0)


async def test_an_answer_that_came_while_the_process_stood_still_is_heard() -> None:
    stall, wait, answer = standing_still(), Wait(5.0), asyncio.get_running_loop().create_future()
    hops = iter(range(20))

    def hop() -> None:
        if next(hops, None) is None:
            answer.set_result("here")
        else:
            asyncio.get_running_loop().call_soon(hop)

    async def asking() -> str:
        async with wait.runs():
            return str(await answer)

    asked = asyncio.ensure_future(asking())
    await asyncio.sleep(0)
    stall(LONG_S)
    hop()
    assert await asked == "here"
    assert not wait.over


async def test_nobody_waits_for_ever_in_a_process_that_stands_still_again_and_again() -> None:
    stall, wait, loop = standing_still(), Wait(2.0), asyncio.get_running_loop()
    began = loop.time()

    async def stalling() -> None:
        while True:
            stall(0.5)
            await asyncio.sleep(0)

    stalls = asyncio.ensure_future(stalling())
    with pytest.raises(TimeoutError):
        async with wait.runs():
            await asyncio.Event().wait()
    stalls.cancel()
    assert wait.over
    assert loop.time() - began < 10 * (2.0 + MOST_LOST)


async def test_what_is_used_up_waits_no_more() -> None:
    wait = Wait(0.0)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            async with wait.runs():
                await asyncio.Event().wait()


class Ahead:
    """A clock that can be put forward: the same standstill as the loop finds."""

    def __init__(self, clock: object) -> None:
        self._clock, self.more_us = clock, 0

    def boot_us(self) -> int:
        return int(self._clock.boot_us()) + self.more_us  # type: ignore[attr-defined]


@pytest.mark.parametrize("exit_by", ["sale", "cancel"])
async def test_who_stands_still_again_while_an_exit_waits_lets_it_out(tmp_path: Path, exit_by: str) -> None:
    """The second standstill falls into the time that the exit has: it was used up at once."""
    async with trading(tmp_path) as (world, bot):
        resting = await bot.order("BUY", "0.001", type="LIMIT", timeInForce="GTC", price="49000")
        stall, pulse, first = standing_still(), world.gateway.link.pulse, [True]
        pulse._clock = ahead = Ahead(pulse._clock)  # type: ignore[assignment]
        catch_up = pulse._catch_up

        async def caught() -> bool:
            if first.pop() if first else False:
                await until(lambda: world.gateway.forwarder._preparing)
                stall(LONG_S)
                ahead.more_us += 2 * LONGEST_US
            return await catch_up()

        pulse._catch_up = caught
        stand_still(world)
        if exit_by == "sale":
            got = await bot.order("SELL")
        else:
            got = await bot.call("DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=resting.body["orderId"])
        assert (got.status, got.reason) == (200, None)
        assert not first


async def test_an_ask_for_a_lease_that_was_eaten_by_a_standstill_is_no_answer(tmp_path: Path) -> None:
    async with trading(tmp_path) as (world, bot):
        stall, book = standing_still(), world.gateway.book
        book.drop(book.by_key[bot.key_id].lease.id)
        unread = Unread(world)
        asking = asyncio.ensure_future(bot.order("SELL"))
        await until(lambda: unread._frames)
        stall(LONG_S)
        unread.flow()
        got = await asking
        assert (got.status, got.reason) == (200, None)
