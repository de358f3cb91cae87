"""Reads of `/sapi` that clients make when they start: funding and margin wallets, snapshot, details, addresses.

There is no margin trading here: a margin wallet holds what was moved into it, and owes nothing.

Source: developers.binance.com wallet and margin pages, read 2026-11-22; the fact sheet's sections 4, 7 and 8; fields
of answers also by the examples in ccxt 4.5.90.
"""

import hashlib
from decimal import Decimal

from clients.paper.errors import PaperError, mandatory
from clients.paper.exchange import PaperExchange, Route, Seen
from clients.paper.ledger import ZERO, Account
from clients.paper.symbols import text
from clients.paper.wallet import check_span

COINS = ("USDT", "BTC", "ETH", "BNB", "SOL")
WALLETS = {"FUNDING": "FUNDING", "MARGIN": "MARGIN"}
_SNAPSHOTS = frozenset({"SPOT", "MARGIN", "FUTURES"})


def _account(seen: Seen) -> Account:
    assert seen.account is not None  # noqa: S101 - signed routes have one
    return seen.account


def funding(exchange: PaperExchange, seen: Seen) -> object:
    """Answer the assets of the funding wallet that are not zero."""
    del exchange
    wanted = seen.params.get("asset")
    return [
        {"asset": asset, "free": text(amount), "locked": "0", "freeze": "0", "withdrawing": "0",
         "btcValuation": "0"}
        for asset, amount in sorted(_account(seen).wallet("FUNDING").items())
        if amount and wanted in {None, asset}
    ]  # fmt: skip


def margin(exchange: PaperExchange, seen: Seen) -> object:
    """Answer the cross margin wallet."""
    held = sorted(_account(seen).wallet("MARGIN").items())
    worth = text(_in_btc(exchange, dict(held)))
    return {
        "created": True, "borrowEnabled": False, "tradeEnabled": False, "transferInEnabled": True,
        "transferOutEnabled": True, "accountType": "MARGIN_1", "marginLevel": "999", "collateralMarginLevel": "999",
        "totalAssetOfBtc": worth, "totalLiabilityOfBtc": "0", "totalNetAssetOfBtc": worth,
        "userAssets": [
            {"asset": asset, "borrowed": "0", "free": text(amount), "interest": "0", "locked": "0",
             "netAsset": text(amount)}
            for asset, amount in held
        ],
    }  # fmt: skip


def isolated(exchange: PaperExchange, seen: Seen) -> object:
    """Answer that no pair has an isolated margin account."""
    del exchange, seen
    return {"assets": [], "totalAssetOfBtc": "0", "totalLiabilityOfBtc": "0", "totalNetAssetOfBtc": "0"}


def wallets(exchange: PaperExchange, seen: Seen) -> object:
    """Answer what each wallet is worth, in BTC."""
    account = _account(seen)
    spot = {asset: held.free + held.locked for asset, held in account.balances.items()}
    parts = {"Spot": spot, "Funding": account.wallet("FUNDING"), "Cross Margin": account.wallet("MARGIN")}
    return [
        {"activate": True, "balance": text(_in_btc(exchange, held)), "walletName": name}
        for name, held in parts.items()
    ]


def snapshot(exchange: PaperExchange, seen: Seen) -> object:
    """Answer the account as it stood at the end of yesterday: here, as it stands."""
    kind = seen.params.need("type")
    if kind not in _SNAPSHOTS:
        raise mandatory("type")
    limit = seen.params.whole("limit", 7) or 7
    if not 7 <= limit <= 30:  # noqa: PLR2004 - documented
        raise mandatory("limit")
    check_span(seen, 30)
    day_ms = 86_400_000
    at_ms = seen.now_us // 1000 // day_ms * day_ms - 1000
    account = _account(seen)
    spot = {asset: (held.free, held.locked) for asset, held in account.balances.items()}
    held = {
        "SPOT": spot,
        "MARGIN": {asset: (amount, ZERO) for asset, amount in account.wallet("MARGIN").items()},
    }
    rows = [
        {"asset": asset, "free": text(free), "locked": text(locked)}
        for asset, (free, locked) in sorted(held.get(kind, {}).items())
    ]
    worth = {asset: free + locked for asset, (free, locked) in held.get(kind, {}).items()}
    data: dict[str, object] = {"balances": rows, "totalAssetOfBtc": text(_in_btc(exchange, worth))}
    if kind == "MARGIN":
        data = {"marginLevel": "999", "userAssets": rows, "totalNetAssetOfBtc": data["totalAssetOfBtc"]}
    if kind == "FUTURES":
        data = {"assets": [], "position": []}
    return {
        "code": 200, "msg": "", "snapshotVos": [{"data": data, "type": kind.lower(), "updateTime": at_ms}]
    }  # fmt: skip


