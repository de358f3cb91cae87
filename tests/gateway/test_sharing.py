"""Exits that come at once share the question whose the asset is, and it carries what the broker does not have yet."""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import nullcontext
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import structs

from broker.background import Background
from broker.errors import LinkDown
from broker.gateway import sharing
from broker.gateway.asking import Asking
from broker.gateway.fills import RecentFills
from broker.gateway.sales import Stakes
from broker.gateway.sharing import Sharing
from broker.link import frames
from broker.link.parts import SlicePart
from broker.policy_facts import Stake
from tests.gateway.test_refused_keys import until
from tests.gateway.world import POLICY, running_world


class Broker:
    """Answers each question when it is told to."""

    def __init__(self) -> None:
        self.answers: list[asyncio.Future[int]] = []
        self.sharing: Sharing[int] = Sharing()

    def who_asks(self, count: int, what: str = "BTC") -> "list[asyncio.Task[int]]":
        return [asyncio.create_task(self.sharing.ask(what, self._ask)) for _ in range(count)]

    def _ask(self) -> Coroutine[None, None, int]:
        async def asked() -> int:
            self.answers.append(asyncio.get_running_loop().create_future())
            return await self.answers[-1]

        return asked()


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_comes_while_a_question_is_under_way_shares_the_next_one() -> None:
    broker = Broker()
    first = broker.who_asks(1)
    await turns()
    later = broker.who_asks(50)
    other = broker.who_asks(1, "ETH")
    await turns()
    assert len(broker.answers) == 2, "one of each asset"
    broker.answers[0].set_result(1)
    broker.answers[1].set_result(7)
    await turns()
    assert len(broker.answers) == 3
    broker.answers[2].set_result(2)
    assert await asyncio.gather(*first, *later, *other) == [1, *[2] * 50, 7]


async def test_a_question_fails_for_those_who_share_it_and_nobody_waits_long_for_a_slow_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sharing, "LONGEST_WAIT_S", 0.01)
    broker = Broker()
    slow = broker.who_asks(1)
    await turns()
    later = broker.who_asks(2)
    await until(lambda: len(broker.answers) == 2)
    broker.answers[1].set_exception(LinkDown("no_answer", "the broker did not answer in time"))
    assert all(isinstance(one, LinkDown) for one in await asyncio.gather(*later, return_exceptions=True))
    broker.answers[0].set_result(1)
    assert await slow[0] == 1


async def test_who_gives_up_does_not_end_the_question_of_others() -> None:
    broker = Broker()
    first, second = broker.who_asks(2)
    await turns()
    first.cancel()
    await turns()
    broker.answers[0].set_result(3)
    assert await second == 3


def told(order: str, executed: str = "1") -> tuple[tuple[str, ...], ...]:
    return (("main", "BTCUSDT", order, "BTC", "BUY", executed, "0"),)


def known(recent: RecentFills, *orders: str, executed: str = "1", earlier: bool = False) -> None:
    for order in orders:
        recent.keep(
            ("main", "BTCUSDT", order), "grt", "BTC", "BUY", Decimal(executed), Decimal(0), earlier=earlier
        )


def asked_about(recent: RecentFills) -> set[str]:
    return {order for _, _, order, *_ in recent.of("main", "BTC")}


def test_a_question_carries_what_the_broker_does_not_keep_and_nothing_else() -> None:
    recent = RecentFills()
    known(recent, "1", "2", "3", "4")
    for line, order in enumerate("123", start=1):
        recent.written(told(order), line)  # type: ignore[arg-type]
    recent.written(told("4"), 0)  # type: ignore[arg-type] # its line could not be written
    assert asked_about(recent) == {"1", "2", "3", "4"}
    recent.kept(1)
    assert asked_about(recent) == {"2", "3", "4"}
    recent.kept(3, (2,))  # the broker cannot read one
    assert asked_about(recent) == {"2", "4"}
    known(recent, "1", executed="2")
    assert asked_about(recent) == {"1", "2", "4"}, "it executed more"
    recent.written(told("1"), 9)  # type: ignore[arg-type] # a late answer tells of before
    recent.kept(9)
    assert asked_about(recent) == {"1", "2", "4"}


def test_an_order_of_which_a_line_was_lost_is_told_for_good_whatever_later_lines_tell() -> None:
    """The lost line may have said whose it is: the broker drops what it hears of an order that is nobody's."""
    recent = RecentFills()
    known(recent, "1", "2", "3")
    recent.written(told("1"), 1)  # type: ignore[arg-type]
    recent.written(told("2"), 0)  # type: ignore[arg-type] # it could not be written
    recent.written(told("3"), 2)  # type: ignore[arg-type]
    known(recent, "4")
    recent.written(told("4"), 3)  # type: ignore[arg-type]
    known(recent, "4", executed="2")  # it executed more before the broker said what became of that line
    recent.written(told("4", "2"), 4)  # type: ignore[arg-type]
    recent.kept(4, (1, 3))
    known(recent, "1", "2", "3", executed="2")
    for line, order in enumerate("123", start=5):
        recent.written(told(order, "2"), line)  # type: ignore[arg-type]
    recent.kept(7)
    assert asked_about(recent) == {"1", "2", "4"}


