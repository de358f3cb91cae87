"""A gateway has the leases of its virtual keys before their bots ask, and keeps them: a first request waits for nothing."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.authority import lending
from broker.errors import StoreUnavailable
from broker.gate import Gate, Mode
from broker.gateway.ahead import AT_ONCE, Ahead
from broker.gateway.book import IDLE_US, Book
from broker.gateway.process import Gateway
from broker.link import frames
from broker.link.channel import memory_pair
from clients.secret import Secret
from clients.venue import Credential, KeyFacts, KeyType, Slot
from clients.venues.binance import WIRE
from tests.gateway.test_cutover import NEW, OLD, holders, second, settled
from tests.gateway.test_promises import started
from tests.gateway.world import POLICY, UPKEEP, Bot, World, running_world

SMALL = {"quantity": "0.001"}


async def until(fits: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not fits():  # noqa: ASYNC110 - leases tell nobody
            await asyncio.sleep(0.02)


def leased(world: World, key_id: str) -> bool:
    return key_id in world.gateway.book.by_key


def away(*_: object, **__: object) -> Any:
    raise StoreUnavailable("database", "away on purpose")


async def test_a_lease_is_there_before_the_first_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker need not answer any more: the first request asks it nothing."""
    monkeypatch.setattr(lending, "_FIRST_LOAN_S", 60.0)  # a slow log lends nothing with a lease
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await until(lambda: leased(world, bot.key_id))
        monkeypatch.setattr(world.authority.leases, "judge", away)
        monkeypatch.setattr(world.service.calls, "lend", away)
        answer = await bot.order(**SMALL)
        assert (answer.status, answer.reason) == (200, None)


async def test_a_gateway_that_starts_has_its_leases_before_bots_can_connect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.gateway.process.FIRST_SECONDS", 60.0)  # it waits for a slow broker so long
    async with running_world(tmp_path) as world:
        world.account()
        bots = [world.bot(f"bot-{number}") for number in range(5)]
        here, there = memory_pair()
        serving = asyncio.ensure_future(world.authority.serve(here))
        edge = Gateway(there, "edge", tmp_path / "edge", {WIRE.name: WIRE})
        _, stop, running = await started(edge)
        assert edge.ahead.first.is_set()
        assert edge.book.by_key.keys() == {bot.key_id for bot in bots}
        stop.set()
        await running
        here.close()
        await asyncio.gather(serving, return_exceptions=True)


