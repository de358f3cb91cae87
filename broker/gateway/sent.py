"""Orders as they left here, and how one is known again at the venue. Pure.

Rules:
1. An order is its request, by our own number, until the venue has given it an id; then it is that id.
2. A client order id may be used again: it only leads to candidates. One of them is the order that was found if
   everything fits that was sent, its time above all, and if no other candidate fits as well.
3. What cannot be told apart stays unknown: nothing is released for it, and nobody may cancel it for being asked.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from broker.gateway.fair import Fair
from clients.venue import Intent
from clients.wire import OrderState, Stamp

TOLERANCE_US = 500_000
"""How far the venue's clock may be from what was measured of it."""

MOST_WAITING = 50_000
LIST_SLOT = "listClientOrderId"
_ZERO = Decimal(0)

_Key = TypeVar("_Key")

Place = tuple[str, str, str]
"""Account, symbol, name."""


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
    `waits`: for another order of its request to be filled.
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


def fits(sent: Sent, state: OrderState) -> bool:
    """Tell whether an order at the venue may be the one that was sent; its name is not looked at."""
    at_us = state.created_us
    if at_us is None or not sent.sent_us - TOLERANCE_US <= at_us <= sent.until_us + TOLERANCE_US:
        return False
    if state.side is None or state.side != sent.side or (state.price or _ZERO) != sent.price:
        return False
    if sent.quantity is None:
        return True
    if state.quantity is None or state.quantity > sent.quantity:
        return False
    return state.quantity == sent.quantity or not sent.exact or sent.renamed


def only_fit(candidates: Iterable[Sent], state: OrderState) -> Sent | None:
    """Return the one candidate that an order can be; None where none fits, or more than one."""
    found = [sent for sent in candidates if fits(sent, state)]
    return found[0] if len(found) == 1 else None


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
        )
        for order, waits in legs
    ]  # fmt: skip
    return tuple(orders) if len(orders) == 1 else (group, *orders)


class Waiting:
    """What was sent and has no id yet: requests in flight, and those whose answer never came."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._named: dict[Place, list[Sent]] = {}
        self._renamed: dict[tuple[str, str], list[Sent]] = {}
        self._all: Fair[Sent, None] = Fair(most)
        self._amended: set[tuple[str, str, str | None]] | None = None

    def add(self, sent: Sent) -> None:
        """It is about to leave."""
        self._named.setdefault(sent.place, []).append(sent)
        for gone in self._all.put(sent, None, sent.grant):
            self._let_go(gone)

    def remove(self, sent: Sent) -> None:
        """It has an id now, or was refused."""
        if sent not in self._all:
            return
        self._all.drop(sent)
        self._let_go(sent)

    def _let_go(self, sent: Sent) -> None:
        _take_out(self._named, sent.place, sent)
        if sent.renamed:
            _take_out(self._renamed, (sent.account, sent.symbol), sent)

    def latest(self, most: int) -> Iterator[Sent]:
        """Yield what was sent last, of each grant in turn, so many in all."""
        return self._all.latest(most)

    def named(self, place: Place) -> tuple[Sent, ...]:
        """Return what was sent under a name."""
        return tuple(self._named.get(place, ()))

    def amended(self, account: str, symbol: str, name: str | None) -> None:
        """An amendment is about to leave: what has no id yet may get another name. No name: of any order."""
        if self._amended is not None and len(self._amended) < MOST_WAITING:
            self._amended.add((account, symbol, name))
        if name is not None:
            found = self.named((account, symbol, name))
        else:
            found = tuple(sent for sent in self._all if (sent.account, sent.symbol) == (account, symbol))
        for sent in found:
            self.rename(sent)

    def note_amendments(self, *, on: bool) -> None:
        """Note what is amended from now on, or no more: what an earlier start sent may come in late (`was_amended`)."""
        self._amended = (self._amended or set()) if on else None

    @property
    def notes_any(self) -> bool:
        """Whether something was amended that may come in late: only the call log tells of it beside us."""
        return bool(self._amended)

    def was_amended(self, sent: Sent) -> bool:
        """Tell whether something was amended since that may have been this."""
        noted = self._amended or set()
        return (
            not noted.isdisjoint({(*sent.place[:2], sent.name), (*sent.place[:2], None)})
            or len(noted) >= MOST_WAITING
        )

    def rename(self, sent: Sent) -> None:
        """It may have got another name."""
        if not sent.renamed and not sent.is_list and sent in self._all:
            sent.renamed = True
            self._renamed.setdefault((sent.account, sent.symbol), []).append(sent)

    def candidates(self, account: str, state: OrderState) -> tuple[Sent, ...]:
        """Return what an order at the venue may be, by its name, or because its name may have changed."""
        named = self.named((account, state.symbol, state.client_order_id or ""))
        renamed = self._renamed.get((account, state.symbol), ())
        return (*named, *(sent for sent in renamed if sent not in named))


def _take_out(of: dict[_Key, list[Sent]], key: _Key, sent: Sent) -> None:
    rest = [one for one in of.get(key, ()) if one is not sent]
    if rest:
        of[key] = rest
    else:
        of.pop(key, None)
