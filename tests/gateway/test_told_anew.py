"""A frame that a gateway cannot read is missed for a while, never for good: all that is said once is said again."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from broker import gate
from broker.authority.link import Link
from broker.db import cuts as cut_store
from broker.db import meta, rows
from broker.gate import Gate, Mode
from broker.gate_document import NotedCut
from broker.gateway import book as books
from broker.gateway import link as links
from broker.gateway import missed
from broker.history import History
from broker.link import frames
from broker.service.host_guard import RECONCILED
from tests.broker.failing import closing_of, reopen
from tests.gateway.test_cutover import second
from tests.gateway.world import POLICY, Bot, World, running_world
from tests.history.events import Reopened
from tests.history.watching import now_us

NARROW = POLICY.replace('symbols = ["BTCUSDT", "ETHUSDT"]', 'symbols = ["ETHUSDT"]')
Lost = Callable[[frames.Frame], bool]


@pytest.fixture(autouse=True)
def beating(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "RENEW_SECONDS", 0.2)


def the_link(world: World) -> Link:
    return world.authority.changes.links["local"]


@contextmanager
def unread(world: World, lost: Lost, times: int = 1) -> Iterator[list[frames.Frame]]:
    """Make some frames of the broker unreadable on their way."""
    channel: Any = the_link(world).channel
    real, gone = channel.send, list[frames.Frame]()

    def passing(frame: frames.Frame) -> None:
        if len(gone) < times and lost(frame):
            gone.append(frame)
            channel._outbox.put_nowait(f'["{type(frame).__name__}",{{"odd":1}}]'.encode())
        else:
            real(frame)

    channel.send = passing
    try:
        yield gone
    finally:
        del channel.send


def of(*kinds: type) -> Lost:
    return lambda frame: isinstance(frame, kinds)


async def until(fits: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not fits():  # noqa: ASYNC110 - links tell nobody
            await asyncio.sleep(0.02)


async def trades(bot: Bot) -> None:
    async with asyncio.timeout(60):
        while (await bot.order(quantity="0.001")).status != 200:  # noqa: ASYNC110 - nor do refusals
            await asyncio.sleep(0.05)


def other_history(world: World, *thawed: str) -> None:
    """Let another process find that the record went back, where a person thawed some cuts that we know."""
    desk = world.service.desk
    with desk.database.write() as connection:
        world.service.continuity.begin(connection, "test")
        for cut in thawed:
            world.history.reopened.append(Reopened(now_us(), cut))
            names = cut_store.scopes(connection, cut)
            for known in rows.gates(connection, names).values():
                opened = gate.thaw(known, cut)
                assert opened is not None
                rows.save_gate(connection, opened)
            cut_store.thaw(connection, cut, desk.clock.now_us(), "ann", "all is well")


async def begun(world: World) -> None:
    await world.authority.beat()
    await until(lambda: world.gateway.book.history == world.authority.changes.history)


@pytest.mark.parametrize("broken", ["unread", "not applied"])
async def test_a_cut_that_was_thawed_as_a_history_began_is_open_though_that_frame_was_lost(
    tmp_path: Path, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await trades(bot)
        cut = await world.cut("consumer:bot")
        other_history(world, cut)
        with monkeypatch.context() as patched:
            if broken == "unread":
                with unread(world, of(frames.AllGates)) as gone:
                    await begun(world)
                    assert gone
            else:
                real, failed = books.Book.set_all_gates, list[bool]()

                def once(book: books.Book, *given: Any) -> bool:
                    if not failed:
                        failed.append(True)
                        raise RuntimeError("planted: a fault that nobody expected")
                    return real(book, *given)

                patched.setattr(books.Book, "set_all_gates", once)
                await begun(world)
        assert (await bot.order(quantity="0.001")).reason == "cut", "the history begins closed"
        await reopen(world, closing_of(world))
        await trades(bot)


async def test_so_is_one_that_was_thawed_before_the_gateway_heard_anything_and_one_of_two_histories_ago(
    tmp_path: Path,
) -> None:
    """Every word of two histories is lost, until a person has opened all: only then the gateway hears the broker."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await trades(bot)
        first, later = await world.cut("consumer:bot"), await world.cut("account:main")
        with unread(world, of(frames.AllGates, frames.GateChanged), times=10_000):
            for thawed in (first,), ():
                other_history(world, *thawed)
                await world.authority.beat()
            for one in world.service.cuts.list(open_only=True).items:
                if one.id != later:
                    await reopen_quietly(world, one.id)
            world.service.cuts.thaw(later, reason="test", actor="test")
            assert (await bot.order(quantity="0.001")).reason == "cut"
        await until(lambda: not world.gateway.book.unsure)
        await trades(bot)


