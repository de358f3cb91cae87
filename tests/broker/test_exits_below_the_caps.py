"""Where only exits pass a market sale is sized by the book, also one below the caps: nothing counts for them there."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from broker.policy import Allow, Deny, evaluate
from broker.policy_document import load
from broker.policy_facts import Facts, Page, Quote, Stake
from clients.venue import SymbolInfo
from tests.clients.binance_cases import read

CAPPED = load('allow = ["trade"]\nsymbols = ["BTCUSDT"]\n[order]\nmax_notional = "1000"\n')
FREE = load('allow = ["trade"]\nsymbols = ["BTCUSDT"]\n')
HELD = frozenset({"price:BTCUSDT", "holdings", "stake"})
LOOKED = HELD | {"book:BTCUSDT"}
FACTS = Facts(
    halted=True, pairs={"BTCUSDT": SymbolInfo("BTCUSDT", "BTC", "USDT")}, quotes={"BTCUSDT": Quote(Decimal(100), 0)},
    free=Decimal(5000), stake=Stake(own=Decimal(5000)), asked=HELD,
)  # fmt: skip
FAR = Page(((Decimal(2), Decimal(9000)),))
NEAR = Page(((Decimal(99), Decimal(6)), (Decimal(2), Decimal(9000))))

SALES = {
    "market": "type=MARKET&quantity=5",
    "market, in quote": "type=MARKET&quoteOrderQty=495",
    "a stop that the market has passed": "type=STOP_LOSS&stopPrice=110&quantity=5",
    "a stop near the market": "type=STOP_LOSS&stopPrice=98&quantity=5",
    "one that trails": "type=STOP_LOSS&stopPrice=50&trailingDelta=10&quantity=5",
}
STATES = {"a halt": {"halted": True}, "the end of a lease": {"halted": False, "ended": True}}


def judged(sale: str, facts: Facts, policy: str = "capped") -> Allow | Deny:
    intent = read("POST", "/api/v3/order", f"symbol=BTCUSDT&side=SELL&{sale}").intent
    return evaluate(CAPPED if policy == "capped" else FREE, intent, facts)


@pytest.mark.parametrize("policy", ["capped", "without caps"])
@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("sale", SALES)
def test_what_the_book_does_not_take_inside_the_collar_is_told_so(
    sale: str, state: str, alone: bool, policy: str
) -> None:
    facts = replace(FACTS, alone=alone, bids=FAR, asked=LOOKED, **STATES[state])
    verdict = judged(SALES[sale], facts, policy)
    assert isinstance(verdict, Deny)
    assert (verdict.reason, verdict.missing) == ("exit_size", ()), verdict
    assert isinstance(judged(SALES[sale], replace(facts, bids=NEAR), policy), Allow), "it takes that much"


@pytest.mark.parametrize("sale", SALES)
def test_no_exit_is_refused_by_a_book_of_before_or_for_want_of_one(sale: str) -> None:
    before = judged(SALES[sale], replace(FACTS, bids=FAR))
    assert isinstance(before, Deny)
    assert "book:BTCUSDT" in before.missing
    unknown = replace(FACTS, asked=LOOKED, failed=frozenset({"book:BTCUSDT"}))
    assert isinstance(judged(SALES[sale], unknown), Allow)


def test_a_look_of_the_last_seconds_is_enough_for_a_yes_below_the_caps_alone() -> None:
    facts = replace(FACTS, bids=Page(((Decimal(99), Decimal(100)),)))
    assert isinstance(judged("type=MARKET&quantity=5", facts), Allow)
    above = judged("type=MARKET&quantity=50", facts)
    assert isinstance(above, Deny)
    assert above.missing == ("book:BTCUSDT",)


@pytest.mark.parametrize(
    "sale",
    ["type=LIMIT&timeInForce=GTC&price=98&quantity=50", "type=STOP_LOSS&stopPrice=50&quantity=50"],
)
def test_what_has_a_limit_or_protects_is_not_sized(sale: str) -> None:
    assert isinstance(judged(sale, replace(FACTS, bids=FAR, asked=LOOKED)), Allow)
