"""The call log's lines: what was asked and decided, and what came of it. Pure; gateways and brokers share it.

Rules:
1. One JSON object per line, short field names, append only: a new field has a default.
2. An ask is written before its request is sent, or for a refusal; an answer names the ask it belongs to.
3. A line holds no secret and no signature: ids, names, numbers, our own words.
4. An ask without an answer is an unknown outcome.
"""

from decimal import Decimal
from typing import NamedTuple

import msgspec

from broker.budget import Parts

SentLine = tuple[str, str, str, str, bool]
"""One order as it was sent: name (`@` before that of a list), side, quantity, price, whether taken as sent."""

Fills = tuple[tuple[str, str, str, str, str, str, str], ...]
"""Account, symbol, the venue's order id, base asset, side, executed and still open quantity, both in base asset.

What is open is below zero as long as the order waits for another one and binds nothing.
"""

Lists = tuple[tuple[str, str, str], ...]
"""Symbol, the venue's order id, and of which list of the venue it is (`broker.listed`)."""


HIGHEST_FEE = Decimal("0.01")
"""The largest part of what is bought that counts as taken from it for a fee."""


def progress(executed: Decimal, left: Decimal) -> tuple[Decimal, bool, Decimal]:
    """Return how far an order is, to be compared: it never goes back, so what tells of less came late."""
    return executed, left >= 0, -abs(left)


def is_further(side: str, now: tuple[Decimal, Decimal], before: tuple[Decimal, Decimal]) -> bool:
    """Tell whether the one of two states of an order, executed and left, is the later one.

    A purchase that brought a little less than it was told to, and of which as much is left, is one whose fee was told.
    """
    (executed, left), (had, was) = now, before
    if side == "BUY" and left == was and min(executed, had) >= max(executed, had) * (1 - HIGHEST_FEE):
        return executed < had
    return progress(executed, left) > progress(had, was)


class Unheard(NamedTuple):
    """One order that was sent in line `seq` of a boot of a gateway, and of which no answer told.

    `grant` is who stands for its sender; the rest is as `Ask` and `SentLine` have it.
    """

    gateway: str
    boot: str
    seq: int
    grant: str
    symbol: str
    name: str
    side: str
    quantity: str
    price: str
    exact: bool
    sent_us: int
    until_us: int
    base: str = ""
    quote: str = ""


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
        "sent": "o", "window_us": "w", "base": "bs", "quote": "qt", "frees": "fr",
    },
):  # fmt: skip
    """One request and the verdict on it: `allow`, `deny` or `observe`; `status` of refusals only.

    `target` is `#` and an order id, `%` and an order list id, a client order id, or `@` and that of a list.
    `sent` are the orders it places, a list first; the venue takes them from the first to the second of `window_us`.
    `base` is what their pair trades, `quote` what it is quoted in where that is counted (`broker.paid`).
    `frees`: the venue's id of the order without whose cancellation none of them is placed.
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
    base: str = ""
    quote: str = ""
    frees: str = ""


class Answered(
    msgspec.Struct,
    frozen=True,
    gc=False,
    tag_field="k",
    tag="ans",
    rename={
        "seq": "q", "at_us": "at", "status": "st", "latency_us": "us", "outcome": "o", "orders": "oi",
        "released": "rel", "account": "a", "grant": "g", "own": "w", "fills": "f", "boot": "bt",
        "none_placed": "np", "lists": "l", "gateway": "gw",
    },
):  # fmt: skip
    """What came back to the ask `of`. `outcome` is `done`, `refused` or `unknown`.

    `own` are the orders that the venue placed for it, each by symbol, `#` and its id or `%` and a list's, and name:
    with them `account` and `grant`, so that they are known without the ask. `boot`: the ask is of an earlier start of
    this gateway, or of a start of the `gateway` that is named, and nobody heard the answer. `none_placed`: it was done
    by half, and the venue has none of the orders that were to be placed. `lists` are those of `fills` that are of a
    list; None: the line does not say it.
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
    lists: Lists | None = None
    gateway: str = ""


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
