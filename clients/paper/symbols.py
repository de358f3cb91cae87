"""Pairs of the paper exchange: filters, prices, and how deep the seeded book is. No I/O, no clock.

Rules:
1. A pair has one price. Marketable orders fill at it, up to `DEPTH` of quote value per order and price;
   the rest of a limit order rests, the rest of a market order expires.
2. Filters are checked as the venue documents them; the text names the filter that failed.

Source: Binance spot REST docs, filters.md, state of 2026-07-21.
"""

import random
from dataclasses import dataclass
from decimal import Decimal

from clients.paper.errors import BAD_SYMBOL, PaperError

DEPTH = Decimal(500_000)
_UP, _DOWN = Decimal(5), Decimal("0.2")


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
            {"filterType": "ICEBERG_PARTS", "limit": 10},
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": "9000.00000000",
             "stepSize": "0.00000000"},
            {"filterType": "TRAILING_DELTA", "minTrailingAboveDelta": 10, "maxTrailingAboveDelta": 2000,
             "minTrailingBelowDelta": 10, "maxTrailingBelowDelta": 2000},
            {"filterType": "PERCENT_PRICE_BY_SIDE", "bidMultiplierUp": "5", "bidMultiplierDown": "0.2",
             "askMultiplierUp": "5", "askMultiplierDown": "0.2", "avgPriceMins": 5},
            {"filterType": "NOTIONAL", "minNotional": text(self.min_notional), "applyMinToMarket": True,
             "maxNotional": "9000000.00000000", "applyMaxToMarket": False, "avgPriceMins": 5},
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
        ]  # fmt: skip

    def check_price(self, price: Decimal) -> None:
        """Refuse a price that the filters do not allow."""
        if price <= 0 or price % self.tick:
            raise PaperError(-1013, "Filter failure: PRICE_FILTER")
        if not self.price * _DOWN <= price <= self.price * _UP:
            raise PaperError(-1013, "Filter failure: PERCENT_PRICE_BY_SIDE")

    def check_quantity(self, quantity: Decimal, price: Decimal) -> None:
        """Refuse a quantity that the filters do not allow; `price` is what the notional counts by."""
        if quantity < self.step or quantity > 9000 or quantity % self.step:  # noqa: PLR2004 - maxQty
            raise PaperError(-1013, "Filter failure: LOT_SIZE")
        if quantity * price < self.min_notional:
            raise PaperError(-1013, "Filter failure: NOTIONAL")


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
