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
"""

import asyncio
from decimal import Decimal

from broker.errors import LinkDown
from broker.gateway import asking
from broker.gateway.book import Book, Held
from broker.gateway.job import Job
from broker.gateway.link import LinkClient
from broker.gateway.owners import Owners, id_of, name_of
from broker.gateway.sent import Sent, fits, only_fit
from broker.gateway.venue_view import NotKnown
from broker.link.frames import ClaimPart, OwnerQuery
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


class Whose:
    """Asks whose an order is, on behalf of requests."""

    def __init__(self, book: Book, link: LinkClient, owners: Owners) -> None:
        self._book, self._link, self._owners = book, link, owners

    async def find_out(self, job: Job) -> None:
        """Fill in `job.owner`.

        Raises:
            NotKnown, OSError, ValueError: The venue could not tell.
            LinkDown: The broker could not tell.
        """
        held, reading = job.held, job.reading
        if held is None or reading is None or reading.intent.target is None:
            return
        target = reading.intent.target
        if target.is_list:
            job.owner = await self._of_list(job, held, target)
        elif target.order_id is None:
            job.owner = await self._of_name(job, held, target)
        else:
            job.owner = await self._of_id(job, held, target)

    # --- orders ---------------------------------------------------------------------------

    async def _of_id(self, job: Job, held: Held, target: OrderRef) -> str:
        symbol, name = target.symbol or "", target.client_order_id
        try:
            recorded = await self._recorded(held, symbol, f"#{target.order_id}")
        except LinkDown:
            recorded = None  # the venue may show that it is one of ours
        if recorded is not None and name is None:
            return _word(held, recorded)
        if recorded is None and name is None and held.sole:
            return NOBODY
        try:
            state = await self._order(job, held, OrderRef(symbol, target.order_id))
        except (NotKnown, OSError, ValueError) as fault:
            if isinstance(fault, NotKnown) and fault.code == NO_SUCH_ORDER:
                return NOBODY
            if recorded is None or name is None or _word(held, recorded) != OWN:
                raise
            # it goes by both: the order is an own one, and so is every one that the name can lead to
            return await self._by_record(held, symbol, name, absent=False, fault=fault)
        if name is not None and state.client_order_id != name:
            return OTHER  # two names of two orders: which of them is meant is not for us to guess
        return await self._of_state(held, state)

    async def _of_name(self, job: Job, held: Held, target: OrderRef) -> str:
        symbol, name = target.symbol or "", name_of(target)
        try:
            state = await self._order(job, held, target)
        except (NotKnown, OSError, ValueError) as fault:
            absent = isinstance(fault, NotKnown) and fault.code == NO_SUCH_ORDER
            return await self._by_record(held, symbol, name, absent=absent, fault=fault)
        return await self._of_state(held, state)

    async def _of_state(self, held: Held, state: OrderState) -> str:
        """Tell whose an order is that the venue showed (rules 1 and 3)."""
        if state.order_id is None:
            raise NotKnown("odd_answer")
        known_as = f"#{state.order_id}"
        rivals = self._owners.waiting.candidates(held.account, state)
        try:
            grant = await self._recorded(held, state.symbol, known_as)
            if grant is None and state.client_order_id:
                answer = await self._link.ask_owner(_query(held, state.symbol, state.client_order_id))
                # of what was sent from here we know more: the broker may not have heard yet that it was refused
                away = [one for one in answer.claims if one.boot != self._link.boot]
                rivals = (*rivals, *(_as_sent(held, state.symbol, one) for one in away))
        except LinkDown:
            if only_fit(rivals, state) is None:
                raise
            grant = None
        if grant is not None:
            if state.client_order_id:
                self._owners.bear(held.account, state.symbol, state.client_order_id, known_as, grant)
            return _word(held, grant)
        found = [sent for sent in rivals if fits(sent, state)]
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

    async def _by_record(self, held: Held, symbol: str, name: str, *, absent: bool, fault: Exception) -> str:
        """Decide by who used the name, where the venue shows no order of it, or cannot be asked.

        What the sender asked for is on its way, or the venue lags: it may cancel it. So it may when the venue is
        silent, unless somebody else has used the name too.
        """
        own, others = {held.lease.grant}, False
        askers = self._owners.askers(held.account, symbol, name)
        try:
            answer = await self._link.ask_owner(_query(held, symbol, name))
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

    async def _of_list(self, job: Job, held: Held, target: OrderRef) -> str:
        symbol, known = target.symbol or "", id_of(target)
        if known is not None and target.client_order_id is None:
            recorded = await self._recorded(held, symbol, known)
            if recorded is not None:
                return _word(held, recorded)
            if held.sole:
                return NOBODY
        try:
            found = await self._list(job, held, target)
        except (NotKnown, OSError, ValueError) as fault:
            absent = isinstance(fault, NotKnown) and fault.code == NO_SUCH_ORDER
            if known is None:
                return await self._by_record(held, symbol, name_of(target), absent=absent, fault=fault)
            if absent:
                return NOBODY
            raise
        if known not in {None, f"%{found.list_id}"} or target.client_order_id not in {None, found.client_id}:
            return OTHER  # as with two names of two orders
        grant = await self._recorded(held, symbol, f"%{found.list_id}")
        if grant is not None:
            return _word(held, grant)
        words = set()
        for leg in found.orders:
            owner = await self._recorded(held, symbol, f"#{leg.order_id}")
            if owner is None:
                state = await self._order(job, held, OrderRef(symbol, leg.order_id))
                words.add(await self._of_state(held, state))
            else:
                words.add(_word(held, owner))
        if words == {OWN}:
            self._owners.record(held.account, symbol, f"%{found.list_id}", held.lease.grant)
        return words.pop() if len(words) == 1 else OTHER

    # --- asking ---------------------------------------------------------------------------

    async def _recorded(self, held: Held, symbol: str, known_as: str) -> str | None:
        """Return the grant that an id is recorded under, here or at the broker (rule 5)."""
        known = self._owners.find(held.account, symbol, known_as)
        if known == held.lease.grant:
            return known
        try:
            answer = await self._link.ask_owner(_query(held, symbol, known_as))
        except LinkDown:
            if known is not None and not held.sole and self._lives(known):
                return known
            raise
        if answer.grant is None:
            # the broker may not have heard yet; but on the account of an only grant it is no living one's
            gone = answer.gone or (held.sole and known is not None and not self._lives(known))
            return None if gone else known
        self._owners.record(held.account, symbol, known_as, answer.grant)
        return answer.grant

    def _lives(self, grant: str) -> bool:
        """Tell whether a grant has a lease here: it was not revoked."""
        return any(held.lease.grant == grant for held in self._book.by_lease.values())

    async def _order(self, job: Job, held: Held, ref: OrderRef) -> OrderState:
        credential = self._book.material.get(held.key_text)
        if job.account is None or credential is None:
            raise NotKnown("no_material")
        async with asyncio.timeout(asking.ASK_SECONDS / 2):
            return await job.account.fetch_order(credential, ref, job.need)

    async def _list(self, job: Job, held: Held, ref: OrderRef) -> ListState:
        credential = self._book.material.get(held.key_text)
        if job.account is None or credential is None:
            raise NotKnown("no_material")
        async with asyncio.timeout(asking.ASK_SECONDS / 2):
            return await job.account.fetch_list(credential, ref, job.need)


def _query(held: Held, symbol: str, name: str) -> OwnerQuery:
    if name.startswith(("#", "%")):
        return OwnerQuery(0, held.account, symbol, name[1:], None, name.startswith("%"))
    return OwnerQuery(0, held.account, symbol, None, name.removeprefix("@"), name.startswith("@"))


def _as_sent(held: Held, symbol: str, claim: ClaimPart) -> Sent:
    """Read what another gateway, or an earlier start of this one, sent under a name."""
    return Sent(
        0, claim.grant, held.account, symbol, claim.name, claim.side,
        Decimal(claim.quantity) if claim.quantity else None, Decimal(claim.price or "0"),
        claim.sent_us, claim.until_us, exact=claim.exact,
    )  # fmt: skip
