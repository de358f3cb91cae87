"""What is an exit: orders that only sell what is the grant's to sell. Pure.

An exit passes whatever the caps, the order rate, the list of kinds or a halt say; never the collar. It is one where
1. every order of it sells, in a pair that the policy lists, or in which this grant bought when it was listed;
2. it sells into the reference asset, a listed quote, or what its pair was listed with. The reference asset itself is
   sold as an exit only as far as this grant bought it: exits turn things into money, never money into things;
3. it sells no more than is free (a replacement frees what its old order binds), and on an account with other grants
   no more than this one bought and neither sold nor offers in open orders, or than is left once theirs is taken off;
4. its limit is inside the collar. A market order above the caps is sized against the public book at this moment: what
   the book gives within the collar passes, less what is being sold into it. So is one that is triggered within the
   collar, that trails, or whose trigger the market has passed, for it may be filled at once; one further away protects,
   and nobody knows the book it will meet.

What is missing. Holdings, prices, the book and whose the asset is are asked anew once before an exit is refused. What
then cannot be had does not refuse it where the venue itself will not sell what is not there:
- holdings: on an account of its own the exit passes; beside other grants as far as this grant's own buys go, those
  that may be filled by now too. What was told of its orders counts although holdings do not show it yet;
- a price: the last known one sets the collar; with none ever known market exits pass, limits cannot be judged;
- the book: the exit passes, as the venue's own price filters let it;
- whose it is: it cannot be judged. So a fact that is unknown is told as that, and never as a no.
There is no baseline on record: on an account of its own everything it holds was held or bought by the grant, and beside
others everything is that no other grant bought. Grants from before this was counted have no recorded buys.
"""

from collections.abc import Iterator
from decimal import Decimal

from broker.policy_document import Policy
from broker.policy_facts import ZERO, Allow, Deny, Facts, Stake
from broker.policy_sizes import collar_of, collar_text, outside, percent, reached, worst
from clients.venue import Intent, Order, Side, SymbolInfo
from clients.wire import RefusalKind

_ORDER = RefusalKind.ORDER
_CAPS = frozenset({"order_notional", "day_notional"})


def orders_of(intent: Intent) -> Iterator[Order]:
    """Yield every order of a request."""
    for group in intent.orders:
        yield from group


def only_sells(intent: Intent) -> bool:
    """Tell whether a request places orders, and sells with each of them."""
    return bool(intent.orders) and all(order.side is Side.SELL for order in orders_of(intent))


def sold(intent: Intent, facts: Facts) -> Decimal | None:
    """Return how much base asset the request may sell at most; None where it does anything but sell."""
    total = ZERO
    for group in intent.orders:
        largest = ZERO
        for order in group:
            if order.side is not Side.SELL:
                return None
            quantity = order.quantity
            if quantity is None:
                quote = facts.quotes.get(order.symbol)
                if quote is None or not quote.price:
                    return None
                quantity = (order.quote_quantity or ZERO) / quote.price
            largest = max(largest, quantity)
        total += largest
    return total


def leaving(policy: Policy, intent: Intent, facts: Facts, why: Deny) -> Allow | Deny:
    """Let pass what is an exit; otherwise `why` stands, with the facts that could turn it."""
    symbols = {order.symbol for order in orders_of(intent)}
    if not only_sells(intent) or len(symbols) != 1:
        return why
    symbol = symbols.pop()
    if symbol not in facts.pairs:
        return _unless(why, facts, f"pair:{symbol}", "holdings", f"price:{symbol}")
    pair = facts.pairs[symbol]
    if pair is None:
        return why
    return _of_pair(policy, intent, facts, why, pair)


def into_money(policy: Policy, symbol: str, pair: SymbolInfo) -> bool:
    """Tell whether a pair is listed and sells into the reference asset, or into what it is listed with."""
    return (
        policy.symbols.covers(symbol, pair.quote)
        and pair.base != policy.reference_asset
        and (
            pair.quote == policy.reference_asset
            or pair.quote in policy.symbols.quotes
            or symbol in policy.symbols.listed
        )
    )


