"""What each endpoint of the paper exchange takes: a table of parameter names, and the refusals that follow from it.

Rules:
1. A parameter that the endpoint does not take is -1104; the venue counts those it read and those it was sent.
2. An empty value is -1105, and -1102 where the parameter must be there.
3. The table is this exchange's own reading of the venue's pages: it shares nothing with the gateway's.
   An OPO names its `pendingQuantity` only to refuse it with a code of its own.
4. The venue documents -1104 and -1105 for `/api`. What `/sapi` does with parameters it does not know is open: a switch.

Source: Binance spot REST docs, rest-api.md and errors.md (-1101 to -1106), state of 2026-07-21; wallet, margin and
sub-account pages as in the fact sheet, sections 4, 5, 7 and 8.
"""

from collections.abc import Mapping

from clients.paper.errors import PaperError, mandatory
from clients.paper.reading import Params

_SIGNED = frozenset({"timestamp", "recvWindow", "signature"})
_ANSWER = "newOrderRespType selfTradePreventionMode"
_LEG = ("type", "price", "stopPrice", "trailingDelta", "icebergQty", "timeInForce", "clientOrderId", "strategyId",
        "strategyType", "pegPriceType", "pegOffsetType", "pegOffsetValue")  # fmt: skip
_ORDER = (
    "symbol side type timeInForce quantity quoteOrderQty price newClientOrderId strategyId strategyType stopPrice "
    f"trailingDelta icebergQty pegPriceType pegOffsetType pegOffsetValue {_ANSWER}"
)
_SOR = (
    "symbol side type timeInForce quantity price newClientOrderId strategyId strategyType icebergQty "
    + _ANSWER
)
_LIST = f"symbol listClientOrderId {_ANSWER}"
_PAGE = "startTime endTime limit"
_TICKER = "symbol symbols symbolStatus"
_ONE = "symbol orderId origClientOrderId"
_FLAGS = "canTrade canMarginLoanRepay canFuturesTrade canUniversalTransfer canVanillaOptions"


def _legs(*prefixes: str) -> str:
    return " ".join(f"{prefix}{word[0].upper()}{word[1:]}" for prefix in prefixes for word in _LEG)


_WORKING = (
    "workingType workingSide workingPrice workingQuantity workingIcebergQty workingTimeInForce workingClientOrderId "
    "workingStrategyId workingStrategyType workingPegPriceType workingPegOffsetType workingPegOffsetValue"
)

_PUBLIC: Mapping[str, str] = {
    "GET /api/v3/ping": "",
    "GET /api/v3/time": "",
    "GET /api/v3/exchangeInfo": "symbol symbols permissions showPermissionSets symbolStatus",
    "GET /api/v3/ticker/price": _TICKER,
    "GET /api/v3/ticker/bookTicker": _TICKER,
    "GET /api/v3/ticker/24hr": _TICKER + " type",
    "GET /api/v3/ticker": _TICKER + " type windowSize",
    "GET /api/v3/ticker/tradingDay": _TICKER + " type timeZone",
    "GET /api/v3/depth": "symbol limit symbolStatus",
    "GET /api/v3/trades": "symbol limit",
    "GET /api/v3/historicalTrades": "symbol limit fromId",
    "GET /api/v3/aggTrades": "symbol fromId " + _PAGE,
    "GET /api/v3/klines": "symbol interval timeZone " + _PAGE,
    "GET /api/v3/uiKlines": "symbol interval timeZone " + _PAGE,
    "GET /api/v3/avgPrice": "symbol",
}

