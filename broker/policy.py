"""What a grant lets a bot do. Pure: an intent and facts in, a verdict out. Deny by default.

The order of judgement:
1. Withdrawals, transfers and key administration are never granted. Streams are not proxied yet.
2. A write without certain intent is refused, in `observe` too. So is an amend that may do more than shrink.
3. The endpoint stands in the allow-list, by name or group; reads beside it only by GET and their exact path.
4. Cancels and amends: only of the grant's own orders; cancel-all and settings only of the account's owner.
   They are exits: no cap, rate or removed symbol stops them.
5. An order passes if it is within symbols, kind, reference price, collar, caps, rate and budget (`policy_sizes`).
6. Otherwise it passes as an exit (`policy_exits`).
7. Where the gates say halt, and after the end of the lease, only reads, cancels, amends that shrink, and exits pass.
   What replaces an order is an order: its cancel makes it no exit. A lease that is over is an outage, no policy's no.
8. `observe` turns a no of 3 to 6 into a yes that is written down, known facts or not, but no `firm` one: those are
   1, 2, and what is no read, cancel or exit under 7.

Facts that are missing make a no with `missing`; the caller fetches them if it may still wait, and asks again. Whose
order it is, is a fact like others: where nobody can be asked it is not known, which is no "there is no such order".
"""

from collections.abc import Mapping
from decimal import Decimal

from msgspec.structs import replace

from broker.policy_document import Policy, PolicyMode
from broker.policy_exits import gives, into_money, leaving, only_sells, orders_of
from broker.policy_facts import FRESH_US, ZERO, Allow, Deny, Facts, Quote, Stake
from broker.policy_sizes import (
    behind,
    beyond_the_book,
    collar_text,
    conversion,
    looked_anew,
    looks_for,
    outside,
    over,
    plain,
    uncounted,
    worst,
)
from clients.venue import Action, Intent, Order, Side, SymbolInfo
from clients.wire import RefusalKind

__all__ = ["FRESH_US", "Allow", "Deny", "Facts", "Quote", "Stake", "evaluate", "settle"]

_NEVER = frozenset({Action.WITHDRAW, Action.TRANSFER, Action.KEY_ADMIN})
_EXITS = frozenset({Action.CANCEL, Action.AMEND})
_ORDER = RefusalKind.ORDER
_ENDPOINT = RefusalKind.ENDPOINT


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
    if facts.only_exits and action is not Action.READ and action not in _EXITS:
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
    return Allow(leaving=intent.action in _EXITS, observed=verdict.reason, sells=gives(intent, facts))


def _halted(policy: Policy, intent: Intent, facts: Facts, verdict: Deny) -> Allow | Deny:
    """Judge under a halt what observing would let pass: only an exit does, and no missing fact makes one."""
    if intent.action is Action.PLACE and intent.orders and not verdict.missing:
        exit_ = leaving(policy, intent, facts, _stopped(facts))
        if isinstance(exit_, Allow):
            return replace(exit_, observed=verdict.reason)
        verdict = exit_
    return replace(verdict, firm=True)


def _stopped(facts: Facts) -> Deny:
    """Say why only exits pass (rule 7)."""
    if facts.halted:
        return Deny("halted", RefusalKind.UNKNOWN_KEY)
    return Deny("lease_over", RefusalKind.UNAVAILABLE)


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
        if facts.only_exits:
            return _stopped(facts)
        return Allow() if facts.account_owner else Deny("account_wide", _ENDPOINT)
    if not intent.orders:
        return Deny("uncertain", _ORDER, "names no order")
    if facts.only_exits:
        return leaving(policy, intent, facts, _stopped(facts))
    verdict = _within(policy, intent, facts)
    if isinstance(verdict, Allow):
        return verdict
    return leaving(policy, intent, facts, verdict)


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
    unpriced = _unpriced(policy, intent, pairs, facts)
    if unpriced is not None:
        return unpriced
    total = ZERO
    for group in intent.orders:
        largest = ZERO
        for order in group:
            if order.market and not policy.market_orders:
                return Deny("market_order", _ORDER, "market orders are not allowed")
            if outside(policy, order, facts):
                return Deny("collar", _ORDER, collar_text(policy))
            notional = _counted(policy, intent, order, pairs[order.symbol], facts)
            if isinstance(notional, Deny):
                return notional
            largest = max(largest, notional)
        total += largest
    if not facts.rate_free:
        return Deny("order_rate", RefusalKind.ORDER_RATE, "order rate of the policy is used up")
    limited = policy.day_max is not None or facts.limited
    reserve = total if limited and not intent.dry_run else ZERO
    if reserve:
        if policy.day_max is not None and reserve > policy.day_max:
            return Deny("day_notional", _ORDER, over(policy, reserve, policy.day_max, "per day"))
        if facts.budget < reserve:
            text = (
                f"{plain(reserve)} {policy.reference_asset} is more than is left of the rolling day's limit"
            )
            return Deny("day_notional", _ORDER, text, ("budget",), reserve - facts.budget)
    return Allow(
        counts=not intent.dry_run,
        notional=total,
        reserve=reserve,
        sells=ZERO if intent.dry_run else gives(intent, facts),
        only_sells=only_sells(intent) and all(into_money(policy, name, pair) for name, pair in pairs.items()),
    )