def test_what_an_earlier_start_wrote_is_told_until_the_broker_has_all_of_it() -> None:
    recent = RecentFills()
    known(recent, "1", earlier=True)
    known(recent, "2")
    recent.kept(5)
    assert asked_about(recent) == {"1", "2"}
    recent.earlier_kept()
    known(recent, "3", earlier=True)  # its file is read yet
    assert asked_about(recent) == {"2"}


def test_what_the_broker_lost_in_a_failover_is_told_again_until_its_line_is_kept_again() -> None:
    recent = RecentFills()
    known(recent, "0", earlier=True)
    known(recent, "1", "2", "3", "4")
    for line, order in enumerate("123", start=1):
        recent.written(told(order), line)  # type: ignore[arg-type]
    recent.kept(3)
    recent.earlier_kept()
    recent.written(told("4"), 4)  # type: ignore[arg-type]
    assert asked_about(recent) == {"4"}
    recent.forgotten(2, 3)  # line 2 is on no disk any more
    assert asked_about(recent) == {"2", "3", "4"}
    recent.kept(3)
    assert asked_about(recent) == {"2", "4"}
    recent.kept(4)
    recent.earlier_forgotten()
    assert asked_about(recent) == {"0", "2"}


def test_what_is_forgotten_is_not_asked_about() -> None:
    recent = RecentFills(most=2)
    known(recent, "1")
    recent.written(told("1"), 1)  # type: ignore[arg-type]
    known(recent, "2", "3")
    recent.kept(1, (1,))
    assert asked_about(recent) == {"2", "3"}


async def test_a_bot_with_many_orders_asks_with_those_that_the_broker_has_no_line_of(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="1")
        bot = world.bot(policy=POLICY.replace('"1000"', '"100"'))
        other = world.bot("other")
        for _ in range(6):
            assert (await bot.order("BUY", "0.001")).status == 200
        assert (await other.order("BUY", "0.001")).status == 200
        await until(lambda: world.gateway.spool._kept == world.gateway.spool.seq)
        channel, asked = world.gateway.link._channel, list[frames.StakeQuery]()
        send = channel.send

        def passing(frame: frames.Frame) -> None:
            if isinstance(frame, frames.StakeQuery):
                asked.append(frame)
            send(frame)

        channel.send = passing  # type: ignore[method-assign]
        sold = await bot.order("SELL", "0.006")
        assert sold.status == 200, sold
        assert asked
        assert asked[0].recent == ()


def test_an_answer_that_comes_late_takes_no_place_of_one_that_was_asked_for_later() -> None:
    stakes = Stakes()
    older, newer = (Stake(True, Decimal(own), Decimal(0), Decimal(0)) for own in (0, 5))
    stakes.learn("BTCUSDT", "BTC", newer, 20)
    stakes.learn("BTCUSDT", "BTC", older, 10)
    assert stakes.of("BTCUSDT") == newer
    stakes.see("BTCUSDT", "BTC", structs.replace(newer, as_of_us=30), 30)
    stakes.learn("BTCUSDT", "BTC", older, 25)
    found = stakes.of("BTCUSDT")
    assert found is not None
    assert found.own == 5, "what orders here told since counts"


async def test_a_slice_that_comes_as_its_time_is_up_is_taken_in_and_one_that_comes_as_its_request_ends_goes_back() -> (
    None
):
    sent, told = list[frames.Frame](), frames.SliceLent(1, "grt", SlicePart("slc_1", Decimal(5)))
    nothing: Any = SimpleNamespace()
    asking = Asking(nothing, nothing, sent.append, Background(logging.getLogger("test")), lambda: None)

    async def both(fault: BaseException) -> object:
        class Both(asyncio.Future[Any]):
            def __await__(self) -> Any:
                yield from asyncio.sleep(0).__await__()
                self.set_result(told)
                raise fault

        real = asyncio.get_running_loop()
        loop = SimpleNamespace(create_future=Both, time=real.time, call_later=real.call_later)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("broker.gateway.asking.asyncio.get_running_loop", lambda: loop)
            patch.setattr("broker.gateway.asking.asyncio.timeout", lambda _: nullcontext())
            return await asking._ask(1, frames.AskSlice(1, "lse"))

    assert await both(TimeoutError()) is told
    with pytest.raises(asyncio.CancelledError):
        await both(asyncio.CancelledError())
    assert sent[-1] == frames.CloseSlices((("slc_1", Decimal(5)),))
