"""What is asked on behalf of one bot's exits takes nothing of what another's need: not in a pause, and no connection."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.gate import Mode
from broker.gateway.account_view import AccountView
from broker.gateway.limits import MINUTE_US, MOST_IN_PAUSE, Need
from broker.gateway.lines import Shares
from broker.gateway.upstream import Pool
from broker.gateway.venue_line import Reply
from broker.gateway.venue_view import NotKnown, VenueView
from clients.egress import DIRECT
from clients.secret import Secret
from clients.venue import Credential, KeyType, OrderRef
from tests.gateway.test_exits import HOUR_US, LIMIT, view_of
from tests.gateway.world import bots, running_world

KEY = Credential("k", Secret("s"), KeyType.HMAC)
PRICE = b'{"symbol":"BTCUSDT","price":"60000"}'


class Lines:
    """A venue's connections, each question held until it is let go; with the shares of the real ones."""

    def __init__(self, answer: bytes = PRICE) -> None:
        self.answer, self.go = answer, asyncio.Event()
        self.asked: list[str] = []
        self.shares = Shares(8)

    def held_up(self, need: Need, whose: str) -> bool:
        return self.shares.used_up(need, whose)

    async def ask(self, sealed: Any, permit: Any, need: Need, whose: str) -> Reply:
        del sealed, permit
        while not self.shares.free(need, whose):  # noqa: ASYNC110 - nothing tells when it is
            await asyncio.sleep(0)
        self.shares.enter(need, whose)
        self.asked.append(whose)
        await self.go.wait()
        self.shares.leave(need, whose)
        return Reply(200, {}, self.answer)


def view_on(lines: Lines) -> VenueView:
    now = 10 * MINUTE_US
    clock = SimpleNamespace(boot_us=lambda: now, wall_us=lambda: now)
    return VenueView(lines, clock)  # type: ignore[arg-type]


def paused(view: VenueView, how: str) -> None:
    if how == "minute":
        view.meter.spend("ip", 6000, view.now_us())
    else:
        view.meter.refused(int(how), 600.0, view.now_us())


def use_up(view: VenueView, whose: str) -> None:
    for number in range(3 * MOST_IN_PAUSE):
        view.meter.admit(Need.EXIT, "ip", 4, view.now_us(), f"/{number}", whose)


