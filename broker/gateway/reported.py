"""What an answer of the venue tells of orders: executed, still open, and of which list. Pure.

Rules:
1. Each is told of as it moves its base asset, and as it moves its quote asset where that is no money (`broker.paid`).
2. What one may still pay is at most what its limit says, or twice the price that was known when it left where it has
   none; what a sale brings may be more than its limit. That is a bound: enough for a doubt, and for no no. Of one that
   has no limit nobody knows what it binds either: it counts as what it may still pay, and binds nothing for certain.
   What it brings is known once it is there. Where no price is known yet, it may pay `UNTOLD`: any amount that is told
   later is a better bound. But an answer that only shows another's such order says nothing of it.
3. Of what one executed without saying for how much, that is not known: it counts as what it may still pay once
   something else is over, so that it is nobody's to sell, binds nothing, and is asked about before an exit is judged.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import NamedTuple

from broker.gateway.bought import BUY, SELL, ZERO
from broker.gateway.sent import Sent
from broker.listed import list_of, named
from broker.paid import paid_in
from clients.venue import SymbolInfo
from clients.wire import Answer, OrderState

RISES_TO, _FALLS_TO = 2, Decimal("0.5")
UNPRICED = Decimal("1e-8")
"""What a piece of an order without a price may still bring: nobody knows how much, but that it may."""

UNTOLD = Decimal(10**15)
"""What a purchase may pay where nobody knows a bound: more than anybody has."""


class Placed(NamedTuple):
    """What a request places: an answer may name no more of an order than its ids, as `ACK` does, those of a list too.

    `sells` is how much of the base asset it may sell at most: the size of a sale that is sized in quote. `money` is
    what the policy of its sender counts in.
    """

    orders: tuple[Sent, ...] = ()
    sells: Decimal = ZERO
    money: str = ""


class Reported(NamedTuple):
    """One order as an answer tells of it.

    Attributes:
        symbol: The pair.
        order_id: The venue's.
        base: Which asset it moves.
        side: Of it, for that.
        gross: What it executed, fees not taken off.
        left: What it may still; below zero while it waits.
        fees: What its executions cost, where the answer tells of each.
        of_cancel: It is one that the request ended.
        is_new: The request placed it.
        listed: Of which list it is (`broker.listed`).
        ended: How much of it never will be executed.
    """

    symbol: str
    order_id: str
    base: str
    side: str
    gross: Decimal
    left: Decimal
    fees: tuple[tuple[str, Decimal], ...] | None
    of_cancel: bool
    is_new: bool
    listed: str
    ended: Decimal = ZERO


def reported(placed: Placed, answer: Answer, pairs: Mapping[str, SymbolInfo | None]) -> Iterator[Reported]:
    """Yield the orders of an answer of which it is known how much they may still execute."""
    by_id = {one.order_id: one for one in placed.orders if one.order_id is not None and not one.is_list}
    list_id = next((one.order_id for one in placed.orders if one.is_list), None)
    for state in answer.orders:
        pair = pairs.get(state.symbol)
        if pair is None or state.order_id is None:
            continue
        sent = None if state.of_cancel else by_id.get(state.order_id)
        side = state.side or (None if sent is None else sent.side)
        quantity = state.quantity or (None if sent is None else sent.quantity or placed.sells or None)
        if side is None or (sent is None and quantity is None and not state.final):
            continue  # what is left of it is not told
        executed = state.executed_base or ZERO
        waits = state.waits or (sent is not None and sent.waits and state.executed_base is None)
        left = left_of(state, quantity, executed, waits=waits)
        of = state.list_id or (None if sent is None else list_id)
        listed = named(of, waits=group_of(sent, state))
        one = Reported(
            state.symbol, state.order_id, pair.base, side, executed, left, state.fees, state.of_cancel,
            sent is not None, listed, max(ZERO, quantity - executed) if state.final and quantity else ZERO,
        )  # fmt: skip
        yield one
        if pair.quote != placed.money:
            yield from _paid(one, pair.quote, state, sent)


def says_how_much(sent: Sent, state: OrderState) -> bool:
    """Tell whether it is known how much of an order is left: the venue may not say the size of one that waits."""
    sized = state.quantity or sent.quantity or sent.spends
    return state.final or bool(sized)


def shown(sent: Sent, state: OrderState) -> Iterator[Reported]:
    """Yield what settling was shown of an order that was sent, of each asset that it is known to move."""
    if not says_how_much(sent, state):
        return  # it may give as much as was told before
    executed = state.executed_base or ZERO
    left = left_of(state, state.quantity or sent.quantity, executed, waits=state.waits)
    listed = named(state.list_id, waits=group_of(sent, state))
    one = Reported(
        sent.symbol, state.order_id or "", sent.base, sent.side, executed, left, state.fees, of_cancel=False,
        is_new=False, listed=listed,
    )  # fmt: skip
    if sent.base:
        yield one
    if sent.quote:
        yield from _paid(one, sent.quote, state, sent)


def _paid(one: Reported, quote: str, state: OrderState, sent: Sent | None) -> Iterator[Reported]:
    """Yield what an order tells of its quote asset, if anything."""
    side = SELL if one.side == BUY else BUY
    gross, left = state.executed_quote or ZERO, abs(one.left)
    untold = one.gross > 0 and state.executed_quote is None
    if untold:
        left += one.gross
    limit = state.price or (None if sent is None else sent.price or None)
    spends, bare, listed = None if sent is None else sent.spends, False, one.listed
    if spends is None and limit is not None:
        left *= limit
    elif spends is None:
        sender = sent if sent is not None and (one.is_new or sent.sent_us > 0) else None
        if left and sender is None and not untold:
            return
        bare = side == SELL
        price = ZERO if sender is None else _may_cost(sender, state, here=one.is_new)
        if bare and sender is not None and left and not price:
            left, listed = UNTOLD, list_of(listed)  # whatever it waits for, that is no reason for a no
        else:
            left *= price if bare and price else UNPRICED
    elif untold or not state.final:
        left = max(ZERO, spends - gross)
    left = -left if untold or bare or one.left < 0 else left
    yield one._replace(
        symbol=paid_in(one.symbol), base=quote, side=side, gross=gross, left=left, listed=listed,
        ended=one.ended * (limit or ZERO),
    )  # fmt: skip


def lacks_price(sent: Sent) -> bool:
    """Tell whether a price has to be known before anybody can say what an order may pay of what counts."""
    bare = not sent.price and sent.spends is None
    return bool(sent.quote) and bare and sent.side == BUY and sent.sent_us > 0 and not sent.market


def _may_cost(sent: Sent, state: OrderState, *, here: bool) -> Decimal:
    """Return at which price an order without a limit may be made; zero where nobody knows.

    `here`: its own answer tells of it, so the price of its time is not to be known any more.
    """
    market, trigger = sent.market or ZERO, state.trigger if sent.trigger is None else sent.trigger
    if trigger is None:
        return market * RISES_TO
    return max(trigger, market) if market or here else ZERO


def paid_at_most(sent: Sent, now: Decimal = ZERO) -> Decimal | None:
    """Return how much of its quote asset an order moves at most, as it was sent; None where that has no bound.

    `now` is the price of now, where that is known.
    """
    if sent.spends is not None:
        return sent.spends
    price = _trades_up_to(sent, now)
    return sent.quantity * price if sent.quantity is not None and price else None


def bought_at_most(sent: Sent, now: Decimal | None) -> Decimal | None:
    """Return how much a purchase that is sized in quote has bought at most, at half the lower price; None: no bound."""
    prices = [price for price in (sent.market, now) if price]
    return (sent.spends or ZERO) / (min(prices) * _FALLS_TO) if prices else None


def tells_all(state: OrderState) -> bool:
    """Tell whether an answer says what an order executed, and for how much."""
    return state.executed_base is not None and (not state.executed_base or state.executed_quote is not None)


def left_at_most(sent: Sent, left: Decimal, now: Decimal = ZERO) -> Decimal | None:
    """Return how much of its quote asset an order moves still at most, of which so much was told to be left.

    What a sale brings that is in the book is what its limit says. Who sells below the market gets the market's price:
    so may one that nobody has seen rest, or that waits; and what another gateway or an earlier start sent may wait.
    """
    known = sent.sent_us > 0 and not sent.gateway and not sent.boot
    rests = sent.rested and known and not sent.waits and sent.trigger is None
    if not left or (sent.price and (sent.side == BUY or rests)):
        return left
    if not sent.price:
        return paid_at_most(sent, now)
    return left / sent.price * (_trades_up_to(sent, now) or sent.price)


def _trades_up_to(sent: Sent, now: Decimal) -> Decimal:
    """Return at which price an order is executed at most; zero where that has no bound."""
    if sent.side == BUY and sent.price:
        return sent.price
    market = max(sent.market or ZERO, now)
    return max(sent.price, sent.trigger or ZERO, market * RISES_TO) if market else ZERO


def group_of(sent: Sent | None, state: OrderState) -> bool | None:
    """Tell whether an order is of those of its list that wait for another one; None where that is not known."""
    if sent is not None and sent.grouped:
        return sent.waits
    return state.waits or None


def left_of(state: OrderState, quantity: Decimal | None, executed: Decimal, *, waits: bool) -> Decimal:
    """Return what an order may still execute; below zero while it waits for another one."""
    left = ZERO if state.final or quantity is None else max(ZERO, quantity - executed)
    return -left if waits else left
