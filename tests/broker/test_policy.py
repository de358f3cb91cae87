"""The policy's verdicts: a table of intents and facts, and laws that hold for all of them."""

import dataclasses
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.policy import FRESH_US, Allow, Deny, Facts, Quote, Stake, evaluate, settle
from broker.policy_document import Policy, load
from broker.policy_facts import Page
from clients.venue import Action, Intent, Order, OrderRef, Side, SymbolInfo

POLICY = load("""
allow = ["market", "account", "trade"]
symbols = ["BTCUSDT", "ETHBTC"]
[order]
max_notional = "1000"
collar_percent = "5"
[day]
max_notional = "5000"
""")
PAIRS: dict[str, SymbolInfo | None] = {
    "BTCUSDT": SymbolInfo("BTCUSDT", "BTC", "USDT"),
    "ETHBTC": SymbolInfo("ETHBTC", "ETH", "BTC"),
    "BTCEUR": SymbolInfo("BTCEUR", "BTC", "EUR"),
    "EURUSDT": None,
    "USDTEUR": None,
}
QUOTES = {
    "BTCUSDT": Quote(Decimal(50_000), 0),
    "ETHBTC": Quote(Decimal("0.05"), 0),
    "BTCEUR": Quote(Decimal(45_000), 0),
}
EXIT_FACTS = frozenset(
    {"holdings", "stake", *(f"{kind}:{name}" for kind in ("price", "book", "asks") for name in PAIRS)}
)
ASKS = {
    "BTCUSDT": Page(((Decimal(50_000), Decimal(500)),)), "ETHBTC": Page(((Decimal("0.05"), Decimal(5000)),)),
}  # fmt: skip
BIDS = Page(((Decimal(49_999), Decimal(500)),))
FACTS = Facts(
    pairs=PAIRS,
    quotes=QUOTES,
    free=Decimal(0),
    budget=Decimal(5000),
    stake=Stake(),
    bids=BIDS,
    asks=ASKS,
    asked=EXIT_FACTS,
)
UNPRICED = replace(FACTS, quotes={}, failed={f"price:{name}" for name in PAIRS})


def place(*orders: Order, **more: Any) -> Intent:
    groups = tuple((order,) for order in orders)
    symbols = (orders[0].symbol,)
    return Intent(Action.PLACE, "spot.order.place", "trade", symbols=symbols, orders=groups, **more)


def order(
    quantity: str | None = "0.01", price: str | None = None, side: Side = Side.BUY, **more: Any
) -> Order:
    values: dict[str, Any] = {
        "symbol": "BTCUSDT", "market": price is None, "quantity": None if quantity is None else Decimal(quantity),
        "price": None if price is None else Decimal(price),
    }  # fmt: skip
    return Order(side=side, **(values | more))


SELL = Side.SELL


def asking(*levels: tuple[str, str], is_full: bool = False) -> Facts:
    page = Page(tuple((Decimal(price), Decimal(size)) for price, size in levels), is_full)
    return replace(FACTS, asks={"BTCUSDT": page})


