"""The call log's lines: what was asked and decided, and what came of it. Pure; gateways and brokers share it.

Rules:
1. One JSON object per line, short field names, append only: a new field has a default.
2. An ask is written before its request is sent, or for a refusal; an answer names the ask it belongs to.
3. A line holds no secret and no signature: ids, names, numbers, our own words.
4. An ask without an answer is an unknown outcome.
"""

import json
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from broker.budget import Parts

Orders = tuple[tuple[str, str | None, str | None, bool], ...]
"""Symbol, the venue's order id, client order id, final or not."""

_write = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode


@dataclass(frozen=True, slots=True)
class Ask:
    """One request and the verdict on it: `allow`, `deny` or `observe`; `status` of refusals only.

    `target` is `#` and an order id, `%` and an order list id, or a client order id.
    """

    seq: int
    at_us: int
    grant: str
    consumer: str
    account: str
    key: str
    method: str
    endpoint: str
    action: str
    symbol: str | None
    side: str | None
    notional: str | None
    client_order_ids: tuple[str, ...]
    target: str | None
    decision: str
    reason: str | None
    status: int
    reserved: Parts
    source: str
    leaving: bool

    def line(self) -> str:
        """Write it down, without line break."""
        return _write(
            {
                "q": self.seq, "k": "ask", "at": self.at_us, "g": self.grant, "c": self.consumer,
                "a": self.account, "v": self.key, "m": self.method, "e": self.endpoint, "x": self.action,
                "s": self.symbol, "sd": self.side, "n": self.notional, "ci": self.client_order_ids,
                "t": self.target, "d": self.decision, "r": self.reason, "st": self.status,
                "b": [(name, str(amount)) for name, amount in self.reserved], "src": self.source,
                "lv": self.leaving,
            }
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back to the ask `of`. `outcome` is `done`, `refused` or `unknown`."""

    seq: int
    of: int
    at_us: int
    status: int
    code: str | None
    latency_us: int
    outcome: str
    orders: Orders
    released: Parts

    def line(self) -> str:
        """Write it down, without line break."""
        return _write(
            {
                "q": self.seq, "k": "ans", "of": self.of, "at": self.at_us, "st": self.status,
                "code": self.code, "us": self.latency_us, "o": self.outcome, "oi": self.orders,
                "rel": [(name, str(amount)) for name, amount in self.released],
            }
        )  # fmt: skip


def parse(line: str) -> Ask | Answered | None:
    """Read a line; None where it is torn or of a newer kind: it is passed over, never guessed at."""
    try:
        raw: dict[str, Any] = json.loads(line)
        if raw["k"] == "ask":
            return Ask(
                raw["q"], raw["at"], raw["g"], raw["c"], raw["a"], raw["v"], raw["m"], raw["e"], raw["x"],
                raw["s"], raw["sd"], raw["n"], tuple(raw["ci"]), raw["t"], raw["d"], raw["r"], raw["st"],
                _parts(raw["b"]), raw["src"], raw["lv"],
            )  # fmt: skip
        if raw["k"] == "ans":
            orders = tuple((entry[0], entry[1], entry[2], bool(entry[3])) for entry in raw["oi"])
            return Answered(
                raw["q"], raw["of"], raw["at"], raw["st"], raw["code"], raw["us"], raw["o"], orders,
                _parts(raw["rel"]),
            )  # fmt: skip
    except (ValueError, KeyError, TypeError, IndexError, InvalidOperation):
        return None
    return None


def _parts(raw: list[list[str]]) -> Parts:
    return tuple((name, Decimal(amount)) for name, amount in raw)
