"""Reads of `/sapi` that bots make beside trading are known, and what a GET could do beside reading stays out."""

import pytest

from broker.policy import Allow, Deny, Facts, evaluate
from broker.policy_document import load
from clients.venue import Action, Security
from clients.venues.binance.endpoints import ENDPOINTS
from clients.venues.binance.endpoints_reads import MORE_READS
from tests.clients.binance_cases import read

READ_ALL = load('allow = ["market", "account", "wallet-read", "margin-read"]')

WANTED = (
    *(
        "spot/delist-schedule",
        "bnbBurn",
        "rebate/taxQuery",
        "fiat/orders",
        "fiat/payments",
        "convert/tradeFlow",
    ),
    *(
        "convert/assetInfo",
        "convert/orderStatus",
        "simple-earn/flexible/position",
        "simple-earn/locked/position",
    ),
    *("simple-earn/account", "margin/crossMarginData", "margin/interestRateHistory", "margin/maxBorrowable"),
    *("margin/next-hourly-interest-rate", "margin/isolatedMarginData", "pay/transactions"),
    *(
        "eth-staking/account",
        "loan/ongoing/orders",
        "portfolio/account",
        "asset/convert-transfer/queryByPage",
    ),
)
KEPT_OUT = (
    *(
        "capital/deposit/subAddress",
        "managed-subaccount/deposit/address",
        "giftcard/verify",
        "futures/histDataLink",
    ),
    *("giftcard/cryptography/rsa-public-key", "sub-account/spotSummary", "broker/universalTransfer"),
    *("apiReferral/userCustomization", "managed-subaccount/asset", "userDataStream", "margin/listen-key"),
    *("broker/subAccount/depositHist", "sub-account/futures/account", "nothing/of/the/kind"),
)


@pytest.mark.parametrize("path", WANTED)
def test_a_policy_that_reads_everything_passes_it(path: str) -> None:
    text = "startTime=1499827319000&limit=5&asset=BTC&current=1"
    intent = read("GET", f"/sapi/v1/{path}", text).intent
    assert intent.action is Action.READ
    assert isinstance(evaluate(READ_ALL, intent, Facts(), f"/sapi/v1/{path}", "GET"), Allow)
    assert isinstance(evaluate(load('allow = ["market"]'), intent, Facts(), f"/sapi/v1/{path}", "GET"), Deny)


@pytest.mark.parametrize("path", KEPT_OUT)
def test_what_makes_or_shows_more_than_a_read_should_is_not_granted_with_reads(path: str) -> None:
    row = ENDPOINTS.get(("GET", f"/sapi/v1/{path}"))
    assert row is None or row.group not in {"wallet-read", "margin-read"}


def test_each_is_a_signed_get_and_counted_by_itself() -> None:
    assert len(MORE_READS) > 150
    for row in MORE_READS:
        assert (row.method, row.action, row.security) == ("GET", Action.READ, Security.SIGNED)
        assert row.pool in {"sapi-ip", "sapi-uid"}
        assert row.group in {"wallet-read", "margin-read"}
        assert 0 < row.weight <= (12_000 if row.pool == "sapi-ip" else 180_000), row
        words = row.path.lower()
        assert not any(
            word in words for word in ("address", "listen", "apikey", "secret", "sub-account", "giftcard")
        )


def test_writes_of_the_same_paths_are_not_reads() -> None:
    for row in MORE_READS:
        for method in ("POST", "PUT", "DELETE"):
            other = ENDPOINTS.get((method, row.path))
            assert other is None or other.action is not Action.READ, (method, row.path)


@pytest.mark.parametrize(
    ("path", "weight", "pool"),
    [("convert/tradeFlow", 3000, "sapi-uid"), ("fiat/orders", 90000, "sapi-uid"), ("bnbBurn", 1, "sapi-ip")],
)
def test_weight_is_counted_where_the_library_counts_it(path: str, weight: int, pool: str) -> None:
    intent = read("GET", f"/sapi/v1/{path}", "").intent
    assert (intent.weight, intent.weight_pool.partition(":")[0]) == (weight, pool)
