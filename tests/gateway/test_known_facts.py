"""What a gateway knows of pairs and holdings: a pair for good, and of two answers the one that was asked for later."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.gateway.account_view import AccountView
from broker.gateway.clock import SystemClock
from broker.gateway.limits import Need
from broker.gateway.venue_line import Reply
from broker.gateway.venue_view import NotKnown, VenueView
from broker.gateway.wellbeing import Silence
from clients.secret import Secret
from clients.venue import Credential, KeyType, SymbolInfo
from tests.gateway.test_exits import HOUR_US, view_of
from tests.gateway.test_slow_log import until
from tests.gateway.world import POLICY, running_world

KEY = Credential("k", Secret("s"), KeyType.HMAC)
WIDE = POLICY.replace('["BTCUSDT", "ETHUSDT"]', '["BTCUSDT", "ETHUSDT", "NOSUCH"]')


async def test_a_pair_that_is_known_stays_so_and_one_that_is_not_is_asked_for_again(tmp_path: Path) -> None:
    """Its assets never change: an exit after a quiet day needs no answer of a venue that gives none."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="1")
        bot = world.bot(policy=WIDE)
        for symbol in ("BTCUSDT", "ETHUSDT", "NOSUCH"):
            await bot.order(symbol=symbol, quantity="0.001")
        view = view_of(world)
        assert view.pairs["NOSUCH"] is None
        view._forget(world.gateway.clock.boot_us() + 24 * HOUR_US)
        known = {name for name, pair in view.pairs.items() if pair is not None}
        assert {"BTCUSDT", "ETHUSDT"} <= known
        assert "NOSUCH" not in view.pairs


def holdings(free: str) -> bytes:
    balances = [{"asset": "BTC", "free": free, "locked": "0"}]
    return json.dumps({"canTrade": free != "0", "balances": balances}).encode()


class Venue:
    """Answers when it is told to, each question by its number; questions of one name are shared."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[bytes]] = []

    async def signed(self, *_: object) -> bytes:
        self.asked.append(asyncio.get_running_loop().create_future())
        return await self.asked[-1]

    async def once(self, name: str, work: Any, need: Need, whose: str) -> None:
        del name, need, whose
        await work()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["in order", "the older one last"])
@pytest.mark.parametrize(("older", "newer"), [("5", "0"), ("0", "5")], ids=["sold", "bought"])
async def test_of_two_answers_the_one_that_was_asked_for_later_counts(
    order: tuple[int, int], older: str, newer: str
) -> None:
    """An exit and a read ask by themselves; whichever answer comes last, what was asked for later is newer."""
    venue, clock = Venue(), SimpleNamespace(now=0)
    clock.boot_us = lambda: clock.now
    account = AccountView(venue, clock)  # type: ignore[arg-type]
    asking = []
    for need in (Need.READ, Need.EXIT):
        clock.now += 10
        asking.append(asyncio.ensure_future(account.fetch(KEY, need)))
        while len(venue.asked) < len(asking):  # noqa: ASYNC110 - the task has no event of its own
            await asyncio.sleep(0)
    for number in order:
        venue.asked[number].set_result(holdings((older, newer)[number]))
        await asking[number]
    assert str(account.free("BTC")) == newer
    assert account.may_trade is (newer != "0")


@pytest.mark.parametrize("bad", [("GONEUSDT",), ("GONEUSDT", "AWAYUSDT")], ids=["one", "two"])
async def test_a_pair_that_the_venue_does_not_price_keeps_no_other_without_a_price(
    tmp_path: Path, bad: tuple[str, ...]
) -> None:
    """It was delisted while it was in use: no price was kept warm any more."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="1")
        bot = world.bot(policy=WIDE)
        for symbol in ("BTCUSDT", "ETHUSDT"):
            await bot.order(symbol=symbol, quantity="0.001")
        view = view_of(world)
        now_us = world.gateway.clock.boot_us()
        for symbol in bad:
            view.pairs[symbol] = SymbolInfo(symbol, symbol.removesuffix("USDT"), "USDT")
            view.uses(symbol, now_us)
        view._used = dict.fromkeys((*bad, "BTCUSDT", "ETHUSDT"), now_us)
        view._prices.clear()
        warming = asyncio.ensure_future(view.keep_warm())
        await until(lambda: {"BTCUSDT", "ETHUSDT"} <= set(view._prices) and set(bad) == set(view._unpriced))
        warming.cancel()
        with pytest.raises(NotKnown, match="-1121"):
            await view.fetch_prices((*bad, "BTCUSDT"), Need.EXIT, "bot")
        view._forget(now_us + HOUR_US)
        assert not view._unpriced, "it is asked for again"


