"""What is an exit: orders that only sell what is the grant's to sell. Pure.

An exit passes whatever the caps, the order rate, the list of kinds or a halt say; never the collar. It is one where
1. every order of it sells, in a pair that the policy lists, or in which this grant bought when it was listed;
2. it sells into the reference asset, a listed quote, or what its pair was listed with. The reference asset itself is
   sold as an exit only as far as this grant bought it: exits turn things into money, never money into things;
3. it sells no more than is free (a replacement frees what its old order binds, but beside other grants not where it
   may place although that was not cancelled: it was filled then), and on an account with other grants
   no more than this one bought and neither sold nor offers in open orders, or than is left once theirs is taken off.
   Who is alone may sell all that is there, and nobody here knows better than the exchange how much that is: it shows
   late what a cancel freed or somebody sent there, and sells no more. What is more than it shows of now, as bound or
   free, and than this grant bought, leaves marked (`Allow.beyond`): the exchange is not asked that in a pause;
4. its limit is inside the collar. A market order above the caps is sized against the public book at this moment: what
   the book gives within the collar passes, less what others are selling into it at the market and are known to hold,
   and what the same bot sells at once. What else is on its way keeps nobody from leaving: it may never take anything.
   So is one sized that is triggered within the collar, that trails, or whose trigger the market has passed, for it may
   be filled at once; one further away protects, and nobody knows the book it will meet. Where only exits pass each is
   sized, also below the caps, by a look of the last seconds where that is enough: nothing counts for the caps there, so
   that all of it would leave below them in pieces, at any price. The look is at the first bids, and at many where these
   end inside the collar and are too few: that is no reason for a no;
5. one that is sized in quote sells as much base as the bids need for that amount now (`policy_book`).

What is missing. Holdings, prices, the book and whose the asset is are asked anew once before an exit is refused. What
then cannot be had does not refuse it where the venue itself will not sell what is not there:
- holdings: on an account of its own the exit passes; beside other grants as far as this grant's own buys are known to
  have been filled: one that rests brought nothing as long as nobody tells that it did. What was told of its orders
  counts although holdings do not show it yet;
- a price: the last known one sets the collar; with none ever known market exits pass, limits cannot be judged;
- the book: the exit passes, as the venue's own price filters let it. How much one sells that is sized in quote, the
  last known price tells on an account of its own; beside other grants nobody knows it, so it cannot be judged;
- what others' purchases cost: what they have is less by fees that nobody told. Where that decides the venue is asked,
  and without its answer it cannot be judged: a no rests on what is known, and what others may have at most is not;
- whether holdings show a sale that had left when they were asked for, or a replacement frees what its old order binds:
  where that decides, its answer is waited for, and without it the exit cannot be judged. Nor can it be where what a
  cancel freed lately, or a purchase brought, decides on an account with other grants: holdings may lag behind that;
- whose it is: it cannot be judged. So a fact that is unknown is told as that, and never as a no.
There is no baseline on record: on an account of its own everything it holds was held or bought by the grant, and beside
others everything is that no other grant bought. Grants from before this was counted have no recorded buys.
"""

from collections.abc import Iterator
from decimal import Decimal
from functools import partial

from broker.policy_book import needed, size_of, within, worth_of
from broker.policy_document import Policy
from broker.policy_facts import ZERO, Allow, Deny, Facts
from broker.policy_sizes import collar_of, collar_text, in_bids, outside, percent, reached, worst
from clients.venue import Intent, Order, Side, SymbolInfo
from clients.wire import RefusalKind

_ORDER = RefusalKind.ORDER
_FREES_NOTHING = "what is replaced may have been filled: nothing of it counts as free without STOP_ON_FAILURE"
_CAPS = frozenset({"order_notional", "day_notional"})


def orders_of(intent: Intent) -> Iterator[Order]:
    """Yield every order of a request."""
    for group in intent.orders:
        yield from group


def only_sells(intent: Intent) -> bool:
    """Tell whether a request places orders, and sells with each of them."""
    return bool(intent.orders) and all(order.side is Side.SELL for order in orders_of(intent))


def sold(intent: Intent, facts: Facts) -> Decimal | None:
    """Return how much base asset a request sells at most; None where it does anything but sell, or nobody knows."""
    if not only_sells(intent):
        return None
    total = ZERO
    for group in intent.orders:
        sizes = [_size(order, facts) for order in group]
        if any(size is None for size in sizes):
            return None
        total += max(size for size in sizes if size is not None)
    return total


