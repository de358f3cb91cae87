"""The wallet part of `/sapi`: what clients read when they start, and the ways money leaves.

Source: developers.binance.com wallet pages, read 2026-11-22; see the fact sheet's sections 4 and 7.
"""

from decimal import Decimal

from clients.paper.errors import PaperError, mandatory
from clients.paper.exchange import FLAGS, MASTER, PaperExchange, Route, Seen
from clients.paper.ledger import Account
from clients.paper.symbols import text

_DAY_US, _LONGEST_SPAN, _WEEK = 86_400_000_000, 90, 7
_MOST_ROWS, _MOST_IDS = 1000, 45
_COINS = ("USDT", "BTC", "ETH", "BNB", "SOL")


def _account(seen: Seen) -> Account:
    assert seen.account is not None  # noqa: S101 - signed routes have one
    return seen.account


def coins(exchange: PaperExchange, seen: Seen) -> object:
    """Answer every coin with its networks."""
    del exchange
    held = _account(seen)
    return [
        {
            "coin": coin, "depositAllEnable": True, "withdrawAllEnable": True, "name": coin,
            "free": text(held.balance(coin).free), "locked": text(held.balance(coin).locked), "freeze": "0",
            "withdrawing": "0", "ipoing": "0", "ipoable": "0", "storage": "0", "isLegalMoney": False,
            "trading": True,
            "networkList": [
                {"network": "PAPER", "coin": coin, "withdrawIntegerMultiple": "0.00000001", "isDefault": True,
                 "depositEnable": True, "withdrawEnable": True, "name": "Paper", "withdrawFee": "0.1",
                 "withdrawMin": "1", "withdrawMax": "1000000", "minConfirm": 1, "unLockConfirm": 0,
                 "addressRegex": "", "memoRegex": ""}
            ],
        }
        for coin in _COINS
    ]  # fmt: skip


def restrictions(exchange: PaperExchange, seen: Seen) -> object:
    """Answer what the calling key may do."""
    del exchange
    key = seen.key
    assert key is not None  # noqa: S101 - signed routes have one
    return {
        "ipRestrict": bool(key.ips),
        "createTime": key.created_us // 1000,
        **{flag: key.may(flag) for flag in FLAGS},
    }


def status(exchange: PaperExchange, seen: Seen) -> object:
    """Answer that the account is well."""
    del exchange, seen
    return {"data": "Normal"}


def trading_status(exchange: PaperExchange, seen: Seen) -> object:
    """Answer that trading by API is not locked."""
    del exchange
    return {
        "data": {
            "isLocked": False, "plannedRecoverTime": 0,
            "triggerCondition": {"GCR": 150, "IFER": 150, "UFR": 300}, "updateTime": seen.now_us // 1000,
        }
    }  # fmt: skip


def info(exchange: PaperExchange, seen: Seen) -> object:
    """Answer what products the account has."""
    del exchange, seen
    return {"vipLevel": 0, "isMarginEnabled": False, "isFutureEnabled": False, "isOptionsEnabled": False,
            "isPortfolioMarginRetailEnabled": False}  # fmt: skip


def user_assets(exchange: PaperExchange, seen: Seen) -> object:
    """Answer the assets that are not zero."""
    del exchange
    return [
        {"asset": asset, "free": text(entry.free), "locked": text(entry.locked), "freeze": "0",
         "withdrawing": "0", "ipoable": "0", "btcValuation": "0"}
        for asset, entry in sorted(_account(seen).balances.items())
        if entry.free or entry.locked
    ]  # fmt: skip


def trade_fee(exchange: PaperExchange, seen: Seen) -> object:
    """Answer fees by pair."""
    wanted = seen.params.get("symbol")
    return [
        {"symbol": name, "makerCommission": "0.001", "takerCommission": "0.001"}
        for name in exchange.symbols
        if wanted in {None, name}
    ]


def nothing(exchange: PaperExchange, seen: Seen) -> object:
    """Answer an empty list."""
    del exchange, seen
    return []


def no_margin(exchange: PaperExchange, seen: Seen) -> object:
    """Answer that there is no margin trading here."""
    del exchange, seen
    return []


def _amount(seen: Seen) -> Decimal:
    amount = seen.params.number("amount")
    if not amount:
        raise mandatory("amount")
    return amount


def withdraw(exchange: PaperExchange, seen: Seen) -> object:
    """Send money away: what no virtual key may ever reach."""
    account, coin = _account(seen), seen.params.need("coin")
    if seen.key is None or not seen.key.may("enableWithdrawals"):
        raise PaperError(-1002, "You are not authorized to execute this request.")
    address, amount = seen.params.need("address"), _amount(seen)
    if account.balance(coin).free < amount:
        raise PaperError(-4026, "The user has insufficient balance available.")
    account.balance(coin).free -= amount
    number = f"paper{exchange.engine.number():026d}"
    account.withdrawals.append(
        {"id": number, "amount": text(amount), "coin": coin, "status": 6, "address": address,
         "network": "PAPER", "applyTime": seen.now_us // 1000,
         "withdrawOrderId": seen.params.get("withdrawOrderId", "")}
    )  # fmt: skip
    exchange.record(seen, "withdraw", None, {"coin": coin, "amount": text(amount), "address": address})
    return {"id": number}


def check_span(seen: Seen, days: int) -> None:
    """Refuse a time range that is longer than documented."""
    first, last = seen.params.time_us("startTime"), seen.params.time_us("endTime")
    if first is not None and (seen.now_us if last is None else last) - first > days * _DAY_US:
        raise PaperError(-4047, f"The time interval must be 0-{days} days.")