CASES: list[tuple[str, Intent, Facts, str | None]] = [
    ("a market buy within the cap", place(order()), FACTS, None),
    ("a market buy above the cap", place(order("0.03")), FACTS, "order_notional"),
    ("a market buy that the book gives at ten times the price", place(order()), asking(("500000", "9")), "collar"),
    ("a market buy of which the book gives a part", place(order()), asking(("50000", "0.009"), ("52501", "9")), "collar"),
    ("a market buy on the collar", place(order()), asking(("50000", "0.009"), ("52500", "9")), None),
    ("a market buy of an empty book", place(order()), asking(), "collar"),
    ("a page that ends before the collar", place(order()), asking(("50000", "0.009"), is_full=True), "book_unknown"),
    ("a full page that is all taken", place(order()), asking(is_full=True), "book_unknown"),
    ("a full page that ends behind it", place(order()), asking(("50000", "0.009"), ("52501", "9"), is_full=True), "collar"),
    ("a market sale in quote counts at what it gives", place(order(None, None, SELL, quote_quantity=Decimal(900))),
     replace(FACTS, alone=False, bids=Page(((Decimal(20_000), Decimal(500)),))), "order_notional"),
    ("nor by no word of the book", place(order(None, None, SELL, quote_quantity=Decimal(900))),
     replace(FACTS, alone=False, bids=None), "book_unknown"),
    ("a market buy counts at the book", place(order("0.0195")), asking(("50000", "0.001"), ("52000", "9")),
     "order_notional"),
    ("a market buy below the price counts at the price", place(order("0.03")), asking(("30000", "9")), "order_notional"),
    ("a replacement is a market buy", place(order(), target=OrderRef("BTCUSDT", "1")),
     replace(asking(("500000", "9")), owner="own"), "collar"),
    ("a market buy whose trigger is passed", place(order(trigger=Decimal(51_000), rises=False)),
     asking(("500000", "9")), "collar"),
    ("a market buy with no word of the book", place(order()), replace(FACTS, asks={}), "book_unknown"),
    ("a size in quote needs no book", place(order(None, quote_quantity=Decimal(1000))), replace(FACTS, asks={}), None),
    ("nor does a limit", place(order("0.01", "51000")), replace(FACTS, asks={}), None),
    ("nor does what waits", place(order(trigger=Decimal(49_000), rises=False)), replace(FACTS, asks={}), None),
    ("nor a market sale within the caps", place(order("0.01", None, SELL)), replace(FACTS, asks={}), None),
    ("a low limit counts at the reference price", place(order("0.03", "30000")), FACTS, "order_notional"),
    ("a buy limit above the collar", place(order("0.001", "52501")), FACTS, "collar"),
    ("a buy limit on the collar", place(order("0.001", "52500")), FACTS, None),
    ("a buy limit far below is harmless", place(order("0.001", "20000")), FACTS, None),
    ("a sell limit below the collar", place(order("0.001", "47499", SELL)), FACTS, "collar"),
    ("a sell limit far above is harmless", place(order("0.001", "90000", SELL)), FACTS, None),
    ("a trigger counts for the notional", place(order("0.015", trigger=Decimal(90_000))), FACTS, "order_notional"),
    ("a stop limit is judged by its trigger",
     place(order("0.001", "93000", trigger=Decimal(90_000))), FACTS, None),
    ("a size in quote", place(order(None, quote_quantity=Decimal(1000))), FACTS, None),
    ("a size in quote above the cap", place(order(None, quote_quantity=Decimal(1001))), FACTS, "order_notional"),
    ("another symbol", place(order(symbol="SOLUSDT")), FACTS, "symbol"),
    ("a pair quoted in bitcoin, converted",
     place(order("0.4", symbol="ETHBTC")), FACTS, None),
    ("a pair quoted in bitcoin, too large", place(order("0.41", symbol="ETHBTC")), FACTS, "order_notional"),
    ("no fresh price", place(order()), replace(FACTS, quotes={"BTCUSDT": Quote(Decimal(50_000), FRESH_US + 1)}),
     "no_reference_price"),
    ("the last fresh instant", place(order()), replace(FACTS, quotes={"BTCUSDT": Quote(Decimal(50_000), FRESH_US)}),
     None),
    ("two orders add up for the day", place(order(), order()), replace(FACTS, budget=Decimal(999)), "day_notional"),
    ("budget used up", place(order()), replace(FACTS, budget=Decimal(499)), "day_notional"),
    ("order rate used up", place(order()), replace(FACTS, rate_free=False), "order_rate"),
    ("a test order needs no budget", place(order(), dry_run=True), replace(FACTS, budget=Decimal(0)), None),
    ("an exit ignores cap, rate and budget", place(order("2", None, SELL)),
     replace(FACTS, free=Decimal(2), budget=Decimal(0), rate_free=False), None),
    ("an exit of more than is held", place(order("2.1", None, SELL)), replace(FACTS, free=Decimal(2)), None),
    ("an exit of more than is held beside others", place(order("2.1", None, SELL)),
     replace(FACTS, alone=False, free=Decimal(2)), "order_notional"),
    ("an exit outside of the collar", place(order("2", "40000", SELL)), replace(FACTS, free=Decimal(2)), "collar"),
    ("an exit with an old price, inside the last known collar", place(order("2", "48000", SELL)),
     replace(FACTS, free=Decimal(2), quotes={"BTCUSDT": Quote(Decimal(50_000), 10**9)}), None),
    ("an exit with an old price, outside", place(order("2", "40000", SELL)),
     replace(FACTS, free=Decimal(2), quotes={"BTCUSDT": Quote(Decimal(50_000), 10**9)}), "collar"),
    ("a market exit without any price ever", place(order("2", None, SELL)),
     replace(UNPRICED, free=Decimal(2)), None),
    ("a limit exit without any price ever", place(order("2", "48000", SELL)),
     replace(UNPRICED, free=Decimal(2)), "no_reference_price"),
    ("a replacement may sell what its old order locks", place(order("2", None, SELL), target=OrderRef("BTCUSDT", "1")),
     replace(FACTS, locked=Decimal(2), owner="own"), None),
    ("a buy is no exit", place(order("2")), replace(FACTS, free=Decimal(9)), "order_notional"),
    ("halted, a buy", place(order()), replace(FACTS, halted=True), "halted"),
    ("halted, an exit", place(order("2", None, SELL)), replace(FACTS, halted=True, free=Decimal(2)), None),
    ("a pegged order", place(order(), certain=False), FACTS, "uncertain"),
    ("a read", Intent(Action.READ, "spot.account", "account"), FACTS, None),
    ("a read that is not allowed", Intent(Action.READ, "wallet.coins", "wallet-read"), FACTS, "endpoint"),
    ("an unknown read", Intent(Action.UNKNOWN, "unknown", "unknown", certain=False), FACTS, "unknown_endpoint"),
    ("a withdrawal", Intent(Action.WITHDRAW, "wallet.withdraw.apply", "withdraw"), FACTS, "never_granted"),
    ("a transfer", Intent(Action.TRANSFER, "wallet.transfer", "transfer"), FACTS, "never_granted"),
    ("key administration", Intent(Action.KEY_ADMIN, "subaccount.key.create", "key-admin"), FACTS, "never_granted"),
    ("a stream", Intent(Action.STREAM, "spot.stream.open", "stream"), FACTS, "stream"),
    ("an own cancel", Intent(Action.CANCEL, "spot.order.cancel", "trade", target=OrderRef("X", "1")),
     replace(FACTS, owner="own", rate_free=False), None),
    ("an own cancel while halted", Intent(Action.CANCEL, "spot.order.cancel", "trade", target=OrderRef("X", "1")),
     replace(FACTS, owner="own", halted=True), None),
    ("another's cancel", Intent(Action.CANCEL, "spot.order.cancel", "trade", target=OrderRef("X", "1")),
     replace(FACTS, owner="other", account_owner=True), "not_own_order"),
    ("nobody's cancel", Intent(Action.CANCEL, "spot.order.cancel", "trade", target=OrderRef("X", "1")),
     replace(FACTS, owner="nobody"), "not_own_order"),
    ("nobody's cancel by the account's owner",
     Intent(Action.CANCEL, "spot.order.cancel", "trade", target=OrderRef("X", "1")),
     replace(FACTS, owner="nobody", account_owner=True), None),
    ("cancel all", Intent(Action.CANCEL, "spot.order.cancel_all", "trade", account_wide=True,
                          target=OrderRef("X", all_open=True)), FACTS, "account_wide"),
    ("cancel all by the account's owner",
     Intent(Action.CANCEL, "spot.order.cancel_all", "trade", account_wide=True, target=OrderRef("X", all_open=True)),
     replace(FACTS, account_owner=True), None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("intent", "facts", "reason"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_the_table_of_verdicts(intent: Intent, facts: Facts, reason: str | None) -> None:
    verdict = evaluate(POLICY, intent, facts)
    assert (verdict.reason if isinstance(verdict, Deny) else None) == reason


def test_missing_facts_are_named_one_after_another() -> None:
    nothing = Facts()
    verdict = evaluate(POLICY, place(order()), nothing)
    assert isinstance(verdict, Deny)
    assert verdict.missing == ("pair:BTCUSDT",)
    verdict = evaluate(POLICY, place(order()), Facts(pairs=PAIRS))
    assert isinstance(verdict, Deny)
    assert verdict.missing == ("price:BTCUSDT", "asks:BTCUSDT"), "at the same time"
    verdict = evaluate(POLICY, place(order("0.01", "50000")), Facts(pairs=PAIRS))
    assert isinstance(verdict, Deny)
    assert verdict.missing == ("price:BTCUSDT",)
    verdict = evaluate(POLICY, place(order()), Facts(pairs=PAIRS, quotes=QUOTES))
    assert isinstance(verdict, Deny)
    assert (verdict.reason, verdict.missing) == ("book_unknown", ("asks:BTCUSDT", "price:BTCUSDT"))
    verdict = evaluate(POLICY, place(order("9")), Facts(pairs=PAIRS, quotes=QUOTES))
    assert isinstance(verdict, Deny)
    assert (verdict.reason, verdict.missing) == ("order_notional", ()), "no look is needed"
    verdict = evaluate(POLICY, place(order()), replace(asking(("60000", "9")), asked=frozenset()))
    assert isinstance(verdict, Deny)
    assert (verdict.reason, verdict.missing) == ("collar", ("asks:BTCUSDT", "price:BTCUSDT")), (
        "it is looked at anew"
    )
    verdict = evaluate(POLICY, place(order()), Facts(pairs=PAIRS, quotes=QUOTES, asks=ASKS))
    assert isinstance(verdict, Deny)
    assert (verdict.missing, verdict.wanted) == (("budget",), Decimal(500))
    verdict = evaluate(POLICY, place(order("9", None, SELL)), replace(FACTS, free=None, asked=frozenset()))
    assert isinstance(verdict, Deny)
    assert verdict.missing == ("holdings",)


def test_what_a_request_sells_of_what_is_there_counts_whatever_else_it_does() -> None:
    """A sale that a purchase follows left the next exit all that there was; one that follows a purchase sells that."""
    buys, sells = order("0.001", "50000"), order("0.002", "50000", SELL)
    for first, then, gives in ((sells, buys, "0.002"), (buys, sells, "0"), (sells, sells, "0.004")):
        waits = replace(then, starts=first.price, after_sale=first.side is SELL)
        verdict = evaluate(POLICY, place(first, waits), FACTS)
        assert isinstance(verdict, Allow)
        assert verdict.sells == Decimal(gives)


def test_an_unknown_conversion_is_asked_for_and_then_refused() -> None:
    euros = replace_symbols("BTCEUR")
    verdict = evaluate(
        euros, place(order(symbol="BTCEUR")), Facts(pairs={"BTCEUR": PAIRS["BTCEUR"]}, quotes=QUOTES)
    )
    assert isinstance(verdict, Deny)
    assert verdict.missing == ("pair:EURUSDT", "pair:USDTEUR")
    verdict = evaluate(euros, place(order(symbol="BTCEUR")), FACTS)
    assert isinstance(verdict, Deny)
    assert (verdict.reason, verdict.missing) == ("no_conversion", ())


def replace_symbols(*names: str) -> Policy:
    symbols = dataclasses.replace(POLICY.symbols, listed=frozenset(names))
    return dataclasses.replace(POLICY, symbols=symbols)


def test_observe_passes_all_but_what_is_never_granted_or_uncertain() -> None:
    observing = load('mode = "observe"\n' + POLICY_TEXT)
    for name, intent, facts, reason in CASES:
        if facts.halted:
            continue
        verdict = settle(observing, evaluate(observing, intent, facts))
        if reason in {"never_granted", "uncertain", "unknown_endpoint", "stream"}:
            assert isinstance(verdict, Deny), name
        else:
            assert isinstance(verdict, Allow), name
            assert verdict.observed == reason, name


HALTED = replace(FACTS, halted=True)
REPLACES = OrderRef("BTCUSDT", "404")


@pytest.mark.parametrize(
    ("intent", "facts"),
    [
        (place(order(), target=REPLACES), HALTED),
        (place(order(), target=REPLACES), replace(HALTED, owner="nobody")),
        (place(order(), target=REPLACES), replace(HALTED, owner="own", pairs={}, quotes={})),
        (place(order("2", None, SELL), target=REPLACES), replace(HALTED, free=Decimal(2), owner=None)),
        (place(order()), replace(HALTED, pairs={}, quotes={})),
        (place(order(symbol="SOLUSDT")), HALTED),
        (place(order("2", "48000", SELL)), replace(UNPRICED, halted=True, free=Decimal(2))),
        (place(order("2", None, SELL)), replace(HALTED, free=None, alone=False, failed={"holdings"})),
        (Intent(Action.SETTING, "wallet.bnb_burn", "setting", account_wide=True), HALTED),
        (Intent(Action.LEVERAGE, "futures.leverage", "trade"), replace(HALTED, account_owner=True)),
    ],
)
def test_under_a_halt_nothing_missing_becomes_a_yes_not_by_observing_either(
    intent: Intent, facts: Facts
) -> None:
    for policy in (POLICY, load('mode = "observe"\n' + POLICY_TEXT)):
        assert isinstance(settle(policy, evaluate(policy, intent, facts)), Deny)
        after = settle(policy, evaluate(policy, intent, replace(facts, halted=False, ended=True)))
        assert isinstance(after, Deny), "nor after the end of a lease"
        assert after.reason != "halted"


def test_an_observed_exit_passes_under_a_halt_whatever_the_policy_lists() -> None:
    observing = load('mode = "observe"\n' + POLICY_TEXT.replace('"trade"', '"account"'))
    verdict = evaluate(observing, place(order("2", None, SELL)), replace(HALTED, free=Decimal(2)))
    assert isinstance(verdict, Allow)
    assert (verdict.leaving, verdict.observed) == (True, "endpoint")


def test_an_amend_that_could_grow_an_order_is_refused_everywhere() -> None:
    grows = Intent(Action.AMEND, "spot.order.amend", "trade", target=OrderRef("X", "1"))
    shrinks = Intent(Action.AMEND, "spot.order.amend", "trade", target=OrderRef("X", "1"), shrinks=True)
    for policy in (POLICY, load('mode = "observe"\n' + POLICY_TEXT)):
        for facts in (replace(FACTS, owner="own"), replace(HALTED, owner="own")):
            verdict = evaluate(policy, grows, facts)
            assert isinstance(verdict, Deny)
            assert verdict.reason == "uncertain"
            assert isinstance(evaluate(policy, shrinks, facts), Allow)


def test_extra_reads_are_reads_by_their_exact_path_only() -> None:
    reading = load('extra_reads = ["/sapi/v1/earn/position", "/sapi/v1/asset/tradeFee"]\n' + POLICY_TEXT)
    unknown = Intent(Action.UNKNOWN, "unknown", "unknown", certain=False)
    known = Intent(Action.READ, "wallet.trade_fee", "wallet-read")
    assert isinstance(evaluate(reading, unknown, FACTS, "/sapi/v1/earn/position"), Allow)
    assert isinstance(evaluate(reading, known, FACTS, "/sapi/v1/asset/tradeFee"), Allow)
    for method in ("POST", "PUT", "DELETE", "HEAD", "get"):
        assert isinstance(evaluate(reading, unknown, FACTS, "/sapi/v1/earn/position", method), Deny)
    for path in ("//sapi/v1/earn/position", "/sapi/v1/earn/position/", "/sapi/v1/earn"):
        assert isinstance(evaluate(reading, unknown, FACTS, path), Deny)


POLICY_TEXT = """
allow = ["market", "account", "trade"]
symbols = ["BTCUSDT", "ETHBTC"]
[order]
max_notional = "1000"
collar_percent = "5"
[day]
max_notional = "5000"
"""
AMOUNT = st.decimals("0.0001", "100", places=4)


@given(quantity=AMOUNT, price=st.none() | st.decimals("1", "200000", places=2), side=st.sampled_from(list(Side)),
       free=AMOUNT, budget=st.decimals("0", "9000", places=2), halted=st.booleans())  # fmt: skip
def test_nothing_passes_that_is_neither_within_the_limits_nor_an_exit(
    quantity: Decimal, price: Decimal | None, side: Side, free: Decimal, budget: Decimal, halted: bool
) -> None:
    facts = replace(FACTS, free=free, budget=budget, halted=halted)
    verdict = evaluate(
        POLICY, place(order(str(quantity), None if price is None else str(price), side)), facts
    )
    if isinstance(verdict, Deny):
        return
    reference = Decimal(50_000)
    inside = price is None or (
        price <= reference * Decimal("1.05") if side is Side.BUY else price >= reference * Decimal("0.95")
    )
    assert inside
    if verdict.leaving:
        assert side is SELL
        assert verdict.beyond is (quantity > free)
        assert verdict.reserve == 0
    else:
        assert not halted
        assert verdict.reserve == quantity * max(price or Decimal(0), reference)
        assert verdict.reserve <= min(Decimal(1000), budget)


LEVEL = st.tuples(st.decimals("45000", "60000", places=0), st.decimals("0.001", "0.02", places=3))


@given(quantity=st.decimals("0.001", "0.03", places=3), levels=st.lists(LEVEL, max_size=6))
def test_a_market_buy_that_passes_costs_no_more_than_it_counts_and_a_refusal_names_what_passes(
    quantity: Decimal, levels: list[tuple[Decimal, Decimal]]
) -> None:
    facts = replace(FACTS, asks={"BTCUSDT": Page(tuple(sorted(levels)))})
    verdict = evaluate(POLICY, place(order(str(quantity))), facts)
    left, cost = quantity, Decimal(0)
    for price, size in sorted(levels):
        cost += min(left, size) * price
        left -= min(left, size)
    if isinstance(verdict, Allow):
        assert not left
        assert max(cost, quantity * 50_000) == verdict.notional <= Decimal(1000)
    elif verdict.reason == "collar":
        size = Decimal(verdict.detail.removeprefix("the book gives ").split()[0])
        assert size < quantity
        if size:
            smaller = evaluate(POLICY, place(order(str(size))), facts)
            assert isinstance(smaller, Allow) or smaller.reason == "order_notional"


@given(quantity=AMOUNT, price=st.none() | st.decimals("47500", "90000", places=2), halted=st.booleans())
def test_no_exit_is_ever_refused(quantity: Decimal, price: Decimal | None, halted: bool) -> None:
    facts = replace(FACTS, free=quantity, budget=Decimal(0), rate_free=False, halted=halted)
    sale = place(order(str(quantity), None if price is None else str(price), SELL))
    for policy in (POLICY, dataclasses.replace(POLICY, market_orders=False)):
        assert isinstance(evaluate(policy, sale, facts), Allow)
    bought = replace(facts, stake=Stake(bought_here=True, own=quantity))
    assert isinstance(evaluate(replace_symbols("ETHBTC"), sale, bought), Allow)
