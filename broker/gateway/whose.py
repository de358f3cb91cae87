"""Finds out whose an order is that a request names: here, at the broker, at the venue. Changes nothing at any of them.

Rules:
1. An order belongs to the grant that the venue's id of it is recorded under: here, or in the broker's record.
2. A client order id is asked of the venue: what counts is the order that bears it now. Only an account's only grant
   is judged by what is known here, because nobody else's order can bear the name; so is the sender where the venue
   cannot be asked, if nobody else has used the name. The venue has half of the time, so that there is some left for
   the record. A name is used again: so the request is sent with the id that it led to (`Job.target_id`), and means that
   order still after it has waited for something else. But the venue may lag, and show an order that had it before:
   it does not stand for a later one of the sender's own that the venue's answer told of, or whose answer is to come.
3. An order without a recorded owner is who sent it (`sent`), as far as only one request can have made it: a request in
   flight, or one whose answer never came, at this gateway or at another one.
4. Whoever cannot be asked leaves it open (`NotKnown`, `LinkDown`): that is no "nobody", and it is said as an outage.
   But on the account of an only grant nobody else's order can be meant: there it is nobody's, and so the account's.
5. That it is another's is said from memory of a grant alone that has a lease here: for one that was revoked since
   another may stand, and the broker knows who, once the order is on record. Until then it is left open.
6. What the broker says too late for one request serves the next one (`words`). Who may have made an order that the
   venue shows is never taken from a word that was asked for before that order was made.
7. A gateway that was started anew says of no order that it is not the bot's own before it has read what its earlier
   starts wrote (`recall`): the broker may not have those lines yet.
8. What is found out of whose an order is is put on record, also where it is not known which of its sender's requests
   it is of: who comes after the sender is known to the record alone (`senders`).
"""

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
from broker.gateway.owners import Owners, id_of, is_later, name_of
from broker.gateway.senders import Claims
from broker.gateway.sent import TOLERANCE_US, fits, may_be
from broker.gateway.venue_view import NotKnown
from broker.gateway.waits import Wait
from broker.gateway.words import Patience, What, Words
from broker.link.frames import OwnerAnswer, OwnerQuery
from clients.venue import Action, Intent, OrderRef, Side
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


