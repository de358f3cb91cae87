"""Public market data of the paper exchange, `/api/v3`. Numbers follow from the one price of a pair."""

import json

from clients.paper.engine import steps
from clients.paper.errors import PaperError
from clients.paper.exchange import PaperExchange, Route, Seen
from clients.paper.symbols import Symbol, find, text

_INTERVALS = {"1s": 1, "1m": 60, "3m": 180, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "2h": 7200,
              "4h": 14400, "6h": 21600, "8h": 28800, "12h": 43200, "1d": 86400, "3d": 259200, "1w": 604800}  # fmt: skip
LEVELS = 50
_ORDER_TYPES = ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT",
                "TAKE_PROFIT_LIMIT"]  # fmt: skip


def _asked(exchange: PaperExchange, seen: Seen) -> list[Symbol]:
    """Return the pairs a call names; all where it names none."""
    one, many = seen.params.get("symbol"), seen.params.get("symbols")
    if one is not None:
        return [find(exchange.symbols, one)]
    if many is None:
        return list(exchange.symbols.values())
    try:
        names = json.loads(many)
    except ValueError:
        raise PaperError(-1100, "Illegal characters found in parameter 'symbols'.") from None
    return [find(exchange.symbols, str(name)) for name in names]


def _listed(exchange: PaperExchange, seen: Seen, rows: list[dict[str, object]]) -> object:
    del exchange
    return rows[0] if "symbol" in seen.params else rows


def ping(exchange: PaperExchange, seen: Seen) -> object:
    """Answer that we are there."""
    del exchange, seen
    return {}


def server_time(exchange: PaperExchange, seen: Seen) -> object:
    """Answer the exchange's clock."""
    del exchange
    return {"serverTime": seen.now_us // 1000}


def exchange_info(exchange: PaperExchange, seen: Seen) -> object:
    """Answer pairs and limits."""
    return {
        "timezone": "UTC",
        "serverTime": seen.now_us // 1000,
        "rateLimits": [
            {
                "rateLimitType": "REQUEST_WEIGHT",
                "interval": "MINUTE",
                "intervalNum": 1,
                "limit": exchange.limits.api_weight,
            },
            {
                "rateLimitType": "ORDERS",
                "interval": "SECOND",
                "intervalNum": 10,
                "limit": exchange.limits.orders_10s,
            },
            {
                "rateLimitType": "ORDERS",
                "interval": "DAY",
                "intervalNum": 1,
                "limit": exchange.limits.orders_day,
            },
            {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300000},
        ],
        "exchangeFilters": [],
        "symbols": [_shown(symbol) for symbol in _asked(exchange, seen)],
    }


def _shown(symbol: Symbol) -> dict[str, object]:
    return {
        "symbol": symbol.name, "status": "TRADING", "baseAsset": symbol.base, "baseAssetPrecision": 8,
        "quoteAsset": symbol.quote, "quotePrecision": 8, "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8, "quoteCommissionPrecision": 8, "orderTypes": _ORDER_TYPES,
        "icebergAllowed": True, "ocoAllowed": True, "otoAllowed": True, "opoAllowed": True,
        "quoteOrderQtyMarketAllowed": True, "allowTrailingStop": True, "cancelReplaceAllowed": True,
        "amendAllowed": True, "pegInstructionsAllowed": True, "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False, "filters": symbol.filters(), "permissions": [],
        "permissionSets": [["SPOT"]], "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT"],
    }  # fmt: skip


def price(exchange: PaperExchange, seen: Seen) -> object:
    """Answer last prices."""
    rows: list[dict[str, object]] = [
        {"symbol": symbol.name, "price": text(symbol.price)} for symbol in _asked(exchange, seen)
    ]
    return _listed(exchange, seen, rows)


def book_ticker(exchange: PaperExchange, seen: Seen) -> object:
    """Answer the best bid and ask."""
    rows: list[dict[str, object]] = [
        {
            "symbol": symbol.name, "bidPrice": text(symbol.price - symbol.tick), "bidQty": "10.00000000",
            "askPrice": text(symbol.price), "askQty": "10.00000000",
        }
        for symbol in _asked(exchange, seen)
    ]  # fmt: skip
    return _listed(exchange, seen, rows)


def day(exchange: PaperExchange, seen: Seen) -> object:
    """Answer the statistics of the last 24 hours; the market has not moved."""
    rows: list[dict[str, object]] = []
    for symbol in _asked(exchange, seen):
        at = text(symbol.price)
        rows.append(
            {
                "symbol": symbol.name, "priceChange": "0.00000000", "priceChangePercent": "0.000",
                "weightedAvgPrice": at, "prevClosePrice": at, "lastPrice": at, "lastQty": "1.00000000",
                "bidPrice": text(symbol.price - symbol.tick), "bidQty": "10.00000000", "askPrice": at,
                "askQty": "10.00000000", "openPrice": at, "highPrice": at, "lowPrice": at,
                "volume": "1000.00000000", "quoteVolume": text(symbol.price * 1000),
                "openTime": seen.now_us // 1000 - 86_400_000, "closeTime": seen.now_us // 1000,
                "firstId": 1, "lastId": 2, "count": 2,
            }
        )  # fmt: skip
    return _listed(exchange, seen, rows)