async def reopen_quietly(world: World, cut: str) -> None:
    with world.service.desk.database.write() as connection:
        meta.put(connection, RECONCILED, f'["{cut}"]')
    world.service.cuts.thaw(cut, reason="test", actor="test")


async def test_what_was_thawed_before_a_broker_began_is_told_by_it(tmp_path: Path) -> None:
    """A gateway that knew the cut from the last broker hears from the next one, which never knew it as closed."""
    async with running_world(tmp_path) as world:
        world.account()
        await world.bot().ready()
        cut = await world.cut("consumer:bot")
        other_history(world, cut)
        fresh = type(world.service.continuity)(world.service.desk, world.service.audit)
        assert cut in fresh.beat().opened
        assert fresh.beat().opened == (), "read once a history"
        await begun(world)
        assert cut in world.authority.changes.states().over


async def test_late_news_of_a_cut_that_was_thawed_since_ends_with_the_next_beat(tmp_path: Path) -> None:
    """Its commit in the last history is told after a person thawed it in this one: nobody could thaw it again."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await trades(bot)
        cut = await world.cut("consumer:bot")
        await world.thaw(cut)
        late = Gate("consumer:bot", 9, {cut: Mode.CLOSED}, str(History(0, 0, "", "last")))
        world.service.desk.tell((late,))
        await until(lambda: late.scope in world.gateway.book.gates)
        await until(lambda: world.gateway.book.gates["consumer:bot"].mode is Mode.OPEN)
        await trades(bot)
        assert not world.authority.changes.told.keeps


async def test_a_key_that_never_came_is_sent_with_the_next_lease(tmp_path: Path) -> None:
    """The broker believed that it is there, and no lease on it could be served for good."""
    async with running_world(tmp_path) as world:
        world.account()
        with unread(world, of(frames.Material)) as gone:
            bot = world.bot()
            await trades(bot)
            assert gone


async def test_a_key_that_could_not_be_taken_in_is_sent_again_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        real, failed = books.Book.learn, list[bool]()

        def once(book: books.Book, frame: frames.Material) -> None:
            if not failed:
                failed.append(True)
                raise RuntimeError("planted: a fault that nobody expected")
            real(book, frame)

        monkeypatch.setattr(books.Book, "learn", once)
        await trades(world.bot())
        assert failed


async def test_a_key_that_is_to_be_wiped_is_wiped_though_that_frame_was_lost(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await trades(bot)
        with unread(world, of(frames.Wipe)) as gone:
            cut = await world.cut("consumer:bot")
            await until(lambda: bool(gone))
        await until(lambda: not world.gateway.book.material)
        await until(lambda: not world.gateway.book.unsure)
        await world.thaw(cut)
        await trades(bot)


async def test_a_policy_that_only_widens_is_in_force_though_that_frame_was_lost(tmp_path: Path) -> None:
    """It raises no gate: the lease would go on under the old one as long as it is renewed."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot(policy=NARROW)
        await bot.ready()
        assert (await bot.order(quantity="0.001")).status == 400
        (grant,) = world.service.grants.list().items
        with unread(world, of(frames.PolicyChanged)) as gone:
            world.service.grants.set_policy(grant.id, POLICY)
            await until(lambda: bool(gone))
        await trades(bot)


