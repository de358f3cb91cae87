"""Calls on 80 columns: a row each, so that a screen holds twenty of them."""

import io
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from rich.console import Console

from portcullis.cli import oversight
from portcullis.cli.face import Face

CALL = {
    "at": "2026-11-28T10:00:00Z", "gateway": "local", "grant": "grt_1", "consumer": "momentum-bot", "account": "main",
    "key": "main/trade/1", "method": "POST", "endpoint": "spot.order.place", "action": "place", "symbol": "BTCUSDT",
    "side": "BUY", "notional": "60.0000", "decision": "allow", "reason": None, "status": 200, "code": None,
    "outcome": "done", "latency_us": 1900, "source": "127.0.0.1",
}  # fmt: skip
REFUSED = CALL | {
    "decision": "deny",
    "reason": "no_reference_price",
    "outcome": None,
    "endpoint": "wallet.withdraw.apply",
}


class Api:
    """A broker whose bots asked for four things."""

    def pages(self, kind: type[Any], path: str, **asked: object) -> Iterator[Any]:
        del path, asked
        for row in (
            CALL,
            REFUSED,
            CALL | {"outcome": "unknown"},
            CALL | {"decision": "observe", "reason": "collar"},
        ):
            yield msgspec.convert(row, kind)


def test_a_call_is_a_row_on_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven columns did not fit: each call was a block of five lines, and a screen held four."""
    monkeypatch.setattr(oversight, "connect", lambda _: Api())
    face = Face(out=Console(file=io.StringIO(), width=80, highlight=False))
    oversight.calls(face)
    shown = face.out.file.getvalue()  # type: ignore[attr-defined]
    lines = shown.splitlines()
    assert len([line for line in lines if "momentum-bot" in line]) == 4, shown
    assert len(lines) <= 2 + 3 * 4 + 1, shown
    assert max(map(len, lines)) <= 80
    for word in ("11-28", "10:00:00", "no_reference_price", "answer not", "BTCUSDT", "60.00", "1.9 ms"):
        assert word in shown, shown