def details(exchange: PaperExchange, seen: Seen) -> object:
    """Answer fees and states of deposits and withdrawals, by asset."""
    del exchange
    wanted = seen.params.get("asset")
    return {
        coin: {"minWithdrawAmount": "1", "depositStatus": True, "withdrawFee": "0.1", "withdrawStatus": True}
        for coin in COINS
        if wanted in {None, coin}
    }


def dust(exchange: PaperExchange, seen: Seen) -> object:
    """Answer that no dust was ever converted."""
    del exchange, seen
    return {"total": 0, "userAssetDribblets": []}


def address(exchange: PaperExchange, seen: Seen) -> object:
    """Answer where to send a coin to: an address of this account, the same each time."""
    del exchange
    coin = seen.params.need("coin")
    if coin not in COINS:
        raise PaperError(-4019, "The current currency is not open for deposit.")
    made = hashlib.sha256(f"{_account(seen).uid} {coin}".encode()).hexdigest()[:34]
    return {"address": f"paper{made}", "coin": coin, "tag": "", "url": ""}


def quota(exchange: PaperExchange, seen: Seen) -> object:
    """Answer how much may be withdrawn in a day, in USD."""
    del exchange, seen
    return {"wdQuota": "1000000", "usedWdQuota": "0"}


def nothing(exchange: PaperExchange, seen: Seen) -> object:
    """Answer an empty list."""
    del exchange, seen
    return []


def _in_btc(exchange: PaperExchange, held: dict[str, Decimal]) -> Decimal:
    btc = exchange.symbols["BTCUSDT"].price
    total = ZERO
    for asset, amount in held.items():
        pair = exchange.symbols.get(f"{asset}USDT")
        price = Decimal(1) if asset == "USDT" else ZERO if pair is None else pair.price
        total += amount * price / btc
    return total.quantize(Decimal("0.00000001"))


_S = "signed"
ROUTES: dict[tuple[str, str], Route] = {
    ("POST", "/sapi/v1/asset/get-funding-asset"): Route(funding, _S),
    ("GET", "/sapi/v1/asset/wallet/balance"): Route(wallets, _S, 60),
    ("GET", "/sapi/v1/asset/assetDetail"): Route(details, _S),
    ("GET", "/sapi/v1/asset/dribblet"): Route(dust, _S),
    ("GET", "/sapi/v1/accountSnapshot"): Route(snapshot, _S, 2400),
    ("GET", "/sapi/v1/capital/deposit/address"): Route(address, _S, 10),
    ("GET", "/sapi/v1/capital/withdraw/address/list"): Route(nothing, _S, 10),
    ("GET", "/sapi/v1/capital/withdraw/quota"): Route(quota, _S, 10),
    ("GET", "/sapi/v1/margin/account"): Route(margin, _S, 10),
    ("GET", "/sapi/v1/margin/isolated/account"): Route(isolated, _S, 10),
    ("GET", "/sapi/v1/margin/openOrders"): Route(nothing, _S, 10),
    ("GET", "/sapi/v1/margin/allOrders"): Route(nothing, _S, 200),
    ("GET", "/sapi/v1/margin/myTrades"): Route(nothing, _S, 10),
}
