"""What an account holds and did, asked with its own key; and cancelling everything. For the control plane.

Rules are those of `asker`; and order and trade history is per symbol at Binance: callers bring the symbols.

Sources: Binance spot REST docs, rest-api.md, state of 2026-07-21; developers.binance.com wallet pages (API
key permission, withdraw history, universal transfer history), read 2026-11-22.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from clients.errors import VenueRefused
from clients.venue import KeyFacts, Side
from clients.venues.binance import market
from clients.venues.binance.answers import cancelled_orders
from clients.venues.binance.asker import Asker, built, odd
from clients.venues.binance.market import Call, Holding
from clients.wire import OrderState

TRADES_PAGE = 1000
WITHDRAWALS_PAGE = 1000
TRANSFERS_PAGE = 100

_NOTHING_TO_CANCEL = -2011


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An order that may still execute. Amounts in base asset, prices in quote asset per unit."""

    symbol: str
    order_id: str
    client_order_id: str
    list_id: str | None
    side: Side
    kind: str
    quantity: Decimal
    executed: Decimal
    price: Decimal | None
    trigger: Decimal | None
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class Trade:
    """One execution. `quantity` in base, `quote` in quote asset."""

    symbol: str
    trade_id: int
    order_id: str
    side: Side
    price: Decimal
    quantity: Decimal
    quote: Decimal
    fee: Decimal
    fee_asset: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """One withdrawal. `status` is the venue's number (6 completed); `applied_at` its text, UTC."""

    withdrawal_id: str
    asset: str
    amount: Decimal
    fee: Decimal
    network: str
    address: str
    status: int
    applied_at: str
    internal: bool


@dataclass(frozen=True, slots=True)
class Transfer:
    """One transfer between wallets of the account. `kind` as in `MAIN_UMFUTURE`."""

    transfer_id: str
    kind: str
    asset: str
    amount: Decimal
    status: str
    at_ms: int


class BinanceAccount(Asker):
    """One account, seen with one key."""

    def key_facts(self, *, whose: bool = True) -> KeyFacts:
        """Ask what this key may do and whose it is. Two signed reads; without `whose` one, and no `account_uid`.

        Raises:
            VenueError: As in the module's rules; `unknown_key` or `key_refused` for a key that is not good.
        """
        flags = self._object(Call("GET", "/sapi/v1/account/apiRestrictions"), "wallet.key_restrictions")
        uid = str(self._uid()) if whose else ""
        created = flags.get("createTime")
        return KeyFacts(
            can_read=flags.get("enableReading") is True,
            can_trade=flags.get("enableSpotAndMarginTrading") is True,
            can_withdraw=_permitted(flags, "enableWithdrawals"),
            can_transfer=_permitted(flags, "permitsUniversalTransfer")
            or _permitted(flags, "enableInternalTransfer"),
            ip_restricted=flags.get("ipRestrict") is True,
            account_uid=uid,
            created_at_ms=created if isinstance(created, int) else None,
            extra=tuple(sorted(name for name in _MORE_FLAGS if flags.get(name) is True)),
        )

    def _uid(self) -> int:
        uid = self._object(market.holdings(), "spot.account").get("uid")
        if not isinstance(uid, int):
            raise odd("spot.account")
        return uid

    def balances(self) -> Mapping[str, Holding]:
        """Return what is held on spot, by asset, zero balances left out."""
        return self._parsed(market.holdings(), "spot.account", market.parse_holdings)

    def open_orders(self, symbol: str | None = None) -> tuple[OpenOrder, ...]:
        """Return resting spot orders, of one symbol (weight 6) or all (80)."""
        params = () if symbol is None else (("symbol", symbol),)
        return self._rows(Call("GET", "/api/v3/openOrders", params), "spot.order.open", _open_order)

    def my_trades(
        self,
        symbol: str,
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        from_id: int | None = None,
    ) -> tuple[Trade, ...]:
        """Return up to 1000 spot trades of one symbol, oldest first.

        Args:
            symbol: Required by the venue.
            start_ms: With `end_ms`, at most 24 h apart. Not together with `from_id`.
            end_ms: See `start_ms`.
            from_id: First trade id to return; a page of 1000 goes on at its last id plus one.
        """
        params = [("symbol", symbol), ("limit", str(TRADES_PAGE)), *_range(start_ms, end_ms)]
        if from_id is not None:
            params.append(("fromId", str(from_id)))
        return self._rows(Call("GET", "/api/v3/myTrades", tuple(params)), "spot.my_trades", _trade)

    def withdrawals(self, *, start_ms: int, end_ms: int, offset: int = 0) -> tuple[Withdrawal, ...]:
        """Return up to 1000 withdrawals of at most 90 days. Costs a tenth of a minute's budget (18000)."""
        params = (*_range(start_ms, end_ms), ("offset", str(offset)), ("limit", str(WITHDRAWALS_PAGE)))
        call = Call("GET", "/sapi/v1/capital/withdraw/history", params)
        return self._rows(call, "wallet.withdraw.history", _withdrawal)

    def transfers(self, kind: str, *, start_ms: int, end_ms: int, page: int = 1) -> tuple[Transfer, ...]:
        """Return up to 100 wallet transfers of one kind, as `MAIN_UMFUTURE`, of the last six months."""
        params = (
            ("type", kind),
            *_range(start_ms, end_ms),
            ("current", str(page)),
            ("size", str(TRANSFERS_PAGE)),
        )
        endpoint = "wallet.transfer.history"
        document = self._object(Call("GET", "/sapi/v1/asset/transfer", params), endpoint)
        nothing: list[object] | None = (
            [] if document.get("total") == 0 else None
        )  # rows that are missing are no word of their own
        return built(document.get("rows", nothing), endpoint, _transfer)

    def cancel_all(self, symbols: Iterable[str] | None = None) -> tuple[OrderState, ...]:
        """Cancel every resting spot order, order lists included.

        Args:
            symbols: Where to cancel. None: wherever an order rests now.

        Returns:
            The orders cancelled. A symbol without orders is no error.

        Raises:
            VenueError: At the first symbol that failed; those before it are done. Safe to call again.
        """
        if symbols is None:
            symbols = sorted({order.symbol for order in self.open_orders()})
        done: list[OrderState] = []
        for symbol in symbols:
            call = Call("DELETE", "/api/v3/openOrders", (("symbol", symbol),))
            try:
                body = self._send(call, "spot.order.cancel_all")
            except VenueRefused as refused:
                if refused.code != str(_NOTHING_TO_CANCEL):
                    raise
                continue
            try:
                done.extend(cancelled_orders(body))
            except ValueError:
                raise odd("spot.order.cancel_all", write=True) from None
        return tuple(done)


