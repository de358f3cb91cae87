"""The call log's lines: what was asked and decided, and what came of it. Pure; gateways and brokers share it.

Rules:
1. One JSON object per line, short field names, append only: a new field has a default.
2. An ask is written before its request is sent, or for a refusal; an answer names the ask it belongs to.
3. A line holds no secret and no signature: ids, names, numbers, our own words.
4. An ask without an answer is an unknown outcome.
"""

from decimal import Decimal

import msgspec

from broker.budget import Parts

SentLine = tuple[str, str, str, str, bool]
"""One order as it was sent: name (`@` before that of a list), side, quantity, price, whether taken as sent."""

Fills = tuple[tuple[str, str, str, str, str, str, str], ...]
"""Account, symbol, the venue's order id, base asset, side, executed and still open quantity, both in base asset.

What is open is below zero as long as the order waits for another one and binds nothing.
"""


def progress(executed: Decimal, left: Decimal) -> tuple[Decimal, bool, Decimal]:
    """Return how far an order is, to be compared: it never goes back, so what tells of less came late."""
    return executed, left >= 0, -abs(left)


Orders = tuple[tuple[str, str | None, str | None, bool], ...]
"""Symbol, the venue's order id, client order id, final or not."""


class Ask(
    msgspec.Struct,
    frozen=True,
    gc=False,
    tag_field="k",
    tag="ask",
    rename={
        "seq": "q", "at_us": "at", "grant": "g", "consumer": "c", "account": "a", "key": "v", "method": "m",
        "endpoint": "e", "action": "x", "symbol": "s", "side": "sd", "notional": "n",
        "client_order_ids": "ci", "target": "t", "decision": "d", "reason": "r", "status": "st",
        "reserved": "b", "source": "src", "leaving": "lv",
        "sent": "o", "window_us": "w",
    },
):  # fmt: skip
    """One request and the verdict on it: `allow`, `deny` or `observe`; `status` of refusals only.

    `target` is `#` and an order id, `%` and an order list id, a client order id, or `@` and that of a list.
    `sent` are the orders it places, a list first; the venue takes them from the first to the second of `window_us`.
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
    sent: tuple[SentLine, ...] = ()
    window_us: tuple[int, int] = (0, 0)


class Answered(
    msgspec.Struct,
    frozen=True,
    gc=False,
    tag_field="k",
    tag="ans",
    rename={
        "seq": "q", "at_us": "at", "status": "st", "latency_us": "us", "outcome": "o", "orders": "oi",
        "released": "rel", "account": "a", "grant": "g", "own": "w", "fills": "f", "boot": "bt",
        "none_placed": "np",
    },
):  # fmt: skip
    """What came back to the ask `of`. `outcome` is `done`, `refused` or `unknown`.

    `own` are the orders that the venue placed for it, each by symbol, `#` and its id or `%` and a list's, and name:
    with them `account` and `grant`, so that they are known without the ask. `boot`: the ask is of an earlier start of
    this gateway, of which nobody heard the answer. `none_placed`: it was done by half, and the venue has none of the
    orders that were to be placed.
    """

    seq: int
    of: int
    at_us: int
    status: int
    code: str | None
    latency_us: int
    outcome: str
    orders: Orders
    released: Parts
    account: str = ""
    grant: str = ""
    own: tuple[tuple[str, str, str], ...] = ()
    fills: Fills = ()
    boot: str = ""
    none_placed: bool = False


_write = msgspec.json.Encoder(decimal_format="string").encode
_reader: msgspec.json.Decoder[Ask | Answered] = msgspec.json.Decoder(Ask | Answered)


def write_line(entry: Ask | Answered) -> str:
    """Write an entry down, without line break."""
    return _write(entry).decode()


def parse(text: str) -> Ask | Answered | None:
    """Read a line; None where it is torn or of a newer kind: it is passed over, never guessed at."""
    try:
        return _reader.decode(text)
    except msgspec.DecodeError:
        return None
