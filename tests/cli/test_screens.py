"""What the live screen says of one request."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from broker.service.calls import Call
from portcullis.cli.demo_screen import call_line

CALL = Call(
    datetime(2026, 11, 23, 14, 30, 21, tzinfo=UTC), "local", "grt_1", "demo-bot", "demo", "demo/trade/1", "POST",
    "spot.order.place", "place", "BTCUSDT", "BUY", "60.0000", "allow", None, 200, None, "done", 420, "127.0.0.1",
)  # fmt: skip


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (CALL, ("14:30:21", "allowed", "demo-bot", "spot.order.place", "BUY BTCUSDT", "60.00", "0.4 ms")),
        (
            replace(CALL, decision="deny", reason="order_notional", outcome=None),
            ("refused", "order_notional"),
        ),
        (replace(CALL, outcome="refused", code="-2010"), ("allowed", "the exchange said no (-2010)")),
        (replace(CALL, outcome=None), ("unknown",)),
        (replace(CALL, outcome="unknown"), ("unknown",)),
        (
            replace(CALL, decision="deny", reason="cut", consumer="", symbol=None, side=None),
            ("(nobody)", "cut"),
        ),
    ],
)
def test_a_request_is_one_line_that_says_what_was_decided_and_why(call: Call, words: tuple[str, ...]) -> None:
    line = call_line(call).plain
    for word in words:
        assert word in line
    assert "\n" not in line
