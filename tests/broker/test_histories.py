"""What was counted in one history of the record says nothing in another: two real PostgreSQL servers, and copies."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.authority.anew import Anew
from broker.db import cutovers
from broker.errors import StoreUnavailable
from broker.gate import Gate, Mode
from broker.gate_document import NotedCut
from broker.history import History
from broker.link import frames
from broker.service import Change
from broker.service.continuity import Continuity
from portcullis.connected import ConnectedGateways
from tests.broker.failing import Failing, again, closing_of, failing_world, reopen
from tests.gateway.world import POLICY, Bot, World, running_world

pytestmark = pytest.mark.process

NARROW = POLICY.replace('max_notional = "1000"', 'max_notional = "1"')


async def refused(bot: Bot, world: World) -> str | None:
    """Try an order; return the reason of the refusal, after which nothing was executed."""
    before = len(world.executed())
    answer = await bot.order()
    assert answer.status != 200, "it traded"
    assert len(world.executed()) == before
    return answer.reason


def known_cut(failing: Failing, cut: str) -> bool:
    return (cut,) in failing.second.sql("SELECT id FROM cuts", "state")


async def test_a_cut_after_a_failover_that_lost_a_cut_and_its_thaw_is_in_force(tmp_path: Path) -> None:
    async with failing_world(tmp_path) as failing:
        world, bot = failing.world, failing.bot
        await failing.forget_what_follows()
        for _ in range(3):
            await world.thaw(await world.cut("consumer:bot"))
        failing.fail_over()
        await failing.reopened()
        assert failing.second.sql("SELECT 1 FROM gates WHERE scope = 'consumer:bot'", "state") == []
        await world.cut("consumer:bot")
        assert await refused(bot, world) == "cut"


async def test_what_a_new_timeline_closes_by_itself_is_in_force_at_gateways(tmp_path: Path) -> None:
    """Even where everything had been cut and thawed so often that its epoch lies higher."""
    async with failing_world(tmp_path) as failing:
        await failing.forget_what_follows()
        for _ in range(3):
            await failing.world.thaw(await failing.world.cut("everything"))
        await failing.bot.ready()
        failing.fail_over()
        closing = await failing.looked()
        assert await refused(failing.bot, failing.world) == "cut"
        gate = failing.world.gateway.book.gates["everything"]
        assert gate.closers == {closing.id: Mode.CLOSED}


async def test_a_cut_between_a_failover_and_the_first_look_at_it_holds(tmp_path: Path) -> None:
    """It is committed in a history that nobody has looked at, under an epoch that lies below the known one."""
    async with failing_world(tmp_path) as failing:
        world, bot = failing.world, failing.bot
        await failing.forget_what_follows()
        for _ in range(3):
            await world.thaw(await world.cut("consumer:bot"))
        failing.fail_over()
        cut, change = world.service.cuts.close(
            targets=("consumer:bot",), mode=Mode.CLOSED, reason="test", actor="test"
        )
        assert await world.authority.changes.acknowledged(change, 60) == (("local",), ())
        assert await refused(bot, world) == "cut"
        await failing.looked()
        assert cut.id in world.gateway.book.gates["consumer:bot"].closers
        await _reopen_everything(failing)
        assert await refused(bot, world) == "cut"


async def _reopen_everything(failing: Failing) -> None:
    await reopen(failing.world, closing_of(failing.world))


async def test_what_memory_knew_as_closed_stays_closed_is_listed_and_is_thawed_by_its_name(
    tmp_path: Path,
) -> None:
    """The record forgot it, and the secret store never heard of it: the broker and its gateway know."""
    async with failing_world(tmp_path) as failing:
        world, bot = failing.world, failing.bot
        await failing.forget_what_follows()
        cut = await world.cut("consumer:bot")
        failing.fail_over()
        await failing.looked()
        assert known_cut(failing, cut)
        assert cut in {one.id for one in world.service.cuts.list(open_only=True).items}
        await _reopen_everything(failing)
        assert await refused(bot, world) == "cut"
        await world.thaw(cut)
        await bot.ready()


def touched(world: World, grant: str) -> None:
    """Raise a grant's epoch and the version of its policy often, and leave the grant as it was."""
    for _ in range(3):
        world.service.grants.set_policy(grant, NARROW)
        world.service.grants.set_policy(grant, POLICY)


