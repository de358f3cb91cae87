"""Rolling limits: narrowed they bind at once, and they stand per grant, per account and per consumer."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.db.log_tables import SLICES
from broker.gateway import returns
from broker.gateway.book import Standing
from broker.link import frames
from broker.service.grants import Issued
from tests.gateway.world import POLICY, Bot, World, running_world

pytestmark = pytest.mark.usefixtures("very_patient")

DAY = '[day]\nmax_notional = "10000"'


def with_day(amount: str, more: str = "", order: str = "1000") -> str:
    return POLICY.replace(DAY, f'[day]\nmax_notional = "{amount}"\n{more}').replace('"1000"', f'"{order}"', 1)


def bot_of(world: World, issued: Issued) -> Bot:
    assert issued.secret is not None
    return Bot(world.port, issued.grant.key_id, issued.secret.reveal())


async def spent(bot: Bot, times: int = 1) -> None:
    for _ in range(times):
        assert (await bot.order()).status == 200  # 0.01 at 60,000


async def until(fits: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not fits():  # noqa: ASYNC110 - the spool tells nobody
            await asyncio.sleep(0.01)


async def changed(world: World, grant: str, policy: str) -> None:
    world.service.grants.set_policy(grant, policy)
    await world.settled()


NARROWED: dict[str, str] = {
    "the day": with_day("700", order="700"),
    "the account's day": with_day("20000", '[account.day]\nmax_notional = "700"'),
    "the consumer's day": with_day("20000", '[consumer.day]\nmax_notional = "700"'),
    "another reference asset": POLICY.replace('"1000"', '"10"').replace('"10000"', '"100"').replace(
        "[order]", 'reference_asset = "BTC"\n[order]'
    ),
}  # fmt: skip


@pytest.mark.parametrize("policy", NARROWED.values(), ids=NARROWED)
async def test_what_was_lent_under_wider_rules_is_counted_by_the_narrower_ones(
    tmp_path: Path, policy: str
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        issued = world.issue(policy=with_day("20000"))
        bot = bot_of(world, issued)
        await spent(bot)
        assert world.gateway.book.standing[issued.grant.id].purse.left > 600
        await changed(world, issued.grant.id, policy)
        refused = await bot.order()
        assert refused.reason == "day_notional", refused
        assert len(world.executed()) == 1
        await changed(world, issued.grant.id, with_day("20000"))
        await spent(bot)


async def test_a_slice_that_comes_late_under_old_rules_is_given_back(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        issued = world.issue(policy=with_day("20000"))
        bot = bot_of(world, issued)
        await spent(bot)
        book, standing = world.gateway.book, world.gateway.book.standing[issued.grant.id]
        before = standing.rules
        await changed(world, issued.grant.id, with_day("700", order="700"))
        assert (await bot.order()).reason == "day_notional"
        assert standing.rules > before
        left = standing.purse.left
        book.take_slice(standing, frames.SlicePart("late", Decimal(2000), before), 0)
        assert standing.purse.left == left
        assert book.voided() == (("late", Decimal(2000)),)


async def test_a_gateway_that_let_its_lease_go_judges_by_the_new_rules_once_it_has_one_again(
    tmp_path: Path,
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        issued = world.issue(policy=with_day("20000"))
        bot = bot_of(world, issued)
        await spent(bot)
        standing: Standing = world.gateway.book.standing[issued.grant.id]
        for lease in list(world.gateway.book.by_lease):
            world.gateway.book.drop(lease)
        left = standing.purse.left
        assert left > 600
        world.service.grants.set_policy(issued.grant.id, with_day("700", order="700"))
        assert (await bot.order()).reason == "day_notional"


@pytest.mark.parametrize("scope", ["account", "consumer"])
async def test_grants_that_share_a_limit_do_not_use_it_twice(tmp_path: Path, scope: str) -> None:
    async with running_world(tmp_path) as world:
        world.account("main", USDT="100000")
        world.account("second", USDT="100000")
        limited = with_day("20000", f'[{scope}.day]\nmax_notional = "2000"')
        names: list[dict[str, Any]] = (
            [{"consumer": "one"}, {"consumer": "two"}]
            if scope == "account"
            else [{"account": "main"}, {"account": "second"}]
        )
        # only the first policy says so; it binds the other all the same
        bots = [
            bot_of(world, world.issue(policy=policy, **name))
            for policy, name in zip((limited, POLICY), names, strict=True)
        ]
        for bot in bots:
            await spent(bot)
        answers = [await bots[index % 2].order() for index in range(6)]
        passed = [answer for answer in answers if answer.status == 200]
        assert len(passed) == 1, answers
        assert {answer.reason for answer in answers if answer.status != 200} == {"day_notional"}


@pytest.mark.parametrize("scope", ["account", "consumer"])
async def test_under_observe_what_a_shared_limit_would_refuse_is_written_down_and_passes(
    tmp_path: Path, scope: str
) -> None:
    """As the grant's own would; a grant beside it that enforces is refused all the same."""
    limited = with_day("20000", f'[{scope}.day]\nmax_notional = "700"', order="700")
    async with running_world(tmp_path) as world:
        world.account("main", USDT="100000")
        observing = world.issue(policy='mode = "observe"\n' + limited)
        watched = bot_of(world, observing)
        await spent(watched, 3)
        assert len(world.executed()) == 3
        await until(lambda: not world.gateway.spool.waiting)
        seen = [(one.decision, one.reason) for one in world.service.calls.list(limit=50).items if one.side]
        assert ("observe", "day_notional") in seen
        (limit,) = world.service.calls.shared_limits(observing.grant)
        assert limit[1] >= 600
        beside = bot_of(world, world.issue(policy=POLICY.replace("1000", "700", 1)))
        assert (await beside.order()).reason == "day_notional"