def _check_page(seen: Seen) -> None:
    if (seen.params.whole("limit", 0) or 0) > _MOST_ROWS:
        raise mandatory("limit")


def deposits(exchange: PaperExchange, seen: Seen) -> object:
    """Answer that nothing was ever sent here."""
    check_span(seen, _LONGEST_SPAN)
    _check_page(seen)
    return nothing(exchange, seen)


def withdrawals(exchange: PaperExchange, seen: Seen) -> object:
    """Answer what was sent away."""
    del exchange
    check_span(seen, _LONGEST_SPAN if seen.params.get("withdrawOrderId") is None else _WEEK)
    _check_page(seen)
    if len(seen.params.get("idList", "").split(",")) > _MOST_IDS:
        raise mandatory("idList")
    return _account(seen).withdrawals


def move(exchange: PaperExchange, seen: Seen, source: Account, target: Account, asset: str) -> int:
    """Move money between two accounts of the family; return the transfer's number."""
    amount = _amount(seen)
    if source.balance(asset).free < amount:
        raise PaperError(-9000, "Insufficient balance.")
    source.balance(asset).free -= amount
    target.balance(asset).free += amount
    return _written(exchange, seen, source, target, asset, amount)


def _written(
    exchange: PaperExchange, seen: Seen, source: Account, target: Account, asset: str, amount: Decimal
) -> int:
    number = exchange.engine.number()
    row = {"tranId": number, "asset": asset, "amount": text(amount), "from": source.email, "to": target.email,
           "status": "CONFIRMED", "timestamp": seen.now_us // 1000}  # fmt: skip
    source.transfers.append(dict(row))
    target.transfers.append(dict(row))
    exchange.record(seen, "transfer", None, {name: row[name] for name in ("asset", "amount", "from", "to")})
    return number


def universal(exchange: PaperExchange, seen: Seen) -> object:
    """Move money between wallets of the same account: spot, funding, margin. Other wallets: it is only written down."""
    source, kind, asset = _account(seen), seen.params.need("type"), seen.params.need("asset")
    amount = _amount(seen)
    away, _, there = kind.partition("_")
    if {away, there} <= {"MAIN", "FUNDING", "MARGIN"}:
        held = source.balance(asset).free if away == "MAIN" else source.wallet(away).get(asset, Decimal(0))
        if held < amount:
            raise PaperError(-9000, "Insufficient balance.")
        for name, change in ((away, -amount), (there, amount)):
            if name == "MAIN":
                source.balance(asset).free += change
            else:
                source.wallet(name)[asset] = source.wallet(name).get(asset, Decimal(0)) + change
        return {"tranId": _written(exchange, seen, source, source, asset, amount)}
    return {"tranId": move(exchange, seen, source, source, asset)}


def to_master(exchange: PaperExchange, seen: Seen) -> object:
    """Move money from a sub-account to the master."""
    number = move(exchange, seen, _account(seen), exchange.accounts[MASTER], seen.params.need("asset"))
    return {"txnId": number}


def to_sub(exchange: PaperExchange, seen: Seen) -> object:
    """Move money from a sub-account to another."""
    target = exchange.accounts.get(seen.params.need("toEmail"))
    if target is None:
        raise PaperError(-1099, "Not found, authenticated, or authorized")
    return {"txnId": move(exchange, seen, _account(seen), target, seen.params.need("asset"))}


def transfers(exchange: PaperExchange, seen: Seen) -> object:
    """Answer the account's transfers."""
    del exchange
    seen.params.need("type")
    rows = _account(seen).transfers
    return {"total": len(rows), "rows": rows}


_S, _T = "signed", "enableSpotAndMarginTrading"
_U = "permitsUniversalTransfer"
ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/sapi/v1/capital/config/getall"): Route(coins, _S, 10),
    ("GET", "/sapi/v1/account/apiRestrictions"): Route(restrictions, _S),
    ("GET", "/sapi/v1/account/status"): Route(status, _S),
    ("GET", "/sapi/v1/account/apiTradingStatus"): Route(trading_status, _S),
    ("GET", "/sapi/v1/account/info"): Route(info, _S),
    ("POST", "/sapi/v3/asset/getUserAsset"): Route(user_assets, _S, 5),
    ("GET", "/sapi/v1/asset/tradeFee"): Route(trade_fee, _S),
    ("GET", "/sapi/v1/asset/assetDividend"): Route(nothing, _S, 10),
    ("GET", "/sapi/v1/capital/deposit/hisrec"): Route(deposits, _S),
    ("POST", "/sapi/v1/capital/withdraw/apply"): Route(
        withdraw, _S, 900, "enableReading", write=True, uid=True
    ),
    ("GET", "/sapi/v1/capital/withdraw/history"): Route(withdrawals, _S, 18_000, uid=True),
    ("POST", "/sapi/v1/asset/transfer"): Route(universal, _S, 300, _U, write=True, uid=True),
    ("GET", "/sapi/v1/asset/transfer"): Route(transfers, _S),
    ("POST", "/sapi/v1/sub-account/transfer/subToMaster"): Route(to_master, _S, 1, _T, write=True),
    ("POST", "/sapi/v1/sub-account/transfer/subToSub"): Route(to_sub, _S, 1, _T, write=True),
    ("GET", "/sapi/v1/margin/allPairs"): Route(no_margin, _S),
    ("GET", "/sapi/v1/margin/isolated/allPairs"): Route(no_margin, _S, 10),
}