def _binds(state: OrderState) -> Decimal:
    """Return how much of the base asset an order holds at the venue."""
    if state.final or state.waits or state.side != Side.SELL.value or state.quantity is None:
        return Decimal(0)
    return state.quantity - (state.executed_base or Decimal(0))


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
        if target.order_id is None:
            job.target_id = None
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
        if name is None and (recorded is not None or held.sole):
            return NOBODY if recorded is None else _word(held, recorded)
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
        later = await self._later(asked, symbol, name, state)
        if later is not None:
            asked.job.target_id = later
            return OWN
        if self._is_of_before(asked.held, symbol, name, state):
            return await self._by_record(asked, symbol, name, absent=False, fault=NotKnown("lags"))
        asked.job.target_id = state.order_id
        return await self._of_state(asked, state)

    async def _later(self, asked: _Asked, symbol: str, name: str, state: OrderState) -> str | None:
        """Return the id of an own order that has a name now, if the venue shows one that had it before (rule 2)."""
        held, shown = asked.held, f"#{state.order_id}"
        known = self._own_bearer(held, symbol, name)
        if known in {None, shown} or self._is_over(held, symbol, known):
            return None
        if not (is_later(known, shown) or self._shows_over(held, state)):
            return None
        own = known.removeprefix("#")
        try:
            over = (await self._order(asked.job, held, OrderRef(symbol, own), share=4)).final
        except (NotKnown, OSError, ValueError):
            over = False  # that it is over was not said
        return None if over else own

    def _is_of_before(self, held: Held, symbol: str, name: str, state: OrderState) -> bool:
        """Tell whether an order is over, and another one of its name is on its way, or may be."""
        sent = [
            one for one in self._owners.waiting.named((held.account, symbol, name)) if one.order_id is None
        ]
        own = any(one.grant == held.lease.grant for one in sent)
        return own and self._shows_over(held, state) and not any(fits(one, state) for one in sent)

    def _own_bearer(self, held: Held, symbol: str, name: str) -> str | None:
        grant, known_as = self._owners.bearer(held.account, symbol, name) or ("", None)
        return known_as if grant == held.lease.grant else None

    def _shows_over(self, held: Held, state: OrderState) -> bool:
        return state.final or self._is_over(held, state.symbol, f"#{state.order_id}")

    def _is_over(self, held: Held, symbol: str, known_as: str) -> bool:
        return self._book.recent.left_of((held.account, symbol, known_as.removeprefix("#"))) == 0

    async def _of_state(self, asked: _Asked, state: OrderState) -> str:
        """Tell whose an order is that the venue showed (rules 1 and 3)."""
        if state.order_id is None:
            raise NotKnown("odd_answer")
        held, known_as, within_us = asked.held, f"#{state.order_id}", _within_us(asked.job, state)
        rivals, claims = self._owners.waiting.candidates(held.account, state), Claims(self._link.boot)
        try:
            grant = await self._recorded(asked, state.symbol, known_as, within_us)
            if grant is None and state.client_order_id:
                answer = await self._named(asked, state.symbol, state.client_order_id, within_us)
                if answer.grant not in {None, held.lease.grant}:  # perhaps it was recorded between the two
                    grant = await self._recorded(asked, state.symbol, known_as)
                claims = Claims(self._link.boot, answer.claims)
                rivals = (*rivals, *claims.beside(held.account, state.symbol, rivals))
        except LinkDown:
            found, shown = may_be(rivals, state)
            if not shown or len({one.grant for one in found}) != 1:
                raise
            grant = None
        if grant is not None:
            if state.client_order_id:
                self._owners.bear(held.account, state.symbol, state.client_order_id, known_as, grant)
            return _word(held, grant)
        # who got the id of another order while the broker was asked is none of them any more
        left = (sent for sent in rivals if sent.order_id in {None, state.order_id})
        found, shown = may_be(left, state)
        senders = {claims.stands_for(sent) for sent in found}
        if not shown and not held.sole and (held.account_owner or held.lease.grant in senders):
            raise NotKnown("odd_answer")  # too little was told: it may be the asker's to cancel, or not
        if not shown or any(sent.flying for sent in found):
            pass  # the answer that is under way will say which it is
        elif len(senders) == 1:
            self._owners.assign(found, state.order_id, _venue_us(asked.job), state)
        elif held.lease.grant in senders:
            raise NotKnown("namesakes")  # several may have sent it: that is for their answers to tell
        words = {self._remembered(held, one) for one in senders}
        if OWN in words and len(words) > 1:
            raise NotKnown("namesakes")  # one of several, and whose answer is under way will say which
        if words - {NOBODY}:
            return OWN if words == {OWN} else OTHER
        asked.job.frees = _binds(state)
        return NOBODY

    async def _by_record(
        self, asked: _Asked, symbol: str, name: str, *, absent: bool, fault: Exception
    ) -> str:
        """Decide by who used the name, where the venue shows no order of it, or cannot be asked.

        What the sender asked for is on its way, or the venue lags: it may cancel it. So it may when the venue is
        silent, unless somebody else has used the name too.
        """
        held, others = asked.held, False
        own, place = {held.lease.grant}, (held.account, symbol, name)
        askers = self._owners.askers(*place)
        try:
            answer = await self._named(asked, symbol, name, within_us=None)
        except LinkDown:
            if askers != own and not held.sole:
                raise
        else:
            told = {one.grant for one in answer.claims}
            told |= set() if answer.grant is None else {answer.grant}
            claims, waiting = Claims(self._link.boot, answer.claims), self._owners.waiting.named(place)
            stand = {claims.stands_for(one) for one in waiting}
            askers = (askers - {one.grant for one in waiting}) | stand
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
            if recorded is not None or held.sole:
                return NOBODY if recorded is None else _word(held, recorded)
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
        if known is None:
            own = self._own_bearer(held, symbol, name_of(target))
            if own is not None and is_later(own, f"%{found.list_id}"):
                asked.job.target_id = own.removeprefix("%")
                return OWN
            asked.job.target_id = found.list_id
        grant = await self._recorded(asked, symbol, f"%{found.list_id}")
        if grant is not None:
            return _word(held, grant)
        words, faults = set[str](), list[Exception]()
        for leg in found.orders:
            known_as, ref = f"#{leg.order_id}", OrderRef(symbol, leg.order_id)
            try:
                owner = await self._recorded(asked, symbol, known_as)
                state = await self._order(asked.job, held, ref) if owner is None else None
                words.add(_word(held, owner or "") if state is None else await self._of_state(asked, state))
            except (NotKnown, LinkDown, OSError, ValueError) as fault:
                faults.append(fault)
        if OWN in words and OTHER not in words:  # one request placed all of them
            self._owners.record(held.account, symbol, f"%{found.list_id}", held.lease.grant)
            return OWN
        if faults:
            raise faults[0]
        return NOBODY if words == {NOBODY} else OTHER

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
            word = NOBODY if known is None or answer.gone else self._remembered(held, known)
            return None if word == NOBODY else known
        return answer.grant

    def _remembered(self, held: Held, grant: str) -> str:
        """Say whose an order is by what is known here alone of who sent it (rule 5).

        Raises:
            NotKnown: Another may stand for that grant.
        """
        if grant == held.lease.grant or self._lives(grant):
            return _word(held, grant)
        if held.sole:  # it is no living one's
            return NOBODY
        raise NotKnown("heir_untold")

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

    async def _order(self, job: Job, held: Held, ref: OrderRef, share: int = 2) -> OrderState:
        credential = self._book.material.get(held.key_text)
        if job.account is None or credential is None:
            raise NotKnown("no_material")
        async with _part_of_the_time(share):
            return await job.account.fetch_order(credential, ref, job.need, job.asker)

    async def _list(self, job: Job, held: Held, ref: OrderRef) -> ListState:
        credential = self._book.material.get(held.key_text)
        if job.account is None or credential is None:
            raise NotKnown("no_material")
        async with _part_of_the_time(2):
            return await job.account.fetch_list(credential, ref, job.need, job.asker)


@asynccontextmanager
async def _part_of_the_time(share: int) -> AsyncIterator[None]:
    """Leave the other part to the record (rule 2); that the time is up says nothing of the venue."""
    wait = Wait(asking.ASK_SECONDS / share)
    try:
        async with wait.runs():
            yield
    except TimeoutError:
        if not wait.over:
            raise
        raise NotKnown("no_time") from None


def _within_us(job: Job, state: OrderState) -> int:
    """Return how long ago the broker may have been asked who made an order: not before the venue had it (rule 6)."""
    if job.account is None or state.created_us is None:
        return 0
    return max(0, job.account.venue_us() - state.created_us - TOLERANCE_US)


def _venue_us(job: Job) -> int:
    return 0 if job.account is None else job.account.venue_us()
