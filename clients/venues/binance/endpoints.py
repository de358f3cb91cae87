"""Every endpoint of Binance spot and `/sapi` that we know by name, as data.

Rules:
1. A path is matched exactly. What is not in the table is unknown, and a
   GET is not harmless for being a GET.
2. `grammars` names every parameter that may pass. Writes without grammars are recognised only to be refused
   by their right name: what they would do is never sized, `Intent.certain` is False.
3. `weight` is the documented request weight, `pool` what it is counted against: `ip` (all of `/api`, 6,000 a
   minute), or one pool per `/sapi` endpoint, `sapi-ip` (12,000) or `sapi-uid` (180,000); an intent names it
   as in `sapi-uid:wallet.withdraw.history`. `weights.py` refines the few
   that depend on parameters, by `scale`.
4. Names are ours and stable: they stand in policies, logs and metrics.

Sources: Binance spot REST docs, rest-api.md, state of 2026-07-21; developers.binance.com pages on wallet,
sub-account, margin trading, convert, algo, fiat and Binance Link; official Python SDKs (`binance-sdk-wallet`
13.8.0, `binance-sdk-sub-account` 8.5.0, `binance-sdk-margin-trading` 8.9.0); read 2026-11-22. Weights of
`/sapi` endpoints that we never let through are not all kept.
"""

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


_STAMP: Grammars = {"timestamp": g.INSTANT, "recvWindow": g.WINDOW}
_RANGE: Grammars = {"startTime": g.MOMENT, "endTime": g.MOMENT, "limit": g.LIMIT}
_SYMBOL: Grammars = {"symbol": g.symbol}
_SYMBOLS: Grammars = {"symbol": g.symbol, "symbols": g.symbol_list}
_STATUS: Grammars = {"symbolStatus": g.SYMBOL_STATUS}
_ONE_ORDER: Grammars = {"symbol": g.symbol, "orderId": g.INTEGER, "origClientOrderId": g.CLIENT_ID}
_ANSWER: Grammars = {"newOrderRespType": g.ANSWER_TYPE, "selfTradePreventionMode": g.PREVENTION}

_LEG_SUFFIXES: Grammars = {
    "ClientOrderId": g.CLIENT_ID,
    "Price": g.POSITIVE,
    "StopPrice": g.POSITIVE,
    "TrailingDelta": g.INTEGER,
    "IcebergQty": g.DECIMAL,
    "TimeInForce": g.TIME_IN_FORCE,
    "StrategyId": g.INTEGER,
    "StrategyType": g.INTEGER,
    "PegPriceType": g.PEG,
    "PegOffsetType": g.PEG_OFFSET,
    "PegOffsetValue": g.INTEGER,
}


def _leg(prefix: str, kind: Grammar, **more: Grammar) -> dict[str, Grammar]:
    """Return the grammars of one leg of an order list: `abovePrice`, `pendingBelowStopPrice`, ..."""
    suffixes = {**_LEG_SUFFIXES, "Type": kind, **more}
    return {prefix + suffix: grammar for suffix, grammar in suffixes.items()}


def _working() -> dict[str, Grammar]:
    legs = _leg("working", g.WORKING_TYPE, Side=g.SIDE, Quantity=g.POSITIVE)
    del legs["workingStopPrice"], legs["workingTrailingDelta"]
    return legs


_ORDER: Grammars = {
    "symbol": g.symbol,
    "side": g.SIDE,
    "type": g.ORDER_TYPE,
    "timeInForce": g.TIME_IN_FORCE,
    "quantity": g.POSITIVE,
    "quoteOrderQty": g.POSITIVE,
    "price": g.POSITIVE,
    "newClientOrderId": g.CLIENT_ID,
    "strategyId": g.INTEGER,
    "strategyType": g.INTEGER,
    "stopPrice": g.POSITIVE,
    "trailingDelta": g.INTEGER,
    "icebergQty": g.DECIMAL,
    "pegPriceType": g.PEG,
    "pegOffsetType": g.PEG_OFFSET,
    "pegOffsetValue": g.INTEGER,
    **_ANSWER,
    **_STAMP,
}
_SOR: Grammars = {
    name: grammar
    for name, grammar in _ORDER.items()
    if name not in {"quoteOrderQty", "stopPrice", "trailingDelta"} and not name.startswith("peg")
} | {"type": g.SOR_TYPE}
_TEST: Grammars = {"computeCommissionRates": g.BOOLEAN}
_REPLACE: Grammars = {
    **_ORDER,
    "cancelReplaceMode": g.REPLACE_MODE,
    "cancelNewClientOrderId": g.CLIENT_ID,
    "cancelOrigClientOrderId": g.CLIENT_ID,
    "cancelOrderId": g.INTEGER,
    "cancelRestrictions": g.CANCEL_IF,
    "orderRateLimitExceededMode": g.EXCEEDED_MODE,
}
_LIST: Grammars = {"symbol": g.symbol, "listClientOrderId": g.CLIENT_ID, **_ANSWER, **_STAMP}
_OLD_OCO: Grammars = {
    **_LIST,
    "side": g.SIDE,
    "quantity": g.POSITIVE,
    "limitClientOrderId": g.CLIENT_ID,
    "price": g.POSITIVE,
    "limitStrategyId": g.INTEGER,
    "limitStrategyType": g.INTEGER,
    "limitIcebergQty": g.DECIMAL,
    "trailingDelta": g.INTEGER,
    "stopClientOrderId": g.CLIENT_ID,
    "stopPrice": g.POSITIVE,
    "stopStrategyId": g.INTEGER,
    "stopStrategyType": g.INTEGER,
    "stopLimitPrice": g.POSITIVE,
    "stopIcebergQty": g.DECIMAL,
    "stopLimitTimeInForce": g.TIME_IN_FORCE,
}
_PENDING_PAIR: Grammars = {
    "pendingSide": g.SIDE,
    **_leg("pendingAbove", g.ABOVE_TYPE),
    **_leg("pendingBelow", g.ABOVE_TYPE),
}
_SIZE: Grammars = {"quantity": g.POSITIVE}
_PENDING_SIZE: Grammars = {"pendingQuantity": g.POSITIVE}

