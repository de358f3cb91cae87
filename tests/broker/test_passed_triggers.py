"""A trigger that the market has passed, or that only begins to trail, is no base of the collar, nor far away."""

from decimal import Decimal

import pytest

from broker.policy import Allow, Deny, evaluate
from broker.policy_document import load
from broker.policy_facts import Facts, Page, Quote
from clients.venue import SymbolInfo
from tests.clients.binance_cases import read

POLICY = load('allow = ["trade"]\nsymbols = ["BTCUSDT"]\n[order]\nmax_notional = "1000"\n')
PAIR = SymbolInfo("BTCUSDT", "BTC", "USDT")
ASKED = frozenset({"price:BTCUSDT", "holdings", "book:BTCUSDT"})
FACTS = Facts(
    pairs={"BTCUSDT": PAIR}, quotes={"BTCUSDT": Quote(Decimal(100), 0)}, free=Decimal(5000), asked=ASKED,
    bids=Page(((Decimal(99), Decimal(50)),)),
)  # fmt: skip

REFUSED = {
    "a limit sale above its passed trigger": ("SELL", "100", "TAKE_PROFIT_LIMIT&stopPrice=2&price=2"),
    "a trailing limit sale": ("SELL", "100", "TAKE_PROFIT_LIMIT&stopPrice=2&price=2&trailingDelta=10"),
    "a trailing limit sale, stop": ("SELL", "100", "STOP_LOSS_LIMIT&stopPrice=2&price=2&trailingDelta=10"),
    "a limit buy below its passed trigger": ("BUY", "0.01", "TAKE_PROFIT_LIMIT&stopPrice=900&price=900"),
    "a trailing limit buy": ("BUY", "0.01", "TAKE_PROFIT_LIMIT&stopPrice=900&price=900&trailingDelta=10"),
    "a trailing limit buy, stop": ("BUY", "0.01", "STOP_LOSS_LIMIT&stopPrice=900&price=900&trailingDelta=10"),
    "a market sale whose trigger is passed": ("SELL", "100", "TAKE_PROFIT&stopPrice=2"),
    "a stop whose trigger is passed": ("SELL", "100", "STOP_LOSS&stopPrice=900"),
    "a trailing sale far from its trigger": ("SELL", "100", "TAKE_PROFIT&stopPrice=900&trailingDelta=10"),
}
PASS = {
    "a stop below the market": ("SELL", "100", "STOP_LOSS_LIMIT&stopPrice=50&price=48"),
    "a market stop below the market": ("SELL", "100", "STOP_LOSS&stopPrice=50"),
    "a profit above the market": ("SELL", "100", "TAKE_PROFIT_LIMIT&stopPrice=150&price=145"),
    "a stop that the market has passed, at the market": ("SELL", "100", "STOP_LOSS_LIMIT&stopPrice=110&price=98"),
    "a trailing stop near the market": ("SELL", "100", "STOP_LOSS_LIMIT&stopPrice=97&price=96&trailingDelta=10"),
    "a buy that waits for a rise": ("BUY", "0.01", "STOP_LOSS_LIMIT&stopPrice=150&price=155"),
    "a buy that waits for a fall": ("BUY", "0.01", "TAKE_PROFIT_LIMIT&stopPrice=50&price=52"),
}  # fmt: skip


def judged(side: str, quantity: str, kind: str) -> Allow | Deny:
    in_force = "&timeInForce=GTC" if "_LIMIT" in kind else ""
    text = f"symbol=BTCUSDT&side={side}&quantity={quantity}&type={kind}{in_force}"
    return evaluate(POLICY, read("POST", "/api/v3/order", text).intent, FACTS)


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_may_be_filled_far_from_the_market_at_once_is_refused(case: tuple[str, str, str]) -> None:
    verdict = judged(*case)
    assert isinstance(verdict, Deny)
    assert verdict.reason in {"collar", "exit_size"}


@pytest.mark.parametrize("case", PASS.values(), ids=PASS)
def test_what_protects_or_waits_passes(case: tuple[str, str, str]) -> None:
    assert isinstance(judged(*case), Allow)