async def test_a_policy_that_narrows_in_the_new_history_binds(tmp_path: Path) -> None:
    """Its number and its epoch lie below those that were lost."""
    async with failing_world(tmp_path) as failing:
        world, bot = failing.world, failing.bot
        (grant,) = world.service.grants.list().items
        await failing.forget_what_follows()
        touched(world, grant.id)
        await world.settled()
        failing.fail_over()
        await failing.reopened()
        world.service.grants.set_policy(grant.id, NARROW)
        await world.settled()
        await bot.ready()
        assert await refused(bot, world) is not None


async def test_a_virtual_key_that_is_reissued_in_the_new_history_ends_the_old_one(tmp_path: Path) -> None:
    async with failing_world(tmp_path) as failing:
        world, bot = failing.world, failing.bot
        (grant,) = world.service.grants.list().items
        await failing.forget_what_follows()
        touched(world, grant.id)
        failing.fail_over()
        await failing.reopened()
        world.service.grants.reissue(grant.id)
        await world.settled()
        assert await refused(bot, world) is not None


def reissued(world: World, grant: str) -> str:
    world.service.grants.reissue(grant)
    return "its virtual key was reissued"


def revoked(world: World, grant: str) -> str:
    world.service.grants.revoke(grant, "leak")
    return "was revoked"


def narrowed(world: World, grant: str) -> str:
    world.service.grants.set_policy(grant, NARROW)
    return "its policy was narrowed"


@pytest.mark.parametrize("take", [reissued, revoked, narrowed])
async def test_what_was_taken_from_a_grant_and_forgotten_is_not_given_again_by_a_thaw(
    tmp_path: Path, take: Callable[[World, str], str]
) -> None:
    """The record has the grant as it was before: it stays closed, and its cut says what to do again."""
    async with failing_world(tmp_path) as failing:
        world, bot = failing.world, failing.bot
        (grant,) = world.service.grants.list().items
        await failing.forget_what_follows()
        said = take(world, grant.id)
        await world.settled()
        failing.fail_over()
        await failing.looked()
        await _reopen_everything(failing)
        assert await refused(bot, world) == "cut"
        (cut,) = world.service.cuts.list(open_only=True).items
        assert cut.scopes == (f"grant:{grant.id}",)
        assert said in cut.reason
        (shown,) = [one for one in world.service.conditions.look() if one.kind == "cut"]
        first, _, thaw = shown.step.partition(", then ")
        assert f" {grant.id}" in first  # a thaw first would give back what was taken
        assert first.startswith("portcullis grant ")
        assert thaw == f"portcullis thaw {cut.id} --reason WHY"


async def test_no_lease_is_opened_in_a_history_that_nobody_has_looked_at(tmp_path: Path) -> None:
    async with failing_world(tmp_path) as failing:
        world = failing.world
        await failing.forget_what_follows()
        failing.fail_over()
        world.running[0].cancel()  # no beat
        link = world.authority.changes.links["local"]
        asked = frames.OpenLease(1, failing.bot.key_id)

        async def judged() -> None:
            found = await world.authority.in_safety(lambda: world.authority.leases.judge(link, asked))
            assert isinstance(found, frames.LeaseRefused)
            assert found.reason == "unavailable"

        await again(judged)


async def test_a_policy_that_is_pushed_over_a_change_of_history_brings_no_epochs_of_the_last_one(
    tmp_path: Path,
) -> None:
    """They would lie above those of the new one, and void every lease there for good."""
    async with failing_world(tmp_path) as failing:
        world, bot = failing.world, failing.bot
        (grant,) = world.service.grants.list().items
        await failing.forget_what_follows()
        changes, held = world.authority.changes, asyncio.Event()
        real = changes._in_control

        async def slow(work: Callable[[], Any]) -> Any:
            await held.wait()
            return await real(work)

        changes._in_control = slow
        for _ in range(3):
            world.service.grants.set_policy(grant.id, NARROW)
            world.service.grants.set_policy(grant.id, POLICY)
        failing.fail_over()
        await again(world.authority.beat)
        held.set()
        changes._in_control = real
        await world.settled()
        await reopen(world, closing_of(world))
        await bot.ready()


async def test_a_second_broker_on_the_same_database_takes_the_history_that_the_first_began(
    tmp_path: Path,
) -> None:
    """It closes nothing twice, and puts on record what it alone knew as closed."""
    async with failing_world(tmp_path) as failing:
        world = failing.world
        second = Continuity(world.service.desk, world.service.audit)
        second.beat()
        await failing.forget_what_follows()
        second.beat()
        failing.fail_over()
        closing = await failing.looked()
        alone = NotedCut("cut_of_the_second", Mode.CLOSED, ("account:main",), "theft", "ann", 1)
        beat = second.beat(remembered=lambda: {alone.id: alone})
        assert beat.history == world.authority.changes.history
        assert closing_of(world).id == closing.id
        assert beat.gates["account:main"].closers == {alone.id: Mode.CLOSED}
        await again(world.authority.beat)
        assert alone.id in world.authority.changes.gates["account:main"].closers