_WORKING_NEEDS = ("symbol", "workingType", "workingSide", "workingPrice", "workingQuantity")
_TIMED = ("timestamp",)


def _market(
    path: str, name: str, weight: int, grammars: Grammars, *required: str, scale: Scale = ""
) -> Endpoint:
    return Endpoint(
        "GET", path, name, Action.READ, "market", Security.PUBLIC, weight, "ip", grammars, required, scale
    )


def _account(
    path: str,
    name: str,
    weight: int,
    grammars: Grammars,
    *required: str,
    scale: Scale = "",
    group: str = "account",
    pool: Pool = "ip",
) -> Endpoint:
    return Endpoint(
        *("GET", path, name, Action.READ, group, Security.SIGNED, weight, pool),
        grammars={**grammars, **_STAMP},
        required=(*required, *_TIMED),
        scale=scale,
    )


def _trade(
    method: str, path: str, name: str, action: Action, grammars: Grammars, *required: str, weight: int = 1
) -> Endpoint:
    return Endpoint(
        *(method, path, name, action, "trade", Security.SIGNED, weight, "ip"),
        grammars={**grammars, **_STAMP},
        required=(*required, *_TIMED),
    )


def _named(method: str, path: str, name: str, action: Action, group: str, weight: int = 1) -> Endpoint:
    """Return an endpoint that is recognised so that it can be refused by name."""
    return Endpoint(method, path, name, action, group, Security.SIGNED, weight, "sapi-uid")


def _bearer(method: str, path: str, name: str, weight: int = 1) -> Endpoint:
    return Endpoint(method, path, name, Action.STREAM, "stream", Security.KEY, weight)


_CANDLES: Grammars = {**_SYMBOL, **_RANGE, "interval": g.INTERVAL, "timeZone": g.ZONE}
_INFO: Grammars = {
    **_SYMBOLS,
    **_STATUS,
    "permissions": g.WORD_LIST,
    "showPermissionSets": g.BOOLEAN,
}
_TICKER: Grammars = {**_SYMBOLS, **_STATUS, "type": g.TICKER_TYPE}
_V3 = "/api/v3/"

