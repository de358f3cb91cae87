"""How much an order may become, in the reference asset, and whether its price is inside the collar. Pure.

An order counts at the worst it may become: quantity x the highest of limit, trigger, the price at which it starts to
work, and the reference price; both sides alike. What may execute above all of these (`Order.drifts`) counts `DRIFT`
times that: the market may have risen before it begins to trade. By kind of order, as the venue executes it:

| order | executes at most at | counted by |
|---|---|---|
| limit, limit maker, iceberg, through SOR | its limit, or the market where it sells | max(limit, reference) |
| market buy, sized in base | what the book asks | the larger of that and the reference |
| market sale, sized in base | the market | reference |
| market buy, sized in quote | that amount | the amount |
| market sale, sized in quote | what the bids pay, however much it gives | the larger of what it gives and the amount |
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

The book is looked at right before (`by_the_book`): what it does not give inside the collar is refused. What somebody
changes in it between that look and the order is in no count, nor is the book that an order meets which still waits.
One that waits for another order of its request is counted by the book of now, too, behind what those before it may take
of it (`behind`): they may be filled as they come.

A sale that is sized in quote gives as much base as the bids need for that amount, which counts at the reference price
as that of a sale sized in base does; so it needs a look at the bids. Where they do not come to the amount it gives all
that there is of them.

The collar: a limit may not lose more than the collar against its base: the trigger if there is one, for there the
market stands when the order begins to count; for a pending order the working price where the market reaches that first;
else the reference price. A trigger that the market has passed already is none. A trigger of a trailing order is where
it begins to trail, and no sheet says that the market must still be short of it: the stricter of both is its base.
"""

from decimal import Decimal

from msgspec.structs import replace

from broker.policy_book import needed, page_behind, size_of, takes, within, worth_of
from broker.policy_document import COLLAR, Policy
from broker.policy_facts import ZERO, Deny, Facts, Page
from clients.venue import Intent, Order, Side, SymbolInfo
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
    quote = facts.quotes.get(order.symbol)
    if order.quote_quantity is not None:
        amount = order.quote_quantity
        if in_bids(order) and quote is not None and facts.bids is not None:  # else `uncounted` tells
            amount = max(amount, needed(facts.bids.levels, amount) * quote.price)
    else:
        if quote is None:
            return None
        price = max(order.price or ZERO, order.trigger or ZERO, order.starts or ZERO, quote.price)
        amount = (order.quantity or ZERO) * price * (DRIFT if order.drifts else 1)
        page = facts.asks.get(order.symbol)
        if by_the_book(order, facts) and page is not None:
            amount = max(amount, _cost(page, order.quantity or ZERO, quote.price * (1 + collar_of(policy))))
    if pair.quote == policy.reference_asset:
        return amount
    found = conversion(policy, pair, facts)
    rate = None if isinstance(found, Deny) else facts.quotes.get(found[0])
    if isinstance(found, Deny) or rate is None or not rate.price:
        return None
    return amount / rate.price if found[1] else amount * rate.price


def by_the_book(order: Order, facts: Facts) -> bool:
    """Tell whether a buy of so much base asset is filled at once, at whatever the book asks."""
    if not order.market or order.side is not Side.BUY or order.quantity is None:
        return False  # one that waits for another may begin at once: that one may be filled as it comes
    if order.trigger is None:
        return not order.trails
    quote = facts.quotes.get(order.symbol)
    return quote is not None and reached(order, quote.price)


def in_bids(order: Order) -> bool:
    """Tell whether an order sells as much base as the bids need for an amount of quote."""
    return order.side is Side.SELL and order.quantity is None and order.quote_quantity is not None


def behind(intent: Intent, order: Order, facts: Facts) -> Facts:
    """Return the facts as they are for an order that waits for others of its request: less the asks those may take."""
    page = None if order.starts is None else facts.asks.get(order.symbol)
    if page is None:
        return facts
    # those of its own group it excludes; it begins once the others are filled, whatever became of the book till then
    beside = [group for group in intent.orders if all(one is not order for one in group)]
    taken = (take._replace(limit=None) for take in takes(beside, Side.BUY))
    return replace(facts, asks={**facts.asks, order.symbol: page_behind(page, taken)})


def looks_for(order: Order, facts: Facts) -> tuple[str, ...]:
    """Return the look at the book that an order is counted by."""
    if in_bids(order):
        page, deep = facts.bids, f"deep:{order.symbol}"
        amount = order.quote_quantity or ZERO
        short = page is not None and page.seen_to is not None and worth_of(page.levels) < amount
        return (deep,) if short or deep in facts.asked else (f"book:{order.symbol}",)
    return (f"asks:{order.symbol}",) if by_the_book(order, facts) else ()


def looked_anew(order: Order, facts: Facts) -> tuple[str, ...]:
    """Return what is asked anew before an order is refused by the book.

    The book of now against a price of before would refuse who trades in a market that moves.
    """
    looks, price = looks_for(order, facts), f"price:{order.symbol}"
    if not any(facts.may_ask(look) for look in looks):
        return ()
    return (*looks, price) if facts.may_ask(price) else looks


def uncounted(policy: Policy, order: Order, facts: Facts) -> Deny | None:
    """Return a no where nobody knows how much a sale gives that is sized in quote, and a limit counts that."""
    if not in_bids(order):
        return None
    page, (look,) = facts.bids, looks_for(order, facts)
    known = page is not None and (not page.is_full or worth_of(page.levels) >= (order.quote_quantity or ZERO))
    limited = facts.limited or policy.order_max is not None or policy.day_max is not None
    if known or not (limited or facts.may_ask(look)):
        return None
    return Deny("book_unknown", RefusalKind.UNAVAILABLE, missing=looked_anew(order, facts) or (look,))


def beyond_the_book(policy: Policy, order: Order, pair: SymbolInfo, facts: Facts) -> Deny | None:
    """Return a no where the book does not give a buy inside the collar, or was not looked at."""
    if not by_the_book(order, facts):
        return None
    quantity, symbol = order.quantity or ZERO, order.symbol
    page, quote = facts.asks.get(symbol), facts.quotes.get(symbol)
    highest = ZERO if quote is None else quote.price * (1 + collar_of(policy))
    size = ZERO if page is None else size_of(within(page.levels, Side.BUY, highest))
    if page is not None and size >= quantity:
        return None
    (look,), anew = looks_for(order, facts), looked_anew(order, facts)
    at_best = ZERO if page is None else size_of(within(page.best.levels, Side.BUY, highest))
    # no look; one of before, where none can be had now; one that ends inside the collar; or others' orders decide
    unsure = page is None or _may_give_more(page, highest) or at_best >= quantity
    if unsure or not (anew or facts.came(look)):
        return Deny("book_unknown", RefusalKind.UNAVAILABLE, missing=anew or (look,))
    gives = f"the book gives {size.normalize():f} {pair.base} within {percent(policy)} now"
    return Deny("collar", _ORDER, f"{gives}; buy no more than that at once", anew)


def _cost(page: Page, amount: Decimal, highest: Decimal) -> Decimal:
    """Return what so much of the asks costs, as far as a price."""
    cost = ZERO
    for price, size in within(page.levels, Side.BUY, highest):
        some = min(size, amount)
        amount -= some
        cost += some * price
    return cost


def _may_give_more(page: Page, highest: Decimal) -> bool:
    """Tell whether a page ends before the collar does: nobody knows what lies behind it."""
    return page.is_full and (not page.levels or page.levels[-1][0] <= highest)


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
