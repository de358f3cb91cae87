"""What the broker says of orders is asked once for all who need it, and a word that comes late serves the next try."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.errors import LinkDown
from broker.gateway import sharing, whose
from broker.gateway.words import LATE_US, MOST_AT_ONCE, SLOW_US, Patience, Words
from broker.link import frames
from broker.link.frames import OwnerAnswer, OwnerQuery
from clients.paper.faults import Fault
from clients.wire import OrderState
from tests.gateway.test_bans import deaf
from tests.gateway.test_hanging_reads import forget_owners, heard
from tests.gateway.test_namesakes import LIMIT, cancel, lose
from tests.gateway.test_slow_word import slow, until_it_passes
from tests.gateway.world import World, bots, running_world

X = ("main", "BTCUSDT", "X")


class Broker:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[OwnerQuery, asyncio.Future[OwnerAnswer]]] = []
        self.heard: list[tuple[Any, OwnerAnswer]] = []
        self.now_us = 10**9
        self.words = Words(self._ask, lambda: self.now_us, lambda *word: self.heard.append(word))

    async def _ask(self, query: OwnerQuery) -> OwnerAnswer:
        self.asked.append((query, asyncio.get_running_loop().create_future()))
        return await self.asked[-1][1]

    def who_asks(
        self, what: Any = X, grant: str = "me", seconds: float = 60, within_us: int | None = 0
    ) -> "asyncio.Task[OwnerAnswer]":
        return asyncio.ensure_future(self.words.of(what, grant, Patience.of(seconds), within_us))

    def answers(self, number: int, grant: str | None = None) -> OwnerAnswer:
        answer = OwnerAnswer(0, grant)
        self.asked[number][1].set_result(answer)
        return answer

    async def late(self, what: Any = X, grant: str | None = None) -> OwnerAnswer:
        """Let a word come late, when nobody waits for it any more."""
        asked, count = self.who_asks(what), len(self.asked)
        await turns()
        assert len(self.asked) > count
        asked.cancel()
        with pytest.raises(LinkDown):
            await asked
        self.now_us += SLOW_US + 1
        answer = self.answers(count, grant)
        await turns()
        return answer


async def turns() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


async def test_who_asks_at_once_by_one_name_shares_two_questions() -> None:
    broker = Broker()
    first = broker.who_asks()
    await turns()
    later = [broker.who_asks() for _ in range(100)]
    await turns()
    assert len(broker.asked) == 1
    told = broker.answers(0, "a")
    await turns()
    assert len(broker.asked) == 2
    anew = broker.answers(1, "b")
    assert [await first, *await asyncio.gather(*later)] == [told, *[anew] * 100]


async def test_a_word_that_came_late_serves_who_comes_next_and_not_for_long() -> None:
    broker = Broker()
    answer = await broker.late()
    assert broker.heard == [(X, answer)]
    broker.now_us += LATE_US
    assert await broker.who_asks(within_us=None) == answer
    assert await broker.who_asks(within_us=LATE_US + SLOW_US + 1) == answer
    broker.now_us += 1
    asked = broker.who_asks(within_us=None)
    await turns()
    assert len(broker.asked) == 2
    fresh = broker.answers(1, "a")
    assert await asked == fresh
    broker.now_us += 1
    again = broker.who_asks(within_us=None)
    await turns()
    assert len(broker.asked) == 3, "what is said at once is said to those who asked"
    broker.answers(2)
    await again


async def test_a_word_that_was_asked_for_too_early_is_asked_for_anew() -> None:
    """Before the order was made: who may have made it was not known yet."""
    broker = Broker()
    await broker.late()
    broker.now_us += 1_000
    for within_us in (0, SLOW_US + 1_000):
        asked = broker.who_asks(within_us=within_us)
        await turns()
        fresh = broker.answers(len(broker.asked) - 1)
        assert await asked is fresh
        await broker.late()
        broker.now_us += 1_000


def test_who_made_an_order_is_not_taken_from_a_word_of_before() -> None:
    now_us = 10**12
    job: Any = SimpleNamespace(account=SimpleNamespace(venue_us=lambda: now_us))

    def within_us(created_us: int | None) -> int:
        return whose._within_us(job, OrderState("BTCUSDT", "1", "X", final=False, created_us=created_us))

    assert within_us(None) == 0
    assert within_us(now_us - 1) == 0
    assert within_us(now_us - 3_000_000) == 2_500_000
    assert within_us(now_us + 10**9) == 0


async def test_one_grant_has_so_many_questions_under_way_and_no_other_waits_for_them() -> None:
    broker = Broker()
    many = [broker.who_asks(("main", "BTCUSDT", f"X{n}")) for n in range(10 * MOST_AT_ONCE)]
    await turns()
    assert len(broker.asked) == MOST_AT_ONCE
    other = broker.who_asks(("main", "BTCUSDT", f"X{MOST_AT_ONCE + 1}"), "other")
    await turns()
    assert len(broker.asked) == MOST_AT_ONCE + 1
    broker.answers(MOST_AT_ONCE)
    await other
    for task in many:
        task.cancel()
    await asyncio.gather(*many, return_exceptions=True)
    for number in range(MOST_AT_ONCE):
        broker.answers(number)
    await turns()
    assert len(broker.asked) == MOST_AT_ONCE + 1, "what nobody waits for any more is not asked"
    mine = broker.who_asks()
    await turns()
    broker.answers(MOST_AT_ONCE + 1)
    await mine


async def test_nothing_is_kept_of_a_grant_that_has_no_question() -> None:
    broker = Broker()
    asked = [broker.who_asks(X, f"grant-{number}") for number in range(50)]
    gone = broker.who_asks(X, "gone")
    await turns()
    assert len(broker.words._turns) == 51
    gone.cancel()
    for number in range(51):
        broker.answers(number)
    await asyncio.gather(*asked, return_exceptions=True)
    with pytest.raises(LinkDown):
        await gone
    await turns()
    assert not broker.words._turns


async def test_words_that_came_late_have_an_end_and_one_grants_push_out_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = Broker()
    asked = broker.who_asks(X, "other")
    await turns()
    asked.cancel()
    with pytest.raises(LinkDown):
        await asked
    broker.now_us += SLOW_US + 1
    word = broker.answers(0)
    await turns()
    monkeypatch.setattr(broker.words._late, "_most", 50)
    for number in range(100):
        broker.now_us -= SLOW_US + 1
        await broker.late(("main", "BTCUSDT", f"X{number}"))
    assert len(broker.words._late) <= 50
    assert await broker.who_asks(X, "other", within_us=None) is word


async def test_whose_time_is_up_waits_for_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that was told to stop goes on by what is known: its next question must not hold it again."""
    monkeypatch.setattr(sharing, "LONGEST_WAIT_S", 60.0)
    broker, patience = Broker(), Patience.of(60)

    async def two() -> list[str]:
        found = []
        for _ in range(2):
            try:
                await broker.words.of(X, "me", patience)
            except LinkDown as fault:
                found.append(fault.reason)
        return found

    asked = asyncio.ensure_future(two())
    await turns()
    asked.cancel()
    assert await asyncio.wait_for(asked, 30) == ["no_answer", "no_answer"]