MARKET = (
    _market(_V3 + "ping", "spot.ping", 1, {}),
    _market(_V3 + "time", "spot.time", 1, {}),
    _market(_V3 + "exchangeInfo", "spot.exchange_info", 20, _INFO),
    _market(_V3 + "executionRules", "spot.execution_rules", 40, {**_SYMBOLS, **_STATUS}, scale="rules"),
    _market(
        _V3 + "depth", "spot.depth", 5, {**_SYMBOL, **_STATUS, "limit": g.LIMIT}, "symbol", scale="depth"
    ),
    _market(_V3 + "trades", "spot.trades", 25, {**_SYMBOL, "limit": g.LIMIT}, "symbol"),
    _market(
        _V3 + "historicalTrades",
        "spot.trades.old",
        25,
        {**_SYMBOL, "limit": g.LIMIT, "fromId": g.INTEGER},
        "symbol",
    ),
    _market(
        *(_V3 + "historicalBlockTrades", "spot.trades.block", 25),
        {**_SYMBOL, "limit": g.LIMIT, "fromId": g.INTEGER},
        *("symbol", "fromId"),
    ),
    _market(
        _V3 + "aggTrades", "spot.trades.aggregate", 4, {**_SYMBOL, **_RANGE, "fromId": g.INTEGER}, "symbol"
    ),
    _market(_V3 + "klines", "spot.candles", 2, _CANDLES, "symbol", "interval"),
    _market(_V3 + "uiKlines", "spot.candles.ui", 2, _CANDLES, "symbol", "interval"),
    _market(_V3 + "avgPrice", "spot.price.average", 2, _SYMBOL, "symbol"),
    _market(_V3 + "ticker/24hr", "spot.ticker.day", 2, _TICKER, scale="day"),
    _market(
        _V3 + "ticker/tradingDay",
        "spot.ticker.trading_day",
        4,
        {**_TICKER, "timeZone": g.ZONE},
        scale="per-symbol",
    ),
    _market(_V3 + "ticker/price", "spot.price", 2, {**_SYMBOLS, **_STATUS}, scale="price"),
    _market(_V3 + "ticker/bookTicker", "spot.book_ticker", 2, {**_SYMBOLS, **_STATUS}, scale="price"),
    _market(_V3 + "ticker", "spot.ticker", 4, {**_TICKER, "windowSize": g.SPAN}, scale="per-symbol"),
    _market(_V3 + "referencePrice", "spot.reference_price", 2, _SYMBOL, "symbol"),
    _market(
        _V3 + "referencePrice/calculation", "spot.reference_price.rule", 2, {**_SYMBOL, **_STATUS}, "symbol"
    ),
    # Left over from the first version; ccxt and python-binance still know these names.
    _market("/api/v1/ping", "spot.ping", 1, {}),
    _market("/api/v1/time", "spot.time", 1, {}),
    _market("/api/v1/exchangeInfo", "spot.exchange_info", 20, _INFO),
    _market(
        "/api/v1/depth", "spot.depth", 5, {**_SYMBOL, **_STATUS, "limit": g.LIMIT}, "symbol", scale="depth"
    ),
    _market("/api/v1/trades", "spot.trades", 25, {**_SYMBOL, "limit": g.LIMIT}, "symbol"),
    _market(
        "/api/v1/aggTrades", "spot.trades.aggregate", 4, {**_SYMBOL, **_RANGE, "fromId": g.INTEGER}, "symbol"
    ),
    _market("/api/v1/klines", "spot.candles", 2, _CANDLES, "symbol", "interval"),
    _market("/api/v1/ticker/24hr", "spot.ticker.day", 2, _TICKER, scale="day"),
    # Other hosts; the gateway routes by prefix. ccxt's load_markets calls them whatever the bot trades.
    _market("/fapi/v1/exchangeInfo", "futures.exchange_info", 1, {}),
    _market("/dapi/v1/exchangeInfo", "futures.exchange_info", 1, {}),
    _market("/eapi/v1/exchangeInfo", "futures.exchange_info", 1, {}),
    _market("/fapi/v1/ping", "futures.ping", 1, {}),
    _market("/dapi/v1/ping", "futures.ping", 1, {}),
    _market("/fapi/v1/time", "futures.time", 1, {}),
    _market("/dapi/v1/time", "futures.time", 1, {}),
    _market("/sapi/v1/system/status", "wallet.system_status", 1, {}),
)

ACCOUNT = (
    _account(_V3 + "account", "spot.account", 20, {"omitZeroBalances": g.BOOLEAN}),
    _account(_V3 + "order", "spot.order.get", 4, _ONE_ORDER, "symbol"),
    _account(_V3 + "openOrders", "spot.order.open", 6, _SYMBOL, scale="open"),
    _account(_V3 + "allOrders", "spot.order.all", 20, {**_SYMBOL, **_RANGE, "orderId": g.INTEGER}, "symbol"),
    _account(
        *(_V3 + "orderList", "spot.order_list.get", 4),
        {"orderListId": g.INTEGER, "origClientOrderId": g.CLIENT_ID},
    ),
    _account(_V3 + "allOrderList", "spot.order_list.all", 20, {**_RANGE, "fromId": g.INTEGER}),
    _account(_V3 + "openOrderList", "spot.order_list.open", 6, {}),
    _account(
        *(_V3 + "myTrades", "spot.my_trades", 20),
        {**_SYMBOL, **_RANGE, "orderId": g.INTEGER, "fromId": g.INTEGER},
        "symbol",
        scale="trades",
    ),
    _account(_V3 + "rateLimit/order", "spot.rate_limit.order", 40, {}),
    _account(
        *(_V3 + "myPreventedMatches", "spot.prevented_matches", 2),
        {
            **_SYMBOL,
            "preventedMatchId": g.INTEGER,
            "orderId": g.INTEGER,
            "fromPreventedMatchId": g.INTEGER,
            "limit": g.LIMIT,
        },
        "symbol",
        scale="matches",
    ),
    _account(
        *(_V3 + "myAllocations", "spot.allocations", 20),
        {**_SYMBOL, **_RANGE, "orderId": g.INTEGER, "fromAllocationId": g.INTEGER},
        "symbol",
    ),
    _account(_V3 + "account/commission", "spot.commission", 20, _SYMBOL, "symbol"),
    _account(
        *(_V3 + "order/amendments", "spot.order.amendments", 4),
        {**_SYMBOL, "orderId": g.INTEGER, "fromExecutionId": g.INTEGER, "limit": g.LIMIT},
        *("symbol", "orderId"),
    ),
    _account(_V3 + "myFilters", "spot.filters", 40, _SYMBOL, "symbol"),
)