Ask = Callable[[VenueView, str], Any]
ASKS: dict[str, Ask] = {
    "price": lambda view, whose: view.fetch_prices(("BTCUSDT",), Need.EXIT, whose),
    "time": lambda view, whose: view.fetch_time(Need.EXIT, whose),
    "pair": lambda view, whose: view.fetch_pair("BTCUSDT", Need.EXIT, whose),
    "book": lambda view, whose: view.fetch_book("BTCUSDT", Need.EXIT, whose),
    "holdings": lambda view, whose: AccountView(view, view._system).fetch(KEY, Need.EXIT, whose),
    "order": lambda view, whose: AccountView(view, view._system).fetch_order(
        KEY, OrderRef("BTCUSDT", "1"), Need.EXIT, whose
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", ["418", "429", "minute"])
@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
async def test_what_one_bot_may_not_ask_in_a_pause_any_more_another_may(ask: Ask, how: str) -> None:
    lines = Lines()
    lines.go.set()
    view = view_on(lines)
    paused(view, how)
    use_up(view, "greedy")
    with pytest.raises(NotKnown, match="venue_pause"):
        await ask(view, "greedy")
    assert lines.asked == []
    with suppress(ValueError):  # it is an answer to one of these questions only
        await ask(view, "other")
    assert set(lines.asked) == {"other"}


async def test_who_shares_a_question_that_its_asker_may_not_ask_asks_it_himself() -> None:
    """They come in one moment: what the first one is refused is no answer to the others."""
    lines = Lines()
    lines.go.set()
    view = view_on(lines)
    paused(view, "418")
    use_up(view, "greedy")
    names = ["greedy", "one", "greedy", "two", "three", "one"]
    found = await asyncio.gather(*(ASKS["price"](view, name) for name in names), return_exceptions=True)
    refused = [name for name, one in zip(names, found, strict=True) if one is not None]
    assert refused == ["greedy", "greedy"], found
    assert len(lines.asked) == 1, "the others share one question all the same"


@pytest.mark.parametrize("later", range(8))
@pytest.mark.parametrize("name", [name for name in ASKS if name != "order"])
async def test_who_comes_as_a_question_ends_that_its_asker_may_not_ask_asks_it_himself(
    name: str, later: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He found it over and not put away yet: he waited for it again and again without an end, and the gateway with him."""
    lines, waits, shield, ask = Lines(), list[int](), asyncio.shield, ASKS[name]
    lines.go.set()
    view = view_on(lines)
    paused(view, "418")
    use_up(view, "a")

    def waited(what: Any) -> Any:
        waits.append(1)
        assert len(waits) < 100, "the loop stands still"
        return shield(what)

    async def comes() -> None:
        for _ in range(later):
            await asyncio.sleep(0)
        with suppress(ValueError):  # the answer is a price, whatever was asked
            await ask(view, "b")

    monkeypatch.setattr(asyncio, "shield", waited)
    first, second = await asyncio.gather(ask(view, "a"), comes(), return_exceptions=True)
    assert isinstance(first, NotKnown)
    assert second is None
    assert set(lines.asked) == {"b"}


@pytest.mark.parametrize("later", range(8))
async def test_holdings_are_as_they_are_after_who_needs_them_came(later: int) -> None:
    """Who came as a question ended got what it had brought: a fill that the bot was told of since was not among it."""
    lines, now = Lines(b'{"balances":[],"canTrade":true}'), [10 * MINUTE_US]
    lines.go.set()
    account = AccountView(view_on(lines), SimpleNamespace(boot_us=lambda: now[0]))  # type: ignore[arg-type]

    async def comes() -> int:
        for _ in range(later):
            await asyncio.sleep(0)
        now[0] += 1
        came_us = now[0]
        await account.fetch(KEY, Need.EXIT, "b")
        return came_us

    _, came_us = await asyncio.gather(account.fetch(KEY, Need.EXIT, "a"), comes())
    assert account._asked_us >= came_us


async def test_what_new_risk_waits_for_is_not_asked_once_for_each_that_waits() -> None:
    lines = Lines()
    view = view_on(lines)
    paused(view, "429")
    asked: list[str] = []
    admit = view.meter.admit

    def counted(*args: Any) -> Any:
        asked.append(args[-1])
        return admit(*args)

    view.meter.admit = counted  # type: ignore[assignment]
    asks = (view.fetch_prices(("BTCUSDT",), Need.RISK, f"bot{number}") for number in range(50))
    found = await asyncio.gather(*asks, return_exceptions=True)
    assert all(isinstance(one, NotKnown) for one in found)
    assert len(asked) == 1


async def test_facts_that_hang_use_the_connections_of_the_bot_that_needs_them_and_no_others() -> None:
    lines = Lines()
    view, account = view_on(lines), None
    account = AccountView(view, view._system)
    hanging = [
        asyncio.ensure_future(account.fetch_order(KEY, OrderRef("BTCUSDT", str(n)), Need.EXIT, "greedy"))
        for n in range(100)
    ]
    for _ in range(10):
        await asyncio.sleep(0)
    assert 0 < len(lines.asked) < 8
    other = asyncio.ensure_future(ASKS["price"](view, "other"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert "other" in lines.asked
    for task in (*hanging, other):
        task.cancel()
    await asyncio.gather(*hanging, other, return_exceptions=True)


@pytest.mark.parametrize("name", [name for name in ASKS if name != "order"])
async def test_a_question_that_waits_for_its_askers_connections_is_asked_by_others_on_their_own(
    name: str,
) -> None:
    """What one bot's exits need waited with all that hung for another one's."""
    lines = Lines()
    view = view_on(lines)
    account = AccountView(view, view._system)
    orders = (account.fetch_order(KEY, OrderRef("BTCUSDT", str(n)), Need.EXIT, "greedy") for n in range(100))
    asks: dict[str, Ask] = {**ASKS, "holdings": lambda _, whose: account.fetch(KEY, Need.EXIT, whose)}
    tasks = [asyncio.ensure_future(one) for one in orders]
    for who in ("greedy", "other", "other", "another"):
        for _ in range(10):
            await asyncio.sleep(0)
        tasks.append(asyncio.ensure_future(asks[name](view, who)))
    for _ in range(10):
        await asyncio.sleep(0)
    assert [who for who in lines.asked if who != "greedy"] == ["other"], "once for all who can"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_waits_for_what_a_key_itself_uses_is_held_up_and_nothing_else() -> None:
    pool = Pool("http://127.0.0.1:9", DIRECT)
    while not pool._shares.used_up(Need.EXIT, "greedy"):
        assert not pool.held_up(Need.EXIT, "greedy")
        pool._shares.enter(Need.EXIT, "greedy")
    assert not pool.held_up(Need.EXIT, "greedy"), "nothing of it waits"
    waits = asyncio.ensure_future(pool.take(Need.EXIT, "greedy"))
    await asyncio.sleep(0)
    assert pool.held_up(Need.EXIT, "greedy")
    assert not pool.held_up(Need.EXIT, "other")
    assert not pool.held_up(Need.RISK, "greedy")
    waits.cancel()
    await asyncio.gather(waits, return_exceptions=True)
    assert not pool.held_up(Need.EXIT, "greedy")


async def test_a_bot_whose_exits_are_refused_again_and_again_in_a_pause_leaves_anothers_its_price(
    tmp_path: Path,
) -> None:
    """After a quiet hour in which the market fell: an exit is judged by the price of now, which has to be asked for."""
    async with running_world(tmp_path) as world:
        for name in ("main", "second"):
            world.account(name, USDT="100000", BTC="20")
        (greedy,), (other,) = await bots(world, "one"), await bots(world, "two", account="second")
        for bot in (greedy, other):
            assert (await bot.order()).status == 200
        await world.cut("everything", mode=Mode.HALT)
        view = view_of(world)
        view.meter.refused(429, 600.0, view.now_us())

        def quiet_hour() -> None:
            view._used.clear()
            view._prices["BTCUSDT"] = (Decimal(60_000), world.gateway.clock.boot_us() - HOUR_US)

        world.paper.exchange.symbols["BTCUSDT"].price = Decimal(40_000)
        for _ in range(2 * MOST_IN_PAUSE):
            quiet_hour()
            assert (await greedy.order("SELL", "1", price="30000", **LIMIT)).status != 200
        for _ in range(3):
            quiet_hour()
            gone = await other.order("SELL", "1", price="39000", **LIMIT)
            assert gone.status == 200, gone
