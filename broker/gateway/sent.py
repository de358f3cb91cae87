"""Orders as they left here, and how one is known again at the venue. Pure.

Rules:
1. An order is its request, by our own number, until the venue has given it an id; then it is that id.
2. A client order id may be used again: it only leads to candidates. One of them is the order that was found if
   everything fits that was sent, its time above all, and if no other candidate fits as well.
3. What cannot be told apart stays unknown: nothing is released for it, and nobody may cancel it for being asked. But
   which of two that one grant sent alike it is changes nothing (`which`): the first has it, the other is in doubt.
4. What the venue does not tell of an order contradicts nothing, and shows nothing: it may be the one that was sent.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from broker.gateway.fair import Fair
from broker.gateway.sales import Sale
from clients.venue import Intent, SymbolInfo
from clients.wire import OrderState, Stamp

TOLERANCE_US = 500_000
"""How far the venue's clock may be from what was measured of it."""

MOST_WAITING = 50_000
LIST_SLOT = "listClientOrderId"
_ZERO = Decimal(0)

Place = tuple[str, str, str]
"""Account, symbol, name."""

_What = tuple[str, str, str | None]
_FOR_GOOD = 0


@dataclass(slots=True, eq=False)
class Sent:
    """One order, or one order list, of a request.

    Times are the venue's, in microseconds: it cannot have been made before `sent_us`, nor after `until_us`.
    `name` is its client order id; that of a list begins with `@`. `exact`: the venue takes the quantity as sent.
    `order_id` is the venue's own once it is known. `done`: it can no longer execute. `renamed`: an amendment may
    have given it another name. `absent_us` is when the venue first said that it does not know it, `gone` that it
    said so again. `asked` is the line of the call log that tells of its request, `boot` whose log that is where it is
    of an earlier start of this gateway, `base` what it trades. `flying`:
    its answer is still under way and will tell; an order at the venue that fits may be an older namesake till then.
    `waits`: for another order of its request to be filled; `grouped`: its request places a list, so that is known.
    `seen_us`: when the venue was asked last what became of it, and told it, by our boot clock; `looked_us`: when an
    exit had it asked about last. `quote`: what its pair is quoted in, where that is counted (`broker.paid`).
    `spends` is what a purchase that is sized in quote pays, `market` the price that was known when it left. `trigger`:
    what starts one that waits for a price, zero where it follows the market; None: it waits for none.
    `moved`: the sale that is to take its place. `rested`: the venue told what it had executed by then. `gateway`: in
    whose log `asked` and `boot` are, where the broker told us of it (`elsewhere`). `landed_us`: when the answer to
    its request was there, by our boot clock.
    """

    number: int
    grant: str
    account: str
    symbol: str
    name: str
    side: str
    quantity: Decimal | None
    price: Decimal
    sent_us: int
    until_us: int
    exact: bool = True
    order_id: str | None = None
    done: bool = False
    renamed: bool = False
    absent_us: int | None = None
    gone: bool = False
    asked: int = 0
    base: str = ""
    flying: bool = False
    waits: bool = False
    boot: str = ""
    seen_us: int = -1
    looked_us: int = -1
    grouped: bool = False
    spends: Decimal | None = None
    market: Decimal | None = None
    trigger: Decimal | None = None
    quote: str = ""
    moved: Sale | None = None
    rested: bool = False
    gateway: str = ""
    landed_us: int = 0

    @property
    def is_list(self) -> bool:
        """Whether it is an order list."""
        return self.name.startswith("@")

    @property
    def known_as(self) -> str | None:
        """What it is owned by: `#` and its id, or `%` and a list's; None while it has none."""
        return None if self.order_id is None else f"{'%' if self.is_list else '#'}{self.order_id}"

    @property
    def place(self) -> Place:
        """Where its name is looked up."""
        return self.account, self.symbol, self.name


def is_on_record(sent: Sent) -> bool:
    """Tell whether the record told of an order, and nothing of how it was sent (`resting`)."""
    return not (sent.sent_us or sent.name)


def contradicts(sent: Sent, state: OrderState) -> bool:
    """Tell whether an order at the venue cannot be the one that was sent; its name is not looked at (rule 4)."""
    at_us, price, quantity = state.created_us, state.price, state.quantity
    if at_us is not None and not sent.sent_us - TOLERANCE_US <= at_us <= sent.until_us + TOLERANCE_US:
        return True
    if (state.side or sent.side) != sent.side or (price is not None and price != sent.price):
        return True
    if sent.quantity is None or quantity is None:
        return False
    return quantity > sent.quantity or (quantity < sent.quantity and sent.exact and not sent.renamed)


