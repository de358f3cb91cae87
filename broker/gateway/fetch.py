"""Fetches the facts a judgement misses: a lease, the venue's time, pair, price, book, holdings, owner, budget.

Nothing here decides. A fact that cannot be had stays missing, with its reason in `Job.failed`: until it is there, it
failed. What it is fetched for (`Job.need`) tells the venue's meter whether it may be asked for now.
The broker's word is a fact, too, where this process stood still.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from broker.errors import LinkDown
from broker.gateway import asking
from broker.gateway.book import Book, Held
from broker.gateway.clock import SystemClock
from broker.gateway.job import Failure, Job
from broker.gateway.link import LinkClient
from broker.gateway.owners import Owners
from broker.gateway.resting import Resting
from broker.gateway.venue_view import NotKnown
from broker.gateway.whose import Whose
from broker.link.frames import StakeQuery
from broker.policy_facts import Stake
from clients.venues.binance import market

_EXPECTED = (LinkDown, NotKnown, OSError, ValueError)
_NO_ANSWER = Failure("no_answer")


class Fetcher:
    """Waits for facts on behalf of requests."""

    def __init__(
        self, book: Book, link: LinkClient, owners: Owners, resting: Resting, clock: SystemClock
    ) -> None:
        self._book, self._link, self._owners, self._clock = book, link, owners, clock
        self.resting = resting
        self._whose = Whose(book, link, owners)
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
            await view.fetch_time(job.need)
        elif kind == "pair":
            await view.fetch_pair(what, job.need)
        elif kind == "book":
            await view.fetch_book(what, job.need)
        elif kind == "stake":
            await self._stake(job)
        elif kind == "holdings" and account is not None and held is not None:
            credential = self._book.material.get(held.key_text)
            if credential is not None:
                await account.fetch(credential, job.need)
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
        asked_us, recent = self._clock.boot_us(), self._book.recent.of(held.account, pair.base)
        query = StakeQuery(0, held.lease.id, symbol, pair.base, recent, job.replaces)
        try:
            stake = await self._link.ask_stake(query)
            if await self._looked(job, held, pair.base, stake):
                asked_us, recent = self._clock.boot_us(), self._book.recent.of(held.account, pair.base)
                stake = await self._link.ask_stake(replace(query, recent=recent))
        except LinkDown:
            seen = self._book.recent.seen_of(held.account, held.lease.grant, symbol, pair.base, job.replaces)
            held.standing.stakes.see(symbol, pair.base, seen, self._clock.boot_us(), job.replaces)
            raise
        held.standing.stakes.learn(symbol, pair.base, stake, asked_us, job.replaces)
        job.staked = True

    async def _looked(self, job: Job, held: Held, base: str, stake: Stake) -> bool:
        """Look at orders of a shared account that nobody here follows; tell whether there were any."""
        credential = self._book.material.get(held.key_text)
        if held.sole or credential is None or job.account is None:
            return False
        seconds = asking.ASK_SECONDS / 2
        return await self.resting.look(job.account, credential, held.account, base, stake.resting, seconds)

    async def _prices(self, job: Job, symbols: tuple[str, ...]) -> None:
        if job.view is not None:
            boot_us = 0 if job.held is None else job.held.used_us
            for symbol in symbols:
                job.view.uses(symbol, boot_us)
            await job.view.fetch_prices(symbols, job.need)

    async def _budget(self, job: Job, held: Held) -> None:
        """Ask for a slice that is large enough for this request."""
        await self._link.ask_slice(held, job.wanted)


def _failure(fault: Exception) -> Failure | None:
    """Say why a fact did not come; None where the venue said that there is no such thing, which is a fact too."""
    if isinstance(fault, NotKnown):
        return None if fault.code == market.NO_SUCH_ORDER else Failure(fault.reason, fault.pause)
    if isinstance(fault, LinkDown):
        return Failure("broker_silent")
    return Failure("venue_unreachable" if isinstance(fault, OSError) else "odd_answer")
