"""Whether a new order may be placed: filters of its pair, its trigger, its client order id, how many are open.

Source: Binance spot REST docs, filters.md and errors.md, state of 2026-07-21.
"""

from collections.abc import Iterable

from clients.paper.errors import filter_failure, rejected
from clients.paper.orders import MARKETS, STOPS, Order
from clients.paper.symbols import (
    ICEBERG_PARTS,
    MOST_ICEBERGS,
    MOST_ORDERS,
    MOST_STOPS,
    Symbol,
)


def check_form(symbol: Symbol, order: Order) -> None:
    """Refuse prices, trailing deltas and iceberg parts that the filters do not allow."""
    if order.price:
        symbol.check_price(order.price)
        symbol.check_collar(order.price)
    if order.stop_price:
        symbol.check_price(order.stop_price)
    if order.trailing:
        symbol.check_trailing(order.trailing)
    if order.iceberg:
        symbol.check_quantity(order.iceberg)
        if order.iceberg >= order.quantity > 0:
            raise rejected("IcebergQty exceeds QTY.")
        if order.quantity > order.iceberg * ICEBERG_PARTS:
            raise filter_failure("ICEBERG_PARTS")


def check_size(symbol: Symbol, order: Order) -> None:
    """Refuse a quantity or a worth that the filters do not allow."""
    market = order.kind in MARKETS
    if order.quote_quantity:
        symbol.check_notional(order.quote_quantity, market=True)
        return
    symbol.check_quantity(order.quantity)
    symbol.check_notional(order.quantity * (order.price or order.stop_price or symbol.price), market=market)


def check_room(order: Order, open_orders: Iterable[Order], count: int = 1) -> None:
    """Refuse one order more than an account may have open on a pair; `count` come at once."""
    mine = [other for other in open_orders if other.account == order.account]
    if len(mine) + count > MOST_ORDERS:
        raise filter_failure("MAX_NUM_ORDERS")
    if order.kind in STOPS and sum(other.kind in STOPS for other in mine) >= MOST_STOPS:
        raise filter_failure("MAX_NUM_ALGO_ORDERS")
    if order.iceberg and sum(other.iceberg > 0 for other in mine) >= MOST_ICEBERGS:
        raise filter_failure("MAX_NUM_ICEBERG_ORDERS")
