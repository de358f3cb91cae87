"""Where the broker's word does not come for this very request, nobody knows what others have: only own purchases pass."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker.gate import Mode
from broker.gateway import forward, guard
from broker.link import frames
from broker.policy import Stake
from clients.paper.faults import Fault
from clients.paper.reading import Call
from clients.paper.server import ROUTES, Connection
from tests.gateway.test_followed import ORDERS, limit, shared
from tests.gateway.test_slow_log import until
from tests.gateway.test_two_instants import questions
from tests.gateway.world import World

pytestmark = pytest.mark.sockets


@contextmanager
def answers_later(world: World) -> Iterator[asyncio.Event]:
    """An order is filled at once; its answer comes when it is let go."""
    fault, real, go = Fault("delay", "POST", "/api/v3/order", times=1), Connection._misbehave, asyncio.Event()

    def misbehave(self: Connection, one: Fault, call: Call) -> None:
        if one is not fault:
            real(self, one, call)
            return
        self._held = True
        answer = world.paper.exchange.answer(call, ROUTES)

        async def late() -> None:
            await go.wait()
            self._held = False
            self._write(answer)
            self._next()

        waiting.append(asyncio.ensure_future(late()))

    waiting: list[asyncio.Future[None]] = []
    Connection._misbehave = misbehave  # type: ignore[method-assign]
    world.paper.server.faults.append(fault)
    try:
        yield go
    finally:
        go.set()
        Connection._misbehave = real  # type: ignore[method-assign]


def slow(world: World, how: str) -> None:
    """Keep the broker's word from an exit for its first second."""
    if how == "broker away":
        questions(world, unanswered=True)
        return
    for path in sorted(ORDERS):
        world.paper.server.faults.append(Fault("hang", method="GET", path=path, times=1_000))


@pytest.mark.parametrize("how", ["broker away", "venue hangs"])
async def test_what_another_is_buying_is_not_sold_where_the_broker_spoke_only_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """What it said of an earlier exit was taken as of now, and what was in doubt was dropped."""
    async with shared(tmp_path) as (world, one, two):
        assert (await one.order("BUY", "0.02")).status == 200
        assert (await two.order("BUY", "0.01", **limit(world, "0.96"))).status == 200
        await world.cut("consumer:one", mode=Mode.HALT)
        assert (await one.order("SELL", "0.005")).status == 200
        monkeypatch.setattr(forward, "PREPARE_SECONDS", 1.0)
        with answers_later(world) as go:
            buys = asyncio.ensure_future(two.order("BUY", "0.5"))
            held = world.gateway._settlement._held
            await until(lambda: any(one.flying for several in held.values() for one in several.orders))
            slow(world, how)
            sold = await one.order("SELL", "0.4")
            assert (sold.status, sold.reason) == (503, "holdings_unknown")
            assert (await one.order("SELL", "0.01")).status == 200, "its own"
            go.set()
            assert (await buys).status == 200


@pytest.mark.parametrize("how", ["broker away", "venue hangs"])
async def test_nor_what_anothers_cancelled_sale_had_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    async with shared(tmp_path) as (world, one, two):
        assert (await one.order("BUY", "0.02")).status == 200
        assert (await two.order("BUY", "0.5")).status == 200
        rests = await two.order("SELL", "0.499", **limit(world, "1.04"))
        assert (await two.order("BUY", "0.01", **limit(world, "0.96"))).status == 200
        await world.cut("consumer:one", mode=Mode.HALT)
        assert (await one.order("SELL", "0.005")).status == 200
        which = {"symbol": "BTCUSDT", "orderId": rests.body["orderId"]}
        assert (await two.call("DELETE", "/api/v3/order", **which)).status == 200
        monkeypatch.setattr(forward, "PREPARE_SECONDS", 1.0)
        slow(world, how)
        sold = await one.order("SELL", "0.4")
        assert (sold.status, sold.reason) == (503, "holdings_unknown")


async def test_what_stands_in_for_an_answer_is_let_go_as_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another's resting purchase counted as bought by then, and older stock was a definite no."""
    async with shared(tmp_path, there="0.4") as (world, one, two):
        assert (await two.order("BUY", "1.0", **limit(world, "0.96"))).status == 200
        await world.cut("consumer:one", mode=Mode.HALT)
        link, go = world.gateway.link, asyncio.Event()
        real = link.ask_stake

        async def late(query: frames.StakeQuery) -> Stake:
            await go.wait()
            return await real(query)

        monkeypatch.setattr(link, "ask_stake", late)
        gather = forward.Forwarder._gather

        async def gathered(*values: object) -> None:
            monkeypatch.setattr(forward, "PREPARE_SECONDS", 1.0)
            await gather(*values)  # type: ignore[arg-type]
            monkeypatch.setattr(forward, "PREPARE_SECONDS", 120.0)
            go.set()

        monkeypatch.setattr(forward.Forwarder, "_gather", gathered)
        monkeypatch.setattr(guard, "ACTS_US", 10**12)  # it waits for longer than in the product
        assert (await one.order("SELL", "0.39")).status == 200
