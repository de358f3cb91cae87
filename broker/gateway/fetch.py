"""Fetches the facts a judgement misses: a lease, the venue's time, pair, price, book, holdings, owner, budget.

Nothing here decides. A fact that cannot be had stays missing, with its reason in `Job.failed`: until it is there, it
failed. What it is fetched for (`Job.need`) tells the venue's meter whether it may be asked for now.
The broker's word is a fact, too, where this process stood still.
Whose an asset is, the broker is asked by each grant `MOST_AT_ONCE` times at once, as it is of orders (`words`, rule 4).
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from functools import partial

from msgspec import structs

from broker.errors import LinkDown
from broker.gateway import asking
from broker.gateway.book import Book, Held
from broker.gateway.clock import SystemClock
from broker.gateway.fills import UNKNOWN
from broker.gateway.job import Failure, Job
from broker.gateway.limits import Need
from broker.gateway.link import LinkClient
from broker.gateway.looks import MOST_PAGES, PAGES_US
from broker.gateway.owners import Owners
from broker.gateway.resting import Resting
from broker.gateway.sharing import Sharing
from broker.gateway.upstream import Crowded
from broker.gateway.venue_view import NotKnown
from broker.gateway.whose import Whose
from broker.gateway.words import MOST_AT_ONCE
from broker.link.frames import StakeQuery
from broker.policy_facts import Stake
from clients.venues.binance import market

_EXPECTED = (LinkDown, NotKnown, OSError, ValueError)
_NO_ANSWER = Failure("no_answer")
EXIT_BUDGET_SECONDS = 0.25
_TRIES, _HEARD_US, _LOOK_S = 3, 200_000, 0.01
"""How often it is asked whose an asset is where the broker takes lines in meanwhile; how long it may take until that is
heard here."""


class Fetcher:
    """Waits for facts on behalf of requests."""

    def __init__(
        self, book: Book, link: LinkClient, owners: Owners, resting: Resting, clock: SystemClock
    ) -> None:
        self._book, self._link, self._owners, self._clock = book, link, owners, clock
        self.resting = resting
        self._whose = Whose(book, link, owners, clock)
        self._stakes: Sharing[tuple[Stake, int]] = Sharing()
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._waiting: Counter[tuple[str, str, str, str]] = Counter()
        self._counts = False
        self.behind = link.pulse.behind

    async def fetch_all(self, job: Job, names: Sequence[str]) -> None:
        """Fetch facts at the same time; what fails stays missing, and says why."""
        prices = [name for name in names if name.startswith("price:")]
        job.failed.update(dict.fromkeys(names, _NO_ANSWER))
        work = [self._one(job, (name,)) for name in names if not name.startswith("price:")]
        if prices:
            work.append(self._one(job, tuple(prices)))
        for result in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _one(self, job: Job, names: tuple[str, ...]) -> None:
        """Fetch one fact, or prices together; write down what came of it."""
        try:
            if names[0].startswith("price:"):
                await self._prices(job, tuple(name.removeprefix("price:") for name in names))
            else:
                await self._fetch(job, names[0])
        except _EXPECTED as fault:
            failure = _failure(fault)
            for name in names:
                if failure is None:
                    job.failed.pop(name, None)
                else:
                    job.failed[name] = failure
        else:
            for name in names:
                job.failed.pop(name, None)

    def refill(self, held: Held) -> None:
        """Ask for the next budget slice ahead of need."""
        self._link.refill(held)

    async def _fetch(self, job: Job, name: str) -> None:
        kind, _, what = name.partition(":")
        if kind == "link":
            await self._link.pulse.caught_up()
            return
        if kind == "lease":
            if job.request.key_id is not None:
                await self._link.open_lease(job.request.key_id)
            return
        view, account, held = job.view, job.account, job.held
        if view is None:
            return
        if kind == "line":
            job.line = job.line or await view.pool.take(job.need, job.inbound.vouched)
        elif kind == "clock":
            await view.fetch_time(job.need, job.asker)
        elif kind == "pair":
            await view.fetch_pair(what, job.need, job.asker)
        elif kind == "book":
            await view.fetch_book(what, job.need, job.asker)
        elif kind == "stake":
            await self._stake(job)
        elif kind == "holdings" and account is not None and held is not None:
            credential = self._book.material.get(held.key_text)
            if credential is not None:
                await account.fetch(credential, job.need, job.asker)
        elif kind == "owner":
            await self._whose.find_out(job)
        elif kind == "budget" and held is not None:
            await self._budget(job, held)

    async def _stake(self, job: Job) -> None:
        """Ask the broker whose the base asset of the request's pair is."""
        held, reading, view = job.held, job.reading, job.view
        symbol = "" if reading is None or not reading.intent.symbols else reading.intent.symbols[0]
        pair = None if view is None else view.pairs.get(symbol)
        if held is None or reading is None or pair is None:
            raise NotKnown("no_pair")
        target = reading.intent.target
        job.replaces = "" if target is None else self._owners.order_id(held.account, symbol, target)
        what, stakes = (held.lease.id, symbol, pair.base, job.replaces), held.standing.stakes
        came_us = self._clock.boot_us()
        self._waiting[what] += 1
        try:
            stake, asked_us = await self._stakes.ask(what, partial(self._asked_stake, job, held, *what[1:]))
        except (LinkDown, asyncio.CancelledError):
            # who answered once knows more than orders here tell: also where what is asked beside that hangs
            if not stakes.is_told(symbol, came_us, job.replaces):
                seen = self._book.recent.seen_of(
                    held.account, held.lease.grant, symbol, pair.base, job.replaces
                )
                stakes.see(symbol, pair.base, seen, self._clock.boot_us(), job.replaces)
            raise
        finally:
            self._waiting[what] -= 1
            if not self._waiting[what]:
                del self._waiting[what]
        stakes.learn(symbol, pair.base, stake, asked_us, job.replaces)  # perhaps another one asked
        job.staked = True

    async def _asked_stake(
        self, job: Job, held: Held, symbol: str, base: str, replaces: str
    ) -> tuple[Stake, int]:
        """Return whose a base asset is, and when that was asked."""
        replaced = (held.account, symbol, replaces) if replaces else None
        recent_fills, whose = self._book.recent, (held.account, base, held.lease.grant, replaced)
        turns = self._turns.setdefault(held.lease.grant, asyncio.Semaphore(MOST_AT_ONCE))

        async def ask(after: str) -> tuple[Stake, int]:
            stood_in_line = turns.locked()
            async with turns:
                if stood_in_line and not self._waiting[held.lease.id, symbol, base, replaces]:
                    raise LinkDown("no_answer", "nobody waits for the broker's answer any more")
                return await in_turn(after)

        async def in_turn(after: str) -> tuple[Stake, int]:
            for number in range(_TRIES):
                asked_us = self._clock.boot_us()
                latest = self._book.by_key.get(
                    held.key_id, held
                ).lease.id  # another may have taken its place meanwhile
                recent, beyond = recent_fills.of(*whose), recent_fills.untold(*whose)
                parts = beyond.parts if self._counts else ()
                stake = await self._link.ask_stake(
                    StakeQuery(
                        0, latest, symbol, base, recent, replaces, after, parts, beyond.as_of if parts else 0
                    )
                )
                self._counts = stake.upto >= 0
                counted = not beyond.parts or (parts and stake.upto == beyond.as_of)
                if counted or number == _TRIES - 1:
                    break
                await self._kept_upto(stake.upto)
            sold, bought = beyond.unsure if counted else (beyond.doubted, UNKNOWN)
            if sold or bought:
                stake = structs.replace(stake.less(sold), others=stake.others + bought)
            held.standing.stakes.learn(symbol, base, stake, asked_us, replaces)  # whatever more is asked for
            if not counted:  # it is no less than that
                raise LinkDown("no_answer", "the broker took lines in each time that it was asked")
            return stake, asked_us

        pages, now_us = self.resting.pages, self._clock.boot_us()
        for _ in range(MOST_PAGES):
            after = pages.after(held.account, base, now_us)
            stake, asked_us = await ask(after)
            if await self._looked(job, held, base, stake):
                return await ask(after)
            if held.sole or not stake.more or self.resting.wants(held.account, stake.resting):
                break
            pages.turn(held.account, base, after, stake.more, now_us)
            if self._clock.boot_us() - now_us > PAGES_US:
                break  # the next exit goes on there
        return stake, asked_us

    async def _kept_upto(self, line: int) -> None:
        """Wait, not for long, until it is heard that the broker has a line which it answered as of."""
        until_us = self._clock.boot_us() + _HEARD_US
        while self._book.recent.as_of < line and self._clock.boot_us() < until_us:  # noqa: ASYNC110 - not for long
            await asyncio.sleep(_LOOK_S)

    async def _looked(self, job: Job, held: Held, base: str, stake: Stake) -> bool:
        """Look at orders of a shared account that nobody here follows; tell whether there were any."""
        credential = self._book.material.get(held.key_text)
        if held.sole or credential is None or job.account is None:
            return False
        untold = self._book.recent.resting(held.account, base, held.lease.grant)
        told = (*stake.resting, *untold)
        return await self.resting.look(
            job.account, credential, held.account, base, told, asking.ASK_SECONDS / 2, job.asker
        )

    async def _prices(self, job: Job, symbols: tuple[str, ...]) -> None:
        if job.view is not None:
            boot_us = 0 if job.held is None else job.held.used_us
            for symbol in symbols:
                job.view.uses(symbol, boot_us)
            await job.view.fetch_prices(symbols, job.need, job.asker)

    async def _budget(self, job: Job, held: Held) -> None:
        """Wait for budget for this request; where other requests took what came, it may be asked for again.

        What may leave without any does not wait long for it.
        """
        try:
            async with asyncio.timeout(EXIT_BUDGET_SECONDS if job.need is Need.EXIT else None):
                came = await self._link.need_budget(held, job.wanted)
        except TimeoutError:
            raise LinkDown(
                "no_answer", "the broker lent nothing in the time that an exit has for it"
            ) from None
        if came:
            job.asked.discard("budget")


def _failure(fault: Exception) -> Failure | None:
    """Say why a fact did not come; None where the venue said that there is no such thing, which is a fact too.

    What we had no time or no connection for was not the venue's fault: who sets a limit says so himself.
    """
    if isinstance(fault, NotKnown):
        return None if fault.code == market.NO_SUCH_ORDER else Failure(fault.reason, fault.pause)
    if isinstance(fault, LinkDown):
        return Failure("broker_silent")
    if isinstance(fault, Crowded):
        return Failure("busy")
    return Failure("venue_unreachable" if isinstance(fault, OSError) else "odd_answer")
