"""What an account of the paper exchange holds and did, `/api/v3/account` and its kin.

Source: Binance spot REST docs, "Account endpoints", state of 2026-07-21.
"""

from clients.paper.errors import PaperError
from clients.paper.exchange import PaperExchange, Route, Seen
from clients.paper.ledger import Account
from clients.paper.orders import Fill, Order
from clients.paper.spot_trade import open_orders_of
from clients.paper.symbols import find, text

_DAY_US = 86_400_000_000


def _account(seen: Seen) -> Account:
    assert seen.account is not None  # noqa: S101 - signed routes have one
    return seen.account


def account(exchange: PaperExchange, seen: Seen) -> object:
    """Answer balances and permissions."""
    del exchange
    held = _account(seen)
    skip = seen.params.flag("omitZeroBalances")
    return {
        "makerCommission": 10, "takerCommission": 10, "buyerCommission": 0, "sellerCommission": 0,
        "commissionRates": {"maker": "0.00100000", "taker": "0.00100000", "buyer": "0.00000000",
                            "seller": "0.00000000"},
        "canTrade": _account(seen).can_trade, "canWithdraw": True, "canDeposit": True, "brokered": False,
        "requireSelfTradePrevention": False, "preventSor": False, "updateTime": seen.now_us // 1000,
        "accountType": "SPOT",
        "balances": [
            {"asset": asset, "free": text(entry.free), "locked": text(entry.locked)}
            for asset, entry in sorted(held.balances.items())
            if not skip or entry.free or entry.locked
        ],
        "permissions": ["SPOT"], "uid": held.uid,
    }  # fmt: skip


def open_orders(exchange: PaperExchange, seen: Seen) -> object:
    """Answer open orders."""
    name = seen.params.get("symbol")
    if name is not None:
        find(exchange.symbols, name)
    return [order.shown() for order in open_orders_of(exchange, seen, name) if order.status != "PENDING_NEW"]


def _all_of(exchange: PaperExchange, seen: Seen) -> list[Order]:
    symbol = find(exchange.symbols, seen.params.need("symbol"))
    email = _account(seen).email
    found = exchange.engine.orders.values()
    return [order for order in found if order.account == email and order.symbol == symbol.name]


def _limit(seen: Seen) -> int:
    return min(seen.params.whole("limit", 500) or 500, 1000)


def _span(seen: Seen) -> tuple[int, int]:
    """Return the first and last microsecond a call asks for; a day at most."""
    first, last = seen.params.time_us("startTime"), seen.params.time_us("endTime")
    if first is not None and last is not None and last - first > _DAY_US:
        raise PaperError(-1127, "More than 24 hours between startTime and endTime.")
    return first or 0, seen.now_us if last is None else last


def all_orders(exchange: PaperExchange, seen: Seen) -> object:
    """Answer every order of a pair, newest last."""
    first, (start, end) = seen.params.whole("orderId"), _span(seen)
    found = [order for order in _all_of(exchange, seen) if start <= order.created_us <= end]
    if first is not None:
        found = [order for order in found if order.order_id >= first]
    oldest = first is not None or start > 0
    return [order.shown() for order in (found[: _limit(seen)] if oldest else found[-_limit(seen) :])]


def my_trades(exchange: PaperExchange, seen: Seen) -> object:
    """Answer the account's executions of a pair, newest last."""
    wanted, first, (start, end) = seen.params.whole("orderId"), seen.params.whole("fromId"), _span(seen)
    rows = [
        _trade(order, fill)
        for order in _all_of(exchange, seen)
        if wanted is None or order.order_id == wanted
        for fill in order.fills
        if start <= fill.at_us <= end and (first is None or fill.trade_id >= first)
    ]
    rows.sort(key=lambda row: int(str(row["id"])))
    oldest = first is not None or start > 0
    return rows[: _limit(seen)] if oldest else rows[-_limit(seen) :]


def _trade(order: Order, fill: Fill) -> dict[str, object]:
    return {
        "symbol": order.symbol, "id": fill.trade_id, "orderId": order.order_id, "orderListId": order.list_id,
        "price": text(fill.price), "qty": text(fill.quantity), "quoteQty": text(fill.price * fill.quantity),
        "commission": text(fill.commission), "commissionAsset": fill.commission_asset,
        "time": fill.at_us // 1000, "isBuyer": order.side == "BUY", "isMaker": fill.maker, "isBestMatch": True,
    }  # fmt: skip


def order_rates(exchange: PaperExchange, seen: Seen) -> object:
    """Answer how many orders were counted."""
    short, long = exchange.limits.counted_orders(_account(seen).email, seen.now_us)
    return [
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10,
         "limit": exchange.limits.orders_10s, "count": short},
        {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": exchange.limits.orders_day,
         "count": long},
    ]  # fmt: skip


def commission(exchange: PaperExchange, seen: Seen) -> object:
    """Answer commission rates."""
    symbol = find(exchange.symbols, seen.params.need("symbol"))
    rates = {"maker": "0.00100000", "taker": "0.00100000", "buyer": "0.00000000", "seller": "0.00000000"}
    none = dict.fromkeys(rates, "0.00000000")
    return {"symbol": symbol.name, "standardCommission": rates, "taxCommission": none,
            "specialCommission": none,
            "discount": {"enabledForAccount": False, "enabledForSymbol": False, "discountAsset": "BNB",
                         "discount": "0.00000000"}}  # fmt: skip


def filters(exchange: PaperExchange, seen: Seen) -> object:
    """Answer the filters that concern the account."""
    symbol = find(exchange.symbols, seen.params.need("symbol"))
    return {"exchangeFilters": [], "symbolFilters": symbol.filters(), "assetFilters": []}


def nothing(exchange: PaperExchange, seen: Seen) -> object:
    """Answer an empty list."""
    del exchange, seen
    return []


_S = "signed"
ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/api/v3/account"): Route(account, _S, 20),
    ("GET", "/api/v3/openOrders"): Route(open_orders, _S, 6, heavy=80),
    ("GET", "/api/v3/allOrders"): Route(all_orders, _S, 20),
    ("GET", "/api/v3/myTrades"): Route(my_trades, _S, 20),
    ("GET", "/api/v3/rateLimit/order"): Route(order_rates, _S, 40),
    ("GET", "/api/v3/account/commission"): Route(commission, _S, 20),
    ("GET", "/api/v3/myFilters"): Route(filters, _S, 40),
    ("GET", "/api/v3/myPreventedMatches"): Route(nothing, _S, 2),
    ("GET", "/api/v3/myAllocations"): Route(nothing, _S, 20),
}
