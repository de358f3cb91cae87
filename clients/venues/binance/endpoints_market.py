"""Endpoints of `/api` that only read: the market, and an account's orders and trades."""

from clients.venues.binance import grammar as g
from clients.venues.binance.endpoint import (
    ONE_ORDER,
    RANGE,
    STATUS,
    SYMBOL,
    SYMBOLS,
    V3,
    Grammars,
    account,
    market,
)

_CANDLES: Grammars = {**SYMBOL, **RANGE, "interval": g.INTERVAL, "timeZone": g.ZONE}
_INFO: Grammars = {
    **SYMBOLS,
    **STATUS,
    "permissions": g.WORD_LIST,
    "showPermissionSets": g.BOOLEAN,
}
_TICKER: Grammars = {**SYMBOLS, **STATUS, "type": g.TICKER_TYPE}

MARKET = (
    market(V3 + "ping", "spot.ping", 1, {}),
    market(V3 + "time", "spot.time", 1, {}),
    market(V3 + "exchangeInfo", "spot.exchange_info", 20, _INFO),
    market(V3 + "executionRules", "spot.execution_rules", 40, {**SYMBOLS, **STATUS}, scale="rules"),
    market(V3 + "depth", "spot.depth", 5, {**SYMBOL, **STATUS, "limit": g.LIMIT}, "symbol", scale="depth"),
    market(V3 + "trades", "spot.trades", 25, {**SYMBOL, "limit": g.LIMIT}, "symbol"),
    market(
        V3 + "historicalTrades",
        "spot.trades.old",
        25,
        {**SYMBOL, "limit": g.LIMIT, "fromId": g.INTEGER},
        "symbol",
    ),
    market(
        *(V3 + "historicalBlockTrades", "spot.trades.block", 25),
        {**SYMBOL, "limit": g.LIMIT, "fromId": g.INTEGER},
        *("symbol", "fromId"),
    ),
    market(V3 + "aggTrades", "spot.trades.aggregate", 4, {**SYMBOL, **RANGE, "fromId": g.INTEGER}, "symbol"),
    market(V3 + "klines", "spot.candles", 2, _CANDLES, "symbol", "interval"),
    market(V3 + "uiKlines", "spot.candles.ui", 2, _CANDLES, "symbol", "interval"),
    market(V3 + "avgPrice", "spot.price.average", 2, SYMBOL, "symbol"),
    market(V3 + "ticker/24hr", "spot.ticker.day", 2, _TICKER, scale="day"),
    market(
        V3 + "ticker/tradingDay",
        "spot.ticker.trading_day",
        4,
        {**_TICKER, "timeZone": g.ZONE},
        scale="per-symbol",
    ),
    market(V3 + "ticker/price", "spot.price", 2, {**SYMBOLS, **STATUS}, scale="price"),
    market(V3 + "ticker/bookTicker", "spot.book_ticker", 2, {**SYMBOLS, **STATUS}, scale="price"),
    market(V3 + "ticker", "spot.ticker", 4, {**_TICKER, "windowSize": g.SPAN}, scale="per-symbol"),
    market(V3 + "referencePrice", "spot.reference_price", 2, SYMBOL, "symbol"),
    market(V3 + "referencePrice/calculation", "spot.reference_price.rule", 2, {**SYMBOL, **STATUS}, "symbol"),
    # Left over from the first version; ccxt and python-binance still know these names.
    market("/api/v1/ping", "spot.ping", 1, {}),
    market("/api/v1/time", "spot.time", 1, {}),
    market("/api/v1/exchangeInfo", "spot.exchange_info", 20, _INFO),
    market("/api/v1/depth", "spot.depth", 5, {**SYMBOL, **STATUS, "limit": g.LIMIT}, "symbol", scale="depth"),
    market("/api/v1/trades", "spot.trades", 25, {**SYMBOL, "limit": g.LIMIT}, "symbol"),
    market(
        "/api/v1/aggTrades", "spot.trades.aggregate", 4, {**SYMBOL, **RANGE, "fromId": g.INTEGER}, "symbol"
    ),
    market("/api/v1/klines", "spot.candles", 2, _CANDLES, "symbol", "interval"),
    market("/api/v1/ticker/24hr", "spot.ticker.day", 2, _TICKER, scale="day"),
    # Other hosts; the gateway routes by prefix. ccxt's load_markets calls them whatever the bot trades.
    market("/fapi/v1/exchangeInfo", "futures.exchange_info", 1, {}),
    market("/dapi/v1/exchangeInfo", "futures.exchange_info", 1, {}),
    market("/eapi/v1/exchangeInfo", "futures.exchange_info", 1, {}),
    market("/fapi/v1/ping", "futures.ping", 1, {}),
    market("/dapi/v1/ping", "futures.ping", 1, {}),
    market("/fapi/v1/time", "futures.time", 1, {}),
    market("/dapi/v1/time", "futures.time", 1, {}),
    market("/sapi/v1/system/status", "wallet.system_status", 1, {}),
)

LISTINGS = frozenset(
    {"spot.exchange_info", "futures.exchange_info", "spot.execution_rules", "spot.ticker.day"}
)
"""Large where no symbol is named: 18 MiB of pairs. Prices and books are none: they are traded by at once."""

ACCOUNT = (
    account(V3 + "account", "spot.account", 20, {"omitZeroBalances": g.BOOLEAN}),
    account(V3 + "order", "spot.order.get", 4, ONE_ORDER, "symbol"),
    account(V3 + "openOrders", "spot.order.open", 6, SYMBOL, scale="open"),
    account(V3 + "allOrders", "spot.order.all", 20, {**SYMBOL, **RANGE, "orderId": g.INTEGER}, "symbol"),
    account(
        *(V3 + "orderList", "spot.order_list.get", 4),
        {"orderListId": g.INTEGER, "origClientOrderId": g.CLIENT_ID},
    ),
    account(V3 + "allOrderList", "spot.order_list.all", 20, {**RANGE, "fromId": g.INTEGER}),
    account(V3 + "openOrderList", "spot.order_list.open", 6, {}),
    account(
        *(V3 + "myTrades", "spot.my_trades", 20),
        {**SYMBOL, **RANGE, "orderId": g.INTEGER, "fromId": g.INTEGER},
        "symbol",
        scale="trades",
    ),
    account(V3 + "rateLimit/order", "spot.rate_limit.order", 40, {}),
    account(
        *(V3 + "myPreventedMatches", "spot.prevented_matches", 2),
        {
            **SYMBOL,
            "preventedMatchId": g.INTEGER,
            "orderId": g.INTEGER,
            "fromPreventedMatchId": g.INTEGER,
            "limit": g.LIMIT,
        },
        "symbol",
        scale="matches",
    ),
    account(
        *(V3 + "myAllocations", "spot.allocations", 20),
        {**SYMBOL, **RANGE, "orderId": g.INTEGER, "fromAllocationId": g.INTEGER},
        "symbol",
    ),
    account(V3 + "account/commission", "spot.commission", 20, SYMBOL, "symbol"),
    account(
        *(V3 + "order/amendments", "spot.order.amendments", 4),
        {**SYMBOL, "orderId": g.INTEGER, "fromExecutionId": g.INTEGER, "limit": g.LIMIT},
        *("symbol", "orderId"),
    ),
    account(V3 + "myFilters", "spot.filters", 40, SYMBOL, "symbol"),
)
