"""Laws of exits and of sizes: whatever is asked, in whatever order."""

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.policy import Allow, Deny, Facts, Quote, Stake, evaluate
from broker.policy_document import Policy, load
from broker.policy_facts import ZERO, Page
from broker.policy_sizes import DRIFT, worst
from clients.venue import Action, Intent, Order, OrderRef, Side, SymbolInfo

ASSETS = ("USDT", "EUR", "BTC", "ETH", "SOL")
WORTH = {
    "USDT": Decimal(1),
    "EUR": Decimal("1.1"),
    "BTC": Decimal(50_000),
    "ETH": Decimal(2500),
    "SOL": Decimal(100),
}
PAIRS: dict[str, SymbolInfo | None] = {
    base + quote: SymbolInfo(base + quote, base, quote)
    for base in ASSETS
    for quote in ASSETS
    if base != quote
}
QUOTES = {
    name: Quote(WORTH[pair.base] / WORTH[pair.quote], 0) for name, pair in PAIRS.items() if pair is not None
}
ASKED = frozenset({"holdings", "stake", *(f"{kind}:{name}" for kind in ("price", "book") for name in PAIRS)})
POLICIES: tuple[Policy, ...] = tuple(
    load(text + '\nallow = ["trade"]\n[order]\nmax_notional = "100"\nmarket = false\n'
         'rate = {orders = 1, seconds = 3600}\n[day]\nmax_notional = "100"')
    for text in (
        'symbols = ["BTCUSDT"]',
        'symbols = ["BTCUSDT", "ETHUSDT", "ETHBTC"]',
        'symbols = {quote = ["USDT"], but = ["SOLUSDT"]}',
        'symbols = {quote = ["USDT", "BTC"]}',
        'reference_asset = "EUR"\nsymbols = {quote = ["EUR", "USDT"]}',
        'reference_asset = "BTC"\nsymbols = ["ETHBTC", "BTCUSDT"]',
    )
)  # fmt: skip
AMOUNT = st.decimals("0.001", "20", places=3)
NAMES = st.sampled_from(sorted(PAIRS))


@st.composite
def orders(draw: st.DrawFn) -> Order:
    name = draw(NAMES)
    price = QUOTES[name].price
    factor = st.none() | st.decimals("0.5", "2", places=2)
    limit, trigger = draw(factor), draw(factor)
    sized = draw(st.booleans())
    quantity = draw(AMOUNT)
    return Order(
        name, draw(st.sampled_from(list(Side))), market=limit is None,
        quantity=quantity if sized or limit is not None or trigger is not None else None,
        quote_quantity=None if sized or limit is not None or trigger is not None else quantity * price,
        price=None if limit is None else price * limit, trigger=None if trigger is None else price * trigger,
        drifts=draw(st.booleans()),
    )  # fmt: skip


def asked(order: Order, *more: Order, **values: Any) -> Intent:
    groups = ((order,), *((one,) for one in more if one.symbol == order.symbol))
    return Intent(Action.PLACE, "spot.order.place", "trade", symbols=(order.symbol,), orders=groups, **values)


def facts_of(held: dict[str, Decimal], order: Order, stake: Stake, *, halted: bool, alone: bool) -> Facts:
    pair = PAIRS[order.symbol]
    assert pair is not None
    return Facts(
        halted=halted, alone=alone, pairs=PAIRS, quotes=QUOTES, free=held[pair.base], stake=stake,
        bids=Page(((QUOTES[order.symbol].price, Decimal(10**9)),)), rate_free=False, asked=ASKED,
    )  # fmt: skip


@given(policy=st.sampled_from(POLICIES), tries=st.lists(st.tuples(orders(), orders()), max_size=8),
       halted=st.booleans(), alone=st.booleans(), replaces=st.booleans())  # fmt: skip
def test_no_sequence_of_exits_spends_the_reference_asset_or_buys_anything(
    policy: Policy, tries: list[tuple[Order, Order]], halted: bool, alone: bool, replaces: bool
) -> None:
    held = dict.fromkeys(ASSETS, Decimal(10))
    for order, other in tries:
        target = OrderRef(order.symbol, "1") if replaces else None
        facts = facts_of(held, order, Stake(), halted=halted, alone=alone)
        verdict = evaluate(policy, asked(order, other, target=target), facts)
        if isinstance(verdict, Deny) or not verdict.leaving:
            continue
        pair = PAIRS[order.symbol]
        assert pair is not None
        assert order.side is Side.SELL
        assert pair.base != policy.reference_asset
        assert policy.symbols.covers(order.symbol, pair.quote)
        assert verdict.beyond is (verdict.sells > held[pair.base])
        if verdict.beyond:
            assert alone
            continue  # the exchange refuses it
        before = held[policy.reference_asset]
        held[pair.base] -= verdict.sells
        held[pair.quote] += verdict.sells * QUOTES[order.symbol].price
        assert held[policy.reference_asset] >= before


@given(policy=st.sampled_from(POLICIES), side=st.sampled_from(list(Side)), off=st.decimals("-0.5", "0.5", places=3),
       halted=st.booleans(), stop=st.booleans())  # fmt: skip