# --- through a gateway ------------------------------------------------------------------------------------


def counted(world: World) -> list[frames.OwnerQuery]:
    """Return what is asked of the broker from now on."""
    channel, asked = world.gateway.link._channel, list[frames.OwnerQuery]()
    send = channel.send

    def passing(frame: frames.Frame) -> None:
        if isinstance(frame, frames.OwnerQuery):
            asked.append(frame)
        send(frame)

    channel.send = passing  # type: ignore[method-assign]
    return asked


@pytest.mark.parametrize("venue", ["shows it", "shows nothing", "silent"])
async def test_many_cancels_by_one_name_cost_the_broker_a_few_questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, venue: str
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot, _ = await bots(world, "bot", "other")
        if venue == "shows it":
            await lose(world)
            assert (await bot.order(price="59000", newClientOrderId="X", **LIMIT)).status == 504
            await heard(world)
            world.gateway.forwarder._owners.waiting = type(world.gateway.forwarder._owners.waiting)()
        elif venue == "silent":
            world.paper.server.faults.append(Fault("error", "GET", "/api/v3/order", times=1000, status=500))
        monkeypatch.setattr(sharing, "LONGEST_WAIT_S", 60.0)
        asked = counted(world)
        await asyncio.gather(*(cancel(bot, origClientOrderId="X") for _ in range(40)))
        named = [one for one in asked if one.client_order_id == "X"]
        assert named
        assert len(named) <= 8, "of each few that come at the same moment"


@pytest.mark.parametrize("venue", ["shows it", "silent"])
async def test_an_order_whose_answer_was_lost_is_cancelled_by_name_beside_a_slow_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, venue: str
) -> None:
    """Only the broker knows who sent it, and says it later than a bot waits."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot, other = await bots(world, "bot", "other")
        await lose(world)
        assert (await bot.order(price="59000", newClientOrderId="X", **LIMIT)).status == 504
        await heard(world)
        owners = world.gateway.forwarder._owners
        forget_owners(world)
        owners.waiting = type(owners.waiting)()
        monkeypatch.setattr(type(world.gateway.link), "boot", "another start")
        if venue == "silent":
            world.paper.server.faults.append(Fault("error", "GET", "/api/v3/order", times=1000, status=500))
        slow(world, monkeypatch)
        theirs = await cancel(other, origClientOrderId="X")
        assert theirs.status != 200, theirs
        await until_it_passes(lambda: cancel(bot, origClientOrderId="X"))


@pytest.mark.parametrize("venue", ["shows nothing", "silent"])
async def test_who_sent_it_cancels_by_name_beside_a_broker_that_hangs_where_the_venue_shows_nothing(
    tmp_path: Path, venue: str
) -> None:
    """It is on its way, or the venue lags: the request reaches the venue, whatever that says of it."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot, other = await bots(world, "bot", "other")
        await lose(world)
        assert (await bot.order(price="59000", newClientOrderId="X", **LIMIT)).status == 504
        await heard(world)
        code = {"status": 400, "code": -2013} if venue == "shows nothing" else {"status": 500}
        world.paper.server.faults.append(Fault("error", "GET", "/api/v3/order", times=1000, **code))  # type: ignore[arg-type]
        deaf(world.gateway, frames.OwnerQuery)
        assert (await cancel(other, origClientOrderId="X")).status != 200
        gone = await cancel(bot, origClientOrderId="X")
        assert gone.status == 200, gone