async def test_a_reissued_key_is_opened_and_the_old_one_is_gone(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        issued = world.issue()
        await until(lambda: leased(world, issued.grant.key_id))
        fresh = world.service.grants.reissue(issued.grant.id)
        await until(lambda: leased(world, fresh.grant.key_id))
        await until(lambda: not leased(world, issued.grant.key_id))


async def test_a_revoked_grant_is_not_opened_again(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        issued = world.issue()
        await until(lambda: leased(world, issued.grant.key_id))
        world.service.grants.revoke(issued.grant.id, "test")
        await until(lambda: not leased(world, issued.grant.key_id))
        await until(lambda: issued.grant.key_id not in world.gateway.book.wanted)
        assert not leased(world, issued.grant.key_id)


async def test_a_grant_whose_account_has_no_key_yet_is_opened_with_the_key(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        email = world.paper.account("late@paper.test")
        world.service.accounts.create("late", venue="binance", upstream=world.paper.base_url)
        issued = world.issue("bot", "late")
        await world.authority.beat()
        assert not leased(world, issued.grant.key_id)
        real = world.paper.key(email, KeyType.HMAC)
        facts = KeyFacts(True, True, False, False, True, str(world.paper.exchange.accounts[email].uid))
        world.service.keys.import_key(
            "late", slot=Slot.TRADE, facts=facts,
            credential=Credential(real.key_id, real.secret or Secret(""), KeyType.HMAC),
        )  # fmt: skip
        await until(lambda: leased(world, issued.grant.key_id))


@pytest.mark.parametrize("scope", ["consumer:bot", "account:main", "everything"])
async def test_a_thaw_brings_the_lease_back_before_the_bot_asks(tmp_path: Path, scope: str) -> None:
    """The key was wiped, the lease dropped: it is opened again as soon as its gates are open."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await until(lambda: leased(world, bot.key_id))
        cut_id = await world.cut(scope)
        answer = await bot.order(**SMALL)
        assert answer.reason == "cut", "an unused lease is cut as any other"
        await until(lambda: not world.gateway.book.material)
        await world.thaw(cut_id)
        await until(lambda: leased(world, bot.key_id))


async def test_an_idle_lease_is_kept_and_one_that_is_nobodys_is_given_back(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await until(lambda: leased(world, bot.key_id))
        book = world.gateway.book
        held = book.by_key[bot.key_id]
        held.used_us -= IDLE_US + 1
        assert book.idle(world.gateway.clock.boot_us()) == ()
        book.wanted = frozenset()
        assert book.idle(world.gateway.clock.boot_us()) == (held.lease.id,)


async def test_a_rotation_counts_and_moves_a_lease_that_nobody_used(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await until(lambda: leased(world, bot.key_id))
        assert holders(world, OLD) == 1
        second(world)
        await settled(world, OLD)
        assert holders(world, NEW) == 1
        assert world.gateway.book.by_key[bot.key_id].key_text == str(NEW)


async def test_the_way_to_the_exchange_is_measured_once(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bots = [world.bot(f"bot-{number}") for number in range(4)]
        await until(lambda: all(leased(world, bot.key_id) for bot in bots))
        await until(lambda: any(view.clock.known for view in world.gateway.mounts.views.values()))
        assert {row["path"] for row in world.paper.exchange.requests} <= UPKEEP, "and nothing else is asked"


async def test_slices_lent_ahead_leave_enough_for_whoever_needs_one_first(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        issued = world.issue(policy=POLICY.replace('"10000"', '"1200"'))
        await until(lambda: leased(world, issued.grant.key_id))
        assert world.service.calls.used(issued.grant.id) == 0
        assert issued.secret is not None
        bot = Bot(world.port, issued.grant.key_id, issued.secret.reveal())
        assert (await bot.order()).status == 200


async def test_what_comes_too_late_is_given_back(tmp_path: Path) -> None:
    """A lease or a slice that nobody waits for any more is not kept in the dark."""
    async with running_world(tmp_path) as world:
        sent: list[frames.Frame] = []
        world.gateway.link._asking._send = sent.append  # type: ignore[method-assign]
        part = frames.SlicePart("slc_1", Decimal(5))
        world.gateway.link._asking.answer(frames.SliceLent(9_999, "grt_1", part))
        world.gateway.link._asking.answer(
            frames.LeaseGranted(
                9_998, "lse_1", "K", "grt_1", "c", "main", "binance", str(OLD), (), (), 1, "", 1, True,
                frames.VerifierPart("hmac"), frames.EgressPart("direct"), slice=part,
            )
        )  # fmt: skip
        given_back = frames.CloseSlices((("slc_1", Decimal(5)),))
        assert sent == [given_back, frames.EndLease(("lse_1",)), given_back]


# --- no storm ---------------------------------------------------------------------------------


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_us = 1_000_000_000

    def wall_us(self) -> int:
        return self.now_us

    def boot_us(self) -> int:
        return self.now_us


class Broker:
    """Answers asks for leases with one word, and counts them."""

    def __init__(self, word: str) -> None:
        self.word, self.asked, self.at_once, self.most = word, 0, 0, 0

    async def open(self, key_id: str) -> str:
        del key_id
        self.asked += 1
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        return self.word


async def looked(ahead: Ahead, times: int = 1) -> None:
    """Let it look so many times."""
    for _ in range(times):
        ahead.look()
        running = asyncio.ensure_future(ahead.run())
        ahead.first.clear()
        async with asyncio.timeout(60):
            await ahead.first.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def keeper(word: str, keys: int) -> tuple[Ahead, Broker, Book, Hand]:
    clock, broker, book = Hand(), Broker(word), Book({})
    ahead = Ahead(book, clock, broker.open, lambda _: None)  # type: ignore[arg-type]
    ahead.serves([f"key-{number}" for number in range(keys)], more=False)
    return ahead, broker, book, clock


async def test_a_broker_that_says_no_is_asked_less_and_less_often() -> None:
    ahead, broker, _, clock = keeper("unavailable", 1)
    for _ in range(600):  # ten minutes
        await looked(ahead)
        clock.now_us += 1_000_000
    assert 10 <= broker.asked <= 30
    ahead.serves(["key-0"], more=False)
    before = broker.asked
    await looked(ahead)
    assert broker.asked == before + 1, "something changed: at once"


async def test_asks_go_a_few_at_once() -> None:
    ahead, broker, _, _ = keeper("unavailable", 300)
    await looked(ahead)
    assert broker.asked == 300
    assert broker.most <= AT_ONCE


async def test_what_is_cut_is_asked_about_once_until_its_gates_open() -> None:
    ahead, broker, book, clock = keeper("cut", 50)
    book.gates["account:main"] = Gate("account:main", 1, {"cut_1": Mode.CLOSED})
    for number in range(50):
        book.refuse(frames.LeaseRefused(1, f"key-{number}", "cut", "account:main"), clock.now_us)
    await looked(ahead, 20)
    assert broker.asked == 0, "each was told once that it is cut, and by what"
    book.gates["account:main"] = Gate("account:main", 2)
    await looked(ahead)
    assert broker.asked == 50


async def test_keys_that_come_in_parts_count_once_all_are_there() -> None:
    ahead, _, book, _ = keeper("unavailable", 3)
    ahead.serves(["a", "b"], more=True)
    assert book.wanted == {"key-0", "key-1", "key-2"}
    ahead.serves(["c"], more=False)
    assert book.wanted == {"a", "b", "c"}