async def test_an_unlimited_policy_is_bound_by_its_accounts_limit(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        free = POLICY.replace(DAY, "")
        bot = world.bot("one", policy=free)
        await spent(bot, 3)
        world.issue(
            "two", policy=free + '[account.day]\nmax_notional = "1500"'
        )  # it may be lent a tenth at once
        await world.settled()
        # what nobody limited was not counted; from here on it is
        await spent(bot, 2)
        assert (await bot.order()).reason == "day_notional"


async def test_a_revoked_grants_use_counts_on_for_the_one_that_follows(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        issued = world.issue(policy=with_day("1300"))
        await spent(bot_of(world, issued), 2)
        world.service.grants.revoke(issued.grant.id, "a fresh window")
        await world.settled()
        again = bot_of(world, world.issue(policy=with_day("1300")))
        assert (await again.order()).reason == "day_notional"


async def returned(world: World, grant: str) -> None:
    """Wait until what a grant was lent and did not spend is back: until then it counts as lent."""
    lent = SLICES.select().where(SLICES.c.grant == grant, SLICES.c.closed_us.is_(None))
    async with asyncio.timeout(60):
        while True:
            with world.service.desk.database.log.read() as connection:
                if connection.execute(lent).first() is None:
                    return
            await asyncio.sleep(0.01)


async def test_revoking_again_and_again_adds_up_and_is_nobody_elses(tmp_path: Path) -> None:
    """One order each, until the window is used up; another consumer's window is its own."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        for _ in range(2):
            issued = world.issue(policy=with_day("1300"))
            await spent(bot_of(world, issued))
            world.service.grants.revoke(issued.grant.id, "a fresh window")
            await world.settled()
            await returned(world, issued.grant.id)
        assert (await bot_of(world, world.issue(policy=with_day("1300"))).order()).reason == "day_notional"
        await spent(bot_of(world, world.issue("other", policy=with_day("1300"))), 2)


async def test_what_a_revoked_grant_holds_here_goes_back_before_the_next_one_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was on its way for a moment, and the first order of the new grant was told that the day is used up."""
    monkeypatch.setattr(returns, "SOON_SECONDS", 600.0)
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        issued, link = world.issue(policy=with_day("1300")), world.gateway.link
        await spent(bot_of(world, issued))
        late, take = list[frames.Frame](), link._take

        def taken(frame: frames.Frame) -> None:
            (late.append if isinstance(frame, frames.PolicyChanged) else take)(frame)

        monkeypatch.setattr(link, "_take", taken)  # the new rules come a moment later
        world.service.grants.revoke(issued.grant.id, "a fresh one")
        async with asyncio.timeout(60):
            while world.gateway.book.serves(world.gateway.book.standing[issued.grant.id]):  # noqa: ASYNC110 - a gate tells nobody
                await asyncio.sleep(0.01)
        await spent(bot_of(world, world.issue(policy=with_day("1300"))))
        for frame in late:
            take(frame)


async def test_a_second_grant_for_the_same_pairs_is_said_loudly(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        first = world.issue()
        assert first.warnings == ()
        assert world.issue("other").warnings == ()
        (said,) = world.issue().warnings
        assert first.grant.id in said
        assert "[account.day]" in said
        apart = POLICY.replace('["BTCUSDT", "ETHUSDT"]', '["SOLUSDT"]')
        assert world.issue(policy=apart).warnings == ()


async def test_a_narrower_limit_of_the_account_binds_the_others_at_once(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        one, two = world.issue("one"), world.issue("two")
        bots = [bot_of(world, one), bot_of(world, two)]
        for bot in bots:
            await spent(bot)
        await changed(world, one.grant.id, POLICY + '[account.day]\nmax_notional = "1300"')
        for bot in bots:
            assert (await bot.order()).reason == "day_notional"
        await changed(world, one.grant.id, POLICY)
        for bot in bots:
            await spent(bot)
        third = world.issue("three", policy=POLICY + '[account.day]\nmax_notional = "2500"')
        await world.settled()
        for bot in (*bots, bot_of(world, third)):
            assert (await bot.order()).reason == "day_notional"


async def test_so_does_a_narrower_limit_of_the_consumer_on_its_other_accounts(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        grants = []
        for account in ("main", "second"):
            world.account(account, USDT="100000")
            grants.append(world.issue("bot", account))
        bots = [bot_of(world, issued) for issued in grants]
        for bot in bots:
            await spent(bot)
        await changed(world, grants[0].grant.id, POLICY + '[consumer.day]\nmax_notional = "1300"')
        for bot in bots:
            assert (await bot.order()).reason == "day_notional"
