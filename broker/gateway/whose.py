"""Finds out whose an order is that a request names: here, at the broker, at the venue. Changes nothing at any of them.

Rules:
1. An order belongs to the grant that the venue's id of it is recorded under: here, or in the broker's record.
2. A client order id is asked of the venue: what counts is the order that bears it now. Only an account's only grant
   is judged by what is known here, because nobody else's order can bear the name; so is the sender where the venue
   cannot be asked, if nobody else has used the name. The venue has half of the time, so that there is some left for
   the record.
3. An order without a recorded owner is who sent it (`sent`), as far as only one request can have made it: a request in
   flight, or one whose answer never came, at this gateway or at another one.
4. Whoever cannot be asked leaves it open (`NotKnown`, `LinkDown`): that is no "nobody", and it is said as an outage.
   But on the account of an only grant nobody else's order can be meant: there it is nobody's, and so the account's.
5. That it is another's is never said from memory: the broker knows who stands for a grant that was revoked since.
6. What the broker says too late for one request serves the next one (`words`). Who may have made an order that the
   venue shows is never taken from a word that was asked for before that order was made.
7. A gateway that was started anew says of no order that it is not the bot's own before it has read what its earlier
   starts wrote (`recall`): the broker may not have those lines yet.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import NamedTuple

from broker.errors import LinkDown
from broker.gateway import asking
from broker.gateway.book import Book, Held
from broker.gateway.clock import SystemClock
from broker.gateway.job import Job
from broker.gateway.link import LinkClient
from broker.gateway.owners import Owners, id_of, name_of
from broker.gateway.sent import TOLERANCE_US, Sent, fits, only_fit
from broker.gateway.venue_view import NotKnown
from broker.gateway.words import Patience, What, Words
from broker.link.frames import ClaimPart, OwnerAnswer, OwnerQuery
from clients.venue import Action, Intent, OrderRef
from clients.venues.binance.market import NO_SUCH_ORDER, ListState
from clients.wire import OrderState

OWN, OTHER, NOBODY = "own", "other", "nobody"


def known_owner(held: Held, intent: Intent, owners: Owners) -> str | None:
    """Tell whose an order is by what is known here; None where somebody has to be asked. Pure."""
    target = intent.target
    if target is None:
        return None
    known, symbol = id_of(target), target.symbol or ""
    bearer = owners.bearer(held.account, symbol, name_of(target)) if target.client_order_id else None
    if known is not None:
        own = owners.find(held.account, symbol, known) == held.lease.grant
        both = target.client_order_id is None or (bearer is not None and bearer[1] == known)
        return OWN if own and both else None
    if not held.sole or owners.askers(held.account, symbol, name_of(target)) != {held.lease.grant}:
        return None
    return OWN if bearer is not None or intent.action is Action.CANCEL else None


def last_word(held: Held, intent: Intent) -> str | None:
    """Tell whose an order is where nobody could be asked: None but for an account of one grant (rule 4). Pure."""
    return NOBODY if held.sole and intent.target is not None else None


def _word(held: Held, grant: str) -> str:
    return OWN if grant == held.lease.grant else OTHER


class _Asked(NamedTuple):
    """On behalf of what is asked, and for how long it waits for the broker."""

    job: Job
    held: Held
    patience: Patience


class Whose:
    """Asks whose an order is, on behalf of requests."""

    def __init__(self, book: Book, link: LinkClient, owners: Owners, clock: SystemClock) -> None:
        self._book, self._link, self._owners, self._clock = book, link, owners, clock
        self._words = Words(self._ask, self._now_us, self._heard)

    async def find_out(self, job: Job) -> None:
        """Fill in `job.owner`.

        Raises:
            NotKnown, OSError, ValueError: The venue could not tell.
            LinkDown: The broker could not tell.
        """
        held, reading = job.held, job.reading
        if held is None or reading is None or reading.intent.target is None:
            return
        target, recalled = reading.intent.target, self._owners.recalled
        asked = _Asked(job, held, Patience.of(asking.ASK_SECONDS))
        if target.is_list:
            job.owner = await self._of_list(asked, target)
        elif target.order_id is None:
            job.owner = await self._of_name(asked, target)
        else:
            job.owner = await self._of_id(asked, target)
        if job.owner != OWN and not recalled:  # what was read meanwhile was not looked at
            job.owner = None
            raise NotKnown("earlier_unread")

    # --- orders ---------------------------------------------------------------------------

    async def _of_id(self, asked: _Asked, target: OrderRef) -> str:
        symbol, name, held = target.symbol or "", target.client_order_id, asked.held
        try:
            recorded = await self._recorded(asked, symbol, f"#{target.order_id}")
        except LinkDown:
            recorded = None  # the venue may show that it is one of ours
        if recorded is not None and name is None:
            return _word(held, recorded)
        if recorded is None and name is None and held.sole:
            return NOBODY
        try:
            state = await self._order(asked.job, held, OrderRef(symbol, target.order_id))
        except (NotKnown, OSError, ValueError) as fault:
            if isinstance(fault, NotKnown) and fault.code == NO_SUCH_ORDER:
                return NOBODY
            if recorded is None or name is None or _word(held, recorded) != OWN:
                raise
            # it goes by both: the order is an own one, and so is every one that the name can lead to
            return await self._by_record(asked, symbol, name, absent=False, fault=fault)
        if name is not None and state.client_order_id != name:
            return OTHER  # two names of two orders: which of them is meant is not for us to guess
        return await self._of_state(asked, state)

    async def _of_name(self, asked: _Asked, target: OrderRef) -> str:
        symbol, name = target.symbol or "", name_of(target)
        try:
            state = await self._order(asked.job, asked.held, target)
        except (NotKnown, OSError, ValueError) as fault:
            absent = isinstance(fault, NotKnown) and fault.code == NO_SUCH_ORDER
            return await self._by_record(asked, symbol, name, absent=absent, fault=fault)
        return await self._of_state(asked, state)

    async def _of_state(self, asked: _Asked, state: OrderState) -> str:
        """Tell whose an order is that the venue showed (rules 1 and 3)."""
        if state.order_id is None:
            raise NotKnown("odd_answer")
        held, known_as, within_us = asked.held, f"#{state.order_id}", _within_us(asked.job, state)
        rivals = self._owners.waiting.candidates(held.account, state)
        try:
            grant = await self._recorded(asked, state.symbol, known_as, within_us)
            if grant is None and state.client_order_id:
                answer = await self._named(asked, state.symbol, state.client_order_id, within_us)
                if answer.grant not in {None, held.lease.grant}:  # perhaps it was recorded between the two
                    grant = await self._recorded(asked, state.symbol, known_as)
                # of what was sent from here we know more: the broker may not have heard yet that it was refused
                here = {self._link.boot, *(one.boot for one in rivals if one.boot)}
                away = [one for one in answer.claims if one.boot not in here]
                rivals = (*rivals, *(_as_sent(held, state.symbol, one) for one in away))
        except LinkDown:
            if only_fit(rivals, state) is None:
                raise
            grant = None
        if grant is not None:
            if state.client_order_id:
                self._owners.bear(held.account, state.symbol, state.client_order_id, known_as, grant)
            return _word(held, grant)
        # who got the id of another order while the broker was asked is none of them any more
        left = (sent for sent in rivals if sent.order_id in {None, state.order_id})
        found = [sent for sent in left if fits(sent, state)]
        senders = {sent.grant for sent in found}
        if any(sent.flying for sent in found):
            pass  # the answer that is under way will say which it is
        elif len(found) == 1:
            self._owners.confirm(found[0], state.order_id)
        elif len(senders) == 1:
            self._owners.record(held.account, state.symbol, known_as, found[0].grant)
        elif held.lease.grant in senders:
            raise NotKnown("namesakes")  # several may have sent it: that is for their answers to tell
        return _word(held, senders.pop()) if senders else NOBODY

    async def _by_record(
        self, asked: _Asked, symbol: str, name: str, *, absent: bool, fault: Exception
    ) -> str:
        """Decide by who used the name, where the venue shows no order of it, or cannot be asked.

        What the sender asked for is on its way, or the venue lags: it may cancel it. So it may when the venue is
        silent, unless somebody else has used the name too.
        """
        held, others = asked.held, False
        own = {held.lease.grant}
        askers = self._owners.askers(held.account, symbol, name)
        try:
            answer = await self._named(asked, symbol, name, within_us=None)
        except LinkDown:
            if askers != own and not held.sole:
                raise
        else:
            told = {one.grant for one in answer.claims}
            told |= set() if answer.grant is None else {answer.grant}
            askers, others = askers | told, bool(told - own)
        if askers == own:
            return OWN
        if absent or (held.sole and not others):  # of a revoked grant's there is only our memory
            return NOBODY
        raise fault

    # --- lists ----------------------------------------------------------------------------

    async def _of_list(self, asked: _Asked, target: OrderRef) -> str:
        symbol, known, held = target.symbol or "", id_of(target), asked.held
        if known is not None and target.client_order_id is None:
            recorded = await self._recorded(asked, symbol, known)
            if recorded is not None:
                return _word(held, recorded)
            if held.sole:
                return NOBODY
        try:
            found = await self._list(asked.job, held, target)
        except (NotKnown, OSError, ValueError) as fault:
            absent = isinstance(fault, NotKnown) and fault.code == NO_SUCH_ORDER
            if known is None:
                return await self._by_record(asked, symbol, name_of(target), absent=absent, fault=fault)
            if absent:
                return NOBODY
            raise
        if known not in {None, f"%{found.list_id}"} or target.client_order_id not in {None, found.client_id}:
            return OTHER  # as with two names of two orders
        grant = await self._recorded(asked, symbol, f"%{found.list_id}")
        if grant is not None:
            return _word(held, grant)
        words = set()
        for leg in found.orders:
            owner = await self._recorded(asked, symbol, f"#{leg.order_id}")
            if owner is None:
                state = await self._order(asked.job, held, OrderRef(symbol, leg.order_id))
                words.add(await self._of_state(asked, state))
            else:
                words.add(_word(held, owner))
        if words == {OWN}:
            self._owners.record(held.account, symbol, f"%{found.list_id}", held.lease.grant)
        return words.pop() if len(words) == 1 else OTHER

    # --- asking ---------------------------------------------------------------------------

    async def _recorded(self, asked: _Asked, symbol: str, known_as: str, within_us: int = 0) -> str | None:
        """Return the grant that an id is recorded under, here or at the broker (rule 5)."""
        held = asked.held
        known = self._owners.find(held.account, symbol, known_as)
        if known == held.lease.grant:
            return known
        try:
            answer = await self._named(asked, symbol, known_as, within_us)
        except LinkDown:
            if known is not None and not held.sole and self._lives(known):
                return known
            raise
        if answer.grant is None:
            # the broker may not have heard yet; but on the account of an only grant it is no living one's
            gone = answer.gone or (held.sole and known is not None and not self._lives(known))
            return None if gone else known
        return answer.grant

    async def _named(self, asked: _Asked, symbol: str, name: str, within_us: int | None) -> OwnerAnswer:
        """Return what the broker says of an id or a name."""
        held = asked.held
        return await self._words.of((held.account, symbol, name), held.lease.grant, asked.patience, within_us)

    async def _ask(self, query: OwnerQuery) -> OwnerAnswer:
        return await self._link.ask_owner(query)

    def _now_us(self) -> int:
        return self._clock.boot_us()

    def _heard(self, what: What, answer: OwnerAnswer) -> None:
        """Whose an id is is known from then on, also where nobody waits for it any more; a name is no identity."""
        if answer.grant is not None and what[2].startswith(("#", "%")):
            self._owners.record(*what, answer.grant)

    def _lives(self, grant: str) -> bool:
        """Tell whether a grant has a lease here: it was not revoked."""
        return any(held.lease.grant == grant for held in self._book.by_lease.values())

    async def _order(self, job: Job, held: Held, ref: OrderRef) -> OrderState:
        credential = self._book.material.get(held.key_text)
        if job.account is None or credential is None:
            raise NotKnown("no_material")
        async with _half_of_the_time():
            return await job.account.fetch_order(credential, ref, job.need, job.asker)

    async def _list(self, job: Job, held: Held, ref: OrderRef) -> ListState:
        credential = self._book.material.get(held.key_text)
        if job.account is None or credential is None:
            raise NotKnown("no_material")
        async with _half_of_the_time():
            return await job.account.fetch_list(credential, ref, job.need, job.asker)


@asynccontextmanager
async def _half_of_the_time() -> AsyncIterator[None]:
    """Leave the other half to the record (rule 2); that the time is up says nothing of the venue."""
    limit = asyncio.timeout(asking.ASK_SECONDS / 2)
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise NotKnown("no_time") from None


def _within_us(job: Job, state: OrderState) -> int:
    """Return how long ago the broker may have been asked who made an order: not before the venue had it (rule 6)."""
    if job.account is None or state.created_us is None:
        return 0
    return max(0, job.account.venue_us() - state.created_us - TOLERANCE_US)


def _as_sent(held: Held, symbol: str, claim: ClaimPart) -> Sent:
    """Read what another gateway, or an earlier start of this one, sent under a name."""
    return Sent(
        0, claim.grant, held.account, symbol, claim.name, claim.side,
        Decimal(claim.quantity) if claim.quantity else None, Decimal(claim.price or "0"),
        claim.sent_us, claim.until_us, exact=claim.exact,
    )  # fmt: skip