_TYPED = ("symbol", "side", "type")

TRADE = (
    _trade("POST", _V3 + "order", "spot.order.place", Action.PLACE, _ORDER, *_TYPED),
    _trade("POST", _V3 + "order/test", "spot.order.test", Action.PLACE, {**_ORDER, **_TEST}, *_TYPED),
    _trade("POST", _V3 + "sor/order", "spot.sor.place", Action.PLACE, _SOR, *_TYPED, "quantity"),
    _trade(
        *("POST", _V3 + "sor/order/test", "spot.sor.test", Action.PLACE),
        {**_SOR, **_TEST},
        *(*_TYPED, "quantity"),
    ),
    _trade(
        *("POST", _V3 + "order/cancelReplace", "spot.order.replace", Action.PLACE),
        _REPLACE,
        *(*_TYPED, "cancelReplaceMode"),
    ),
    _trade(
        *("PUT", _V3 + "order/amend/keepPriority", "spot.order.amend", Action.AMEND),
        {**_ONE_ORDER, "newClientOrderId": g.CLIENT_ID, "newQty": g.POSITIVE},
        *("symbol", "newQty"),
        weight=4,
    ),
    _trade(
        *("POST", _V3 + "order/oco", "spot.order_list.oco_old", Action.PLACE),
        _OLD_OCO,
        *("symbol", "side", "quantity", "price"),
    ),
    _trade(
        *("POST", _V3 + "orderList/oco", "spot.order_list.oco", Action.PLACE),
        {**_LIST, **_SIZE, "side": g.SIDE, **_leg("above", g.ABOVE_TYPE), **_leg("below", g.ABOVE_TYPE)},
        *("symbol", "side", "quantity", "aboveType", "belowType"),
    ),
    _trade(
        *("POST", _V3 + "orderList/oto", "spot.order_list.oto", Action.PLACE),
        {**_LIST, **_working(), **_leg("pending", g.ORDER_TYPE, Side=g.SIDE), **_PENDING_SIZE},
        *(*_WORKING_NEEDS, "pendingType", "pendingSide", "pendingQuantity"),
    ),
    _trade(
        *("POST", _V3 + "orderList/otoco", "spot.order_list.otoco", Action.PLACE),
        {**_LIST, **_working(), **_PENDING_PAIR, **_PENDING_SIZE},
        *(*_WORKING_NEEDS, "pendingSide", "pendingQuantity", "pendingAboveType"),
    ),
    _trade(
        *("POST", _V3 + "orderList/opo", "spot.order_list.opo", Action.PLACE),
        {**_LIST, **_working(), **_leg("pending", g.ORDER_TYPE, Side=g.SIDE)},
        *(*_WORKING_NEEDS, "pendingType", "pendingSide"),
    ),
    _trade(
        *("POST", _V3 + "orderList/opoco", "spot.order_list.opoco", Action.PLACE),
        {**_LIST, **_working(), **_PENDING_PAIR},
        *(*_WORKING_NEEDS, "pendingSide", "pendingAboveType"),
    ),
    _trade(
        *("DELETE", _V3 + "order", "spot.order.cancel", Action.CANCEL),
        {**_ONE_ORDER, "newClientOrderId": g.CLIENT_ID, "cancelRestrictions": g.CANCEL_IF},
        "symbol",
    ),
    _trade("DELETE", _V3 + "openOrders", "spot.order.cancel_all", Action.CANCEL, _SYMBOL, "symbol"),
    _trade(
        *("DELETE", _V3 + "orderList", "spot.order_list.cancel", Action.CANCEL),
        {
            **_SYMBOL,
            "orderListId": g.INTEGER,
            "listClientOrderId": g.CLIENT_ID,
            "newClientOrderId": g.CLIENT_ID,
        },
        "symbol",
    ),
)

_S1 = "/sapi/v1/"
_PAGE: Grammars = {"current": g.LIMIT, "size": g.LIMIT, "page": g.LIMIT, "limit": g.LIMIT, "rows": g.LIMIT}
_COIN: Grammars = {"coin": g.WORD, "asset": g.WORD}


def _wallet(path: str, name: str, weight: int, grammars: Grammars, pool: Pool = "sapi-ip") -> Endpoint:
    return _account(path, name, weight, grammars, group="wallet-read", pool=pool)


def _margin(path: str, name: str, weight: int, grammars: Grammars, pool: Pool = "sapi-ip") -> Endpoint:
    return _account(path, name, weight, grammars, group="margin-read", pool=pool)