async def test_holds_that_a_failover_forgot_are_named_until_they_have_run_out(tmp_path: Path) -> None:
    """A gateway of a broker that died with the primary may serve on: whoever cuts is told so."""
    async with failing_world(tmp_path) as failing:
        world = failing.world
        await failing.forget_what_follows()
        until_us = world.service.desk.clock.now_us() + 600_000_000
        with world.service.desk.database.write() as connection:
            cutovers.hold(connection, cutovers.Hold("elsewhere", "b" * 16, "main/trade/1", until_us))
        await world.authority.beat()
        failing.fail_over()
        await failing.looked()
        assert "elsewhere" in {name for name, _ in world.authority.changes.starts.out_of_reach()}


async def test_calls_that_were_acknowledged_and_forgotten_are_in_the_log_again(tmp_path: Path) -> None:
    """A gateway keeps its lines until a part of its spool is full: what the record lost it sends once more."""
    async with failing_world(tmp_path) as failing:
        world, bot = failing.world, failing.bot
        await failing.forget_what_follows()
        for _ in range(5):
            assert (await bot.order()).status == 200
        async with asyncio.timeout(60):
            while world.gateway.spool.waiting:  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.05)
        failing.fail_over()
        await failing.looked()

        async def all_there() -> bool:
            try:
                found = await asyncio.to_thread(world.service.calls.list)
            except StoreUnavailable:
                return False
            orders = [one for one in found.items if one.action == "place"]
            return len(orders) == 5 and all(one.outcome for one in orders)

        async with asyncio.timeout(60):
            while not await all_there():  # noqa: ASYNC110 - the log tells nobody
                await asyncio.sleep(0.05)


OTHER = str(History(1, 7, "", "other"))


@pytest.mark.parametrize(
    "news",
    [
        frames.GateChanged(9_999, (frames.GateState("consumer:bot", 99),), history=OTHER),
        frames.PolicyChanged(9_999, "", POLICY, 99, True, gates=(frames.GateState("consumer:bot", 99),), history=OTHER),
        frames.Cutover(9_999, "main/trade/1", "main/trade/2", (), OTHER),
        frames.AllGates((), (), str(History(0)), 9_999),
    ],
    ids=lambda one: type(one).__name__,
)  # fmt: skip
async def test_what_a_gateway_does_not_have_in_force_it_does_not_acknowledge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, news: frames.GateChanged
) -> None:
    """News of another history: it says why, serves nobody whom that may be about, and whoever asked is told."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await bot.ready()
        changes = world.authority.changes
        (grant,) = world.service.grants.list().items
        if isinstance(news, frames.PolicyChanged):
            news = replace(news, grant=grant.id)
        link = changes.links["local"]
        changes.expect(Change(9_999), link)
        link.tell(news)
        monkeypatch.setattr(
            Anew, "tell", lambda *_: None
        )  # at its next beat it asks how all stands, and opens again
        assert await changes.acknowledged(Change(9_999), 60) == (("local",), ("local",))
        assert changes.why_not(Change(9_999))["local"] in {"other_history", "older_history"}
        heard = await ConnectedGateways(world.authority).acknowledged([Change(9_999)], 60)
        assert heard.missing[0].startswith("local (it says: ")
        assert heard.names == ()
        if not isinstance(news, frames.Cutover | frames.AllGates):
            assert await refused(bot, world) == "cut"
        assert world.gateway.book.history == changes.history


async def test_a_cut_of_the_last_history_that_only_memory_has_is_put_on_record(tmp_path: Path) -> None:
    """Its commit was told after the history had changed: it holds, it is listed at the next beat, and thawed by name."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await bot.ready()
        late = Gate("consumer:bot", 9, {"cut_late": Mode.CLOSED}, str(History(0, 0, "", "last")))
        world.service.desk.tell((late,))
        assert await refused(bot, world) == "cut"
        async with asyncio.timeout(60):
            while not world.service.cuts.list(open_only=True).items:  # noqa: ASYNC110 - the record tells nobody
                await asyncio.sleep(0.05)
        await world.authority.beat()
        await world.settled()
        assert await refused(bot, world) == "cut"
        await world.thaw("cut_late")
        await bot.ready()