def gives(intent: Intent, facts: Facts) -> Decimal:
    """Return how much base asset a request sells of what there is now, for the holdings of the next one.

    What it sells once it bought is not there yet.
    """
    if only_sells(intent):
        return sold(intent, facts) or ZERO
    now = (
        tuple(order for order in group if order.side is Side.SELL and order.starts is None)
        for group in intent.orders
    )
    return sum((max((_size(order, facts) or ZERO for order in group), default=ZERO) for group in now), ZERO)


def _size(order: Order, facts: Facts) -> Decimal | None:
    """Return how much base asset an order sells at most; sized in quote by the bids, else by the last known price."""
    if order.quantity is not None:
        return order.quantity
    amount, quote, page = order.quote_quantity or ZERO, facts.quotes.get(order.symbol), facts.bids
    if page is not None and (page.levels or not page.is_full):
        whole = page.seen_to is None or facts.came(f"deep:{order.symbol}")
        if whole or worth_of(page.levels) >= amount:
            return needed(page.levels, amount)
    return None if quote is None or not quote.price else amount / quote.price


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
    venue_bounds = listed and facts.alone
    unsized = _unsized(intent, facts, why, pair, venue_bounds=venue_bounds)
    if unsized is not None:
        return unsized
    sizes, amount = _sizes(intent, facts), sold(intent, facts.at_best if venue_bounds else facts)
    if amount is None or any(_unpriced(order, facts) for order in orders_of(intent)):
        return _unless(why, facts, f"price:{symbol}", *sizes)
    lacks = partial(_short, intent=intent, base=pair.base, policy=policy)
    short = lacks(facts, amount)
    beyond = short is not None and facts.alone and pair.base != policy.reference_asset
    if beyond and (anew := [name for name in short or () if facts.may_ask(name)]):
        return _with(why, *anew)
    if short is not None and not beyond:
        least = sold(intent, facts.at_best) or ZERO
        if least < amount and lacks(facts, least) is None:
            return _book_unknown(pair)
        shown = facts.shown
        still = short if shown is facts else lacks(shown, amount)
        if still is None or (still != short and "fees" in still):
            return Deny("holdings_unknown", RefusalKind.UNAVAILABLE, missing=("landed", *(still or ())))
        if intent.persists and not facts.alone:
            kind = (
                _ORDER if why.kind is RefusalKind.UNKNOWN_KEY else why.kind
            )  # that one has no text of its own
            why = Deny(why.reason, kind, _FREES_NOTHING, why.missing, why.wanted, why.firm)
        return _unless(why, facts, *short, *sizes)
    if any(outside(policy, order, facts) for order in orders_of(intent)):
        return _unless(Deny("collar", _ORDER, collar_text(policy)), facts, f"price:{symbol}")
    yes = Allow(leaving=True, sells=ZERO if intent.dry_run else amount, beyond=beyond)
    return _sized(policy, intent, facts, why, pair, amount, yes)


def _sizes(intent: Intent, facts: Facts) -> tuple[str, ...]:
    """Return the facts that tell how much base a sale gives which is sized in quote: the bids, else a price."""
    orders = [order for order in orders_of(intent) if in_bids(order)]
    book = tuple({f"book:{order.symbol}" for order in orders})
    return (
        book
        if all(facts.came(name) for name in book)
        else (*book, *{f"price:{order.symbol}" for order in orders})
    )


def _unsized(intent: Intent, facts: Facts, why: Deny, pair: SymbolInfo, *, venue_bounds: bool) -> Deny | None:
    """Return a no where a sale that is sized in quote was not sized by the bids of now.

    Where the venue itself sells no more than the grant may, it need not be.
    """
    money = sum((order.quote_quantity or ZERO for order in orders_of(intent) if in_bids(order)), ZERO)
    if not money:
        return None
    book, deep, price = f"book:{pair.symbol}", f"deep:{pair.symbol}", f"price:{pair.symbol}"
    page = facts.bids
    seen_to = None if page is None else page.seen_to
    short = (
        page is not None and seen_to is not None and worth_of(within(page.levels, Side.SELL, seen_to)) < money
    )
    # where the first were too few before, many are asked for at once: there is a second in all
    look = deep if short and facts.may_ask(deep) else book
    looked = facts.came(deep) or (look == book and facts.came(book))
    # the book of now against a price of before would refuse who leaves a market that falls
    if anew := [name for name in (*(() if looked else (look,)), price) if facts.may_ask(name)]:
        return _with(why, *anew)
    if venue_bounds:
        return None
    if page is None or not looked:
        return _with(why, book)
    worth = worth_of(page.levels)
    if worth >= money:  # what lies behind the first was seen lately, where it cannot be had now
        return None
    if short and not facts.came(deep):
        return _book_unknown(pair, deep)
    if worth_of(page.best.levels) >= money:
        return _book_unknown(pair)
    return _too_much(f"{worth.normalize():f} {pair.quote}", "")


