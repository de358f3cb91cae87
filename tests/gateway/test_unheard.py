"""What a gateway says once only and the broker cannot read: a lease that was given back, a key that was left."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from broker.authority import cutover
from broker.errors import LinkDown
from broker.gateway import asking
from broker.gateway import link as links
from broker.link import frames
from tests.gateway.test_cutover import second
from tests.gateway.test_told_anew import NARROW, of, the_link, trades, unread, until
from tests.gateway.world import POLICY, World, running_world


@pytest.fixture(autouse=True)
def beating(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "RENEW_SECONDS", 0.2)


@contextmanager
def unheard(world: World, lost: Callable[[frames.Frame], bool]) -> Iterator[list[frames.Frame]]:
    """Make the next frame of a kind unreadable on its way to the broker."""
    channel: Any = world.gateway.link._channel
    real, gone = channel.send, list[frames.Frame]()

    def passing(frame: frames.Frame) -> None:
        if not gone and lost(frame):
            gone.append(frame)
            channel._outbox.put_nowait(b'["Nope",{}]')
        else:
            real(frame)

    channel.send = passing
    try:
        yield gone
    finally:
        del channel.send


def same_leases(world: World) -> bool:
    return set(the_link(world).leases) == set(world.gateway.book.by_lease)


async def test_a_lease_that_another_one_replaced_is_none_at_the_broker(tmp_path: Path) -> None:
    """Each narrowed policy left one there, with a hold on its key, as long as the link lived."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await trades(bot)
        (grant,) = world.service.grants.list().items
        for _ in range(3):
            world.service.grants.set_policy(grant.id, NARROW)
            world.service.grants.set_policy(grant.id, POLICY)
            await world.settled()
            await trades(bot)
        await until(lambda: same_leases(world))
        assert len(the_link(world).leases) == 1


async def test_a_lease_that_never_came_is_none_after_a_while_once_another_one_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        with unread(world, of(frames.LeaseGranted)) as gone:
            issued = world.issue()
            await until(lambda: bool(gone))
        await until(lambda: issued.grant.key_id in world.gateway.book.by_key)
        assert len(the_link(world).leases) <= 2
        monkeypatch.setattr(cutover, "UNNAMED_US", 2_000_000)
        await until(lambda: same_leases(world))


async def test_a_lease_that_was_given_back_is_none_after_a_while_though_the_broker_did_not_hear_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        await trades(world.bot())
        (name,) = world.gateway.book.by_lease
        world.gateway.ahead.serves((), more=False)
        with unheard(world, of(frames.EndLease)) as gone:
            world.gateway.link.missed.end((name,))
            assert gone
        await world.authority.beat()
        assert name in the_link(world).leases
        monkeypatch.setattr(cutover, "UNNAMED_US", 1_000)
        await asyncio.sleep(0)
        await world.authority.beat()
        assert name not in the_link(world).leases


async def test_a_key_that_was_left_is_wiped_though_nobody_heard_that_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await trades(bot)
        monkeypatch.setattr(cutover, "_ACK_SECONDS", 0.5)
        with unheard(world, of(frames.Ack)) as gone:
            second(world)
            await until(lambda: bool(gone))
        await until(lambda: set(world.gateway.book.material) == {"main/trade/2"})
        assert the_link(world).keys == {"main/trade/2"}
        await trades(bot)


async def test_while_a_cut_is_on_no_record_and_nothing_is_new_nobody_is_asked(tmp_path: Path) -> None:
    """Every gateway would ask for every gate at every beat as long as the database is away."""
    async with running_world(tmp_path) as world:
        world.account()
        await trades(world.bot())
        asked = list[frames.Frame]()
        channel: Any = world.gateway.link._channel
        real = channel.send

        def noting(frame: frames.Frame) -> None:
            if isinstance(frame, frames.AskGates):
                asked.append(frame)
            real(frame)

        channel.send = noting
        changes, missed = world.authority.changes, world.gateway.link.missed
        closing = frames.ClosingPart("cut_1", "closed", ("consumer:slip",))
        the_link(world).tell(frames.CloseNow(9_999, closing))
        await until(lambda: "consumer:slip" in world.gateway.book.gates)
        real_states = changes.states
        changes.states = lambda: frames.AllGates(  # type: ignore[method-assign]
            real_states().gates, (closing,), real_states().history
        )
        await until(lambda: bool(asked) and not missed._news)
        asked.clear()
        for _ in range(10):
            missed.ask_again()
        assert len(asked) <= 1, "now and then all the same"


async def test_a_lease_that_is_over_at_the_broker_is_opened_anew_as_soon_as_an_exit_asks_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until its next renewal a bot's exits would go by what this gateway alone has seen."""
    async with running_world(tmp_path) as world:
        monkeypatch.setattr(links, "RENEW_SECONDS", 1_000.0)
        world.account()
        await trades(world.bot())
        (held,) = world.gateway.book.by_lease.values()
        world.gateway.link._renew = lambda: None  # type: ignore[method-assign]
        the_link(world).leases.clear()
        with contextlib.suppress(LinkDown):
            await world.gateway.link.ask_stake(frames.StakeQuery(0, held.lease.id, "BTCUSDT", "BTC"))
        await until(lambda: bool(the_link(world).leases) and same_leases(world))
        assert held.lease.id not in world.gateway.book.by_lease


@pytest.mark.parametrize("where", ["broker", "gateway"])
async def test_who_waits_for_an_answer_that_cannot_be_had_does_not_wait_until_its_time_is_up(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease that was asked for in vain is asked for again; every bot of that key had waited for it."""
    async with running_world(tmp_path) as world:
        monkeypatch.setattr(asking, "LONG_SECONDS", 1_000.0)
        world.account()
        kind = frames.OpenLease if where == "broker" else frames.LeaseGranted
        channel: Any = world.gateway.link._channel if where == "broker" else the_link(world).channel
        real, gone = channel._outbox.put_nowait, list[bytes]()

        def passing(data: bytes | None) -> None:
            if data is not None and not gone and data.startswith(f'["{kind.__name__}"'.encode()):
                gone.append(data)
                data = data[:-2] + b',"odd":1}]'
            real(data)

        channel._outbox.put_nowait = passing
        await trades(world.bot())
        assert gone