WALLET_READ = (
    _wallet(_S1 + "capital/config/getall", "wallet.coins", 10, {}),
    _wallet(_S1 + "account/apiRestrictions", "wallet.key_restrictions", 1, {}),
    _wallet(_S1 + "account/status", "wallet.account_status", 1, {}),
    _wallet(_S1 + "account/apiTradingStatus", "wallet.trading_status", 1, {}),
    _wallet(_S1 + "account/info", "wallet.account_info", 1, {}),
    _wallet(_S1 + "accountSnapshot", "wallet.snapshot", 2400, {**_RANGE, "type": g.WORD}),
    _wallet(_S1 + "asset/tradeFee", "wallet.trade_fee", 1, _SYMBOL),
    _wallet(_S1 + "asset/assetDetail", "wallet.asset_detail", 1, _COIN),
    _wallet(_S1 + "asset/assetDividend", "wallet.dividends", 10, {**_COIN, **_RANGE}),
    _wallet(_S1 + "asset/dribblet", "wallet.dust_log", 1, {**_RANGE, "accountType": g.WORD}),
    _wallet(
        *(_S1 + "asset/wallet/balance", "wallet.balances", 60),
        {"quoteAsset": g.WORD, "needBalanceDetail": g.BOOLEAN},
    ),
    _wallet(
        *(_S1 + "asset/transfer", "wallet.transfer.history", 1),
        {**_RANGE, **_PAGE, "type": g.WORD, "fromSymbol": g.WORD, "toSymbol": g.WORD},
    ),
    _wallet(
        *(_S1 + "capital/deposit/hisrec", "wallet.deposit.history", 1),
        {
            **_COIN,
            **_RANGE,
            "status": g.INTEGER,
            "offset": g.INTEGER,
            "txId": g.WORD,
            "includeSource": g.BOOLEAN,
        },
    ),
    _wallet(
        *(_S1 + "capital/withdraw/history", "wallet.withdraw.history", 18000),
        {**_COIN, **_RANGE, "status": g.INTEGER, "offset": g.INTEGER, "withdrawOrderId": g.WORD},
        "sapi-uid",
    ),
    _wallet(_S1 + "capital/withdraw/address/list", "wallet.withdraw.addresses", 10, {}),
    _wallet(_S1 + "capital/withdraw/quota", "wallet.withdraw.quota", 10, {}),
    Endpoint(
        *(
            "POST",
            "/sapi/v3/asset/getUserAsset",
            "wallet.assets",
            Action.READ,
            "wallet-read",
            Security.SIGNED,
        ),
        *(5, "sapi-ip"),
        {**_COIN, "needBtcValuation": g.BOOLEAN, **_STAMP},
        _TIMED,
    ),
    Endpoint(
        *("POST", _S1 + "asset/get-funding-asset", "wallet.funding_assets", Action.READ, "wallet-read"),
        *(Security.SIGNED, 1, "sapi-ip"),
        {**_COIN, "needBtcValuation": g.BOOLEAN, **_STAMP},
        _TIMED,
    ),
    _wallet(
        *(_S1 + "sub-account/transfer/subUserHistory", "subaccount.transfer.own_history", 1),
        {**_COIN, **_RANGE, "type": g.INTEGER, "returnFailHistory": g.BOOLEAN},
    ),
    _margin(_S1 + "margin/allPairs", "margin.pairs", 1, _SYMBOL),
    _margin(_S1 + "margin/isolated/allPairs", "margin.isolated.pairs", 10, _SYMBOL),
    _margin(_S1 + "margin/allAssets", "margin.assets", 1, _COIN),
    _margin(_S1 + "margin/account", "margin.account", 10, {}),
    _margin(_S1 + "margin/isolated/account", "margin.isolated.account", 10, {"symbols": g.COMMA_LIST}),
    _margin(_S1 + "margin/priceIndex", "margin.price_index", 10, _SYMBOL),
    _margin(_S1 + "margin/order", "margin.order.get", 10, {**_ONE_ORDER, "isIsolated": g.BOOLEAN}),
    _margin(_S1 + "margin/openOrders", "margin.order.open", 10, {**_SYMBOL, "isIsolated": g.BOOLEAN}),
    _margin(
        *(_S1 + "margin/allOrders", "margin.order.all", 200),
        {**_SYMBOL, **_RANGE, "orderId": g.INTEGER, "isIsolated": g.BOOLEAN},
    ),
    _margin(
        *(_S1 + "margin/myTrades", "margin.my_trades", 10),
        {**_SYMBOL, **_RANGE, "orderId": g.INTEGER, "fromId": g.INTEGER, "isIsolated": g.BOOLEAN},
    ),
)

_SUB = "/sapi/v1/sub-account/"
_BROKER = "/sapi/v1/broker/"

WITHDRAW = (
    _named("POST", _S1 + "capital/withdraw/apply", "wallet.withdraw.apply", Action.WITHDRAW, "withdraw", 900),
    _named("POST", "/wapi/v3/withdraw.html", "wallet.withdraw.apply_old", Action.WITHDRAW, "withdraw"),
    _named(
        "POST",
        _S1 + "localentity/withdraw/apply",
        "localentity.withdraw.apply",
        Action.WITHDRAW,
        "withdraw",
        600,
    ),
    _named(
        *("POST", _S1 + "localentity/broker/withdraw/apply", "localentity.broker.withdraw.apply"),
        *(Action.WITHDRAW, "withdraw"),
    ),
    _named("POST", "/sapi/v2/fiat/withdraw", "fiat.withdraw", Action.WITHDRAW, "withdraw"),
    _named("POST", _S1 + "fiat/withdraw", "fiat.withdraw", Action.WITHDRAW, "withdraw"),
)

