"""Requests that wait for budget share the ask for it, and each gets what it would have got alone."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from broker.background import Background
from broker.budget import Purse
from broker.errors import LinkDown
from broker.gateway.book import Held, Standing
from broker.gateway.borrowing import USED_UP_US, Borrowing
from broker.link import frames
from broker.link.parts import SlicePart
from tests.gateway.world import POLICY, World, running_world

GRANT = "grt_1"


@dataclass
class Lender:
    """A broker that answers when it is told to, and the gateway's side of it."""

    asked: list[tuple[Decimal, bool]] = field(default_factory=list)
    by: list[str] = field(default_factory=list)
    answers: "list[asyncio.Future[frames.SliceLent]]" = field(default_factory=list)
    now_us: int = 0
    held: Held = field(
        default_factory=lambda: cast(
            "Held", SimpleNamespace(lease=SimpleNamespace(grant=GRANT, id="lse_1"), standing=Standing())
        )
    )

    def __post_init__(self) -> None:
        book = SimpleNamespace(take_slice=self.take)
        clock = SimpleNamespace(boot_us=lambda: self.now_us)
        beside = Background(logging.getLogger("test"))
        self.borrowing = Borrowing(cast("Any", book), cast("Any", clock), self.ask, beside, lambda: None)

    @property
    def purse(self) -> Purse:
        return self.held.standing.purse

    def take(self, standing: Standing, part: SlicePart, sent_us: int) -> None:
        standing.purse.add(part.id, part.amount, sent_us)

    async def ask(self, held: Held, wanted: Decimal, ahead: bool) -> frames.SliceLent:
        self.asked.append((wanted, ahead))
        self.by.append(held.lease.id)
        self.answers.append(asyncio.get_running_loop().create_future())
        return await self.answers[-1]

    def lend(self, amount: str | None, grant: str = GRANT) -> None:
        """Answer the last ask."""
        part = None if amount is None else SlicePart(f"slc_{len(self.answers)}", Decimal(amount))
        self.answers[-1].set_result(frames.SliceLent(0, grant, part))

    def fail(self) -> None:
        """The broker has no word on the last ask: it does not know the lease any more."""
        self.answers[-1].set_exception(LinkDown("no_answer", "the broker could not say"))

    def needs(self, *amounts: str, held: Held | None = None) -> "list[asyncio.Task[bool]]":
        return [
            asyncio.create_task(self.borrowing.need(held or self.held, Decimal(amount) - self.purse.left))
            for amount in amounts
        ]

    def beside(self, name: str, *, stands: bool) -> Held:
        """Return a lease of the grant by another of its keys; one that has ended is in the book no more."""
        lease = SimpleNamespace(grant=GRANT, id=name)
        found = cast("Held", SimpleNamespace(lease=lease, standing=self.held.standing))
        if stands:
            self.held.standing.leases[name] = found
        return found


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_thousand_requests_at_once_are_two_asks_and_the_second_is_for_all_of_the_rest() -> None:
    lender = Lender()
    first = lender.needs("50")
    await turns()
    rest = lender.needs(*["7"] * 999)
    await turns()
    assert lender.asked == [(Decimal(50), False)]
    lender.lend("50")
    await turns()
    assert lender.asked[1:] == [(Decimal(7 * 999 - 50), False)]
    lender.lend(str(7 * 999 - 50))
    assert await asyncio.gather(*first, *rest) == [True] * 1000


async def test_who_is_covered_by_what_came_meanwhile_asks_for_nothing() -> None:
    lender = Lender()
    first = lender.needs("50")
    await turns()
    rest = lender.needs("20", "30")
    await turns()
    lender.lend("500")
    assert await asyncio.gather(*first, *rest) == [True] * 3
    assert len(lender.asked) == 1


async def test_a_refill_that_is_on_its_way_is_waited_for_and_what_it_lacks_is_asked_for() -> None:
    lender = Lender()
    lender.borrowing.refill(lender.held, ahead=True)
    await turns()
    waiting = lender.needs("50")
    lender.borrowing.refill(lender.held)
    await turns()
    assert lender.asked == [(Decimal(0), True)]
    lender.lend(None)  # nothing can be spared for who does not need it: that says nothing of who does
    await turns()
    assert lender.asked[1:] == [(Decimal(50), False)]
    lender.lend("50")
    assert await asyncio.gather(*waiting) == [True]


