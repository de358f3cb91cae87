"""Orders of the paper exchange, and how the venue shows them. No I/O, no clock."""

from dataclasses import dataclass, field
from decimal import Decimal

from clients.paper.ledger import ZERO
from clients.paper.symbols import text

OPEN = frozenset({"NEW", "PARTIALLY_FILLED", "PENDING_NEW"})
STOPS = frozenset({"STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"})
MARKETS = frozenset({"MARKET", "STOP_LOSS", "TAKE_PROFIT"})


@dataclass(slots=True)
class Fill:
    """One execution."""

    trade_id: int
    price: Decimal
    quantity: Decimal
    commission: Decimal
    commission_asset: str
    at_us: int
    maker: bool


@dataclass(slots=True)
class Order:
    """One order. `waiting` orders of a list are not on the book until their working order is filled."""

    order_id: int
    account: str
    key_id: str
    symbol: str
    side: str
    kind: str
    time_in_force: str
    client_order_id: str
    created_us: int
    quantity: Decimal = ZERO
    quote_quantity: Decimal = ZERO
    price: Decimal = ZERO
    stop_price: Decimal = ZERO
    trailing: int = 0
    best: Decimal = ZERO
    list_id: int = -1
    status: str = "NEW"
    triggered: bool = False
    executed: Decimal = ZERO
    executed_quote: Decimal = ZERO
    locked: Decimal = ZERO
    updated_us: int = 0
    stp: str = "EXPIRE_MAKER"
    iceberg: Decimal = ZERO
    strategy_id: int | None = None
    strategy_type: int | None = None
    peg: str | None = None
    peg_level: int | None = None
    working_us: int = 0
    trailing_us: int = 0
    expiry: str | None = None
    sor: bool = False
    amendments: list[dict[str, object]] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)

    @property
    def open(self) -> bool:
        """Whether it may still execute."""
        return self.status in OPEN

    @property
    def left(self) -> Decimal:
        """Base quantity not yet executed."""
        return self.quantity - self.executed

    def _core(self) -> dict[str, object]:
        return {
            "symbol": self.symbol,
            "orderId": self.order_id,
            "orderListId": self.list_id,
            "clientOrderId": self.client_order_id,
        }

    def _numbers(self) -> dict[str, object]:
        shown: dict[str, object] = {"price": text(self.price)}
        if self.quantity or self.status != "PENDING_NEW":
            shown["origQty"] = text(self.quantity)
        return shown | {
            "executedQty": text(self.executed),
            "origQuoteOrderQty": text(self.quote_quantity),
            "cummulativeQuoteQty": text(self.executed_quote),
            "status": self.status,
            "timeInForce": self.time_in_force,
            "type": self.kind,
            "side": self.side,
        }

    def _conditional(self) -> dict[str, object]:
        """Return the fields that only some orders have."""
        shown: dict[str, object] = {}
        if self.stop_price:
            shown["stopPrice"] = text(self.stop_price)
        if self.trailing:
            shown["trailingDelta"] = self.trailing
            shown["trailingTime"] = self.trailing_us // 1000 if self.trailing_us else -1
        if self.iceberg:
            shown["icebergQty"] = text(self.iceberg)
        if self.strategy_id is not None:
            shown["strategyId"] = self.strategy_id
        if self.strategy_type is not None:
            shown["strategyType"] = self.strategy_type
        if self.peg is not None:
            shown |= {"pegPriceType": self.peg, "peggedPrice": text(self.price)}
            if self.peg_level is not None:
                shown |= {"pegOffsetType": "PRICE_LEVEL", "pegOffsetValue": self.peg_level}
        if self.sor:
            shown |= {"usedSor": True, "workingFloor": "SOR"}
        if self.expiry is not None:
            shown["expiryReason"] = self.expiry
        return shown

    def _working(self) -> int:
        return self.working_us // 1000 if self.working_us else -1

    def placed(self, answer: str) -> dict[str, object]:
        """Show it as the answer to its placing: ACK, RESULT or FULL."""
        shown = self._core() | {"transactTime": self.created_us // 1000}
        if answer == "ACK":
            return shown
        shown |= self._numbers() | self._conditional()
        shown |= {"workingTime": self._working(), "selfTradePreventionMode": self.stp}
        if answer == "FULL":
            shown["fills"] = [
                {
                    "price": text(fill.price),
                    "qty": text(fill.quantity),
                    "commission": text(fill.commission),
                    "commissionAsset": fill.commission_asset,
                    "tradeId": fill.trade_id,
                }
                for fill in self.fills
            ]
        return shown

    def shown(self) -> dict[str, object]:
        """Show it as a query answers it."""
        return {
            **self._core(),
            **self._numbers(),
            "stopPrice": text(self.stop_price),
            "icebergQty": text(self.iceberg),
            **self._conditional(),
            "time": self.created_us // 1000,
            "updateTime": (self.updated_us or self.created_us) // 1000,
            "isWorking": self.working_us > 0,
            "workingTime": self._working(),
            "selfTradePreventionMode": self.stp,
        }

    def cancelled(self, cancel_id: str) -> dict[str, object]:
        """Show it as the answer to a cancel."""
        return {
            **self._core(),
            "origClientOrderId": self.client_order_id,
            "clientOrderId": cancel_id,
            "transactTime": self.updated_us // 1000,
            **self._numbers(),
            **self._conditional(),
            "selfTradePreventionMode": self.stp,
        }

    def amended(self, before: str) -> dict[str, object]:
        """Show it as the answer to an amend; `before` is its client order id until now."""
        shown = self._core() | {"origClientOrderId": before, "price": text(self.price)}
        shown |= {
            "qty": text(self.quantity),
            "executedQty": text(self.executed),
            "preventedQty": "0.00000000",
            "quoteOrderQty": text(self.quote_quantity),
            "cumulativeQuoteQty": text(self.executed_quote),
            "status": self.status,
            "timeInForce": self.time_in_force,
            "type": self.kind,
            "side": self.side,
        }
        shown |= {"workingTime": self._working()} if self.working_us else {}
        return shown | self._conditional() | {"selfTradePreventionMode": self.stp}


@dataclass(slots=True)
class OrderList:
    """Orders bound to each other. `working` is None for an OCO; `pending` are placed once it is filled.

    `paying` (OPO): what the working order receives is held for the pending ones.
    """

    list_id: int
    account: str
    symbol: str
    client_id: str
    contingency: str
    orders: list[int]
    working: int | None
    pending: list[int]
    created_us: int
    done: bool = False
    paying: bool = False
    held: Decimal = ZERO

    def shown(self, orders: dict[int, Order]) -> dict[str, object]:
        """Show it as a query answers it."""
        return {
            "orderListId": self.list_id,
            "contingencyType": self.contingency,
            "listStatusType": "ALL_DONE" if self.done else "EXEC_STARTED",
            "listOrderStatus": "ALL_DONE" if self.done else "EXECUTING",
            "listClientOrderId": self.client_id,
            "transactionTime": self.created_us // 1000,
            "symbol": self.symbol,
            "orders": [
                {
                    "symbol": self.symbol,
                    "orderId": number,
                    "clientOrderId": orders[number].client_order_id,
                }
                for number in self.orders
            ],
        }