async def test_an_order_over_two_pairs_has_the_price_of_the_one_that_is_priced(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="1")
        await world.bot().order()
        view = view_of(world)
        view._prices.clear()
        with pytest.raises(NotKnown, match="-1121"):
            await view.fetch_prices(("GONEUSDT", "ETHUSDT"), Need.EXIT, "bot")
        assert set(view._prices) == {"ETHUSDT"}


@pytest.mark.parametrize(
    ("status", "body"),
    [(403, b""), (403, b"<html>blocked</html>"), (404, b""), (400, b'{"code":-1002,"msg":"no"}')],
)
async def test_what_is_refused_for_no_name_in_it_is_not_asked_again_for_each(
    status: int, body: bytes
) -> None:
    """An exchange that had enough of our address got hundreds of questions more, every minute, instead of one."""
    asked = list[int]()

    async def ask(*_: object) -> Reply:
        asked.append(1)
        return Reply(status, {}, body)

    view = VenueView(SimpleNamespace(ask=ask, silence=Silence()), SystemClock())  # type: ignore[arg-type]
    with pytest.raises(NotKnown, match=r"refused|turned_away"):
        await view.fetch_prices(tuple(f"A{number}USDT" for number in range(200)))
    with pytest.raises(NotKnown, match=r"refused|turned_away"):
        await view.fetch_prices(("A1USDT",))
    assert (len(asked), view._unpriced) == (2, {})


class Hanging:
    """Lines of which each question waits for its own answer, which comes when it is told."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[Reply]] = []

    async def ask(self, *_: object) -> Reply:
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.asked.append(answer)
        return await answer

    def answers(self, which: int, body: object, status: int = 200) -> None:
        self.asked[which].set_result(Reply(status, {}, json.dumps(body).encode()))


def price(symbol: str, value: str) -> dict[str, str]:
    return {"symbol": symbol, "price": value}


async def test_a_price_that_was_asked_for_before_and_comes_late_takes_no_later_ones_place() -> None:
    """What is asked for many pairs on nobody's behalf came after the price that an exit had asked for."""
    lines = Hanging()
    view = VenueView(SimpleNamespace(ask=lines.ask, silence=Silence()), SystemClock())  # type: ignore[arg-type]
    warm = asyncio.ensure_future(view.warm(("A1USDT", "A2USDT")))
    await until(lambda: len(lines.asked) == 1)
    anew = asyncio.ensure_future(view.fetch_prices(("A1USDT",), Need.EXIT, "bot"))
    await until(lambda: len(lines.asked) == 2)
    lines.answers(1, price("A1USDT", "54000"))
    await anew
    lines.answers(0, [price("A1USDT", "60000"), price("A2USDT", "7")])
    await warm
    quotes = view.quotes(SystemClock().boot_us())
    assert [quotes[name].price for name in ("A1USDT", "A2USDT")] == [54_000, 7]


async def test_a_pair_that_is_known_is_not_forgotten_for_a_late_answer() -> None:
    lines = Hanging()
    view = VenueView(SimpleNamespace(ask=lines.ask, silence=Silence()), SystemClock())  # type: ignore[arg-type]
    asked = [asyncio.ensure_future(view.fetch_pair("A1USDT", need, "bot")) for need in (Need.READ, Need.EXIT)]
    await until(lambda: len(lines.asked) == 2)
    row = {"symbol": "A1USDT", "baseAsset": "A1", "quoteAsset": "USDT"}
    lines.answers(1, {"symbols": [row]})
    await asked[1]
    lines.answers(0, {"code": -1121, "msg": "Invalid symbol."}, 400)
    await asked[0]
    assert view.pairs["A1USDT"] == SymbolInfo("A1USDT", "A1", "USDT")