_MORE_FLAGS = (
    *("enableInternalTransfer", "permitsUniversalTransfer", "enableMargin", "enableFutures"),
    *("enableVanillaOptions", "enablePortfolioMarginTrading", "enableFixApiTrade", "enableFixReadOnly"),
)


def _permitted(flags: Mapping[str, Any], name: str) -> bool:
    """Tell whether a dangerous permission is, or may be, given: anything but a plain `false` counts."""
    return flags.get(name) is not False


def _range(start_ms: int | None, end_ms: int | None) -> tuple[tuple[str, str], ...]:
    bounds = (("startTime", start_ms), ("endTime", end_ms))
    return tuple((name, str(at)) for name, at in bounds if at is not None)


def _open_order(row: Mapping[str, Any]) -> OpenOrder:
    list_id = row.get("orderListId", -1)
    return OpenOrder(
        symbol=row["symbol"],
        order_id=str(row["orderId"]),
        client_order_id=row["clientOrderId"],
        list_id=None if list_id == -1 else str(list_id),
        side=Side(row["side"]),
        kind=row["type"],
        quantity=Decimal(row["origQty"]),
        executed=Decimal(row["executedQty"]),
        price=Decimal(row["price"]) or None,
        trigger=Decimal(row.get("stopPrice", "0")) or None,
        created_at_ms=int(row["time"]),
    )


def _trade(row: Mapping[str, Any]) -> Trade:
    return Trade(
        symbol=row["symbol"],
        trade_id=int(row["id"]),
        order_id=str(row["orderId"]),
        side=Side.BUY if row["isBuyer"] else Side.SELL,
        price=Decimal(row["price"]),
        quantity=Decimal(row["qty"]),
        quote=Decimal(row["quoteQty"]),
        fee=Decimal(row["commission"]),
        fee_asset=row["commissionAsset"],
        at_ms=int(row["time"]),
    )


def _withdrawal(row: Mapping[str, Any]) -> Withdrawal:
    return Withdrawal(
        withdrawal_id=str(row["id"]),
        asset=row["coin"],
        amount=Decimal(row["amount"]),
        fee=Decimal(row.get("transactionFee", "0")),
        network=row.get("network", ""),
        address=row["address"],
        status=int(row["status"]),
        applied_at=row["applyTime"],
        internal=row.get("transferType") == 1,
    )


def _transfer(row: Mapping[str, Any]) -> Transfer:
    return Transfer(
        transfer_id=str(row["tranId"]),
        kind=row["type"],
        asset=row["asset"],
        amount=Decimal(row["amount"]),
        status=row["status"],
        at_ms=int(row["timestamp"]),
    )
