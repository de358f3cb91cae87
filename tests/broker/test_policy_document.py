"""Policy documents: strictly read, every problem named by its field."""

from decimal import Decimal

import pytest

from broker.errors import Malformed
from broker.policy_document import PolicyMode, load

GOOD = """
version = 1
mode = "enforce"
allow = ["market", "account", "trade", "spot.order.get"]
extra_reads = ["/sapi/v1/asset/tradeFee"]
reference_asset = "USDT"
[symbols]
list = ["BTCUSDT"]
quote = ["USDT"]
but = ["SOLUSDT"]
[order]
max_notional = "1000.50"
collar_percent = 5
market = false
rate = { orders = 5, seconds = 10 }
[day]
max_notional = 10000
[lease]
seconds = 30
exits_after_end_seconds = 60
"""


def test_a_whole_policy_is_read() -> None:
    policy = load(GOOD)
    assert policy.mode is PolicyMode.ENFORCE
    assert (policy.order_max, policy.day_max, policy.collar) == (
        Decimal("1000.50"),
        Decimal(10000),
        Decimal("0.05"),
    )
    assert (policy.lease_us, policy.exits_after_end_us) == (30_000_000, 60_000_000)
    assert policy.symbols.listed == {"BTCUSDT"}
    assert load(policy.text) == policy


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("allow = [", "policy"),
        ("", "allow"),
        ('allow = ["trade"]', "symbols"),
        ('allow = ["withdraw"]', "allow"),
        ('allow = ["market"]\ncolour = 1', "colour"),
        ('allow = ["market"]\n[order]\nmax = 1', "order.max"),
        ('allow = ["market"]\n[order]\nmax_notional = "a lot"', "order.max_notional"),
        ('allow = ["market"]\n[order]\nmax_notional = "0"', "order.max_notional"),
        ('allow = ["market"]\n[order]\nmax_notional = "NaN"', "order.max_notional"),
        ('allow = ["market"]\n[order]\nmax_notional = true', "order.max_notional"),
        ('allow = ["market"]\n[order]\nmax_notional = 0.5', "policy"),
        ('allow = ["market"]\n[order]\ncollar_percent = 100', "order.collar_percent"),
        ('allow = ["market"]\n[order]\nmax_notional = 10\n[day]\nmax_notional = 5', "day.max_notional"),
        ('allow = ["market"]\n[order.rate]\nseconds = 1', "order.rate.orders"),
        ('allow = ["market"]\nmode = "audit"', "mode"),
        ('allow = ["market"]\nsymbols = ["btcusdt"]', "symbols"),
        ('allow = ["market"]\nextra_reads = ["api"]', "extra_reads"),
        ('allow = ["market"]\nextra_reads = ["/sapi/v1/../v3/order"]', "extra_reads"),
        ('allow = ["market"]\nextra_reads = ["/sapi/v1/./x"]', "extra_reads"),
        ('allow = ["market"]\nextra_reads = ["//sapi/v1/x"]', "extra_reads"),
        ('allow = ["market"]\nextra_reads = ["/sapi//v1/x"]', "extra_reads"),
        ('allow = ["market"]\nextra_reads = ["/sapi/v1/x/"]', "extra_reads"),
        ('allow = ["market"]\nextra_reads = ["/sapi/v1/x?a=1"]', "extra_reads"),
        ('allow = ["market"]\nextra_reads = ["/sapi/v1/%78"]', "extra_reads"),
        ('allow = ["market"]\nextra_reads = ["/sapi/v1/capital/withdraw/apply"]', "extra_reads"),
        ('allow = ["market"]\nextra_reads = ["/sapi/v1/asset/transfer"]', "extra_reads"),
        ('allow = ["market"]\nextra_reads = ["/api/v3/userDataStream"]', "extra_reads"),
        ('allow = ["market"]\nextra_reads = ["/sapi/v1/sub-account/subAccountApi"]', "extra_reads"),
        ('allow = ["market"]\nextra_reads = ["/sapi/v9/earn/redeem"]', "extra_reads"),
        ('allow = ["market"]\n[lease]\nseconds = 1', "lease.seconds"),
        ('allow = ["market"]\nversion = 2', "version"),
        ('{"allow": ["market"], "allow": ["trade"]}', "policy"),
        ('{"allow": "market"}', "allow"),
        ("{[1]}", "policy"),
        ("x" * 70_000, "policy"),
    ],
)
def test_what_cannot_be_used_is_refused_by_its_field(text: str, field: str) -> None:
    with pytest.raises(Malformed) as caught:
        load(text)
    assert field in {problem.field for problem in caught.value.problems}


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(Malformed) as caught:
        load('allow = ["fly"]\nmode = "x"\n[day]\nmax_notional = "-1"')
    assert {problem.field for problem in caught.value.problems} == {"allow", "mode", "day.max_notional"}