async def test_that_nothing_can_be_spared_is_no_answer_to_who_needs_it() -> None:
    lender = Lender()
    lender.borrowing.refill(lender.held, ahead=True)
    await turns()
    lender.lend(None)
    await turns()
    waiting = lender.needs("50")
    await turns()
    assert lender.asked[1:] == [(Decimal(50), False)]
    lender.lend("50")
    assert await waiting[0] is True


async def test_an_ask_that_fails_fails_for_its_own_and_the_next_is_asked() -> None:
    lender = Lender()
    first = lender.needs("50")
    await turns()
    rest = lender.needs("20")
    await turns()
    lender.answers[-1].set_exception(LinkDown("no_answer", "the broker did not answer in time"))
    await turns()
    with pytest.raises(LinkDown):
        await first[0]
    lender.lend("20")
    assert await rest[0] is True
    assert lender.borrowing.idle


async def test_who_gave_up_is_not_asked_for() -> None:
    lender = Lender()
    first = lender.needs("50")
    await turns()
    gone, stays = lender.needs("1000", "20")
    await turns()
    gone.cancel()
    await turns()
    lender.lend("5")
    await turns()
    assert lender.asked[1:] == [(Decimal(15), False)]
    lender.lend("15")
    assert await asyncio.gather(*first, stays) == [True, True]


async def test_at_its_limit_a_bot_costs_the_broker_an_ask_in_a_while_and_none_where_something_came_back() -> (
    None
):
    lender = Lender()
    waiting = lender.needs("50")
    await turns()
    lender.lend(None)
    assert await waiting[0] is False
    assert await asyncio.gather(*lender.needs(*["50"] * 100)) == [False] * 100
    lender.borrowing.refill(lender.held)
    await turns()
    assert len(lender.asked) == 1
    for again in (lender.borrowing.came_back, _later(lender), _other_rules(lender)):
        again()
        asked = len(lender.asked)
        waiting = lender.needs("50")
        await turns()
        assert len(lender.asked) == asked + 1, again
        lender.lend(None)
        assert await waiting[0] is False


async def test_what_comes_back_while_the_broker_says_that_nothing_is_left_is_asked_for_again() -> None:
    """The answer was of before: with it a bot would be told that its day is used up for a moment longer."""
    lender = Lender()
    waiting = lender.needs("50")
    await turns()
    lender.borrowing.came_back()
    lender.lend(None)
    assert await waiting[0] is False
    waiting = lender.needs("50")
    await turns()
    assert len(lender.asked) == 2
    lender.lend("50")
    assert await waiting[0] is True


def _later(lender: Lender) -> Any:
    def later() -> None:
        lender.now_us += USED_UP_US

    return later


def _other_rules(lender: Lender) -> Any:
    def other() -> None:
        lender.held.standing.rules += 1

    return other


async def test_that_a_lease_is_over_does_not_say_that_the_limit_is_used_up() -> None:
    lender = Lender()
    waiting = lender.needs("50")
    await turns()
    lender.lend(None, grant="")
    assert await waiting[0] is False
    waiting = lender.needs("50")
    await turns()
    assert len(lender.asked) == 2
    lender.lend("50")
    assert await waiting[0] is True


@pytest.mark.parametrize("known", [True, False])
async def test_a_lease_that_the_broker_does_not_know_fails_no_other_lease_of_the_grant(
    *, known: bool
) -> None:
    """Two keys of one grant: whose lease has ended was the last to ask; or the book has it and the broker has not."""
    lender = Lender()
    ended, living = lender.beside("lse_2", stands=known), lender.beside("lse_3", stands=known)
    lender.held.standing.leases |= {"lse_1": lender.held} if known else {}
    first = lender.needs("50")
    await turns()
    shared = [*lender.needs("70", held=living), *lender.needs("30", held=ended)]
    await turns()
    lender.lend("50")
    await turns()
    lender.fail()
    await turns()
    assert lender.by == ["lse_1", "lse_2", "lse_3"]
    assert lender.asked[1:] == [(Decimal(50), False)] * 2
    lender.lend("50")
    assert await asyncio.gather(*first, *shared) == [True] * 3