def _of_pair(policy: Policy, intent: Intent, facts: Facts, why: Deny, pair: SymbolInfo) -> Allow | Deny:
    symbol = pair.symbol
    wanted = [] if facts.fresh(symbol) or facts.came(f"price:{symbol}") else [f"price:{symbol}"]
    if facts.free is None:
        wanted.append("holdings")
    listed = into_money(policy, symbol, pair)
    if facts.stake is None and not (listed and facts.alone):
        wanted.append("stake")
    askable = [name for name in wanted if facts.may_ask(name)]
    if askable:
        return _with(why, *askable)
    stake = facts.stake
    if not listed and (stake is None or not stake.bought_here):
        return _unless(why, facts, "stake")
    amount = sold(intent, facts)
    if amount is None or any(_unpriced(order, facts) for order in orders_of(intent)):
        return _unless(why, facts, f"price:{symbol}")
    short = _short(facts, amount, stake, intent, listed=listed, base=pair.base, policy=policy)
    if short is not None:
        return _unless(why, facts, *short)
    if any(outside(policy, order, facts) for order in orders_of(intent)):
        return _unless(Deny("collar", _ORDER, collar_text(policy)), facts, f"price:{symbol}")
    return _sized(policy, intent, facts, why, pair, amount)


def _short(
    facts: Facts,
    amount: Decimal,
    stake: Stake | None,
    intent: Intent,
    *,
    listed: bool,
    base: str,
    policy: Policy,
) -> tuple[str, ...] | None:
    """Return the facts that could still show that so much may be sold; None where it may."""
    replaces = intent.target is not None
    own = ZERO if stake is None else stake.own
    if base == policy.reference_asset and amount > own:
        return ("stake",)
    if facts.free is None:
        coming = ZERO if stake is None else stake.coming
        return None if (listed and facts.alone) or amount <= own + coming else ("holdings",)
    held = facts.free + (facts.locked if replaces else ZERO)
    if amount > held:  # the venue may show late what it has told of its own orders before
        return None if amount <= own else ("holdings", "stake")
    if facts.alone or amount <= own:
        return None
    if stake is None:
        return ("stake",)
    return None if amount <= facts.free + stake.freed - stake.others else ("holdings", "stake")


def _sized(
    policy: Policy, intent: Intent, facts: Facts, why: Deny, pair: SymbolInfo, amount: Decimal
) -> Allow | Deny:
    """Size a market exit above the caps against the book."""
    yes = Allow(leaving=True, sells=ZERO if intent.dry_run else amount)
    quote, name = facts.quotes.get(pair.symbol), f"book:{pair.symbol}"
    at_once = [
        order for order in orders_of(intent) if quote is not None and _at_once(policy, order, quote.price)
    ]
    if quote is None or not any(_above(policy, order, pair, facts, why) for order in at_once):
        return yes
    if not facts.came(name) or facts.bids is None:
        # the book of now against a price of before would refuse who leaves a market that falls
        price = f"price:{pair.symbol}"
        both = (name, price) if facts.may_ask(price) else (name,)
        return _with(why, *both) if facts.may_ask(name) else yes
    floor = quote.price * (1 - collar_of(policy))
    size = sum((quantity for price, quantity in facts.bids if price >= floor), ZERO)
    size = max(ZERO, size - facts.under_way)
    if amount <= size:
        return yes
    takes = f"the book takes {size.normalize():f} {pair.base} within {percent(policy)} now"
    text = f"{takes}; sell no more than that at once"
    return Deny("exit_size", _ORDER, text)


def _at_once(policy: Policy, order: Order, price: Decimal) -> bool:
    """Tell whether an order is filled at any price, now or as soon as the market moves a little."""
    if not order.market:
        return False
    if order.trigger is None or order.trails or reached(order, price):
        return True
    return abs(order.trigger - price) <= price * collar_of(policy)


def _above(policy: Policy, order: Order, pair: SymbolInfo, facts: Facts, why: Deny) -> bool:
    """Tell whether an order is above the caps, or cannot be counted."""
    if policy.order_max is None and policy.day_max is None and not facts.limited:
        return False
    notional = worst(policy, order, pair, facts)
    if why.reason in _CAPS or notional is None:
        return True
    return any(cap is not None and notional > cap for cap in (policy.order_max, policy.day_max))


def _unpriced(order: Order, facts: Facts) -> bool:
    """Tell whether an exit cannot be judged without a price: a limit, or one sized in quote.

    Of what others have a part in, that amount is not known by an old price: the lower it is, the more is sold.
    """
    if order.quantity is None and not facts.alone and not facts.fresh(order.symbol):
        return True
    if order.symbol in facts.quotes:
        return False
    return (order.price is not None and order.trigger is None) or order.quantity is None


def _with(why: Deny, *names: str) -> Deny:
    wanted = tuple(sorted({*why.missing, *names}))
    return Deny(why.reason, why.kind, why.detail, wanted, why.wanted, why.firm)


def _unless(why: Deny, facts: Facts, *names: str) -> Deny:
    """Say no, but for facts that are not known as of this request."""
    return _with(why, *(name for name in names if not facts.came(name)))
