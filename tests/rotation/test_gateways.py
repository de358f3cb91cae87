"""Several gateways on one account: each is moved by itself, and one that does not answer is waited for, never assumed."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker.gateway.process import Gateway, Listen
from broker.link.channel import memory_pair
from clients.venues.binance import WIRE
from rotation.state import State
from tests.gateway.world import POLICY, Bot
from tests.rotation.place import Place, running_place, trading

pytestmark = pytest.mark.sockets
LASTING = POLICY + "[lease]\nseconds = 300\n"
"""A lease that outlasts what a busy machine takes for a rotation."""

SHORT = POLICY + "[lease]\nseconds = 3\n"
"""A lease so short that a test can wait for its end."""

_NUMBERS = itertools.count(1)


@asynccontextmanager
async def another(here: Place, name: str, policy: str = SHORT) -> AsyncIterator[tuple[Gateway, Bot]]:
    """Run another gateway on the same broker, with a bot of its own that has a lease there."""
    there, ours = memory_pair()
    serving = asyncio.ensure_future(here.world.authority.serve(there))
    gateway = Gateway(ours, name, here.world.directory / name, {WIRE.name: WIRE})
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    running = asyncio.ensure_future(gateway.serve(Listen(), ready, stop))
    issued = here.world.issue(f"bot-{next(_NUMBERS)}", policy=policy)
    assert issued.secret is not None
    bot = Bot(await ready, issued.grant.key_id, issued.secret.reveal())
    await bot.ready()
    try:
        yield gateway, bot
    finally:
        stop.set()
        await running
        there.close()
        await serving


async def test_every_gateway_is_moved_and_no_bot_notices(tmp_path: Path) -> None:
    async with (
        running_place(tmp_path) as here,
        another(here, "left", LASTING) as (_, left),
        another(here, "right", LASTING) as (_, right),
    ):
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200
        async with trading(here.bot) as mine, trading(left) as lefts, trading(right) as rights:
            done = await here.rotate()
        assert done.state is State.DONE, done.reason
        for answers in (mine, lefts, rights):
            assert set(answers()) == {(200, None)}
        for bot in (here.bot, left, right):
            assert (await bot.call("GET", "/api/v3/account")).status == 200


async def test_one_that_is_cut_off_keeps_the_old_key_alive_until_its_leases_are_over(tmp_path: Path) -> None:
    """It is asked first as a canary, does not answer, and signs with the old key as long as it may."""
    async with running_place(tmp_path) as here, another(here, "away") as (_, lost):
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200
        old = here.old_key
        async with trading(here.bot) as mine, trading(lost) as theirs:
            while not theirs():  # noqa: ASYNC110 - an answer tells nobody
                await asyncio.sleep(0.02)
            here.world.authority.changes.links["away"].channel.send = lambda _: None  # type: ignore[method-assign]
            done = await here.rotate()
        assert done.state is State.DONE, done.reason
        assert set(mine()) == {(200, None)}
        said = theirs()
        assert {status for status, _ in said} == {200, 503}, said
        assert {reason for status, reason in said if status == 503} <= {"lease_over", "not_connected"}, said
        served = [row for row in here.world.paper.exchange.requests if row["key_id"] == old]
        deleted_us = next(int(row["at_us"]) for row in here.world.executed() if row["action"] == "key-delete")
        assert max(int(row["at_us"]) for row in served if row["status"] == 200) < deleted_us
