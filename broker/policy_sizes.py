"""How much an order may become, in the reference asset, and whether its price is inside the collar. Pure.

An order counts at the worst it may become: quantity x the highest of limit, trigger, the price at which it starts to
work, and the reference price; both sides alike. What may execute above all of these (`Order.drifts`) counts `DRIFT`
times that: the market may have risen before it begins to trade. By kind of order, as the venue executes it:

| order | executes at most at | counted by |
|---|---|---|
| limit, limit maker, iceberg, through SOR | its limit, or the market where it sells | max(limit, reference) |
| market, sized in base | the market | reference |
| market, sized in quote | that amount | the amount |
| stop-loss buy, take-profit sale: wait for a rise | the market when it has risen | DRIFT x max(trigger, reference) |
| take-profit buy, stop-loss sale: wait for a fall | the market when it has fallen | max(trigger, reference) |
| any limit buy of these | its limit | max(limit, trigger, reference) |
| take-profit limit sale | the market when it has risen | DRIFT x max(limit, trigger, reference) |
| trailing, but a limit buy | wherever the market turns | DRIFT x max(limit, trigger, reference) |
| pending, after a buy (OTO, OTOCO, OPO) | the market where that fills, or as above | as above, and the working price |
| pending, after a sale, but a limit buy | the market above the working price | DRIFT x that |
| orders that cancel each other | one of them | the larger |
| orders that follow each other | both | each by the cap per order, together by the day |
| replacement | the new one in full: the old may fill before its cancel | as any order; the old one stays counted |
| amend | only ever less | nothing |
| pegged | cannot be bounded | refused |

The collar: a limit may not lose more than the collar against its base: the trigger if there is one, for there the
market stands when the order begins to count; for a pending order the working price where the market reaches that first;
else the reference price. A trigger that the market has passed already is none. A trigger of a trailing order is where
it begins to trail, and no sheet says that the market must still be short of it: the stricter of both is its base.
"""

from decimal import Decimal

from broker.policy_document import COLLAR, Policy
from broker.policy_facts import ZERO, Deny, Facts
from clients.venue import Order, Side, SymbolInfo
from clients.wire import RefusalKind

DRIFT = 2
"""What may execute above every price it names counts so many times: the market may double before it does."""

_ORDER = RefusalKind.ORDER


def collar_of(policy: Policy) -> Decimal:
    """Return the collar as a fraction; a policy without one has the usual one."""
    return COLLAR if policy.collar is None else policy.collar


def conversion(policy: Policy, pair: SymbolInfo, facts: Facts) -> tuple[str, bool] | Deny:
    """Return the symbol that turns the pair's quote asset into the reference asset, and whether to divide."""
    direct, inverse = pair.quote + policy.reference_asset, policy.reference_asset + pair.quote
    unasked = []
    for symbol, divide in ((direct, False), (inverse, True)):
        if symbol not in facts.pairs:
            unasked.append(f"pair:{symbol}")
        elif facts.pairs[symbol] is not None:
            return symbol, divide
    text = f"no pair of {pair.quote} and {policy.reference_asset}"
    return Deny("no_conversion", _ORDER, text, tuple(unasked))


def worst(policy: Policy, order: Order, pair: SymbolInfo, facts: Facts) -> Decimal | None:
    """Return what an order counts, in the reference asset; None where a price for that is not known."""
    if order.quote_quantity is not None:
        amount = order.quote_quantity
    else:
        quote = facts.quotes.get(order.symbol)
        if quote is None:
            return None
        price = max(order.price or ZERO, order.trigger or ZERO, order.starts or ZERO, quote.price)
        amount = (order.quantity or ZERO) * price * (DRIFT if order.drifts else 1)
    if pair.quote == policy.reference_asset:
        return amount
    found = conversion(policy, pair, facts)
    rate = None if isinstance(found, Deny) else facts.quotes.get(found[0])
    if isinstance(found, Deny) or rate is None or not rate.price:
        return None
    return amount / rate.price if found[1] else amount * rate.price


def outside(policy: Policy, order: Order, facts: Facts) -> bool:
    """Tell whether a limit price loses more than the collar against its base."""
    if order.price is None:
        return False
    base = _base(order, facts)
    if base is None:
        return True
    if order.side is Side.BUY:
        return order.price > base * (1 + collar_of(policy))
    return order.price < base * (1 - collar_of(policy))


def _base(order: Order, facts: Facts) -> Decimal | None:
    quote, trigger = facts.quotes.get(order.symbol), order.trigger
    if quote is None:
        return trigger
    market = quote.price
    if order.starts is not None:
        market = max(order.starts, market) if order.after_sale else min(order.starts, market)
    if trigger is None or reached(order, market):
        return market
    if order.trails:
        return max(trigger, market) if order.side is Side.SELL else min(trigger, market)
    return trigger


def reached(order: Order, price: Decimal) -> bool:
    """Tell whether the market stands where an order waits for it already."""
    if order.trigger is None or order.rises is None or order.trails:
        return False
    return price >= order.trigger if order.rises else price <= order.trigger


def plain(number: Decimal) -> str:
    """Write an amount of money."""
    return f"{number:.2f}"


def percent(policy: Policy) -> str:
    """Write the collar."""
    return f"{(collar_of(policy) * 100).normalize():f} %"


def over(policy: Policy, notional: Decimal, limit: Decimal, per: str) -> str:
    """Say that an order is above a limit."""
    asset = policy.reference_asset
    return f"notional {plain(notional)} {asset} is above the limit of {plain(limit)} {asset} {per}"


def collar_text(policy: Policy) -> str:
    """Say that a price is outside of the collar."""
    return f"price is more than {percent(policy)} on the losing side of the reference price"
