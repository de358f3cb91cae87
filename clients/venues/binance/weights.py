"""What a call costs of the request weight that Binance counts. Pure.

Most endpoints cost a fixed weight; a few depend on parameters, by the `scale` of their row. No symbol named
means all of them.

Source: Binance spot REST docs, rest-api.md, the "Weight" of each endpoint, state of 2026-07-21.
"""

from collections.abc import Callable, Mapping

from clients.venues.binance.endpoints import Endpoint
from clients.venues.binance.grammar import split_list

Values = Mapping[str, str]

A_MINUTE = 6000
"""Of weight on `/api`, for one address; fact sheet section 10."""

USED = "x-mbx-used-weight-1m"
"""Header of its answers: what everybody behind the address used of this minute."""


def named_symbols(values: Values) -> tuple[str, ...]:
    """Return the symbols a request names, in its order."""
    if "symbol" in values:
        return (values["symbol"],)
    listed = values.get("symbols", "")
    if listed.startswith('["'):
        return split_list(listed)
    return tuple(listed.split(",")) if listed else ()


def weigh(endpoint: Endpoint, values: Values) -> int:
    """Return the documented request weight of one call."""
    scale = endpoint.scale
    if not scale:
        return 20 if "computeCommissionRates" in values else endpoint.weight
    return _SCALES[scale](values)


_DEPTH = ((100, 5), (500, 25), (1000, 50))
_DAY = ((20, 2), (100, 40))
_MANY = 10_000


def _step(table: tuple[tuple[int, int], ...], count: int, beyond: int) -> int:
    return next((weight for limit, weight in table if count <= limit), beyond)


def _count(values: Values) -> int:
    """Return how many symbols a call asks for; none named means all."""
    return len(named_symbols(values)) or _MANY


_SCALES: Mapping[str, Callable[[Values], int]] = {
    "depth": lambda values: _step(_DEPTH, int(values.get("limit", "100")), 250),
    "day": lambda values: _step(_DAY, _count(values), 80),
    "price": lambda values: 2 if "symbol" in values else 4,
    "per-symbol": lambda values: min(4 * _count(values), 200),
    "rules": lambda values: min(2 * _count(values), 40),
    "open": lambda values: 6 if "symbol" in values else 80,
    "trades": lambda values: 5 if "orderId" in values else 20,
    "matches": lambda values: 20 if "orderId" in values else 2,
}