def fits(sent: Sent, state: OrderState) -> bool:
    """Tell whether all that was sent is told of an order at the venue, and nothing contradicts it.

    How large it is need not be told where the venue itself finds the quantity: it has none before.
    """
    sized = sent.quantity is None or state.quantity is not None or not sent.exact
    priced = state.price is not None or not sent.price
    told = state.created_us is not None and state.side is not None and sized and priced
    return told and not contradicts(sent, state)


def may_be(candidates: Iterable[Sent], state: OrderState) -> tuple[list[Sent], bool]:
    """Return which of these an order may be, and whether enough is told of it to say that it is one of them."""
    found = [sent for sent in candidates if not contradicts(sent, state)]
    return found, all(fits(sent, state) for sent in found)


def which(found: Sequence[Sent]) -> Sent | None:
    """Return which one an order is that all of these fit: the first, where they are one grant's and all alike.

    A bot that heard no answer sends the same again under the same name, and hears no answer again.
    """
    if len({(one.grant, one.name, one.quantity, one.price, one.exact, one.renamed) for one in found}) != 1:
        return None
    return min(found, key=lambda one: (one.sent_us, one.boot, one.asked))


def orders_of(
    intent: Intent,
    slots: Sequence[str],
    stamps: Sequence[str],
    number: int,
    grant: str,
    account: str,
    stamp: Stamp,
) -> tuple[Sent, ...]:
    """Return the orders that a request places, its list before them; nothing where it is a dry run.

    Args:
        intent: What it does.
        slots: Names of the client order ids it leaves out, in the order of its orders, that of a list first.
        stamps: What was written there.
        number: Of the request.
        grant: Of its sender.
        account: Where.
        stamp: The time it carries, and the window in which the venue takes it.
    """
    if intent.dry_run or not intent.orders:
        return ()
    legs = [(order, at > 0) for at, group in enumerate(intent.orders) for order in group]
    given = dict(zip(slots, stamps, strict=False))
    listed = intent.list_client_id or given.pop(LIST_SLOT, None)
    free = iter(given.values())
    derived = "opo" in intent.endpoint  # pending orders of these are sized by the venue, at most so
    until_us = stamp.timestamp_us + stamp.window_us
    symbol, named = legs[0][0].symbol, f"@{listed or ''}"
    group = Sent(number, grant, account, symbol, named, "", None, _ZERO, stamp.timestamp_us, until_us)
    orders = [
        Sent(
            number, grant, account, order.symbol, order.client_order_id or next(free, ""), order.side.value,
            order.quantity, order.price or _ZERO, stamp.timestamp_us, until_us, exact=not derived, waits=waits,
            grouped=len(legs) > 1, spends=order.quote_quantity,
            trigger=order.trigger or (_ZERO if order.trails else None),
        )
        for order, waits in legs
    ]  # fmt: skip
    return tuple(orders) if len(orders) == 1 else (group, *orders)


def note_pair(orders: Iterable[Sent], pair: SymbolInfo | None, money: str) -> None:
    """Note of orders what their pair trades, and is quoted in where that is no money; `pair`: None while unknown."""
    for sent in orders:
        sent.base = "" if pair is None else pair.base
        sent.quote = "" if pair is None or pair.quote == money else pair.quote