_TAKES: Mapping[str, str] = {
    "POST /api/v3/order": _ORDER,
    "POST /api/v3/order/test": _ORDER + " computeCommissionRates",
    "POST /api/v3/sor/order": _SOR,
    "POST /api/v3/sor/order/test": _SOR + " computeCommissionRates",
    "GET /api/v3/order": _ONE,
    "DELETE /api/v3/order": _ONE + " newClientOrderId cancelRestrictions",
    "DELETE /api/v3/openOrders": "symbol",
    "POST /api/v3/order/cancelReplace": _ORDER
    + " cancelReplaceMode cancelNewClientOrderId cancelOrigClientOrderId cancelOrderId cancelRestrictions"
    " orderRateLimitExceededMode",
    "PUT /api/v3/order/amend/keepPriority": _ONE + " newClientOrderId newQty",
    "GET /api/v3/order/amendments": "symbol orderId fromExecutionId limit",
    "GET /api/v3/account": "omitZeroBalances",
    "GET /api/v3/openOrders": "symbol",
    "GET /api/v3/allOrders": "symbol orderId " + _PAGE,
    "GET /api/v3/myTrades": "symbol orderId fromId " + _PAGE,
    "GET /api/v3/rateLimit/order": "",
    "GET /api/v3/account/commission": "symbol",
    "GET /api/v3/myFilters": "symbol",
    "GET /api/v3/myPreventedMatches": "symbol preventedMatchId orderId fromPreventedMatchId limit",
    "GET /api/v3/myAllocations": "symbol orderId fromAllocationId " + _PAGE,
    "POST /api/v3/order/oco": "side quantity limitClientOrderId price limitStrategyId limitStrategyType"
    " limitIcebergQty trailingDelta stopClientOrderId stopPrice stopStrategyId stopStrategyType stopLimitPrice"
    " stopIcebergQty stopLimitTimeInForce " + _LIST,
    "POST /api/v3/orderList/oco": f"side quantity {_legs('above', 'below')} {_LIST}",
    "POST /api/v3/orderList/oto": f"{_WORKING} pendingSide pendingQuantity {_legs('pending')} {_LIST}",
    "POST /api/v3/orderList/otoco": f"{_WORKING} pendingSide pendingQuantity "
    f"{_legs('pendingAbove', 'pendingBelow')} {_LIST}",
    "POST /api/v3/orderList/opo": f"{_WORKING} pendingSide pendingQuantity {_legs('pending')} {_LIST}",
    "POST /api/v3/orderList/opoco": f"{_WORKING} pendingSide pendingQuantity "
    f"{_legs('pendingAbove', 'pendingBelow')} {_LIST}",
    "DELETE /api/v3/orderList": "symbol orderListId listClientOrderId newClientOrderId",
    "GET /api/v3/orderList": "orderListId origClientOrderId",
    "GET /api/v3/openOrderList": "",
    "GET /api/v3/allOrderList": "fromId " + _PAGE,
    "GET /sapi/v1/capital/config/getall": "",
    "GET /sapi/v1/account/apiRestrictions": "",
    "GET /sapi/v1/account/status": "",
    "GET /sapi/v1/account/apiTradingStatus": "",
    "GET /sapi/v1/account/info": "",
    "GET /sapi/v1/accountSnapshot": "type " + _PAGE,
    "POST /sapi/v3/asset/getUserAsset": "asset needBtcValuation",
    "POST /sapi/v1/asset/get-funding-asset": "asset needBtcValuation",
    "GET /sapi/v1/asset/wallet/balance": "quoteAsset needBalanceDetail",
    "GET /sapi/v1/asset/assetDetail": "asset",
    "GET /sapi/v1/asset/dribblet": "accountType startTime endTime",
    "GET /sapi/v1/asset/tradeFee": "symbol",
    "GET /sapi/v1/asset/assetDividend": "asset " + _PAGE,
    "GET /sapi/v1/capital/deposit/hisrec": "coin status offset txId includeSource " + _PAGE,
    "GET /sapi/v1/capital/deposit/address": "coin network amount",
    "POST /sapi/v1/capital/withdraw/apply": "coin withdrawOrderId network address addressTag amount name walletType"
    " transactionFeeFlag",
    "GET /sapi/v1/capital/withdraw/history": "coin withdrawOrderId status idList offset " + _PAGE,
    "POST /sapi/v1/asset/transfer": "type asset amount fromSymbol toSymbol",
    "GET /sapi/v1/asset/transfer": "type current size fromSymbol toSymbol startTime endTime",
    "POST /sapi/v1/sub-account/transfer/subToMaster": "asset amount",
    "POST /sapi/v1/sub-account/transfer/subToSub": "toEmail asset amount",
    "GET /sapi/v1/margin/allPairs": "symbol",
    "GET /sapi/v1/margin/isolated/allPairs": "symbol",
    "GET /sapi/v1/margin/account": "",
    "GET /sapi/v1/margin/openOrders": "symbol isIsolated",
    "GET /sapi/v1/margin/allOrders": "symbol isIsolated orderId " + _PAGE,
    "GET /sapi/v1/margin/myTrades": "symbol isIsolated orderId fromId " + _PAGE,
    "GET /sapi/v1/capital/withdraw/address/list": "",
    "GET /sapi/v1/capital/withdraw/quota": "",
    "GET /sapi/v1/margin/isolated/account": "symbols",
    "POST /sapi/v1/sub-account/subAccountApi": f"email apiName status ipAddress thirdPartyName publicKey {_FLAGS}",
    "POST /sapi/v2/sub-account/subAccountApi": f"email apiName status ipAddress thirdPartyName publicKey {_FLAGS}"
    " canFixApiTrading canFixApiReading",
    "GET /sapi/v1/sub-account/subAccountApi": "email subAccountApiKey page size",
    "DELETE /sapi/v1/sub-account/subAccountApi": "email subAccountApiKey",
    "POST /sapi/v1/sub-account/subAccountApiPermission": f"email subAccountApiKey {_FLAGS}",
    "GET /sapi/v1/sub-account/subAccountApi/ipRestriction": "email subAccountApiKey",
    "POST /sapi/v2/sub-account/subAccountApi/ipRestriction": "email subAccountApiKey status ipAddress",
    "DELETE /sapi/v1/sub-account/subAccountApi/ipRestriction/ipList": "email subAccountApiKey ipAddress",
    "GET /sapi/v1/sub-account/list": "email isFreeze page limit",
    "POST /sapi/v1/sub-account/virtualSubAccount": "subAccountString",
}