async def test_budget_is_asked_for_on_a_lease_that_still_stands() -> None:
    """What one waits for may come by a lease of the same grant that did not wait with it."""
    lender = Lender()
    ended = lender.beside("lse_2", stands=False)
    lender.beside("lse_3", stands=True)
    waiting = lender.needs("50", held=ended)
    await turns()
    lender.lend("50")
    assert await waiting[0] is True
    assert lender.by == ["lse_3"]


async def test_that_one_lease_is_over_says_nothing_of_the_other() -> None:
    lender = Lender()
    lender.beside("lse_2", stands=True)
    lender.beside("lse_3", stands=True)
    waiting = lender.needs("50")
    await turns()
    lender.lend(None, grant="")
    await turns()
    lender.lend("50")
    assert await waiting[0] is True
    assert len(set(lender.by)) == 2


async def test_a_second_lease_is_asked_once_and_not_for_who_gave_up() -> None:
    lender = Lender()
    for name in ("lse_2", "lse_3", "lse_4"):
        lender.beside(name, stands=True)
    waiting = lender.needs("50")
    await turns()
    lender.fail()
    await turns()
    lender.fail()
    with pytest.raises(LinkDown):
        await waiting[0]
    assert len(lender.by) == 2
    waiting = lender.needs("50")
    await turns()
    waiting[0].cancel()
    await turns()
    lender.fail()
    await turns()
    assert len(lender.by) == 3
    assert lender.borrowing.idle


@contextmanager
def counted(world: World) -> Iterator[list[frames.AskSlice]]:
    """Count the asks for budget that leave the gateway."""
    channel, asked = world.gateway.link._channel, list[frames.AskSlice]()
    send = channel.send

    def passing(frame: frames.Frame) -> None:
        if isinstance(frame, frames.AskSlice):
            asked.append(frame)
        send(frame)

    channel.send = passing  # type: ignore[method-assign]
    try:
        yield asked
    finally:
        channel.send = send  # type: ignore[method-assign]


async def test_orders_that_come_together_with_an_empty_purse_all_pass_by_a_few_asks(
    tmp_path: Path,
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot(policy=POLICY)
        assert (await bot.order("BUY", "0.001")).status == 200
        await world.settled()
        for standing in world.gateway.book.standing.values():
            parts = standing.purse.close(world.gateway.clock.boot_us(), everything=True)
            world.gateway.link._send(frames.CloseSlices(parts))
        with counted(world) as asked:
            made = await asyncio.gather(*(bot.order("BUY", "0.001") for _ in range(24)))
        assert {one.status for one in made} == {200}, made
        assert len(asked) < 8, asked


async def test_a_lease_that_the_broker_does_not_know_is_no_limit_that_is_used_up(tmp_path: Path) -> None:
    """It is told of that at once and opens another; nothing of the day is used up, and a bot must not hear so."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        assert (await bot.order(quantity="0.001")).status == 200
        (held,) = world.gateway.book.by_lease.values()
        async with asyncio.timeout(60):
            while not world.gateway.link._asking.budget.idle:  # noqa: ASYNC110 - asks tell nobody
                await asyncio.sleep(0.01)
        held.standing.purse.close(0, everything=True)
        world.authority.changes.links["local"].leases.clear()
        first = await bot.order(quantity="0.001")
        assert (first.status, first.reason) in {(200, None), (503, "budget_unknown")}, first
        async with asyncio.timeout(60):
            while (await bot.order(quantity="0.001")).status != 200:
                pass


async def test_a_sale_that_may_leave_does_not_wait_for_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the log hangs, each exit within the caps took all the time that there is for facts."""
    async with running_world(tmp_path) as world:
        monkeypatch.setattr("broker.gateway.forward.PREPARE_SECONDS", 600.0)
        world.account(USDT="100000", BTC="1")
        bot = world.bot()
        assert (await bot.order(quantity="0.001")).status == 200
        hangs = asyncio.Event()

        async def never(held: Held, wanted: Decimal) -> bool:
            del held, wanted
            return await hangs.wait()

        monkeypatch.setattr(world.gateway.link, "need_budget", never)
        for held in world.gateway.book.by_lease.values():
            held.standing.purse.close(0, everything=True)
        async with asyncio.timeout(60):
            sold = await bot.order("SELL", quantity="0.001")
        hangs.set()
        assert (sold.status, sold.reason) == (200, None), sold
