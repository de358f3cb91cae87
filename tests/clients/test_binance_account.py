"""The account client against a small venue that checks signatures itself."""

import json
import logging
import traceback
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx
import pytest

from clients.errors import VenueAmbiguous, VenueError, VenueRefused, VenueUnavailable
from clients.venue import Side
from clients.venues.binance.account import BinanceAccount
from tests.clients.binance_cases import REAL, REAL_SECRET, hmac_hex

D = Decimal
NOW_US = 1795358627105000
FLAGS = {
    "ipRestrict": True,
    "createTime": 1700000000000,
    "enableReading": True,
    "enableSpotAndMarginTrading": True,
    "enableWithdrawals": False,
    "enableInternalTransfer": False,
    "permitsUniversalTransfer": False,
    "enableMargin": True,
    "enableFutures": False,
}
ACCOUNT = {"uid": 354937868, "balances": [{"asset": "BTC", "free": "1", "locked": "0"}]}
OPEN = {
    "symbol": "LTCBTC",
    "orderId": 1,
    "orderListId": -1,
    "clientOrderId": "c1",
    "price": "0.1",
    "origQty": "1.0",
    "executedQty": "0.5",
    "type": "LIMIT",
    "side": "BUY",
    "stopPrice": "0.0",
    "time": 5,
}
Routes = dict[tuple[str, str], Callable[[dict[str, str]], tuple[int, Any]]]