def _book_unknown(pair: SymbolInfo, look: str = "") -> Deny:
    """Say that nobody knows what is left of the bids: it depends on what others have sent, or on a look."""
    return Deny("book_unknown", RefusalKind.UNAVAILABLE, missing=(look or f"book:{pair.symbol}",))


def _too_much(takes: str, where: str) -> Deny:
    """Say how much the book takes at once."""
    return Deny("exit_size", _ORDER, f"the book takes {takes}{where} now; sell no more than that at once")


def _short(
    facts: Facts,
    amount: Decimal,
    *,
    intent: Intent,
    base: str,
    policy: Policy,
) -> tuple[str, ...] | None:
    """Return the facts that could still show that so much may be sold; None where it may."""
    stake, replaces = facts.stake, intent.target is not None and (facts.alone or not intent.persists)
    own = ZERO if stake is None else stake.own
    if base == policy.reference_asset and amount > own:
        return ("stake",)
    if facts.free is None:
        return None if facts.alone or amount <= own else ("holdings",)
    held = facts.free + (facts.locked if replaces else ZERO)
    if (
        amount > held
    ):  # the venue may show late what it has told of its own orders before, and what a cancel freed
        there = facts.free + facts.locked + own if facts.alone else own
        return None if amount <= there else ("holdings", "stake")
    if facts.alone or amount <= own:
        return None
    if stake is None:
        return ("stake",)
    left = facts.free + stake.freed - stake.others
    if amount <= left:
        return None
    # by what others bought at most it is too much; what their fees took of that may show that it is not
    return ("holdings", "stake", "fees") if amount <= left + stake.fees else ("holdings", "stake")


def _sized(
    policy: Policy, intent: Intent, facts: Facts, why: Deny, pair: SymbolInfo, amount: Decimal, yes: Allow
) -> Allow | Deny:
    """Size a market exit against the book: above the caps, and where nothing counts for them (rule 4)."""
    quote, name = facts.quotes.get(pair.symbol), f"book:{pair.symbol}"
    if quote is None:
        return yes
    at_once = [order for order in orders_of(intent) if _at_once(policy, order, quote.price)]
    above = any(_above(policy, order, pair, facts, why) for order in at_once)
    if not above and not (at_once and facts.only_exits):
        return yes
    bids = None if facts.bids is None else facts.bids.best.levels
    lowest = quote.price * (1 - collar_of(policy))
    inside = within(bids or (), Side.SELL, lowest)
    size, worth, where = size_of(inside), worth_of(inside), f" within {percent(policy)}"
    money = sum((order.quote_quantity or ZERO for order in orders_of(intent) if in_bids(order)), ZERO)
    takes = amount <= size and money <= worth
    if takes and not above:
        return yes
    deep, seen_to = f"deep:{pair.symbol}", None if facts.bids is None else facts.bids.seen_to
    short = not takes and seen_to is not None and seen_to >= lowest  # it ends inside the collar
    look = deep if short and facts.may_ask(deep) else name
    if bids is None or not (facts.came(deep) or (look == name and facts.came(name))):
        # the book of now against a price of before would refuse who leaves a market that falls
        price = f"price:{pair.symbol}"
        both = (look, price) if facts.may_ask(price) else (look,)
        return _with(why, *both) if facts.may_ask(look) else yes
    if takes or (short and not facts.came(deep)):
        return yes
    so_much = f"{worth.normalize():f} {pair.quote}" if money else f"{size.normalize():f} {pair.base}"
    return _unless(_too_much(so_much, where), facts, f"price:{pair.symbol}")


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
    """Tell whether an exit cannot be judged without a price."""
    return order.symbol not in facts.quotes and order.price is not None and order.trigger is None


def _with(why: Deny, *names: str) -> Deny:
    wanted = tuple(sorted({*why.missing, *names}))
    return Deny(why.reason, why.kind, why.detail, wanted, why.wanted, why.firm)


def _unless(why: Deny, facts: Facts, *names: str) -> Deny:
    """Say no, but for facts that are not known as of this request."""
    return _with(why, *(name for name in names if not facts.came(name)))