TAKES: Mapping[str, frozenset[str]] = {
    **{at: frozenset(names.split()) for at, names in _PUBLIC.items()},
    **{at: frozenset(names.split()) | _SIGNED for at, names in _TAKES.items()},
}
"""By method and path; what is not in it takes whatever it is sent (other products, which only answer emptily)."""

MUST: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(
        ("POST /api/v3/order", "POST /api/v3/order/test", "POST /api/v3/sor/order"),
        frozenset({"symbol", "side", "type"}),
    ),
    "POST /api/v3/order/cancelReplace": frozenset({"symbol", "side", "type", "cancelReplaceMode"}),
    **dict.fromkeys(
        ("GET /api/v3/order", "DELETE /api/v3/order", "DELETE /api/v3/openOrders", "GET /api/v3/allOrders",
         "GET /api/v3/myTrades", "GET /api/v3/depth", "GET /api/v3/trades", "GET /api/v3/klines"),
        frozenset({"symbol"}),
    ),
}  # fmt: skip
"""Parameters that must be there: an empty one is as good as none."""


def check(method: str, path: str, params: Params, *, sapi_refuses: bool) -> None:
    """Refuse what this endpoint does not take, and what is empty."""
    at = f"{method} {path}"
    takes = TAKES.get(at)
    if takes is None:
        return
    must = MUST.get(at, frozenset()) | ({"timestamp", "signature"} & takes)
    for name, value in params.items():
        if not value and name in takes:
            raise mandatory(name) if name in must else PaperError(-1105, f"Parameter '{name}' was empty.")
    unread = [name for name in params if name not in takes]
    if unread and (sapi_refuses or not path.startswith("/sapi/")):
        read = len(params) - len(unread)
        raise PaperError(
            -1104,
            f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{len(params)}'.",
        )