TRANSFER = (
    _named("POST", _S1 + "asset/transfer", "wallet.transfer", Action.TRANSFER, "transfer", 300),
    _named("POST", _S1 + "futures/transfer", "wallet.transfer.futures", Action.TRANSFER, "transfer"),
    _named("POST", _S1 + "margin/transfer", "margin.transfer", Action.TRANSFER, "transfer"),
    _named("POST", _S1 + "margin/isolated/transfer", "margin.isolated.transfer", Action.TRANSFER, "transfer"),
    _named("POST", _SUB + "universalTransfer", "subaccount.transfer", Action.TRANSFER, "transfer", 360),
    _named(
        "POST", _SUB + "transfer/subToMaster", "subaccount.transfer.to_master", Action.TRANSFER, "transfer"
    ),
    _named("POST", _SUB + "transfer/subToSub", "subaccount.transfer.to_sub", Action.TRANSFER, "transfer"),
    _named("POST", _SUB + "sub/transfer", "subaccount.transfer.spot", Action.TRANSFER, "transfer"),
    _named("POST", _SUB + "futures/transfer", "subaccount.transfer.futures", Action.TRANSFER, "transfer"),
    _named("POST", _SUB + "margin/transfer", "subaccount.transfer.margin", Action.TRANSFER, "transfer"),
    _named(
        "POST",
        _SUB + "futures/internalTransfer",
        "subaccount.transfer.futures_internal",
        Action.TRANSFER,
        "transfer",
    ),
    _named("POST", _SUB + "futures/move-position", "subaccount.move_position", Action.TRANSFER, "transfer"),
    _named("POST", _BROKER + "transfer", "broker.transfer", Action.TRANSFER, "transfer"),
    _named("POST", _BROKER + "transfer/futures", "broker.transfer.futures", Action.TRANSFER, "transfer"),
    _named("POST", _BROKER + "universalTransfer", "broker.transfer.universal", Action.TRANSFER, "transfer"),
    _named("POST", _S1 + "giftcard/createCode", "giftcard.create", Action.TRANSFER, "transfer"),
    _named("POST", _S1 + "giftcard/buyCode", "giftcard.buy", Action.TRANSFER, "transfer"),
    _named("POST", _S1 + "managed-subaccount/deposit", "managed.deposit", Action.TRANSFER, "transfer"),
    _named("POST", _S1 + "managed-subaccount/withdraw", "managed.withdraw", Action.TRANSFER, "transfer"),
    _named("POST", _S1 + "bnb-transfer", "wallet.transfer.bnb", Action.TRANSFER, "transfer"),
)

