"""Calls on 80 columns: a row each, so that a screen holds twenty of them."""

import io
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from rich.console import Console

from portcullis.cli import oversight
from portcullis.cli.face import Face, Stopped
from tests.cli.test_meant import Record

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


class Quiet(Record):
    """A broker that knows one of each, and whose bots asked for nothing."""

    def pages(self, kind: type[Any], path: str, **more: Any) -> Iterator[Any]:
        if path != "calls":
            yield from super().pages(kind, path, **more)


@pytest.mark.parametrize(
    ("typed", "step"),
    [
        ({"consumer": "my-botx"}, "calls --consumer my-bot"),
        ({"account": "mian"}, "calls --account main"),
        ({"grant": "my-bot"}, "calls --consumer my-bot"),
        ({"consumer": "zzz"}, "consumer list"),
        ({"grant": "grt_typo"}, "grant list"),
        ({"consumer": "my-bot", "account": "mian"}, "calls --consumer my-bot --account main"),
    ],
)
def test_a_name_that_nothing_has_is_no_bot_without_calls(
    typed: dict[str, str], step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`calls --consumer my-botx` said: no calls."""
    monkeypatch.setattr(oversight, "connect", lambda _: Quiet())
    with pytest.raises(Stopped, match="there is no") as raised:
        oversight.calls(Face(), **typed)
    assert raised.value.step.endswith(f"portcullis {step}")


def test_a_bot_without_calls_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oversight, "connect", lambda _: Quiet())
    face = Face(out=Console(file=io.StringIO(), width=80, highlight=False))
    oversight.calls(face, consumer="my-bot", grant="grt_1")
    assert "no calls" in face.out.file.getvalue()  # type: ignore[attr-defined]
