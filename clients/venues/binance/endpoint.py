"""One endpoint of Binance as data, and ways to write one down. The tables are `endpoints_*`; `endpoints` joins them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from clients.venue import Action, Security
from clients.venues.binance import grammar as g
from clients.venues.binance.grammar import Grammar

Pool = Literal["ip", "sapi-ip", "sapi-uid"]
Scale = Literal["", "depth", "day", "price", "per-symbol", "rules", "open", "trades", "matches", "rates"]
Grammars = Mapping[str, Grammar]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint; see the module's rules."""

    method: str
    path: str
    name: str
    action: Action
    group: str
    security: Security
    weight: int = 1
    pool: Pool = "ip"
    grammars: Grammars | None = None
    required: tuple[str, ...] = ()
    scale: Scale = ""


STAMP: Grammars = {"timestamp": g.INSTANT, "recvWindow": g.WINDOW}
RANGE: Grammars = {"startTime": g.MOMENT, "endTime": g.MOMENT, "limit": g.LIMIT}
SYMBOL: Grammars = {"symbol": g.symbol}
SYMBOLS: Grammars = {"symbol": g.symbol, "symbols": g.symbol_list}
STATUS: Grammars = {"symbolStatus": g.SYMBOL_STATUS}
ONE_ORDER: Grammars = {"symbol": g.symbol, "orderId": g.INTEGER, "origClientOrderId": g.CLIENT_ID}
TIMED = ("timestamp",)
V3, S1 = "/api/v3/", "/sapi/v1/"


def market(
    path: str, name: str, weight: int, grammars: Grammars, *required: str, scale: Scale = ""
) -> Endpoint:
    """Return a public read of the market."""
    return Endpoint(
        "GET", path, name, Action.READ, "market", Security.PUBLIC, weight, "ip", grammars, required, scale
    )


def account(
    path: str,
    name: str,
    weight: int,
    grammars: Grammars,
    *required: str,
    scale: Scale = "",
    group: str = "account",
    pool: Pool = "ip",
) -> Endpoint:
    """Return a signed read."""
    return Endpoint(
        *("GET", path, name, Action.READ, group, Security.SIGNED, weight, pool),
        grammars={**grammars, **STAMP},
        required=(*required, *TIMED),
        scale=scale,
    )


def trade(
    method: str, path: str, name: str, action: Action, grammars: Grammars, *required: str, weight: int = 1
) -> Endpoint:
    """Return a signed write that places, changes or cancels orders."""
    return Endpoint(
        *(method, path, name, action, "trade", Security.SIGNED, weight, "ip"),
        grammars={**grammars, **STAMP},
        required=(*required, *TIMED),
    )


def named(method: str, path: str, name: str, action: Action, group: str, weight: int = 1) -> Endpoint:
    """Return an endpoint that is recognised so that it can be refused by name."""
    return Endpoint(method, path, name, action, group, Security.SIGNED, weight, "sapi-uid")


def bearer(method: str, path: str, name: str, weight: int = 1) -> Endpoint:
    """Return a call that wants only a key, because its answer is a bearer."""
    return Endpoint(method, path, name, Action.STREAM, "stream", Security.KEY, weight)