KEY_ADMIN = (
    _named("POST", _SUB + "subAccountApi", "subaccount.key.create", Action.KEY_ADMIN, "key-admin", 3000),
    _named(
        "POST",
        "/sapi/v2/sub-account/subAccountApi",
        "subaccount.key.create",
        Action.KEY_ADMIN,
        "key-admin",
        3000,
    ),
    _named("GET", _SUB + "subAccountApi", "subaccount.key.list", Action.KEY_ADMIN, "key-admin", 3000),
    _named("DELETE", _SUB + "subAccountApi", "subaccount.key.delete", Action.KEY_ADMIN, "key-admin", 3000),
    _named(
        "POST",
        _SUB + "subAccountApiPermission",
        "subaccount.key.permission",
        Action.KEY_ADMIN,
        "key-admin",
        3000,
    ),
    *(
        _named(
            method,
            f"/sapi/v{version}/sub-account/subAccountApi/{tail}",
            name,
            Action.KEY_ADMIN,
            "key-admin",
            3000,
        )
        for method, version, tail, name in (
            ("GET", 1, "ipRestriction", "subaccount.key.ip_list"),
            ("POST", 1, "ipRestriction", "subaccount.key.ip_set"),
            ("POST", 2, "ipRestriction", "subaccount.key.ip_set"),
            ("POST", 1, "ipRestriction/ipList", "subaccount.key.ip_set"),
            ("DELETE", 1, "ipRestriction/ipList", "subaccount.key.ip_delete"),
        )
    ),
    _named(
        *("GET", _SUB + "apiRestrictions/ipRestriction/thirdPartyList", "subaccount.key.third_parties"),
        *(Action.KEY_ADMIN, "key-admin"),
    ),
    *(
        _named(
            method,
            _S1 + "account/apiRestrictions/" + tail,
            "wallet.key.ip_restriction",
            Action.KEY_ADMIN,
            "key-admin",
        )
        for method, tail in (
            ("POST", "ipRestriction"),
            ("GET", "ipRestriction"),
            ("POST", "ipRestriction/ipList"),
            ("DELETE", "ipRestriction/ipList"),
        )
    ),
    _named("POST", _BROKER + "subAccountApi", "broker.key.create", Action.KEY_ADMIN, "key-admin", 3000),
    _named("DELETE", _BROKER + "subAccountApi", "broker.key.delete", Action.KEY_ADMIN, "key-admin", 3000),
    _named("GET", _BROKER + "subAccountApi", "broker.key.list", Action.KEY_ADMIN, "key-admin", 3000),
    *(
        _named(
            "POST",
            _BROKER + "subAccountApi/permission" + tail,
            "broker.key.permission",
            Action.KEY_ADMIN,
            "key-admin",
        )
        for tail in ("", "/universalTransfer", "/vanillaOptions")
    ),
    *(
        _named(
            method, f"/sapi/v{version}/broker/subAccountApi/{tail}", name, Action.KEY_ADMIN, "key-admin", 3000
        )
        for method, version, tail, name in (
            ("POST", 2, "ipRestriction", "broker.key.ip_set"),
            ("POST", 1, "ipRestriction", "broker.key.ip_set"),
            ("GET", 1, "ipRestriction", "broker.key.ip_list"),
            ("DELETE", 1, "ipRestriction/ipList", "broker.key.ip_delete"),
        )
    ),
    _named("POST", _S1 + "margin/apiKey", "margin.key.create", Action.KEY_ADMIN, "key-admin"),
    _named("GET", _S1 + "margin/apiKey", "margin.key.get", Action.KEY_ADMIN, "key-admin"),
    _named("DELETE", _S1 + "margin/apiKey", "margin.key.delete", Action.KEY_ADMIN, "key-admin"),
    _named("PUT", _S1 + "margin/apiKey/ip", "margin.key.ip_set", Action.KEY_ADMIN, "key-admin"),
    _named("GET", _S1 + "margin/api-key-list", "margin.key.list", Action.KEY_ADMIN, "key-admin"),
    _named(
        "POST", _S1 + "margin/exit-special-key-mode", "margin.key.exit_mode", Action.KEY_ADMIN, "key-admin"
    ),
    _named("POST", _SUB + "virtualSubAccount", "subaccount.create", Action.KEY_ADMIN, "key-admin"),
    _named("POST", _BROKER + "subAccount", "broker.subaccount.create", Action.KEY_ADMIN, "key-admin"),
    _named("DELETE", _BROKER + "subAccount", "broker.subaccount.delete", Action.KEY_ADMIN, "key-admin"),
    _named("POST", _SUB + "futures/enable", "subaccount.enable_futures", Action.KEY_ADMIN, "key-admin"),
    _named("POST", _SUB + "eoptions/enable", "subaccount.enable_options", Action.KEY_ADMIN, "key-admin"),
    _named("POST", _SUB + "margin/enable", "subaccount.enable_margin", Action.KEY_ADMIN, "key-admin"),
    _named("POST", _SUB + "blvt/enable", "subaccount.enable_blvt", Action.KEY_ADMIN, "key-admin"),
)

# Reads that show other accounts: an operator's business, not a bot's.
MASTER_READ = tuple(
    _named("GET", path, name, Action.READ, "subaccount-read", weight)
    for path, name, weight in (
        (_SUB + "list", "subaccount.list", 1),
        (_SUB + "status", "subaccount.status", 10),
        (_SUB + "universalTransfer", "subaccount.transfer.history", 1),
        (_SUB + "sub/transfer/history", "subaccount.transfer.spot_history", 1),
        (_SUB + "futures/internalTransfer", "subaccount.transfer.futures_history", 1),
        ("/sapi/v3/sub-account/assets", "subaccount.assets", 60),
        ("/sapi/v4/sub-account/assets", "subaccount.assets", 60),
        (_S1 + "capital/deposit/subHisrec", "subaccount.deposit.history", 1),
        (_BROKER + "subAccount", "broker.subaccount.list", 1),
    )
)

