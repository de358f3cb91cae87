"""Followed orders of a shared account, whose state may have changed since the venue told it last: nobody tells.

Rules:
1. Whose an asset is follows from what orders executed. So before an exit is judged by it, the venue is asked about
   the followed orders of it: others', and those of its own grant, but for its own sales that are just being sent.
   Where there are none, nothing is asked. Who is alone on an account has nobody's to sell.
2. The open ones of a pair are asked for together, one alone by its id. What is not open any more has ended: one by one,
   its own and one of each other grant in turn; where they are many, those that one page shows as ended first. There
   are more than one exit asks about: the pair of the exit, and the order that it replaces, come first, then what was
   not asked about for longest.
3. What the venue did not tell since the exit came counts at its worst (`Doubt`): others bought all that was left of
   their purchases, of alternatives one, and bind nothing; what is replaced frees nothing, nor what an own sale on its
   way replaces. What was never told of a sale that may be of who came before this grant, of whose stock this one may
   have the rest, is sold of its own (`consumer`); and so is what an earlier start sent to give of its own, and nobody
   heard of. It is no policy's no then (`fetch`), and who leaves beside that leaves. A purchase that is sized in quote
   bought no more than that pays for at half the lower one of the prices that were known when it left and now; only
   where none is known it has no bound.
4. An exit waits for that for most of the time that it has in all (`LONGEST_S`), not for long where the venue answers
   nothing anyway. What comes later is taken in all the same. What is learnt while the broker is asked whose the asset
   is, is in no answer: it is asked once more then (`known`, `learnt`).
   In a pair that is quoted in the asset purchases pay and bind it, and sales bring it (`broker.paid`): what nobody saw
   rest at its limit may have been sold at the market above it, so it counts at twice that.
5. Those who come at once by one key share what is asked: not what left before they came, that is too old for them, but
   the next. What another key asks has that key's places, and may wait for them.
   Where the one who asked it had no answer they share once more, and then each asks itself.
6. An exit is kept from asking by nothing but the venue's weight (`AccountView.leaves_room`) and these numbers: what
   failed before is asked about by the next exit all the same. A pause would refuse exits at a venue that is well. But
   few questions are on lines at once (`places`), and none for longer than `HELD_S`: at a venue that answers none, they
   took all of them, and held them for as long again once it was well.
7. What an account holds is asked for before that: what is bought meanwhile would be its finder's.
"""

import asyncio
import contextlib
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Coroutine, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from itertools import zip_longest

from broker.gateway.account_view import AccountView
from broker.gateway.bought import Known
from broker.gateway.bound import Pairs, bound, paying, pays_with, weighed
from broker.gateway.fills import UNKNOWN, RecentFills
from broker.gateway.limits import Need
from broker.gateway.reported import bought_at_most, left_at_most, paid_at_most
from broker.gateway.sent import Sent, is_on_record
from broker.gateway.settlement import Reservation, Settlement
from broker.gateway.settler import TOGETHER, Settler
from broker.gateway.sharing import Sharing
from broker.gateway.unseen import Asset, Doubt, brings, is_replaced, moves, pays
from broker.gateway.venue_view import NotKnown
from broker.listed import list_of
from broker.paid import paid_in
from broker.policy_facts import Quote
from clients.venue import Credential

MOST, MOST_PAIRS, MOST_IN_ALL = 20, 30, 60
"""How many are asked about one by one for one exit in a pair, in how many pairs, and how many in all."""

LONGEST_S, LANDS_S, TURN_S = 1.3, 0.7, 0.1
"""For how long an exit waits in all, for answers that are under way, and for a question that left before it came."""

SILENT_S = 0.25
"""For how long in all where the venue answers nothing."""

HELD_S = 2.0
"""A question waits for a line and then for its answer; whatever becomes of it, its place is free after that."""

_MOST_TURNS, _ZERO = 5_000, Decimal(0)
_EXPECTED = (NotKnown, OSError, ValueError, TimeoutError)
_NO_QUOTES: Mapping[str, Quote] = {}
_NO_PAIRS: Pairs = {}
_Order = tuple[Reservation, Sent]
_Known = tuple[bool, str | None, object, object]


@dataclass(slots=True, eq=False)
class _Inquiry:
    """What is asked on behalf of one exit; `spare`: how many more orders are asked about one by one."""

    asset: Asset
    account: AccountView
    credential: Credential
    since_us: int
    spare: int = MOST_IN_ALL