async def test_a_bot_goes_on_with_the_new_key_though_the_frame_of_the_cutover_was_lost(
    tmp_path: Path,
) -> None:
    """It signed with the old one as long as its lease was renewed, and a cut of the new one did not reach it."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await trades(bot)
        with unread(world, of(frames.Cutover)) as gone:
            second(world)
            await until(lambda: bool(gone))
        await until(
            lambda: [one.key_text for one in world.gateway.book.by_lease.values()] == ["main/trade/2"]
        )
        await trades(bot)
        await world.cut("key-version:main/trade/2")
        assert (await bot.order(quantity="0.001")).reason == "cut"


async def test_a_gateway_hears_which_keys_it_serves_though_that_frame_was_lost(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        await trades(world.bot())
        with unread(world, of(frames.Serves)) as gone:
            other = world.issue("other")
            await until(lambda: bool(gone))
        await until(lambda: other.grant.key_id in world.gateway.book.by_key)
        assert not world.gateway.book.unsure, "it closes nothing"


async def test_lines_that_the_record_lost_are_asked_for_though_that_frame_was_lost(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        await trades(world.bot())
        await until(lambda: not world.gateway.spool.waiting)
        sent = list[frames.Calls]()
        real = world.gateway.link.upload._send

        def noting(frame: frames.Frame) -> None:
            if isinstance(frame, frames.Calls):
                sent.append(frame)
            real(frame)

        world.gateway.link.upload._send = noting
        with unread(world, of(frames.CallsForgotten)) as gone:
            other_history(world)
            await world.authority.beat()
            await until(lambda: bool(gone))
        await until(lambda: any(one.first == 1 for one in sent))


async def test_a_closing_that_is_told_twice_ends_with_the_cut(tmp_path: Path) -> None:
    """The second time after its commit: it is on record by then, and no news of its own would end it."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await trades(bot)
        cut = await world.cut("consumer:bot")
        the_link(world).tell(frames.CloseNow(9_999, frames.ClosingPart(cut, "closed", ("consumer:bot",))))
        await until(lambda: cut in world.gateway.book._gates.closing())
        await world.thaw(cut)
        await trades(bot)


async def test_an_answer_that_is_never_readable_is_asked_for_at_the_beat_only(tmp_path: Path) -> None:
    """Gateway and broker would do nothing else."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await trades(bot)
        asked = list[frames.Frame]()
        channel: Any = world.gateway.link._channel
        real = channel.send
        channel.send = lambda frame: (
            asked.append(frame) if isinstance(frame, frames.AskGates) else None,
            real(frame),
        )[1]
        beats = 0
        again = world.gateway.link.missed.ask_again

        def counted() -> None:
            nonlocal beats
            beats += 1
            again()

        world.gateway.link.missed.ask_again = counted  # type: ignore[method-assign]
        with unread(world, of(frames.AllGates), times=10_000) as gone:
            the_link(world).tell(world.authority.changes.states())
            await until(lambda: len(gone) > 3)
            assert len(asked) <= beats + 2
        await trades(bot)


async def test_what_another_history_has_closed_is_closed_here_before_that_history_begins(
    tmp_path: Path,
) -> None:
    """Another broker made the cut, and this one read of it as it opened a lease; its heartbeat cannot be made."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await trades(bot)
        world.running[0].cancel()
        news = Gate("consumer:bot", 1, {"cut_there": Mode.CLOSED}, str(History(1, 9, "", "there")))
        world.authority.changes.read([news, Gate("account:main", 1, {}, news.history)])
        await until(lambda: "consumer:bot" in world.gateway.book.gates)
        assert (await bot.order(quantity="0.001")).reason == "cut"
        assert "account:main" not in world.gateway.book.gates, "nobody closed that"


async def test_a_cut_that_is_taken_back_ends_though_that_could_not_be_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its frame names no gate: nothing is shut instead, and nothing else would end it."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await trades(bot)
        monkeypatch.setattr(missed, "_LOOK_BEATS", 1_000_000)
        closing = NotedCut("cut_1", Mode.CLOSED, ("consumer:bot",), "", "", 0)
        world.service.desk.close_now(closing)
        await until(
            lambda: "cut_1" in world.gateway.book._gates.closing() and not world.gateway.link.missed._news
        )
        real, failed = books.Book.set_gates, list[bool]()

        def once(book: books.Book, *given: Any) -> bool:
            if not failed:
                failed.append(True)
                raise RuntimeError("planted: a fault that nobody expected")
            return real(book, *given)

        monkeypatch.setattr(books.Book, "set_gates", once)
        world.service.desk.take_back("cut_1")
        await until(lambda: bool(failed))
        await trades(bot)