def _counted(policy: Policy, intent: Intent, order: Order, pair: SymbolInfo, facts: Facts) -> Decimal | Deny:
    """Return what an order counts; a no where that is above the cap, or the book does not give it."""
    refused = uncounted(policy, order, facts)
    if refused is not None:
        return refused
    facts = behind(intent, order, facts)
    notional = worst(policy, order, pair, facts)
    if notional is None:
        raise ValueError("priced before it was known to be convertible")
    if policy.order_max is None or notional <= policy.order_max:
        return beyond_the_book(policy, order, pair, facts) or notional
    above = Deny("order_notional", _ORDER, over(policy, notional, policy.order_max, "per order"))
    looks = looks_for(order, facts)
    unseen = worst(policy, order, pair, replace(facts, asks={}, bids=None))
    if not looks or unseen is None or unseen > policy.order_max:
        return above
    # only the book has it above the cap: that of now is asked before it is refused
    anew, at_best = looked_anew(order, facts), worst(policy, order, pair, facts.at_best)
    if at_best is not None and at_best <= policy.order_max:  # only what others have sent has it above
        return Deny("book_unknown", RefusalKind.UNAVAILABLE, missing=anew or looks)
    if anew or all(facts.came(look) for look in looks):
        return replace(above, missing=anew)
    return Deny("book_unknown", RefusalKind.UNAVAILABLE, missing=looks)


def _pairs(policy: Policy, intent: Intent, facts: Facts) -> Mapping[str, SymbolInfo] | Deny:
    """Return the pairs an order trades; a no where one is not allowed or not known."""
    rule, found = policy.symbols, {}
    for order in orders_of(intent):
        symbol = order.symbol
        if symbol in rule.but or (symbol not in rule.listed and not rule.quotes):
            return Deny("symbol", RefusalKind.SYMBOL, f"{symbol[:30]} is not allowed")
        if symbol not in facts.pairs:
            return Deny("symbol", RefusalKind.SYMBOL, "is not a known pair", (f"pair:{symbol}",))
        pair = facts.pairs[symbol]
        if pair is None:
            return Deny("symbol", RefusalKind.SYMBOL, "is not a pair of this venue")
        if not rule.covers(symbol, pair.quote):
            return Deny("symbol", RefusalKind.SYMBOL, f"{symbol[:30]} is not allowed")
        found[symbol] = pair
    return found


def _unpriced(policy: Policy, intent: Intent, pairs: Mapping[str, SymbolInfo], facts: Facts) -> Deny | None:
    """Return a no where a price is missing or old, or no pair leads to the reference asset.

    What is counted by the book needs that too: both are asked for at the same time.
    """
    wanted = list(pairs)
    for pair in pairs.values():
        if pair.quote != policy.reference_asset:
            found = conversion(policy, pair, facts)
            if isinstance(found, Deny):
                return found
            wanted.append(found[0])
    missing = tuple(f"price:{symbol}" for symbol in wanted if not facts.fresh(symbol))
    if not missing:
        return None
    looks = {
        look
        for order in orders_of(intent)
        if policy.market_orders
        and (facts.bids is None if order.side is Side.SELL else order.symbol not in facts.asks)
        for look in looks_for(order, facts)
    }
    names = (*missing, *sorted(name for name in looks if facts.may_ask(name)))
    return Deny("no_reference_price", _ORDER, "no fresh reference price", names)