class Venue(httpx.MockTransport):
    """Answers by route after it has checked key, signature and freshness by its own reading."""

    def __init__(self, routes: Routes) -> None:
        self.calls: list[tuple[str, str, dict[str, str]]] = []
        self.routes = routes
        super().__init__(self.answer)

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Check, note and answer one call."""
        query = request.url.query.decode()
        text, _, signature = query.rpartition("&signature=")
        assert request.headers["X-MBX-APIKEY"] == "REALKEY"
        assert signature == hmac_hex(REAL_SECRET, text)
        params = dict(httpx.QueryParams(text).items())
        assert int(params.pop("timestamp")) == NOW_US // 1000
        assert params.pop("recvWindow") == "5000"
        self.calls.append((request.method, request.url.path, params))
        status, document = self.routes[request.method, request.url.path](params)
        return httpx.Response(status, content=document if isinstance(document, str) else json.dumps(document))


def _account(routes: dict[tuple[str, str], Any]) -> tuple[BinanceAccount, Venue]:
    made: Routes = {
        route: answer if callable(answer) else (lambda _, answer=answer: (200, answer))
        for route, answer in routes.items()
    }
    venue = Venue(made)
    client = httpx.Client(base_url="https://api.binance.com", transport=venue)
    return BinanceAccount(client, REAL, lambda: NOW_US), venue


def test_key_facts() -> None:
    """What a key may do, whose it is, and whether addresses are bound."""
    account, venue = _account(
        {("GET", "/sapi/v1/account/apiRestrictions"): FLAGS, ("GET", "/api/v3/account"): ACCOUNT}
    )
    facts = account.key_facts()
    assert (facts.can_read, facts.can_trade, facts.can_withdraw, facts.can_transfer) == (
        True,
        True,
        False,
        False,
    )
    assert (facts.ip_restricted, facts.account_uid, facts.created_at_ms) == (True, "354937868", 1700000000000)
    assert facts.extra == ("enableMargin",)
    assert len(venue.calls) == 2


@pytest.mark.parametrize("flag", ["enableWithdrawals", "permitsUniversalTransfer", "enableInternalTransfer"])
@pytest.mark.parametrize("value", [True, "false", None, "absent"])
def test_a_dangerous_permission_counts_unless_it_is_plainly_false(flag: str, value: object) -> None:
    flags = FLAGS | {flag: value}
    if value == "absent":
        del flags[flag]
    account, _ = _account(
        {("GET", "/sapi/v1/account/apiRestrictions"): flags, ("GET", "/api/v3/account"): ACCOUNT}
    )
    facts = account.key_facts()
    assert (facts.can_withdraw if flag == "enableWithdrawals" else facts.can_transfer) is True


def test_lists() -> None:
    """Orders, trades, withdrawals and transfers become values; optional fields may be absent."""
    trade = {
        "symbol": "A",
        "id": 1,
        "orderId": 2,
        "price": "3",
        "qty": "4",
        "quoteQty": "12",
        "isBuyer": False,
        "commission": "0.1",
        "commissionAsset": "BNB",
        "time": 9,
    }
    withdrawal = {
        "id": "w",
        "amount": "1",
        "coin": "BTC",
        "status": 6,
        "address": "a",
        "applyTime": "2026-01-01 00:00:00",
    }
    transfer = {
        "asset": "BTC",
        "amount": "1",
        "type": "MAIN_UMFUTURE",
        "status": "CONFIRMED",
        "tranId": 5,
        "timestamp": 7,
    }
    account, venue = _account(
        {
            ("GET", "/api/v3/account"): ACCOUNT,
            ("GET", "/api/v3/openOrders"): [OPEN],
            ("GET", "/api/v3/myTrades"): [trade],
            ("GET", "/sapi/v1/capital/withdraw/history"): [withdrawal],
            ("GET", "/sapi/v1/asset/transfer"): {"total": 1, "rows": [transfer]},
        }
    )
    assert account.balances() == {"BTC": (D(1), D(0))}
    (order,) = account.open_orders("LTCBTC")
    assert (order.order_id, order.side, order.price, order.trigger, order.list_id) == (
        "1",
        Side.BUY,
        D("0.1"),
        None,
        None,
    )
    (fill,) = account.my_trades("A", from_id=1)
    assert (fill.side, fill.quote, fill.fee_asset) == (Side.SELL, D(12), "BNB")
    (gone,) = account.withdrawals(start_ms=1, end_ms=2)
    assert (gone.amount, gone.status, gone.internal) == (D(1), 6, False)
    (moved,) = account.transfers("MAIN_UMFUTURE", start_ms=1, end_ms=2)
    assert (moved.transfer_id, moved.kind) == ("5", "MAIN_UMFUTURE")
    assert venue.calls[2][2] == {"symbol": "A", "limit": "1000", "fromId": "1"}
    assert venue.calls[4][2]["type"] == "MAIN_UMFUTURE"


def test_cancel_all_goes_where_orders_rest() -> None:
    """Every symbol with a resting order is cancelled; one that emptied meanwhile is no error."""
    cancelled = {
        "symbol": "A",
        "origClientOrderId": "c1",
        "orderId": 1,
        "clientOrderId": "x",
        "status": "CANCELED",
    }

    def cancel(params: dict[str, str]) -> tuple[int, Any]:
        if params["symbol"] == "B":
            return 400, {"code": -2011, "msg": "Unknown order sent."}
        return 200, [cancelled]

    account, venue = _account(
        {
            ("GET", "/api/v3/openOrders"): [OPEN | {"symbol": name} for name in ("B", "A", "A")],
            ("DELETE", "/api/v3/openOrders"): cancel,
        }
    )
    (done,) = account.cancel_all()
    assert (done.client_order_id, done.final) == ("c1", True)
    assert [call[2].get("symbol") for call in venue.calls] == [None, "A", "B"]
    assert account.cancel_all(()) == ()


FAILURES = [
    (401, {"code": -2015, "msg": "REALKEY"}, VenueRefused, "key_refused"),
    (429, {"code": -1003}, VenueUnavailable, "rate_limited"),
    (502, "planted", VenueUnavailable, "server_error"),
    (302, "", VenueUnavailable, "server_error"),
    (200, "planted", VenueUnavailable, "odd_answer"),
    (200, '{"uid":"planted"}', VenueUnavailable, "odd_answer"),
    (200, "[{}]", VenueUnavailable, "odd_answer"),
]


@pytest.mark.parametrize(("status", "document", "kind", "reason"), FAILURES)
def test_errors_carry_code_and_status_and_nothing_else(
    status: int, document: object, kind: type[VenueError], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    account, _ = _account({("GET", "/api/v3/openOrders"): lambda _: (status, document)})
    with caplog.at_level(logging.DEBUG, "clients"), pytest.raises(kind) as caught:
        account.open_orders()
    assert caught.value.reason == reason
    shown = "".join(traceback.format_exception(caught.value)) + repr(account)
    for planted in ("planted", REAL_SECRET, "REALKEY", "signature="):
        assert planted not in shown.replace("test_errors_carry", "")


def test_a_lost_cancel_is_ambiguous() -> None:
    account, _ = _account({("DELETE", "/api/v3/openOrders"): lambda _: (504, "")})
    with pytest.raises(VenueAmbiguous):
        account.cancel_all(["A"])
    account, _ = _account({("DELETE", "/api/v3/openOrders"): {"odd": 1}})
    with pytest.raises(VenueAmbiguous):
        account.cancel_all(["A"])
