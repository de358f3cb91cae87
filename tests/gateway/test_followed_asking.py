"""An exit is kept from asking about followed orders by nothing but the venue's weight, whoever asked before it."""

import asyncio
import contextlib
from decimal import Decimal
from itertools import count
from typing import Any

import pytest

from broker.gateway import followed as of_followed
from broker.gateway.fills import UNKNOWN, RecentFills
from broker.gateway.followed import MOST_PAIRS, Followed
from broker.gateway.places import Places
from broker.gateway.sent import Sent
from broker.gateway.settlement import Reservation, Settlement
from broker.gateway.sharing import Sharing
from broker.gateway.unseen import Asset, Doubt
from broker.gateway.venue_view import NotKnown
from broker.policy_facts import Quote

MINE, THEIRS = Asset("main", "BTC", "mine", "one", "BTC0"), Asset("main", "BTC", "theirs", "two", "BTC0")


class Account:
    """Answers nothing itself."""

    def __init__(self) -> None:
        self.room, self.places, self.is_silent = True, Places(128), False

    async def answered(self, seconds: float) -> None:
        """No question for the holdings is under way."""

    def leaves_room(self, whose: str) -> bool:
        """Whether the venue's weight does."""
        return self.room and whose in {"one", "two"}


class Venue:
    """Answers questions for one order each: late where `gate` is shut, and not at all so many times."""

    def __init__(self, pairs: int = 1, **more: Any) -> None:
        self.settlement, self.account, self.clock = Settlement(), Account(), count(1)
        self.asked: list[str] = []
        self.fails = 0
        self.gate, self.called = asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.sent: list[Sent] = []
        for number in range(1, pairs + 1):
            facts = {"order_id": "7", "base": "BTC", **more}
            self.sent.append(
                Sent(number, "other", "main", f"BTC{number - 1}", "n", "BUY", Decimal(2), Decimal(0), 0, 1, **facts)
            )  # fmt: skip
            symbol, sent = f"BTC{number - 1}", self.sent[-1]
            self.settlement.hold(Reservation(number, "other", "main", symbol, (), None, (sent,)))
        self.followed = Followed(self.settlement, self, RecentFills(), self.now)  # type: ignore[arg-type]

    def now(self) -> int:
        """No instant comes twice."""
        return next(self.clock)

    async def ask(self, _account: Any, _key: Any, _held: Any, sent: Sent, _need: Any, _whose: str) -> None:
        """As `Settler` does."""
        asked_us = self.now()
        self.asked.append(sent.symbol)
        self.called.set()
        fails, self.fails = self.fails > 0, max(0, self.fails - 1)
        await self.gate.wait()
        if fails:
            raise NotKnown("lost")
        sent.seen_us = asked_us

    async def exit(self, asset: Asset) -> Doubt:
        """Come, look, and tell what is in doubt."""
        since_us = self.now()
        await self.followed.look(asset, self.account, None)  # type: ignore[arg-type]
        return self.followed.doubt(asset, since_us)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is decided by time."""
    for name in ("LONGEST_S", "LANDS_S"):
        monkeypatch.setattr(of_followed, name, 60.0)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("fails", [0, 1, 2, 3])
async def test_who_comes_while_an_order_is_asked_about_has_it_asked_too(fails: int) -> None:
    venue = Venue()
    venue.followed._sharing = Sharing(60.0)
    venue.gate.clear()
    venue.fails = fails
    first = asyncio.ensure_future(venue.exit(MINE))
    await venue.called.wait()
    later = [asyncio.ensure_future(venue.exit(MINE)) for _ in range(3)]
    await asyncio.sleep(0)
    venue.gate.set()
    await first
    found = await asyncio.gather(*later)
    assert sum(one.any for one in found) <= max(0, fails - 1), "who asked what had no answer"
    assert len(venue.asked) == 2 + max(0, fails - 1), "they share it"


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("others", [3, 6])
async def test_who_shared_two_questions_without_an_answer_asks_alone(others: int) -> None:
    """However many came with it: the two that asked know nothing, and nobody else is left without a question."""
    venue = Venue()
    venue.followed._sharing = Sharing(60.0)
    venue.gate.clear()
    venue.fails = 3
    first = asyncio.ensure_future(venue.exit(MINE))
    await venue.called.wait()
    later = [asyncio.ensure_future(venue.exit(THEIRS)) for _ in range(others)]
    await asyncio.sleep(0)
    venue.gate.set()
    assert (await first).any
    found = await asyncio.gather(*later)
    assert not any(one.any for one in found[2:]), "only who asked, and had no answer, may know nothing"
    assert len(venue.asked) == 3 + others - 2


async def test_a_venue_that_answers_no_question_keeps_few_lines_from_exits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each exit asked anew, on new lines, while the old ones hung: a bot that tried again had none left to cancel by."""
    monkeypatch.setattr(of_followed, "LONGEST_S", 0.05)
    venue = Venue(pairs=20)
    venue.account.places = Places(32)
    venue.gate.clear()
    for asset in (MINE, THEIRS, MINE, MINE, THEIRS):
        assert (await venue.exit(asset)).any
    assert len(venue.asked) == 32 // 4
    monkeypatch.setattr(of_followed, "LONGEST_S", 60.0)
    venue.gate.set()
    assert not (await venue.exit(MINE)).any, "what hung is no hindrance for ever"


@pytest.mark.usefixtures("patient")
async def test_a_question_without_end_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_followed, "HELD_S", 0.01)
    venue = Venue(pairs=20)
    venue.account.places = Places(8)
    venue.gate.clear()
    assert (await venue.exit(MINE)).any
    assert len(venue.asked) == 20, "each had its turn"