def test_a_policy_without_a_collar_has_one_of_five_percent(
    policy: Policy, side: Side, off: Decimal, halted: bool, stop: bool
) -> None:
    """By a limit price, or by a trigger that the market has passed, nothing is sold further below or bought above."""
    symbol = "BTCUSDT" if policy.symbols.covers("BTCUSDT", "USDT") else "ETHBTC"
    price = QUOTES[symbol].price * (1 + off)
    order = Order(symbol, side, market=False, quantity=Decimal("0.001"), price=price,
                  trigger=QUOTES[symbol].price if stop else None)  # fmt: skip
    stake = Stake(True, Decimal(10), ZERO, ZERO)
    facts = facts_of(dict.fromkeys(ASSETS, Decimal(10)), order, stake, halted=halted, alone=True)
    verdict = evaluate(policy, asked(order), replace(facts, rate_free=True, budget=Decimal(10**6)))
    beyond = off < Decimal("-0.05") if side is Side.SELL else off > Decimal("0.05")
    if beyond:
        assert isinstance(verdict, Deny)
    elif side is Side.SELL and symbol != "BTCUSDT":
        return
    elif side is Side.SELL:
        assert isinstance(verdict, Allow)


@given(policy=st.sampled_from(POLICIES[:2]), below=st.decimals("0", "0.2", places=3))
def test_nor_does_the_book_give_a_market_exit_more_than_five_percent_below(
    policy: Policy, below: Decimal
) -> None:
    order = Order("BTCUSDT", Side.SELL, market=True, quantity=Decimal(5))
    facts = facts_of(dict.fromkeys(ASSETS, Decimal(10)), order, Stake(), halted=True, alone=True)
    bids = ((QUOTES["BTCUSDT"].price * (1 - below), Decimal(10)),)
    verdict = evaluate(policy, asked(order), replace(facts, bids=Page(bids)))
    assert isinstance(verdict, Allow) is (below <= Decimal("0.05"))


MONEY: tuple[tuple[Policy, str], ...] = ((POLICIES[5], "BTCUSDT"), (POLICIES[4], "EURUSDT"))
"""Policies with a pair that sells their reference asset."""


@given(at=st.sampled_from(MONEY), own=st.decimals("0.001", "5", places=3), more=st.decimals("0.001", "5", places=3),
       halted=st.booleans(), alone=st.booleans(), replaces=st.booleans())  # fmt: skip
def test_the_reference_asset_is_left_as_far_as_the_grant_bought_it_and_no_further(
    at: tuple[Policy, str], own: Decimal, more: Decimal, halted: bool, alone: bool, replaces: bool
) -> None:
    """The account holds ten of it: whoever bought some there may sell that much, and never the rest."""
    policy, symbol = at
    target = OrderRef(symbol, "1") if replaces else None
    stake = Stake(True, own, ZERO, ZERO)
    for quantity, leaves in ((own, True), (own + more, False)):
        order = Order(symbol, Side.SELL, market=False, quantity=quantity, price=QUOTES[symbol].price)
        facts = facts_of(dict.fromkeys(ASSETS, Decimal(10)), order, stake, halted=halted, alone=alone)
        verdict = evaluate(policy, asked(order, target=target), replace(facts, owner="own"))
        assert (isinstance(verdict, Allow) and verdict.leaving) is leaves


@given(policy=st.sampled_from(POLICIES), order=orders(), halted=st.booleans(), alone=st.booleans())
def test_every_sale_of_what_a_grant_bought_inside_the_collar_passes(
    policy: Policy, order: Order, halted: bool, alone: bool
) -> None:
    pair, price = PAIRS[order.symbol], QUOTES[order.symbol].price
    assert pair is not None
    base = order.trigger or price
    sale = Order(
        order.symbol, Side.SELL, order.market, order.quantity or Decimal(1),
        price=None if order.price is None else max(order.price, base * Decimal("0.95")), trigger=order.trigger,
        drifts=order.drifts,
    )  # fmt: skip
    stake = Stake(bought_here=True, own=sale.quantity or ZERO, others=Decimal(5))
    held = dict.fromkeys(ASSETS, sale.quantity or ZERO)
    facts = facts_of(held, sale, stake, halted=halted, alone=alone)
    verdict = evaluate(policy, asked(sale), facts)
    assert isinstance(verdict, Allow), verdict
    assert verdict.reserve == 0 or not verdict.leaving


@given(order=orders(), starts=st.none() | st.decimals("0.5", "2", places=2))
def test_an_order_never_counts_less_than_any_price_it_names(order: Order, starts: Decimal | None) -> None:
    policy, pair, price = POLICIES[0], PAIRS[order.symbol], QUOTES[order.symbol].price
    assert pair is not None
    pending = Order(
        order.symbol, order.side, order.market, order.quantity or Decimal(1), None, order.price, order.trigger,
        starts=None if starts is None else price * starts, drifts=order.drifts,
    )  # fmt: skip
    counted = worst(policy, pending, pair, Facts(pairs=PAIRS, quotes=QUOTES))
    assert counted is not None
    into = QUOTES[pair.quote + "USDT"].price if pair.quote != "USDT" else Decimal(1)
    named = (price, pending.price, pending.trigger, pending.starts)
    highest = max(one for one in named if one is not None) * (DRIFT if order.drifts else 1)
    assert abs(counted - (pending.quantity or ZERO) * highest * into) <= counted * Decimal("1e-20")