def depth(exchange: PaperExchange, seen: Seen) -> object:
    """Answer the book: as deep in all as orders find it, in even levels."""
    symbol = find(exchange.symbols, seen.params.need("symbol"))
    limit = min(seen.params.whole("limit", 100) or 100, LEVELS)
    each = text(max(symbol.step, steps(symbol.depth / symbol.price / LEVELS, symbol.step)))
    return {
        "lastUpdateId": exchange.request_seq,
        "bids": [[text(symbol.bid(level)), each] for level in range(limit)],
        "asks": [[text(symbol.ask(level)), each] for level in range(limit)],
    }


def trades(exchange: PaperExchange, seen: Seen) -> object:
    """Answer one recent trade."""
    symbol = find(exchange.symbols, seen.params.need("symbol"))
    return [
        {
            "id": 1, "price": text(symbol.price), "qty": "1.00000000", "quoteQty": text(symbol.price),
            "time": seen.now_us // 1000, "isBuyerMaker": True, "isBestMatch": True,
        }
    ]  # fmt: skip


def aggregate(exchange: PaperExchange, seen: Seen) -> object:
    """Answer one aggregate trade."""
    symbol = find(exchange.symbols, seen.params.need("symbol"))
    return [
        {
            "a": 1, "p": text(symbol.price), "q": "1.00000000", "f": 1, "l": 1, "T": seen.now_us // 1000,
            "m": True, "M": True,
        }
    ]  # fmt: skip


def candles(exchange: PaperExchange, seen: Seen) -> object:
    """Answer candles of a market that does not move."""
    symbol = find(exchange.symbols, seen.params.need("symbol"))
    seconds = _INTERVALS.get(seen.params.need("interval"))
    if seconds is None:
        raise PaperError(-1120, "Invalid interval.")
    count = min(seen.params.whole("limit", 500) or 500, 1000)
    span = seconds * 1000
    last = seen.now_us // 1000 // span * span
    at = text(symbol.price)
    return [
        [
            start,
            at,
            at,
            at,
            at,
            "1.00000000",
            start + span - 1,
            at,
            1,
            "0.50000000",
            text(symbol.price / 2),
            "0",
        ]
        for start in range(last - span * (count - 1), last + 1, span)
    ]


def average(exchange: PaperExchange, seen: Seen) -> object:
    """Answer the average price."""
    symbol = find(exchange.symbols, seen.params.need("symbol"))
    return {"mins": 5, "price": text(symbol.price), "closeTime": seen.now_us // 1000}


def nothing_listed(exchange: PaperExchange, seen: Seen) -> object:
    """Answer an empty listing: this exchange has no futures, and clients ask for them when they start."""
    del exchange
    return {"timezone": "UTC", "serverTime": seen.now_us // 1000, "rateLimits": [], "exchangeFilters": [],
            "assets": [], "symbols": []}  # fmt: skip


def system_status(exchange: PaperExchange, seen: Seen) -> object:
    """Answer that the system is well."""
    del exchange, seen
    return {"status": 0, "msg": "normal"}


_P = "public"
ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/api/v3/ping"): Route(ping, _P),
    ("GET", "/api/v3/time"): Route(server_time, _P),
    ("GET", "/api/v3/exchangeInfo"): Route(exchange_info, _P, 20),
    ("GET", "/api/v3/ticker/price"): Route(price, _P, 2),
    ("GET", "/api/v3/ticker/bookTicker"): Route(book_ticker, _P, 2),
    ("GET", "/api/v3/ticker/24hr"): Route(day, _P, 2),
    ("GET", "/api/v3/ticker"): Route(day, _P, 4),
    ("GET", "/api/v3/ticker/tradingDay"): Route(day, _P, 4),
    ("GET", "/api/v3/depth"): Route(depth, _P, 5),
    ("GET", "/api/v3/trades"): Route(trades, _P, 25),
    ("GET", "/api/v3/historicalTrades"): Route(trades, _P, 25),
    ("GET", "/api/v3/aggTrades"): Route(aggregate, _P, 4),
    ("GET", "/api/v3/klines"): Route(candles, _P, 2),
    ("GET", "/api/v3/uiKlines"): Route(candles, _P, 2),
    ("GET", "/api/v3/avgPrice"): Route(average, _P, 2),
    ("GET", "/fapi/v1/exchangeInfo"): Route(nothing_listed, _P),
    ("GET", "/dapi/v1/exchangeInfo"): Route(nothing_listed, _P),
    ("GET", "/eapi/v1/exchangeInfo"): Route(nothing_listed, _P),
    ("GET", "/fapi/v1/ping"): Route(ping, _P),
    ("GET", "/dapi/v1/ping"): Route(ping, _P),
    ("GET", "/fapi/v1/time"): Route(server_time, _P),
    ("GET", "/dapi/v1/time"): Route(server_time, _P),
    ("GET", "/sapi/v1/system/status"): Route(system_status, _P),
}
