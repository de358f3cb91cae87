"""What a grant lets a bot do. Pure: an intent and facts in, a verdict out. Deny by default.

The order of judgement:
1. Withdrawals, transfers and key administration are never granted. Streams are not proxied yet.
2. A write without certain intent is refused, in `observe` too.
3. The endpoint stands in the allow-list, by name or group; reads beside it only by GET and their exact path.
4. Cancels and amends: only of the grant's own orders; cancel-all and settings only of the account's owner.
   They are exits: no cap, rate or removed symbol stops them. An amend that may do more than shrink is none.
5. An order passes if it is within symbols, kind, reference price, collar, caps, rate and budget.
6. Otherwise it passes as an exit, if it only sells what the account holds, inside the collar.
7. Where the gates say halt, only reads, cancels, amends that shrink, and exits pass. What replaces an order is an
   order: its cancel makes it no exit.
8. `observe` turns a no of 3 to 6 into a yes that is written down, known facts or not, but no `firm` one: those are
   1, 2, and what is no read, cancel or exit under a halt.

Facts that are missing make a no with `missing`; the caller fetches them if it may still wait, and asks again.
Notional: quantity x max(price, trigger, reference price), in the grant's reference asset, for both sides.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from types import MappingProxyType

from msgspec import Struct
from msgspec.structs import replace

from broker.policy_document import Policy, PolicyMode
from clients.venue import Action, Intent, Order, RefusalKind, Side, SymbolInfo

FRESH_US = 5_000_000
"""A reference price older than this is only good for the collar of exits."""

ZERO = Decimal(0)
_NEVER = frozenset({Action.WITHDRAW, Action.TRANSFER, Action.KEY_ADMIN})
_EXITS = frozenset({Action.CANCEL, Action.AMEND})
_ORDER = RefusalKind.ORDER
_ENDPOINT = RefusalKind.ENDPOINT


class Quote(Struct, frozen=True, gc=False):
    """A public price, in quote asset per base unit, and how old it is."""

    price: Decimal
    age_us: int


_NOTHING: Mapping[str, Quote] = MappingProxyType({})
_NO_PAIRS: Mapping[str, SymbolInfo | None] = MappingProxyType({})


class Facts(Struct, frozen=True, gc=False):
    """What is known about the world at the moment of judging.

    Attributes:
        halted: The gates let pass only reads, cancels and exits.
        account_owner: The grant speaks for the whole account.
        owner: Who the named order belongs to: `own`, `other`, `nobody` (unrecorded), None (not asked yet).
        pairs: Base and quote by symbol; None where the venue has no such pair; absent: not asked yet.
        quotes: Reference prices by symbol, the last known ones included.
        free: Base asset free to sell, exits on their way already taken off. None: not asked yet.
        locked: Base asset bound in open orders; counts for a replacement, which frees its own.
        budget: What is left of the rolling window, as far as it is lent here.
        rate_free: Whether the order rate has room for this request.
    """

    halted: bool = False
    account_owner: bool = False
    owner: str | None = None
    pairs: Mapping[str, SymbolInfo | None] = _NO_PAIRS
    quotes: Mapping[str, Quote] = _NOTHING
    free: Decimal | None = None
    locked: Decimal = ZERO
    budget: Decimal = ZERO
    rate_free: bool = True


class Allow(Struct, frozen=True, gc=False):
    """Yes. `reserve` is what to take from the budget; `observed` what would have been refused.

    `leaving` marks cancels and exits; `counts` whether it uses up the order rate. `sells` is how much of the
    base asset the request may sell, for the holdings of the next one.
    """

    leaving: bool = False
    counts: bool = False
    notional: Decimal = ZERO
    reserve: Decimal = ZERO
    sells: Decimal = ZERO
    observed: str | None = None


class Deny(Struct, frozen=True, gc=False):
    """No. `reason` is short and stable; `detail` is for the bot's owner, in figures.

    `missing` names facts that could turn it: `pair:SYMBOL`, `price:SYMBOL`, `holdings`, `budget`, `owner`.
    `wanted` is the budget that was not there. `firm`: observing does not turn it into a yes.
    """

    reason: str
    kind: RefusalKind
    detail: str = ""
    missing: tuple[str, ...] = ()
    wanted: Decimal = ZERO
    firm: bool = False


def evaluate(
    policy: Policy, intent: Intent, facts: Facts, path: str = "", method: str = "GET"
) -> Allow | Deny:
    """Judge one request.

    Args:
        policy: Of the grant.
        intent: What the request would do.
        facts: What is known.
        path: The path as it will be sent, for `extra_reads`.
        method: Its method: a policy's extra reads are GETs.

    Returns:
        Allow; or Deny with the first reason in the order of the module's docstring.
    """
    action = intent.action
    if action in _NEVER:
        return Deny("never_granted", _ENDPOINT, f"{action.value} can never be granted", firm=True)
    if action is Action.STREAM:
        return Deny("stream", _ENDPOINT, "streams are not proxied yet", firm=True)
    extra = method == "GET" and path in policy.extra_reads
    if action is Action.UNKNOWN:
        return Allow() if extra else Deny("unknown_endpoint", _ENDPOINT, firm=True)
    uncertain = not intent.certain and action is not Action.READ
    if uncertain or (action is Action.AMEND and not intent.shrinks):
        kind = _ORDER if action is Action.PLACE and intent.symbols else _ENDPOINT
        return Deny("uncertain", kind, "cannot be sized with certainty", firm=True)
    if action is Action.READ and extra:
        return Allow()
    verdict = _judge(policy, intent, facts)
    if isinstance(verdict, Allow) or policy.mode is not PolicyMode.OBSERVE:
        return verdict
    if facts.halted and action is not Action.READ and action not in _EXITS:
        return _halted(policy, intent, facts, verdict)
    return verdict if verdict.missing else _observed(intent, facts, verdict)


def settle(policy: Policy, verdict: Allow | Deny) -> Allow | Deny:
    """Decide on what is missing, where nothing more can be waited for: refuse, unless only observing."""
    observing = policy.mode is PolicyMode.OBSERVE
    if isinstance(verdict, Deny) and verdict.missing and observing and not verdict.firm:
        return Allow(observed=verdict.reason)
    return verdict


def _observed(intent: Intent, facts: Facts, verdict: Deny) -> Allow:
    """Let pass, and write down why it would not have."""
    return Allow(leaving=intent.action in _EXITS, observed=verdict.reason, sells=_sold(intent, facts) or ZERO)


def _halted(policy: Policy, intent: Intent, facts: Facts, verdict: Deny) -> Allow | Deny:
    """Judge under a halt what observing would let pass: only an exit does, and no missing fact makes one."""
    if intent.action is Action.PLACE and intent.orders and not verdict.missing:
        leaving = _leaving(policy, intent, facts, Deny("halted", RefusalKind.UNKNOWN_KEY))
        if isinstance(leaving, Allow):
            return replace(leaving, observed=verdict.reason)
        verdict = leaving
    return replace(verdict, firm=True)


def _judge(policy: Policy, intent: Intent, facts: Facts) -> Allow | Deny:
    if intent.endpoint not in policy.allow and intent.group not in policy.allow:
        return Deny("endpoint", _ENDPOINT, f"{intent.endpoint} is not allowed")
    action = intent.action
    if action is Action.READ:
        return Allow()
    if intent.target is not None or intent.account_wide:
        refused = _ownership(intent, facts)
        if refused is not None:
            return refused
    if action in _EXITS:
        return Allow(leaving=True)
    if action is not Action.PLACE:
        if facts.halted:
            return Deny("halted", RefusalKind.UNKNOWN_KEY)
        return Allow() if facts.account_owner else Deny("account_wide", _ENDPOINT)
    if not intent.orders:
        return Deny("uncertain", _ORDER, "names no order")
    if facts.halted:
        return _leaving(policy, intent, facts, Deny("halted", RefusalKind.UNKNOWN_KEY))
    verdict = _within(policy, intent, facts)
    if isinstance(verdict, Allow) or verdict.reason == "collar":
        return verdict
    return _leaving(policy, intent, facts, verdict)


def _ownership(intent: Intent, facts: Facts) -> Deny | None:
    target = intent.target
    if intent.account_wide or target is None or target.all_open:
        return None if facts.account_owner else Deny("account_wide", _ENDPOINT, "needs account_owner")
    if facts.owner == "own" or (facts.owner == "nobody" and facts.account_owner):
        return None
    if facts.owner is None:
        return Deny("owner_unknown", RefusalKind.UNAVAILABLE, missing=("owner",))
    return Deny("not_own_order", RefusalKind.NO_SUCH_ORDER)


# --- orders within the limits -------------------------------------------------------------------


def _within(policy: Policy, intent: Intent, facts: Facts) -> Allow | Deny:
    """Judge an order by every limit (rule 5)."""
    pairs = _pairs(policy, intent, facts)
    if isinstance(pairs, Deny):
        return pairs
    unpriced = _unpriced(policy, pairs, facts)
    if unpriced is not None:
        return unpriced
    total = ZERO
    for group in intent.orders:
        largest = ZERO
        for order in group:
            if order.market and not policy.market_orders:
                return Deny("market_order", _ORDER, "market orders are not allowed")
            if _outside(policy, order, facts):
                return Deny("collar", _ORDER, _collar_text(policy))
            notional = _notional(policy, order, pairs[order.symbol], facts)
            if policy.order_max is not None and notional > policy.order_max:
                return Deny("order_notional", _ORDER, _over(policy, notional, policy.order_max, "per order"))
            largest = max(largest, notional)
        total += largest
    if not facts.rate_free:
        return Deny("order_rate", RefusalKind.ORDER_RATE, "order rate of the policy is used up")
    reserve = ZERO if policy.day_max is None or intent.dry_run else total
    if reserve:
        if policy.day_max is not None and reserve > policy.day_max:
            return Deny("day_notional", _ORDER, _over(policy, reserve, policy.day_max, "per day"))
        if facts.budget < reserve:
            text = (
                f"{_plain(reserve)} {policy.reference_asset} is more than is left of the rolling day's limit"
            )
            return Deny("day_notional", _ORDER, text, ("budget",), reserve)
    sells = ZERO if intent.dry_run else _sold(intent, facts) or ZERO
    return Allow(counts=not intent.dry_run, notional=total, reserve=reserve, sells=sells)


def _pairs(policy: Policy, intent: Intent, facts: Facts) -> Mapping[str, SymbolInfo] | Deny:
    """Return the pairs an order trades; a no where one is not allowed or not known."""
    rule, found = policy.symbols, {}
    for order in _orders(intent):
        symbol = order.symbol
        if symbol in rule.but or (symbol not in rule.listed and not rule.quotes):
            return Deny("symbol", RefusalKind.SYMBOL, f"{symbol[:30]} is not allowed")
        if symbol not in facts.pairs:
            return Deny("symbol", RefusalKind.SYMBOL, "is not a known pair", (f"pair:{symbol}",))
        pair = facts.pairs[symbol]
        if pair is None:
            return Deny("symbol", RefusalKind.SYMBOL, "is not a pair of this venue")
        if symbol not in rule.listed and pair.quote not in rule.quotes:
            return Deny("symbol", RefusalKind.SYMBOL, f"{symbol[:30]} is not allowed")
        found[symbol] = pair
    return found


def _orders(intent: Intent) -> Iterator[Order]:
    for group in intent.orders:
        yield from group


def _conversion(policy: Policy, pair: SymbolInfo, facts: Facts) -> tuple[str, bool] | Deny:
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


def _unpriced(policy: Policy, pairs: Mapping[str, SymbolInfo], facts: Facts) -> Deny | None:
    """Return a no where a price is missing or old, or no pair leads to the reference asset."""
    wanted = list(pairs)
    for pair in pairs.values():
        if pair.quote != policy.reference_asset:
            found = _conversion(policy, pair, facts)
            if isinstance(found, Deny):
                return found
            wanted.append(found[0])
    missing = tuple(f"price:{symbol}" for symbol in wanted if not _fresh(facts, symbol))
    return Deny("no_reference_price", _ORDER, "no fresh reference price", missing) if missing else None


def _fresh(facts: Facts, symbol: str) -> bool:
    quote = facts.quotes.get(symbol)
    return quote is not None and quote.age_us <= FRESH_US


def _notional(policy: Policy, order: Order, pair: SymbolInfo, facts: Facts) -> Decimal:
    if order.quote_quantity is not None:
        amount = order.quote_quantity
    else:
        price = max(order.price or ZERO, order.trigger or ZERO, facts.quotes[order.symbol].price)
        amount = (order.quantity or ZERO) * price
    if pair.quote == policy.reference_asset:
        return amount
    found = _conversion(policy, pair, facts)
    if isinstance(found, Deny):
        raise ValueError("priced before it was known to be convertible")  # noqa: TRY004 - our own bug
    rate = facts.quotes[found[0]].price
    return amount / rate if found[1] else amount * rate


def _outside(policy: Policy, order: Order, facts: Facts) -> bool:
    """Tell whether a limit price loses more than the collar against its base.

    The base is the trigger if there is one: there the market stands when the order begins to count.
    """
    if policy.collar is None or order.price is None:
        return False
    quote = facts.quotes.get(order.symbol)
    base = order.trigger if order.trigger is not None else None if quote is None else quote.price
    if base is None:
        return True
    if order.side is Side.BUY:
        return order.price > base * (1 + policy.collar)
    return order.price < base * (1 - policy.collar)


# --- exits ------------------------------------------------------------------------------------


def _sold(intent: Intent, facts: Facts) -> Decimal | None:
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


def _leaving(policy: Policy, intent: Intent, facts: Facts, plain: Deny) -> Allow | Deny:
    """Let pass what only sells what the account holds (rule 6); otherwise the plain no stands."""
    if any(order.side is not Side.SELL for order in _orders(intent)):
        return plain
    missing = {f"price:{order.symbol}" for order in _orders(intent) if _wants_price(policy, order, facts)}
    missing |= {f"pair:{order.symbol}" for order in _orders(intent) if order.symbol not in facts.pairs}
    if facts.free is None:
        missing.add("holdings")
    if missing:
        wanted = tuple(sorted({*missing, *plain.missing}))
        return Deny(plain.reason, plain.kind, plain.detail, wanted, plain.wanted)
    sells = _sold(intent, facts)
    held = (facts.free or ZERO) + (facts.locked if intent.target is not None else ZERO)
    if sells is None or sells > held:
        return plain
    for order in _orders(intent):
        if _outside(policy, order, facts):
            return Deny("collar", _ORDER, _collar_text(policy))
    return Allow(leaving=True, sells=ZERO if intent.dry_run else sells)


def _wants_price(policy: Policy, order: Order, facts: Facts) -> bool:
    """Tell whether an exit must have a price to be judged: a limit under a collar, or one sized in quote."""
    if order.symbol in facts.quotes:
        return False
    collared = policy.collar is not None and order.price is not None and order.trigger is None
    return collared or order.quantity is None


# --- words ------------------------------------------------------------------------------------


def _plain(number: Decimal) -> str:
    return f"{number:.2f}"


def _over(policy: Policy, notional: Decimal, limit: Decimal, per: str) -> str:
    asset = policy.reference_asset
    return f"notional {_plain(notional)} {asset} is above the limit of {_plain(limit)} {asset} {per}"


def _collar_text(policy: Policy) -> str:
    percent = (policy.collar or ZERO) * 100
    return f"price is more than {percent.normalize():f} % on the losing side of the reference price"