class Followed:
    """Asks about them on behalf of exits."""

    def __init__(
        self, settlement: Settlement, settler: Settler, recent: RecentFills, now_us: Callable[[], int]
    ) -> None:
        self._settlement, self._settler, self._recent, self._now_us = settlement, settler, recent, now_us
        self._sharing: Sharing[bool] = Sharing(TURN_S)
        self._awaited: dict[Sent, asyncio.Event] = {}
        self.consumer_of: Callable[[str], str] = lambda _grant: ""
        self._turns: OrderedDict[tuple[str, str], int] = OrderedDict()
        """When an exit asked about a pair last."""

    def doubt(
        self, asset: Asset, since_us: int, quotes: Mapping[str, Quote] = _NO_QUOTES, *, hidden: bool = False
    ) -> Doubt:
        """Return what is not known of what the venue was asked since then.

        Args:
            asset: Of what, and on whose behalf.
            since_us: Since when.
            quotes: The prices of now.
            hidden: More was executed than is told (`hides`): others may have bought whatever rests of theirs.
        """
        anything, replaced = False, False
        others: dict[Hashable, Decimal] = {}
        own: dict[Hashable, Decimal] = {}
        for held, sent in self._of(asset):
            theirs = hidden and sent.grant != asset.grant and brings(sent, asset)
            if sent.seen_us >= since_us and not theirs:
                continue
            anything = True
            if moves(sent, asset):
                own[sent] = others[sent] = self._left(sent, asset, quotes) or _ZERO
            elif self._is_kin(held, sent, asset):
                given = sum((sale.amount for sale in held.given if sale.asset == asset.base), _ZERO)
                size = paid_at_most(sent) if pays(sent, asset) else sent.quantity
                own[held.number if given else sent] = given or size or UNKNOWN
            elif self._is_unheard(sent, asset):
                size = paid_at_most(sent) if pays(sent, asset) else sent.quantity
                own[sent] = UNKNOWN if size is None else size
            if sent.grant != asset.grant:
                left, beside = self._left(sent, asset, quotes), self._beside(sent, asset)
                others[beside] = max(others.get(beside, _ZERO), UNKNOWN if left is None else left)
            replaced = replaced or is_replaced(sent, asset) or self._ends_with(sent, asset)
        offered = self._recent.offers((asset.account, asset.symbol, asset.replaces)) if replaced else _ZERO
        less = sum(own.values(), _ZERO)
        return Doubt(anything, sum(others.values(), _ZERO), replaced, offered, less)

    def hides(self, asset: Asset, account: AccountView, pairs: Pairs) -> bool:
        """Tell whether holdings show that something was executed which is told as resting, or may (`bound`)."""
        hiding = self._hiding(asset, account, pairs)
        return hiding is None or bool(hiding)

    def _hiding(self, asset: Asset, account: AccountView, pairs: Pairs) -> set[str] | None:
        """Return the pairs whose orders pay with what others' pay with which bring the asset, where less is bound.

        None: they are too many to tell.
        """
        few, found = weighed(self._of(asset)), set[str]()
        if few is None:
            return None
        theirs = (sent for _, sent in few if sent.grant != asset.grant and brings(sent, asset))
        for paid in {pays_with(sent, pairs) for sent in theirs} - {""}:
            symbols = paying(paid, self._settlement.pairs_of(asset.account), pairs)
            orders = self._settlement.of_pairs(asset.account, symbols)
            least = bound(orders, paid, account.asked_us, pairs, self._told)
            if least is None:
                return None
            if account.locked(paid) < least:
                found |= symbols
        return found

    def _told(self, sent: Sent) -> Known | None:
        return self._recent.known((sent.account, sent.symbol, sent.order_id or ""))

    def _is_kin(self, held: Reservation, sent: Sent, asset: Asset) -> bool:
        """Tell whether an order is a sale that nothing was told of, and may be of who came before the asking grant."""
        if brings(sent, asset) or sent.grant == asset.grant or sent.sent_us <= 0 or sent.gateway:
            return False
        if self._row(sent, asset) is not None:
            return False  # what it offers is not counted as one's own
        return (held.consumer or self.consumer_of(sent.grant)) in {"", asset.consumer}

    def _is_unheard(self, sent: Sent, asset: Asset) -> bool:
        """Tell whether an own order gives that an earlier start sent and nobody heard of: no sale tells of it."""
        own = sent.grant == asset.grant and bool(sent.boot) and not sent.gateway  # those the record counts
        return own and not brings(sent, asset) and self._row(sent, asset) is None

    def _row(self, sent: Sent, asset: Asset) -> Known | None:
        """Return what was told of an order as it moves an asset."""
        symbol = paid_in(sent.symbol) if pays(sent, asset) else sent.symbol
        return self._recent.known((sent.account, symbol, sent.order_id or ""))

    def _beside(self, sent: Sent, asset: Asset) -> Hashable:
        """Return what is the same for orders of which only one is executed: for others an order is that alone.

        What waits for another one buys beside that; but it binds nothing before.
        """
        known, gives = self._row(sent, asset), not brings(sent, asset)
        listed = "" if known is None else known.listed
        if list_of(listed) and (gives or "/" in listed):
            return sent.symbol, sent.side, list_of(listed) if gives else listed
        return (sent.number, sent.side, sent.waits) if sent.grouped and not listed else sent

    def _ends_with(self, sent: Sent, asset: Asset) -> bool:
        """Tell whether an order is of the list that ends with the order which is replaced."""
        orders = ((sent.account, sent.symbol, sent.order_id), (asset.account, asset.symbol, asset.replaces))
        if not asset.replaces or sent.grant != asset.grant or orders[0][:2] != orders[1][:2]:
            return False
        known = [self._recent.known((account, symbol, number or "")) for account, symbol, number in orders]
        lists = {"" if one is None else list_of(one.listed) for one in known}
        return len(lists) == 1 and "" not in lists

    def landed(self, sent: Sent) -> None:
        """The answer that tells of an order is there, or never will be."""
        sent.landed_us = self._now_us()
        waits = self._awaited.pop(sent, None)
        if waits is not None:
            waits.set()

    async def look(
        self, asset: Asset, account: AccountView, credential: Credential, pairs: Pairs = _NO_PAIRS
    ) -> int:
        """Ask about them; what could not be had is in doubt. Return since when they were asked about.

        Where holdings show that something was executed, it may have been in any of these pairs that binds the same.
        """
        since_us = self._now_us()
        flying = [sent for _, sent in self._of(asset) if sent.flying]  # what leaves later is not waited for
        waits = [self._awaited.setdefault(sent, asyncio.Event()) for sent in flying]
        longest_s = SILENT_S if account.is_silent else LONGEST_S
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                lands_s = min(LANDS_S, longest_s / 2)
                await asyncio.gather(_landing(waits, lands_s), account.answered(lands_s))
                since_us = self._now_us()
                inquiry = _Inquiry(asset, account, credential, since_us)
                beside = self._hiding(asset, account, pairs) if pairs and account.known(since_us) else ()
                found = self._pairs(asset, beside or ())
                await asyncio.gather(*(self._pair(inquiry, symbol, orders) for symbol, orders in found))
        return since_us

    def unseen(self, asset: Asset, since_us: int) -> int:
        """Return of how many the venue was not asked since then, or did not tell."""
        return sum(sent.seen_us < since_us and not sent.flying for _, sent in self._of(asset))

    def known(self, asset: Asset) -> dict[Sent, _Known]:
        """Return what is known of them now, for `learnt`."""
        return {sent: self._known(sent) for _, sent in self._of(asset)}

    def learnt(self, known: Mapping[Sent, _Known]) -> bool:
        """Tell whether anything of them was learnt since then."""
        return any(self._known(sent) != before for sent, before in known.items())

    def _known(self, sent: Sent) -> _Known:
        """Return what is known of an order for either asset."""
        kept = (paid_in(sent.symbol), sent.symbol)
        rows = [self._recent.known((sent.account, symbol, sent.order_id or "")) for symbol in kept]
        return sent.done, sent.order_id, rows[0], rows[1]

    def _of(self, asset: Asset) -> Iterator[_Order]:
        """Yield the orders that could matter: not own sales whose answers are under way, those count as sold."""
        for held, sent in self._settlement.of_asset(asset.account, asset.base, asset.symbol):
            own_sale = sent.grant == asset.grant and not brings(sent, asset)
            if not (own_sale and sent.flying) or is_replaced(sent, asset):
                yield held, sent

    def _pairs(self, asset: Asset, beside: Iterable[str]) -> list[tuple[str, list[_Order]]]:
        """Return by pair what this exit asks about: its own pair first, then what was not asked about for longest."""
        pairs: dict[str, list[_Order]] = defaultdict(list)
        for one in self._of(asset):
            pairs[one[1].symbol].append(one)
        for one in self._settlement.of_pairs(asset.account, set(beside) - set(pairs)):
            pairs[one[1].symbol].append(one)

        def turn(symbol: str) -> tuple[bool, int]:
            return symbol != asset.symbol, self._turns.get((asset.account, symbol), -1)

        found = sorted(pairs, key=turn)[:MOST_PAIRS]
        for symbol in found:
            self._turns[asset.account, symbol] = self._now_us()
            self._turns.move_to_end((asset.account, symbol))
        while len(self._turns) > _MOST_TURNS:
            self._turns.popitem(last=False)
        return [(symbol, pairs[symbol]) for symbol in found]

    def _left(self, sent: Sent, asset: Asset, quotes: Mapping[str, Quote]) -> Decimal | None:
        """Return how much of an order may have been executed that was not told; None where that has no bound."""
        known = self._row(sent, asset)
        if not brings(sent, asset):  # what it binds: where it was never told, or waits, that is nothing
            if known is None and is_on_record(sent):
                return None  # how much the record takes as bound is not known here
            return _ZERO if known is None else max(_ZERO, known.left)
        left = None if known is None else abs(known.left)
        if pays(sent, asset):
            quote = quotes.get(sent.symbol)
            now = _ZERO if quote is None else quote.price
            return paid_at_most(sent, now) if left is None else left_at_most(sent, left, now)
        if sent.quantity is not None:
            return sent.quantity if left is None else left
        quote = quotes.get(sent.symbol)
        return left if sent.spends is None else bought_at_most(sent, None if quote is None else quote.price)

    async def _pair(self, inquiry: _Inquiry, symbol: str, orders: list[_Order]) -> None:
        def left() -> list[Sent]:
            found = (sent for _, sent in orders if not sent.flying and not sent.done)
            return [sent for sent in found if sent.seen_us < inquiry.since_us]

        pair = (inquiry.asset.account, symbol)
        if sum(sent.order_id is not None for sent in left()) > 1:
            await self._shared(inquiry, ("open", *pair), partial(self._open, inquiry, symbol))
        ended = [
            int(sent.order_id) for sent in left() if sent.order_id is not None and sent.order_id.isdigit()
        ]
        if len(ended) >= TOGETHER:
            first = str(min(ended))
            await self._shared(inquiry, ("page", *pair, first), partial(self._page, inquiry, symbol, first))
        still = set(left())
        alone = _fair([one for one in orders if one[1] in still], inquiry.asset)[: inquiry.spare]
        inquiry.spare -= len(alone)
        await asyncio.gather(
            *(self._shared(inquiry, _place(one), partial(self._one, inquiry, one)) for one in alone)
        )

    async def _shared(
        self, inquiry: _Inquiry, what: Hashable, ask: Callable[[], Coroutine[None, None, None]]
    ) -> None:
        """Ask the venue, or share what somebody else is about to ask; where two had no answer, ask it alone."""
        mine, key_id = False, inquiry.asset.key_id

        async def asked() -> bool:
            nonlocal mine
            mine = True
            try:
                async with asyncio.timeout(LONGEST_S) as waits, inquiry.account.places.one(key_id):
                    if not inquiry.account.leaves_room(key_id):
                        return False
                    waits.reschedule(asyncio.get_running_loop().time() + HELD_S)
                    await ask()
            except _EXPECTED:
                return False
            return True

        for shared in ((key_id, what), (key_id, what), (key_id, what, inquiry)):
            if not inquiry.account.leaves_room(key_id):
                return
            if await self._sharing.ask(shared, asked) or mine:
                return

    async def _open(self, inquiry: _Inquiry, symbol: str) -> None:
        asked_us = self._now_us()
        states = await inquiry.account.fetch_open(inquiry.credential, symbol, Need.EXIT, inquiry.asset.key_id)
        for state in states:
            self._settler.take(inquiry.asset.account, state, asked_us)

    async def _page(self, inquiry: _Inquiry, symbol: str, first: str) -> None:
        asked_us, whose = self._now_us(), inquiry.asset.key_id
        shown = await inquiry.account.fetch_orders(inquiry.credential, symbol, first, Need.EXIT, whose)
        for state in shown.orders:
            if state.final:  # what it shows as open may have ended since
                self._settler.take(inquiry.asset.account, state, asked_us)

    async def _one(self, inquiry: _Inquiry, order: _Order) -> None:
        held, sent = order
        if sent.order_id is None and not sent.name:
            return  # by nothing that the venue knows
        asked_us = sent.looked_us = self._now_us()
        await self._settler.ask(
            inquiry.account, inquiry.credential, held, sent, Need.EXIT, inquiry.asset.key_id
        )
        if not sent.done and sent.seen_us < asked_us:
            raise NotKnown("orders_unknown")


async def _landing(waits: Iterable[asyncio.Event], seconds: float) -> None:
    """Wait, not for long, until these answers are there."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            for one in waits:
                await one.wait()


def _place(order: _Order) -> tuple[str, str, str]:
    sent = order[1]
    return sent.account, sent.symbol, sent.order_id or f"{sent.number}:{sent.name}"


def _fair(orders: Iterable[_Order], asset: Asset) -> list[_Order]:
    """Return those that are asked about now: of each grant in turn, the asking one's and what it replaces first."""
    lanes: dict[str, list[_Order]] = defaultdict(list)
    for one in sorted(orders, key=lambda one: (not is_replaced(one[1], asset), one[1].looked_us)):
        lanes[one[1].grant].append(one)
    own = lanes.pop(asset.grant, [])
    turns = zip_longest(own, *lanes.values())
    return [one for turn in turns for one in turn if one is not None][:MOST]
