"""Reads of `/sapi` whose parameters we know one by one: wallet and margin."""

from clients.venue import Action, Security
from clients.venues.binance import grammar as g
from clients.venues.binance.endpoint import (
    ONE_ORDER,
    RANGE,
    S1,
    STAMP,
    SYMBOL,
    TIMED,
    Endpoint,
    Grammars,
    Pool,
    account,
)

_PAGE: Grammars = {"current": g.LIMIT, "size": g.LIMIT, "page": g.LIMIT, "limit": g.LIMIT, "rows": g.LIMIT}
_COIN: Grammars = {"coin": g.WORD, "asset": g.WORD}


def _wallet(path: str, name: str, weight: int, grammars: Grammars, pool: Pool = "sapi-ip") -> Endpoint:
    return account(path, name, weight, grammars, group="wallet-read", pool=pool)


def _margin(path: str, name: str, weight: int, grammars: Grammars, pool: Pool = "sapi-ip") -> Endpoint:
    return account(path, name, weight, grammars, group="margin-read", pool=pool)


WALLET_READ = (
    _wallet(S1 + "capital/config/getall", "wallet.coins", 10, {}),
    _wallet(S1 + "account/apiRestrictions", "wallet.key_restrictions", 1, {}),
    _wallet(S1 + "account/status", "wallet.account_status", 1, {}),
    _wallet(S1 + "account/apiTradingStatus", "wallet.trading_status", 1, {}),
    _wallet(S1 + "account/info", "wallet.account_info", 1, {}),
    _wallet(S1 + "accountSnapshot", "wallet.snapshot", 2400, {**RANGE, "type": g.WORD}),
    _wallet(S1 + "asset/tradeFee", "wallet.trade_fee", 1, SYMBOL),
    _wallet(S1 + "asset/assetDetail", "wallet.asset_detail", 1, _COIN),
    _wallet(S1 + "asset/assetDividend", "wallet.dividends", 10, {**_COIN, **RANGE}),
    _wallet(S1 + "asset/dribblet", "wallet.dust_log", 1, {**RANGE, "accountType": g.WORD}),
    _wallet(
        *(S1 + "asset/wallet/balance", "wallet.balances", 60),
        {"quoteAsset": g.WORD, "needBalanceDetail": g.BOOLEAN},
    ),
    _wallet(
        *(S1 + "asset/transfer", "wallet.transfer.history", 1),
        {**RANGE, **_PAGE, "type": g.WORD, "fromSymbol": g.WORD, "toSymbol": g.WORD},
    ),
    _wallet(
        *(S1 + "capital/deposit/hisrec", "wallet.deposit.history", 1),
        {
            **_COIN,
            **RANGE,
            "status": g.INTEGER,
            "offset": g.INTEGER,
            "txId": g.WORD,
            "includeSource": g.BOOLEAN,
        },
    ),
    _wallet(
        *(S1 + "capital/withdraw/history", "wallet.withdraw.history", 18000),
        {**_COIN, **RANGE, "status": g.INTEGER, "offset": g.INTEGER, "withdrawOrderId": g.WORD},
        "sapi-uid",
    ),
    _wallet(S1 + "capital/withdraw/address/list", "wallet.withdraw.addresses", 10, {}),
    _wallet(S1 + "capital/withdraw/quota", "wallet.withdraw.quota", 10, {}),
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
        {**_COIN, "needBtcValuation": g.BOOLEAN, **STAMP},
        TIMED,
    ),
    Endpoint(
        *("POST", S1 + "asset/get-funding-asset", "wallet.funding_assets", Action.READ, "wallet-read"),
        *(Security.SIGNED, 1, "sapi-ip"),
        {**_COIN, "needBtcValuation": g.BOOLEAN, **STAMP},
        TIMED,
    ),
    _wallet(
        *(S1 + "sub-account/transfer/subUserHistory", "subaccount.transfer.own_history", 1),
        {**_COIN, **RANGE, "type": g.INTEGER, "returnFailHistory": g.BOOLEAN},
    ),
    _margin(S1 + "margin/allPairs", "margin.pairs", 1, SYMBOL),
    _margin(S1 + "margin/isolated/allPairs", "margin.isolated.pairs", 10, SYMBOL),
    _margin(S1 + "margin/allAssets", "margin.assets", 1, _COIN),
    _margin(S1 + "margin/account", "margin.account", 10, {}),
    _margin(S1 + "margin/isolated/account", "margin.isolated.account", 10, {"symbols": g.COMMA_LIST}),
    _margin(S1 + "margin/priceIndex", "margin.price_index", 10, SYMBOL),
    _margin(S1 + "margin/order", "margin.order.get", 10, {**ONE_ORDER, "isIsolated": g.BOOLEAN}),
    _margin(S1 + "margin/openOrders", "margin.order.open", 10, {**SYMBOL, "isIsolated": g.BOOLEAN}),
    _margin(
        *(S1 + "margin/allOrders", "margin.order.all", 200),
        {**SYMBOL, **RANGE, "orderId": g.INTEGER, "isIsolated": g.BOOLEAN},
    ),
    _margin(
        *(S1 + "margin/myTrades", "margin.my_trades", 10),
        {**SYMBOL, **RANGE, "orderId": g.INTEGER, "fromId": g.INTEGER, "isIsolated": g.BOOLEAN},
    ),
)