# Writes that trade or borrow. Named, never sized: their risk is not what the order grammar says (a margin
# order can borrow, a quote is accepted by its id alone), so every intent of these is uncertain.
OTHER_WRITES = (
    _named("POST", _S1 + "margin/order", "margin.order.place", Action.PLACE, "margin", 6),
    _named("POST", _S1 + "margin/order/oco", "margin.order_list.oco", Action.PLACE, "margin", 6),
    _named("POST", _S1 + "margin/order/oto", "margin.order_list.oto", Action.PLACE, "margin", 6),
    _named("POST", _S1 + "margin/order/otoco", "margin.order_list.otoco", Action.PLACE, "margin", 6),
    _named("DELETE", _S1 + "margin/order", "margin.order.cancel", Action.CANCEL, "margin", 10),
    _named("DELETE", _S1 + "margin/openOrders", "margin.order.cancel_all", Action.CANCEL, "margin"),
    _named("DELETE", _S1 + "margin/orderList", "margin.order_list.cancel", Action.CANCEL, "margin"),
    _named("POST", _S1 + "margin/borrow-repay", "margin.borrow_repay", Action.LEVERAGE, "margin", 1500),
    _named("POST", _S1 + "margin/loan", "margin.borrow", Action.LEVERAGE, "margin", 3000),
    _named("POST", _S1 + "margin/repay", "margin.repay", Action.LEVERAGE, "margin", 3000),
    _named("POST", _S1 + "margin/max-leverage", "margin.max_leverage", Action.LEVERAGE, "margin", 3000),
    _named("POST", _S1 + "margin/manual-liquidation", "margin.liquidate", Action.PLACE, "margin", 3000),
    _named(
        "POST",
        _S1 + "margin/exchange-small-liability",
        "margin.small_liability",
        Action.PLACE,
        "margin",
        3000,
    ),
    _named("POST", _S1 + "margin/isolated/account", "margin.isolated.enable", Action.SETTING, "margin", 300),
    _named(
        "DELETE", _S1 + "margin/isolated/account", "margin.isolated.disable", Action.SETTING, "margin", 300
    ),
    _named("POST", _S1 + "bnbBurn", "wallet.bnb_burn", Action.SETTING, "setting"),
    _named("POST", _S1 + "algo/futures/newOrderTwap", "algo.futures.twap", Action.PLACE, "algo", 3000),
    _named("POST", _S1 + "algo/futures/newOrderVp", "algo.futures.vp", Action.PLACE, "algo", 3000),
    _named("POST", _S1 + "algo/spot/newOrderTwap", "algo.spot.twap", Action.PLACE, "algo", 3000),
    _named("DELETE", _S1 + "algo/futures/order", "algo.futures.cancel", Action.CANCEL, "algo"),
    _named("DELETE", _S1 + "algo/spot/order", "algo.spot.cancel", Action.CANCEL, "algo"),
    _named("POST", _S1 + "convert/getQuote", "convert.quote", Action.PLACE, "convert", 200),
    _named("POST", _S1 + "convert/acceptQuote", "convert.accept", Action.PLACE, "convert", 500),
    _named("POST", _S1 + "convert/limit/placeOrder", "convert.limit.place", Action.PLACE, "convert", 500),
    _named("POST", _S1 + "convert/limit/cancelOrder", "convert.limit.cancel", Action.CANCEL, "convert", 200),
    _named("POST", _S1 + "asset/dust", "wallet.dust.convert", Action.PLACE, "convert", 10),
    _named("POST", _S1 + "asset/dust-convert/convert", "wallet.dust.convert", Action.PLACE, "convert", 10),
    _named("POST", _S1 + "asset/dust-btc", "wallet.dust.list", Action.READ, "convert"),
    _named(
        "POST",
        _S1 + "account/disableFastWithdrawSwitch",
        "wallet.fast_withdraw.off",
        Action.SETTING,
        "setting",
    ),
    # Turning it on prepares a withdrawal to another customer of the venue.
    _named(
        "POST",
        _S1 + "account/enableFastWithdrawSwitch",
        "wallet.fast_withdraw.on",
        Action.WITHDRAW,
        "withdraw",
    ),
    _named("GET", _S1 + "capital/deposit/address", "wallet.deposit.address", Action.READ, "deposit"),
    _named("GET", _S1 + "capital/deposit/address/list", "wallet.deposit.addresses", Action.READ, "deposit"),
)

STREAM = (
    *(
        _bearer(method, path, f"{name}.{verb}")
        for path, name in (
            ("/api/v1/userDataStream", "spot.stream"),
            (_V3 + "userDataStream", "spot.stream"),
            (_S1 + "userDataStream", "margin.stream"),
            (_S1 + "userDataStream/isolated", "margin.isolated.stream"),
            (_S1 + "margin/listen-key", "margin.risk_stream"),
            ("/sapi/v2/margin/listen-key", "margin.risk_stream"),
            ("/fapi/v1/listenKey", "futures.stream"),
            ("/dapi/v1/listenKey", "futures.stream"),
        )
        for method, verb in (("POST", "open"), ("PUT", "extend"), ("DELETE", "close"))
    ),
    _bearer("POST", _S1 + "userListenToken", "margin.stream.token"),
)

_ALL = (
    *MARKET,
    *ACCOUNT,
    *TRADE,
    *WALLET_READ,
    *WITHDRAW,
    *TRANSFER,
    *KEY_ADMIN,
    *MASTER_READ,
    *OTHER_WRITES,
    *STREAM,
)

ENDPOINTS: Mapping[tuple[str, str], Endpoint] = {(row.method, row.path): row for row in _ALL}

if len(ENDPOINTS) != len(_ALL):
    raise RuntimeError("an endpoint is listed twice")


def find(method: str, path: str) -> Endpoint | None:
    """Return the endpoint of a path; None where we know none."""
    return ENDPOINTS.get((method, path))