@pytest.mark.usefixtures("patient")
async def test_what_failed_before_is_asked_about_by_the_very_next_exit() -> None:
    venue = Venue()
    venue.fails = 30
    for _ in range(30):
        assert (await venue.exit(MINE)) == Doubt(True, Decimal(2))
    assert (await venue.exit(MINE)) == Doubt()


@pytest.mark.usefixtures("patient")
async def test_nothing_is_asked_where_the_weight_leaves_no_room() -> None:
    venue = Venue()
    venue.account.room = False
    assert (await venue.exit(MINE)).any
    assert venue.asked == []


@pytest.mark.usefixtures("patient")
async def test_pairs_are_asked_about_in_turn_and_the_exits_own_first() -> None:
    venue = Venue(pairs=MOST_PAIRS + 6)
    mine = MINE._replace(symbol=f"BTC{MOST_PAIRS + 5}")
    await venue.exit(mine)
    assert venue.asked[0] == mine.symbol
    assert len(venue.asked) == MOST_PAIRS
    await venue.exit(mine)
    assert set(venue.asked) == {sent.symbol for sent in venue.sent}


@pytest.mark.usefixtures("patient")
async def test_six_pairs_are_asked_about_by_one_exit() -> None:
    venue = Venue(pairs=6)
    assert (await venue.exit(MINE)) == Doubt()


@pytest.mark.usefixtures("patient")
async def test_an_exit_waits_for_answers_that_were_under_way_as_it_came_and_for_none_that_left_later() -> (
    None
):
    venue = Venue(pairs=2)
    early, late = venue.sent
    early.flying = True
    leaves = asyncio.ensure_future(venue.exit(MINE))
    await asyncio.sleep(0)
    late.flying = True
    assert venue.asked == []
    early.flying = False
    venue.followed.landed(early)
    assert (await leaves) == Doubt(True, Decimal(2)), "the other one counts at its worst"
    assert venue.asked == [early.symbol]
    assert venue.followed._awaited == {}


@pytest.mark.parametrize(
    ("left_at", "now", "most"),
    [
        ("100", None, "0.4"),
        (None, "80", "0.5"),
        ("100", "80", "0.5"),
        ("80", "100", "0.5"),
        (None, None, UNKNOWN),
    ],
)
def test_a_purchase_in_quote_bought_no_more_than_it_pays_for_at_half_the_price(
    left_at: str | None, now: str | None, most: str | Decimal
) -> None:
    venue = Venue(spends=Decimal(20), market=None if left_at is None else Decimal(left_at))
    venue.sent[0].quantity = None
    quotes = {} if now is None else {"BTC0": Quote(Decimal(now), 0)}
    assert venue.followed.doubt(MINE, venue.now(), quotes) == Doubt(True, Decimal(most))


async def test_what_another_key_asks_and_waits_for_keeps_nobody_from_asking(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One key tries to leave again and again at a venue that answers nothing: its places are all taken, and waited for."""
    monkeypatch.setattr(of_followed, "LONGEST_S", 0.05)
    venue = Venue(pairs=20)
    venue.account.places = Places(32)
    venue.gate.clear()
    for _ in range(3):
        assert (await venue.exit(MINE)).any
    monkeypatch.setattr(of_followed, "LONGEST_S", 60.0)
    before = len(venue.asked)
    leaves = asyncio.ensure_future(venue.exit(THEIRS))
    async with asyncio.timeout(60):
        while len(venue.asked) == before:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
    venue.gate.set()
    assert not (await leaves).any


async def test_what_hangs_on_one_way_to_a_venue_keeps_nobody_from_asking_on_another() -> None:
    hangs, well = Places(32), Places(32)
    async with asyncio.timeout(60), contextlib.AsyncExitStack() as taken:
        for key in range(8):
            for _ in range(2):
                await taken.enter_async_context(hangs.one(str(key)))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), hangs.one("nine"):
                pass
        async with well.one("nine"):
            pass


async def test_a_key_without_a_place_gets_one_beyond_what_all_have_together() -> None:
    places = Places(32)
    async with asyncio.timeout(60), contextlib.AsyncExitStack() as taken:
        for key in ("one", "one", "one", "one", "two", "two", "two", "two"):
            await taken.enter_async_context(places.one(key))
        for key, wanted in (("one", 0), ("three", 2)):
            for number in range(3):
                if number < wanted:
                    await taken.enter_async_context(places.one(key))
                    continue
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01), places.one(key):
                        pass
    assert not places._taken
    assert places._all == 0
    async with asyncio.timeout(60), places.one("one"):
        assert not places._waiting, "who gave up waiting is forgotten"


async def test_a_venue_that_takes_longer_than_half_a_second_is_waited_for() -> None:
    """It answers each exit in six tenths: it was unknown to each of them, for ever."""
    venue = Venue()
    venue.gate.clear()
    leaves = asyncio.ensure_future(venue.exit(MINE))
    await venue.called.wait()
    asyncio.get_running_loop().call_later(0.6, venue.gate.set)
    assert not (await leaves).any


async def test_where_the_venue_answers_nothing_no_exit_waits_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_followed, "LONGEST_S", 3600.0)
    monkeypatch.setattr(of_followed, "LANDS_S", 3600.0)
    venue = Venue()
    venue.account.is_silent = True
    venue.gate.clear()
    async with asyncio.timeout(60):
        assert (await venue.exit(MINE)).any


async def test_own_sales_are_asked_about_too() -> None:
    """One that ended silently binds what its grant may sell, and the no was definite."""
    venue = Venue()
    venue.sent[0].grant, venue.sent[0].side = "mine", "SELL"
    assert not (await venue.exit(MINE)).any
    assert venue.asked == ["BTC0"]