class Waiting:
    """What was sent and has no id yet: requests in flight, and those whose answer never came.

    An order that an amendment may have been of may go by another name: the amendment named it, or named none that is
    known. Once it is told that it was of none of these (`not_amended`) it was not: a name is no identity.
    """

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._named: dict[Place, list[Sent]] = {}
        self._plain: dict[tuple[str, str], dict[Sent, None]] = {}
        """Those of a pair that are not renamed for good."""
        self._renamed: dict[tuple[str, str], dict[Sent, None]] = {}
        self._marks: dict[Sent, set[int]] = {}
        """By which amendments an order may be renamed; `_FOR_GOOD`: by one that nothing more will be told of."""
        self._by: dict[int, tuple[_What, tuple[Sent, ...]]] = {}
        self._all: Fair[Sent, None] = Fair(most)
        self._amended: dict[_What, int] | None = None
        self._amended_more = False
        """Whether more was amended than is noted."""

    def add(self, sent: Sent) -> None:
        """It is about to leave."""
        self._named.setdefault(sent.place, []).append(sent)
        if not sent.is_list:
            self._plain.setdefault(sent.place[:2], {})[sent] = None
        for gone in self._all.put(sent, None, sent.grant):
            self._let_go(gone)

    def remove(self, sent: Sent) -> None:
        """It has an id now, or was refused."""
        if sent not in self._all:
            return
        self._all.drop(sent)
        self._let_go(sent)

    def _let_go(self, sent: Sent) -> None:
        rest = [one for one in self._named.get(sent.place, ()) if one is not sent]
        if rest:
            self._named[sent.place] = rest
        else:
            self._named.pop(sent.place, None)
        _take_out(self._plain, sent)
        _take_out(self._renamed, sent)
        self._marks.pop(sent, None)

    def latest(self, most: int) -> Iterator[Sent]:
        """Yield what was sent last, of each grant in turn, so many in all."""
        return self._all.latest(most)

    def named(self, place: Place) -> tuple[Sent, ...]:
        """Return what was sent under a name."""
        return tuple(self._named.get(place, ()))

    def amended(self, account: str, symbol: str, name: str | None, number: int = _FOR_GOOD) -> None:
        """An amendment is about to leave: what has no id yet may get another name.

        Args:
            account: Where.
            symbol: Of which pair.
            name: Of an order that goes by this; None: of any.
            number: By which more is told of the amendment, where it has a name.
        """
        if self._amended is not None and not self._amended_more:
            self._amended[account, symbol, name] = self._amended.get((account, symbol, name), 0) + 1
            self._amended_more = len(self._amended) >= MOST_WAITING
        if name is None:
            for sent in tuple(self._plain.get((account, symbol), ())):
                self.rename(sent)
            return
        found = self.named((account, symbol, name))
        for sent in found:
            self.rename(sent, number)
        if number:
            self._by[number] = (account, symbol, name), found

    def not_amended(self, number: int) -> None:
        """The venue refused an amendment, or it was of an order that is known: of none of these."""
        what, found = self._by.pop(number, (None, ()))
        if (
            what is not None
            and self._amended is not None
            and not self._amended_more
            and what in self._amended
        ):
            self._amended[what] -= 1
            if not self._amended[what]:
                del self._amended[what]
        for sent in found:
            marks = self._marks.get(sent)
            if marks is None:
                continue
            marks.discard(number)
            if not marks:
                del self._marks[sent]
                sent.renamed = False
                _take_out(self._renamed, sent)

    def amendment_over(self, number: int) -> None:
        """Nothing more is told of an amendment: what it may have been of it may have been of for good."""
        _, found = self._by.pop(number, (None, ()))
        for sent in found:
            self.rename(sent)

    def note_amendments(self, *, on: bool) -> None:
        """Note what is amended from now on, or no more: what an earlier start sent may come in late (`was_amended`)."""
        self._amended, self._amended_more = (self._amended or {}) if on else None, on and self._amended_more

    @property
    def notes_any(self) -> bool:
        """Whether something was amended that may come in late: only the call log tells of it beside us."""
        return bool(self._amended)

    def was_amended(self, sent: Sent) -> bool:
        """Tell whether something was amended since that may have been this."""
        noted = self._amended or {}
        return (
            not noted.keys().isdisjoint({(*sent.place[:2], sent.name), (*sent.place[:2], None)})
            or self._amended_more
        )

    def rename(self, sent: Sent, number: int = _FOR_GOOD) -> None:
        """It may have got another name, by an amendment of this number."""
        if sent.is_list or sent not in self._all:
            return
        marks = self._marks.setdefault(sent, set())
        if number == _FOR_GOOD:
            marks.clear()
            _take_out(self._plain, sent)
        if _FOR_GOOD not in marks:
            marks.add(number)
        sent.renamed = True
        self._renamed.setdefault(sent.place[:2], {})[sent] = None

    def candidates(self, account: str, state: OrderState) -> tuple[Sent, ...]:
        """Return what an order at the venue may be, by its name, or because its name may have changed."""
        named = self.named((account, state.symbol, state.client_order_id or ""))
        renamed = self._renamed.get((account, state.symbol), ())
        return (*named, *(sent for sent in renamed if sent not in named))


def _take_out(of: dict[tuple[str, str], dict[Sent, None]], sent: Sent) -> None:
    found = of.get(sent.place[:2], {})
    found.pop(sent, None)
    if not found:
        of.pop(sent.place[:2], None)
