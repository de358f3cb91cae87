"""A secret store that is slow or away: what runs goes on, and nothing waits for it that must not."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from broker.errors import StoreUnavailable
from broker.link import frames
from broker.ports import SecretStore
from clients.secret import Secret
from tests.gateway.world import World, running_world

pytestmark = pytest.mark.usefixtures("kind")


class Unruly:
    """A store that is away, or hangs, when told to."""

    def __init__(self, inner: SecretStore) -> None:
        self._inner = inner
        self.away = False
        self.serves_on = True
        self.reads = 0
        self.reading = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def read(self, path: str) -> Mapping[str, Secret]:
        self.reads += 1
        self.reading.set()
        assert self.go_on.wait(120)
        if self.away:
            raise StoreUnavailable("vault_unreachable", "away on purpose")
        return self._inner.read(path)

    def may_serve_on(self) -> bool:
        return self.serves_on

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


def unruly(world: World) -> Unruly:
    store = Unruly(world.service.desk.secrets)
    world.service.desk.secrets = store  # type: ignore[assignment]
    return store


async def until(fits: Callable[[], bool]) -> None:
    """Look again and again; the gateway's own beat is five seconds at most."""
    async with asyncio.timeout(60):
        while not fits():  # noqa: ASYNC110 - renewals set no event
            await asyncio.sleep(0.02)


async def reading(store: Unruly) -> None:
    assert await asyncio.to_thread(store.reading.wait, 60)


async def test_while_the_store_hangs_others_trade_and_a_cut_is_acknowledged(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        running = world.bot("running")
        world.issue("another")  # the account has several grants already: one more voids no lease
        assert (await running.order()).status == 200
        store = unruly(world)
        fresh = world.bot("fresh")
        store.reading.clear()
        store.go_on.clear()  # before its lease is opened ahead
        waiting = asyncio.ensure_future(fresh.order())
        await reading(store)
        assert (await running.order()).status == 200
        began = world.authority.leases.began_us
        await world.authority.beat()
        assert world.authority.leases.began_us > began, "the heartbeat goes on"
        await world.cut("consumer:running")
        assert (await running.order()).code == -2014
        assert (await waiting).status == 503
        store.go_on.set()
        assert (await fresh.order()).status == 200


async def test_who_shares_a_question_that_ends_without_a_word_asks_anew(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        world.bot("running")
        world.issue("another")
        store, link = unruly(world), world.gateway.link
        bot = world.bot("late")
        store.reading.clear()
        store.go_on.clear()
        first = asyncio.ensure_future(link.open_lease(bot.key_id))
        await reading(store)
        second = asyncio.ensure_future(link.open_lease(bot.key_id))
        third = asyncio.ensure_future(link.open_lease(bot.key_id))
        await asyncio.sleep(0)  # they share its question
        for ask in list(link._asking._asks.values()):
            ask.cancel()  # as at the end of its time
        assert await first == "unavailable"
        assert not second.done() or not third.done(), "they have time of their own"
        store.go_on.set()
        found = await asyncio.gather(second, third)
        assert found[0] is found[1] is world.gateway.book.by_key[bot.key_id]


async def test_while_the_store_is_away_leases_go_on_and_lost_ones_come_again(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        world.issue("another")  # the account has several grants already: one more voids no lease
        assert (await bot.order()).status == 200
        store = unruly(world)
        late = world.bot("late")
        store.away = True  # before its lease is opened ahead
        held = world.gateway.book.by_key[bot.key_id]
        first = held.lease.expires_us
        await until(lambda: held.lease.expires_us > first)  # renewed
        assert (await bot.order()).status == 200
        world.gateway.book.drop(held.lease.id)
        world.authority.changes.links["local"].leases.pop(held.lease.id)
        assert (await bot.order()).status == 200, "its key is at the gateway, its verifier is remembered"
        assert (await late.order()).status == 503, "a new virtual key has to wait"
        store.away = False
        async with asyncio.timeout(60):
            while (await late.order()).status != 200:  # noqa: ASYNC110 - a refusal is remembered for a moment
                await asyncio.sleep(0.05)


async def test_a_store_that_is_away_for_too_long_ends_what_runs(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order()).status == 200
        store = unruly(world)
        store.serves_on = False
        (held,) = world.gateway.book.by_lease.values()
        renewed = world.authority.leases.renew(
            next(iter(world.authority.changes.links.values())), frames.Renew(1, (held.lease.id,))
        )
        assert renewed.ttls == ()
        assert renewed.voided == (), "not void: it may go on to its end, and again when the store is back"


async def test_what_is_revoked_while_its_secret_is_read_is_not_granted(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        store = unruly(world)
        store.go_on.clear()
        waiting = asyncio.ensure_future(bot.order())
        await reading(store)
        (grant,) = world.service.grants.list().items
        world.service.grants.revoke(grant.id, "test")
        store.go_on.set()
        assert (await waiting).code == -2014
        assert world.executed() == []


async def test_what_is_cut_while_its_secret_is_read_is_not_granted(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        store = unruly(world)
        store.go_on.clear()
        waiting = asyncio.ensure_future(bot.order())
        await reading(store)
        await world.cut("everything")
        store.go_on.set()
        assert (await waiting).code == -2014
        assert world.executed() == []
        assert world.authority.changes.links["local"].leases == {}
