"""A cut's answer names who may serve on and cannot be told: no gateway that holds a lease is taken for none."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from broker.api.ports import Acknowledged
from broker.authority.link import Link
from broker.db import cutovers
from broker.gate import Mode
from broker.gateway.limits import Need
from broker.gateway.process import Gateway
from broker.gateway.venue_line import Line
from broker.link import frames
from broker.link.channel import memory_pair
from clients.venues.binance import WIRE
from portcullis.connected import ConnectedGateways
from tests.gateway.mortal import Mortal
from tests.gateway.test_kept_lines import until
from tests.gateway.test_promises import started
from tests.gateway.world import POLICY, Bot, World, bots, running_world

pytestmark = pytest.mark.sockets
KEY = "main/trade/1"
EARLIER = ("local (an earlier start)",)


async def cut(world: World) -> Acknowledged:
    """Cut, and return what is answered of the gateways."""
    _, change = world.service.cuts.close(
        targets=("everything",), mode=Mode.CLOSED, reason="test", actor="test"
    )
    return await ConnectedGateways(world.authority).acknowledged([change], 30)


def hold(world: World, boot: str, seconds: int) -> None:
    until_us = world.service.desk.clock.now_us() + seconds * 1_000_000
    with world.service.desk.database.write() as connection:
        cutovers.hold(connection, cutovers.Hold("local", boot, KEY, until_us))


def held(world: World) -> set[str]:
    with world.service.desk.database.read() as connection:
        return {one.boot for one in cutovers.running(connection, world.service.desk.spans)}


async def test_an_earlier_start_that_the_record_knows_of_is_named(tmp_path: Path) -> None:
    """It was stopped, its broker killed and started anew: it may hold its lease, and no link leads to it."""
    async with running_world(tmp_path) as world:
        world.account()
        await bots(world)
        hold(world, "of-before", 200)
        hold(world, "over", -1)
        await world.authority.beat()
        found = await cut(world)
        assert (found.asked, found.missing) == (2, EARLIER)
        assert 100 < found.worst_case_s <= 200
        number = max(world.authority.changes._waiting)
        flying = await world.authority.changes.on_their_way(number, 0)
        assert flying is not None
        assert flying.silent == ("local",), "what it had sent is not known: no 0 is said of it"


async def test_nobody_is_named_where_there_is_nobody(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        await bots(world)
        await world.authority.beat()
        found = await cut(world)
        assert (found.asked, found.missing, found.worst_case_s) == (1, (), 15)


async def test_one_whose_link_broke_is_named_until_its_process_is_dead(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        await bots(world)
        link = world.authority.changes.links["local"]
        link.channel.close()
        async with asyncio.timeout(60):
            while world.authority.changes.links:  # noqa: ASYNC110 - a link's end tells nobody
                await asyncio.sleep(0.01)
        assert not link.parted
        await world.authority.beat()
        found = await cut(world)
        assert (found.asked, found.missing) == (1, EARLIER)
        world.authority.changes.starts.dead("local")
        await world.authority.beat()
        assert (await cut(world)).missing == ()


async def test_one_that_gave_its_leases_back_is_waited_for_by_nobody(tmp_path: Path) -> None:
    """And its hold is off the record: a broker that starts anew waits for it no more than this one, nor does a rotation."""
    async with running_world(tmp_path) as world:
        world.account()
        (bot,) = await bots(world)
        here, there = memory_pair()
        serving = asyncio.ensure_future(world.authority.serve(here))
        edge = Gateway(there, "edge", tmp_path / "edge", {WIRE.name: WIRE})
        port, stop, running = await started(edge)
        bot.port = port
        await bot.ready()
        await world.authority.beat()
        assert held(world) == {edge.spool.boot, world.gateway.spool.boot}
        stop.set()
        await running
        await asyncio.wait_for(serving, 60)
        assert held(world) == {world.gateway.spool.boot}
        assert (await cut(world)).missing == ()


async def test_how_long_a_silent_one_may_serve_counts_its_time_for_exits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        await bots(world, policy=POLICY + "[lease]\nexits_after_end_seconds = 600\n")
        monkeypatch.setattr(world.gateway.link, "_apply", lambda _: None)
        _, change = world.service.cuts.close(
            targets=("everything",), mode=Mode.CLOSED, reason="test", actor="test"
        )
        found = await ConnectedGateways(world.authority).acknowledged([change], 0)
        assert (found.missing, found.worst_case_s) == (("local",), 615)


async def hung_up(world: World) -> None:
    """End the link of the gateway, and wait until that is taken in."""
    world.authority.changes.links["local"].channel.close()
    async with asyncio.timeout(60):
        while world.authority.changes.links:  # noqa: ASYNC110 - a link's end tells nobody
            await asyncio.sleep(0.01)
    await world.authority.in_safety(lambda: None)


async def test_one_whose_lease_was_ended_here_is_waited_for_though_it_gave_an_older_one_back(
    tmp_path: Path,
) -> None:
    """It may not have heard of that when its link breaks, and serves on; its hold stays on record."""
    async with running_world(tmp_path) as world:
        world.account()
        await bots(world)
        await world.authority.beat()
        link = world.authority.changes.links["local"]
        boot, known = world.gateway.spool.boot, asyncio.Event()
        take = world.authority._take

        async def taken(of: Link, frame: frames.Frame) -> None:
            await take(of, frame)
            if isinstance(frame, frames.EndLease):
                known.set()

        world.authority._take = taken  # type: ignore[assignment]
        link.leases.clear()  # as a wipe, a cutover or another history of the record does
        world.gateway.link._send(frames.EndLease(("lse_replaced",)))
        await asyncio.wait_for(known.wait(), 60)
        await hung_up(world)
        assert held(world) == {boot}
        await world.authority.beat()
        assert (await cut(world)).missing == EARLIER


async def test_one_that_stops_is_waited_for_by_nobody_whatever_was_granted_to_it_meanwhile(
    tmp_path: Path,
) -> None:
    """A lease that was on its way to it as it stopped, or that was ended here, it can use no more than the others."""
    async with running_world(tmp_path) as world:
        world.account()
        await bots(world)
        await world.authority.beat()
        link = world.authority.changes.links["local"]
        (lease,) = link.leases.values()
        link.leases["lse_on_its_way"] = replace(lease, id="lse_on_its_way")
        world.gateway.link.close()
        async with asyncio.timeout(60):
            while world.authority.changes.links or held(world):  # noqa: ASYNC110 - a link's end tells nobody
                await asyncio.sleep(0.01)
        await world.authority.beat()
        assert (await cut(world)).missing == ()


async def test_one_that_said_so_sends_nothing_more_for_whom_it_let_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client had gone, so nothing was waited for; what leaves then no cut stops, and no line tells of."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        issued = world.issue()
        assert issued.secret is not None
        mortal = Mortal(world, tmp_path / "edge")
        await mortal.start()
        bot = Bot(mortal.port, issued.grant.key_id, issued.secret.reveal())
        await bot.ready()
        order = {"type": "LIMIT", "timeInForce": "GTC", "price": "50000", "quantity": "0.001"}
        named = {"symbol": "BTCUSDT", "orderId": (await bot.order(**order)).body["orderId"]}
        (view,), go = mortal.gateway.mounts.views.values(), asyncio.Event()
        take, listener, waits = view.pool.take, mortal.gateway.listener, mortal.gateway.forwarder._preparing
        assert listener is not None

        async def late(need: Need, key: str) -> Line:
            await go.wait()
            return await take(need, key)

        monkeypatch.setattr(view.pool, "ready", lambda *_: None)
        monkeypatch.setattr(view.pool, "take", late)
        _, writer = await asyncio.open_connection("127.0.0.1", mortal.port)
        writer.write(bot.signed("DELETE", "/api/v3/order", **named))
        await until(lambda: bool(waits))
        for connection in list(listener.connections):
            connection.abort()
        await mortal.end()
        assert waits, "it waits for a connection to the exchange"
        go.set()
        await until(lambda: not waits)
        writer.close()
        await mortal.start()
        bot.port = mortal.port
        await bot.ready()
        assert (await bot.call("GET", "/api/v3/order", **named)).body["status"] == "NEW"
        await mortal.end()
