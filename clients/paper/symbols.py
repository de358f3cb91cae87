"""Pairs of the paper exchange: filters, prices, and how deep the seeded book is. No I/O, no clock.

Rules:
1. A pair has one price: the best ask; the best bid is one tick below. Marketable orders fill at the price, up to
   `DEPTH` of quote value per order and price; the rest of a limit order rests, the rest of a market order expires.
2. Filters are checked as the venue documents them; the text names the filter that failed.

Source: Binance spot REST docs, filters.md, state of 2026-07-21.
"""

import random
from dataclasses import dataclass
from decimal import Decimal

from clients.paper.errors import BAD_SYMBOL, PaperError, filter_failure

DEPTH = Decimal(500_000)
_UP, _DOWN = Decimal(5), Decimal("0.2")
_LARGEST_PRICE, _LARGEST, _LARGEST_NOTIONAL = Decimal(1_000_000), Decimal(9000), Decimal(9_000_000)
_LEAST_DELTA, _LARGEST_DELTA = 10, 2000
ICEBERG_PARTS = 10
MOST_ORDERS, MOST_STOPS, MOST_ICEBERGS, MOST_AMENDS, MOST_LISTS = 200, 5, 5, 10, 20


@dataclass(slots=True)
class Symbol:
    """One pair with its filters. `tick` and `step` are price and quantity steps."""

    name: str
    base: str
    quote: str
    price: Decimal
    tick: Decimal
    step: Decimal
    min_notional: Decimal
    depth: Decimal = DEPTH

    def filters(self) -> list[dict[str, object]]:
        """Return the filters as `exchangeInfo` shows them."""
        return [
            {"filterType": "PRICE_FILTER", "minPrice": text(self.tick), "maxPrice": "1000000.00000000",
             "tickSize": text(self.tick)},
            {"filterType": "LOT_SIZE", "minQty": text(self.step), "maxQty": "9000.00000000",
             "stepSize": text(self.step)},
            {"filterType": "ICEBERG_PARTS", "limit": ICEBERG_PARTS},
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": "9000.00000000",
             "stepSize": "0.00000000"},
            {"filterType": "TRAILING_DELTA", "minTrailingAboveDelta": _LEAST_DELTA,
             "maxTrailingAboveDelta": _LARGEST_DELTA, "minTrailingBelowDelta": _LEAST_DELTA,
             "maxTrailingBelowDelta": _LARGEST_DELTA},
            {"filterType": "PERCENT_PRICE_BY_SIDE", "bidMultiplierUp": "5", "bidMultiplierDown": "0.2",
             "askMultiplierUp": "5", "askMultiplierDown": "0.2", "avgPriceMins": 5},
            {"filterType": "NOTIONAL", "minNotional": text(self.min_notional), "applyMinToMarket": True,
             "maxNotional": "9000000.00000000", "applyMaxToMarket": False, "avgPriceMins": 5},
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": MOST_ORDERS},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": MOST_STOPS},
            {"filterType": "MAX_NUM_ICEBERG_ORDERS", "maxNumIcebergOrders": MOST_ICEBERGS},
            {"filterType": "MAX_NUM_ORDER_AMENDS", "maxNumOrderAmends": MOST_AMENDS},
            {"filterType": "MAX_NUM_ORDER_LISTS", "maxNumOrderLists": MOST_LISTS},
        ]  # fmt: skip

    def bid(self, level: int = 0) -> Decimal:
        """Return the price of a bid level; 0 is the best."""
        return self.price - self.tick * (level + 1)

    def ask(self, level: int = 0) -> Decimal:
        """Return the price of an ask level; 0 is the best."""
        return self.price + self.tick * level

    def check_price(self, price: Decimal) -> None:
        """Refuse a price or trigger that is no price of this pair."""
        if not self.tick <= price <= _LARGEST_PRICE or price % self.tick:
            raise filter_failure("PRICE_FILTER")

    def check_collar(self, price: Decimal) -> None:
        """Refuse a limit too far from the market."""
        if not self.price * _DOWN <= price <= self.price * _UP:
            raise filter_failure("PERCENT_PRICE_BY_SIDE")

    def check_quantity(self, quantity: Decimal) -> None:
        """Refuse a quantity that is too small, too large or between two steps."""
        if not self.step <= quantity <= _LARGEST or quantity % self.step:
            raise filter_failure("LOT_SIZE")

    def check_notional(self, notional: Decimal, *, market: bool) -> None:
        """Refuse a worth out of range; market orders have no upper end."""
        if notional < self.min_notional or (not market and notional > _LARGEST_NOTIONAL):
            raise filter_failure("NOTIONAL")

    def check_trailing(self, delta: int) -> None:
        """Refuse a trailing delta out of range."""
        if not _LEAST_DELTA <= delta <= _LARGEST_DELTA:
            raise filter_failure("TRAILING_DELTA")


def text(number: Decimal) -> str:
    """Write a number as the venue does: eight places."""
    return f"{number:.8f}"


_SEEDS = (
    ("BTCUSDT", "BTC", "USDT", "60000", "0.01", "0.00001", "5"),
    ("ETHUSDT", "ETH", "USDT", "3000", "0.01", "0.0001", "5"),
    ("ETHBTC", "ETH", "BTC", "0.05", "0.00001", "0.0001", "0.0001"),
    ("BNBUSDT", "BNB", "USDT", "600", "0.1", "0.001", "5"),
    ("SOLUSDT", "SOL", "USDT", "150", "0.01", "0.001", "5"),
)


def seeded(seed: int) -> dict[str, Symbol]:
    """Return the pairs; another seed gives slightly other prices, seed 1 the round ones."""
    draw = random.Random(seed)  # noqa: S311 - prices of a simulator
    found = {}
    for name, base, quote, price, tick, step, least in _SEEDS:
        drift = Decimal(1) if seed == 1 else Decimal(draw.randrange(950, 1050)) / 1000
        at = (Decimal(price) * drift).quantize(Decimal(tick))
        found[name] = Symbol(name, base, quote, at, Decimal(tick), Decimal(step), Decimal(least))
    return found


def find(symbols: dict[str, Symbol], name: str) -> Symbol:
    """Return a pair, or refuse."""
    symbol = symbols.get(name)
    if symbol is None:
        raise PaperError(*BAD_SYMBOL)
    return symbol
