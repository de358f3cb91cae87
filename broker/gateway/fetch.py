"""Fetches the facts a judgement misses: a lease, the venue's time, pair, price, book, holdings, owner, budget.

Nothing here decides. A fact that cannot be had stays missing, with its reason in `Job.failed`: until it is there, it
failed. What it is fetched for (`Job.need`) tells the venue's meter whether it may be asked for now.
The broker's word is a fact, too, where this process stood still.
Whose an asset is, the broker is asked by each grant `MOST_AT_ONCE` times at once, as it is of orders (`words`, rule 4).
What it names that nobody here follows is followed from then on, and in doubt until it was seen (`resting`).
Holdings that come after that was asked may show what others bought since. It is asked once more then (`guard.lags`);
where others have more now, nobody knows whether holdings show it, and that is enough for a yes, and none for a no. So
it is where they show that more was executed than orders tell (`bound`). What others have nobody knows but by the whole
answer to this request's question (`Job.told`): before that only own purchases pass.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from weakref import WeakValueDictionary

from msgspec import structs

from broker.errors import LinkDown
from broker.gateway.account_view import AccountView
from broker.gateway.book import Book, Held
from broker.gateway.clock import SystemClock
from broker.gateway.elsewhere import Elsewhere
from broker.gateway.failures import failure_of
from broker.gateway.fees import Fees, Of
from broker.gateway.fills import UNKNOWN
from broker.gateway.followed import LANDS_S, Followed
from broker.gateway.guard import beyond_own
from broker.gateway.job import Failure, Job, WhoseAsked
from broker.gateway.limits import Need
from broker.gateway.link import LinkClient
from broker.gateway.owners import Owners
from broker.gateway.resting import LOOKS_US, MOST_LOOKS, MOST_PAGES, PAGES_US, Resting, RestingPart
from broker.gateway.sales import Binding
from broker.gateway.sharing import Sharing, has_failed
from broker.gateway.unseen import UNREAD, Asset, Doubt
from broker.gateway.venue_view import NotKnown
from broker.gateway.whose import Whose
from broker.gateway.words import MOST_AT_ONCE
from broker.link.frames import StakeQuery
from broker.policy_book import takes
from broker.policy_facts import ZERO, Stake
from clients.venue import Side

_EXPECTED = (LinkDown, NotKnown, OSError, ValueError)
_Whose = tuple[Stake, int, Doubt, Binding]
"""Whose a base asset is at worst, when that was asked, what is not known of it, and what orders bound then."""

NO_ANSWER = Failure("no_answer")
EXIT_BUDGET_SECONDS = 0.25
_TRIES, _HEARD_US, _LOOK_S = 3, 200_000, 0.01
"""How often it is asked whose an asset is where the broker takes lines in meanwhile; how long it may take until that is
heard here."""


class Fetcher:
    """Waits for facts on behalf of requests."""

    def __init__(
        self, book: Book, link: LinkClient, owners: Owners, resting: Resting, followed: Followed,
        clock: SystemClock, fees: Fees, elsewhere: Elsewhere,
    ) -> None:  # fmt: skip
        self._book, self._link, self._owners, self._clock = book, link, owners, clock
        self.resting, self.followed, self.fees, self._elsewhere = resting, followed, fees, elsewhere
        self._whose = Whose(book, link, owners, clock)
        self._stakes: Sharing[_Whose] = Sharing()
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._waiting: Counter[tuple[str, str, str, str]] = Counter()
        self._counts = False
        self.behind, self.acting = link.pulse.behind, link.acting

    async def fetch_all(self, job: Job, names: Sequence[str]) -> None:
        """Fetch facts at the same time; what fails stays missing, and says why."""
        prices = [name for name in names if name.startswith("price:")]
        job.failed.update(dict.fromkeys(names, NO_ANSWER))
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
            failure = failure_of(fault, names[0])
            for name in names:
                if failure is None:
                    job.failed.pop(name, None)
                else:
                    job.failed[name] = failure
        else:
            for name in names:
                job.failed.pop(name, None)

    def sends(self, held: Held) -> None:
        """Name who sends something; who is alone has nobody's to sell."""
        if not held.sole and self._book.users.sends(held.account, held.consumer, self._clock.boot_us()):
            self._link.tell_users()

    def refill(self, held: Held) -> None:
        """Ask for the next budget slice ahead of need."""
        self._link.refill(held)

    def give_back(self, held: Held) -> None:
        """Tell the broker now what is left of a grant's slices."""
        self._link.give_back_all(held.standing)

    async def _fetch(self, job: Job, name: str) -> None:
        kind, _, what = name.partition(":")
        if kind == "link":
            await self._link.pulse.caught_up()
            if not self.behind(self._clock.boot_us()):
                job.asked.discard("link")  # who stands still again after this waits again
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
        elif kind in {"book", "deep"}:
            await view.fetch_book(what, job.need, job.asker, deep=kind == "deep")
        elif kind == "asks":
            groups = () if job.reading is None else job.reading.intent.orders
            await view.fetch_asks(what, takes(groups, Side.BUY), job.need, job.asker)
        elif kind == "stake":
            await self._stake(job)
        elif kind == "fees":
            await self._fees(job)
        elif kind == "holdings" and account is not None and held is not None:
            credential = self._book.material.get(held.key_text)
            if credential is not None:
                await account.fetch(credential, job.need, job.asker)
        elif kind == "landed" and account is not None and held is not None:
            await self._landed(job, held, account)
        elif kind == "owner":
            await self._whose.find_out(job)
        elif kind == "budget" and held is not None:
            await self._budget(job, held)

    async def _landed(self, job: Job, held: Held, account: AccountView) -> None:
        """Ask for holdings once sales are answered that had left when these were asked for."""
        symbol, pair = job.symbol, job.pair
        if pair is not None:
            await account.landing(pair.base, LANDS_S)
        credential = self._book.material.get(held.key_text)
        if credential is not None:
            await account.fetch(credential, job.need, job.asker)
            job.asked.add("holdings")
        stake = held.standing.stakes.of(symbol, job.replaces)
        if stake is not None and stake.at_most:
            job.whose_asked = None
            await self._stake(job)

    async def _stake(self, job: Job) -> None:
        """Ask the broker whose the base asset of the request's pair is."""
        held, reading, symbol, pair = job.held, job.reading, job.symbol, job.pair
        if held is None or reading is None or pair is None:
            raise NotKnown("no_pair")
        target = reading.intent.target
        frees = target is not None and (held.sole or not reading.intent.persists)
        job.replaces = self._owners.order_id(held.account, symbol, target) if target and frees else ""
        what, stakes = (held.lease.id, symbol, pair.base, job.replaces), held.standing.stakes
        asked = self._question(job, held, what)
        came_us, before = asked.came_us, asked.before
        self._waiting[what] += 1
        try:
            stake, asked_us, doubt, binding = await asyncio.shield(asked.task)
        except (LinkDown, asyncio.CancelledError):
            # who answered once knows more than orders here tell: also where what is asked beside that hangs
            if before is None and not stakes.is_told(symbol, came_us, job.replaces):
                seen = self._book.recent.seen_of(
                    held.account, held.lease.grant, symbol, pair.base, job.replaces
                )
                if not held.sole:
                    asset = _asset(held, symbol, pair.base, job.replaces)
                    seen = self._doubt(job, asset, came_us).of(seen)
                seen = structs.replace(seen, as_of_us=came_us)
                now_us, binding = self._clock.boot_us(), stakes.binding(pair.base)
                stakes.see(symbol, pair.base, seen, now_us, job.replaces, binding)
            raise
        finally:
            self._waiting[what] -= 1
            if not self._waiting[what]:
                del self._waiting[what]
        stakes.learn(symbol, pair.base, stake, asked_us, job.replaces, binding)  # perhaps another one asked
        job.told, job.told_us = True, asked.came_us
        if doubt.any or not stake.sure:  # it is known at its worst: that is enough for a yes
            raise NotKnown("orders_unknown")
        if before is not None and stake.others > before.others:  # perhaps since holdings were answered
            raise NotKnown("too_old")
        job.staked = True

    async def _fees(self, job: Job) -> None:
        """Ask the venue what others' purchases cost, and then whose the asset is once more."""
        held, account, pair = job.held, job.account, job.pair
        credential = None if held is None else self._book.material.get(held.key_text)
        if held is None or pair is None or account is None or credential is None:
            raise NotKnown("no_material")
        of = Of(held.account, pair.base, held.lease.grant, held.key_id)
        await self.fees.ask(of, account, credential)
        job.whose_asked = None
        await self._stake(job)

    def _question(self, job: Job, held: Held, what: tuple[str, str, str, str]) -> WhoseAsked:
        """Return the question of this request: where its time was over before the answer, it waits for that one on."""
        again = "stake" in job.again
        asked = job.whose_asked
        if asked is None or asked.named != (*what, again) or has_failed(asked.task):
            before = held.standing.stakes.of(what[1], what[3]) if again else None
            task = self._stakes.begin(what, partial(self._asked_stake, job, held, *what[1:]))
            self.acting.waits(task, job.words)
            asked = job.whose_asked = WhoseAsked((*what, again), self._clock.boot_us(), before, task)
        return asked

    async def _asked_stake(self, job: Job, held: Held, symbol: str, base: str, replaces: str) -> _Whose:
        """Return whose a base asset is at worst, when that was asked, and what is not known of it."""
        since_us = as_of_us = self._clock.boot_us()
        asset = _asset(held, symbol, base, replaces)
        credential, stuck = self._book.material.get(held.key_text), 0
        if not held.sole and credential is not None and job.account is not None:
            left = self.followed.unseen(asset, since_us)
            as_of_us = await self.followed.look(asset, job.account, credential, job.pairs)
            stuck = self._stuck(asset, since_us, left)
        old = (held.account, symbol, replaces) if replaces else None
        recent_fills, whose = self._book.recent, (held.account, base, held.lease.grant, old)

        async def ask(after: str) -> _Whose:
            turns = self._turns.setdefault(held.lease.grant, asyncio.Semaphore(MOST_AT_ONCE))
            stood_in_line = turns.locked()
            async with turns:
                if stood_in_line and not self._waiting[held.lease.id, symbol, base, replaces]:
                    raise LinkDown("no_answer", "nobody waits for the broker's answer any more")
                return await in_turn(after)

        async def in_turn(after: str) -> _Whose:
            for number in range(_TRIES):
                asked_us, binding = self._clock.boot_us(), held.standing.stakes.binding(base)
                here = recent_fills.others(held.account, held.lease.grant, base)
                fees = recent_fills.doubtful(held.account, base, held.lease.grant)
                # what is learnt of these until the answer is there, is in no count: neither the question's nor in doubt
                known = {} if held.sole else self.followed.known(asset)
                before = Doubt() if held.sole else self._doubt(job, asset, since_us)
                # another may have taken its place meanwhile
                latest = self._book.by_key.get(held.key_id, held).lease.id
                recent, beyond = recent_fills.of(*whose), recent_fills.untold(*whose)
                parts = beyond.parts if self._counts else ()
                upto, lists = beyond.as_of if parts else 0, recent_fills.lists_in(held.account, recent)
                query = StakeQuery(
                    0, latest, symbol, base, recent, replaces, after, parts, upto, lists, job.held_as_of
                )
                stake = await self._said(held, query)
                self._counts = stake.upto >= 0
                stake = structs.replace(stake, as_of_us=as_of_us, here=here, fees=fees)
                counted = not beyond.parts or (parts and stake.upto == beyond.as_of)
                learnt = self.followed.learnt(known)
                if (counted and not learnt) or number == _TRIES - 1:
                    break
                if not counted:
                    await self._kept_upto(stake.upto)
            sold, bought = beyond.unsure if counted else (beyond.doubted, UNKNOWN)
            after_it = Doubt() if held.sole else self._doubt(job, asset, since_us)
            doubt = before.beside(after_it) if learnt or before is UNREAD else after_it
            stake = structs.replace(
                stake.less(sold), others=stake.others + bought, sure=stake.sure and not (sold or bought)
            )  # else it is at worst
            # whatever more is asked for
            held.standing.stakes.learn(symbol, base, stake := doubt.of(stake), asked_us, replaces, binding)
            if not counted:  # it is no less than that
                raise LinkDown("no_answer", "the broker took lines in each time that it was asked")
            return stake, asked_us, doubt, binding

        return await self._wholly(job, held, asset, since_us, stuck, ask)

    async def _wholly(
        self, job: Job, held: Held, asset: Asset, since_us: int, stuck: int, ask: Callable[[str], Awaitable[_Whose]]
    ) -> _Whose:  # fmt: skip
        """Ask the broker until it has named all orders, and look on as long as anything is found out of them."""
        began_us, after = self._clock.boot_us(), ""
        answer = await ask(after)
        for _ in range(MOST_PAGES):
            if held.sole or not answer[0].more or self._clock.boot_us() - began_us > PAGES_US:
                break
            after = answer[0].more
            answer = await ask(after)
        credential = self._book.material.get(held.key_text)
        for _ in range(MOST_LOOKS):
            left = self.followed.unseen(asset, since_us)
            late = self._clock.boot_us() - since_us > LOOKS_US  # the next exit goes on
            if held.sole or credential is None or job.account is None or left <= stuck or late:
                break
            await self.followed.look(asset, job.account, credential)
            stuck = self._stuck(asset, since_us, left)
            answer = await ask(after)
        return answer

    def _stuck(self, asset: Asset, since_us: int, before: int) -> int:
        """Return how many orders a look left unseen that found out nothing; none where it found out anything."""
        left = self.followed.unseen(asset, since_us)
        return left if left >= before else 0

    def worst(self, job: Job) -> Stake | None:
        """Return whose the base asset is at worst, by what is known here since this request's question was answered.

        What another grant has more since, it bought, or an open sale of its ended: either may be in later holdings.
        """
        held, symbol, pair = job.held, job.symbol, job.pair
        stake = None if held is None else held.standing.stakes.of(symbol, job.replaces)
        if held is None or pair is None or stake is None:
            return None
        before = dict(stake.here)
        now = self._book.recent.others(held.account, held.lease.grant, pair.base)
        more = sum((max(ZERO, has - before.get(whose, ZERO)) for whose, has in now), ZERO)
        # what was in doubt then may not be now
        others = stake.others if stake.others == UNKNOWN else stake.others - stake.doubted
        stake = structs.replace(stake, others=others + more, doubted=ZERO)
        # nobody tells that an order was filled: what was not seen since those holdings came may be in them
        since_us = stake.as_of_us if job.account is None else max(stake.as_of_us, job.account.came_us)
        asset, hidden = _asset(held, symbol, pair.base, job.replaces), self.hides(job)
        return self._doubt(job, asset, since_us, hidden=hidden).of(stake)

    def hides(self, job: Job) -> bool:
        """Tell whether holdings show more than orders tell, where that decides (`bound`)."""
        held, account, pair = job.held, job.account, job.pair
        if not job.told or held is None or account is None or pair is None:
            return False
        if beyond_own(job, self._clock.boot_us()) is None:
            return False
        return self.followed.hides(_asset(held, job.symbol, pair.base, job.replaces), account, job.pairs)

    def _doubt(self, job: Job, asset: Asset, since_us: int, *, hidden: bool = False) -> Doubt:
        if self._owners.waits_for_earlier():
            return UNREAD
        quotes = {} if job.view is None else job.view.quotes(self._clock.boot_us())
        return self.followed.doubt(asset, since_us, quotes, hidden=hidden)

    async def _kept_upto(self, line: int) -> None:
        """Wait, not for long, until it is heard that the broker has a line which it answered as of."""
        until_us = self._clock.boot_us() + _HEARD_US
        while self._book.recent.as_of < line and self._clock.boot_us() < until_us:  # noqa: ASYNC110 - not for long
            await asyncio.sleep(_LOOK_S)

    async def _said(self, held: Held, query: StakeQuery) -> Stake:
        """Return what the broker says; what nobody heard of is followed from then on."""
        stake = await self._link.ask_stake(query)
        self._elsewhere.take(held.account, query.base, held.lease.grant, stake.unheard)
        if held.sole:
            return stake
        untold = self._book.recent.resting(held.account, query.base, held.lease.grant)
        named = self._open(held, (*stake.resting, *untold))
        if self.resting.take(held.account, query.base, named) and not stake.more:
            return stake
        return structs.replace(stake, others=UNKNOWN, sure=False)  # of those that are not named nobody knows

    def _open(self, held: Held, orders: Iterable[RestingPart]) -> list[RestingPart]:
        """Leave out what is known here to be over: the record may not have it yet."""
        left_of = self._book.recent.left_of
        return [one for one in orders if left_of((held.account, one[1], one[2])) != ZERO]

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


def _asset(held: Held, symbol: str, base: str, replaces: str) -> Asset:
    return Asset(held.account, base, held.lease.grant, held.key_id, symbol, replaces, held.consumer)
