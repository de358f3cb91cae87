"""Orders bound to each other: OCO pairs, and orders that wait for a working order. Moves no money by itself.

Rules:
1. Of a pair only one order holds what both may need; it hands it over when the other one executes.
2. As soon as one of a pair executes in part or is triggered, the other expires (`OCO_TRIGGER`).
3. Waiting orders are placed once their working order is filled completely; if it ends otherwise they expire
   (`OTO_PHASE_ONE_EXPIRED`). One that cannot be placed then is rejected, and the list is over.
4. A list that pays (OPO) holds what its working order receives, less commission, for the waiting ones.

Source: Binance spot REST docs "Order lists", FAQ "One Pays the Other", enums "Expiry Reasons", 2026-07-21.
"""

from decimal import Decimal
from typing import Protocol

from clients.paper.errors import PaperError
from clients.paper.ledger import ZERO, Account
from clients.paper.order_checks import check_size
from clients.paper.orders import STOPS, Order, OrderList
from clients.paper.symbols import Symbol


class Book(Protocol):
    """What order lists need of the engine."""

    symbols: dict[str, Symbol]
    accounts: dict[str, Account]
    orders: dict[int, Order]
    lists: dict[int, OrderList]

    def need(self, order: Order) -> tuple[Decimal, str]:
        """Return what an order may need, and of which asset."""
        ...

    def bind(self, order: Order, at_least: Decimal = ZERO) -> None:
        """Lock what an order may need."""
        ...

    def activate(self, order: Order, now_us: int) -> None:
        """Let a bound order into the book."""
        ...

    def end(self, order: Order, status: str, now_us: int, reason: str | None = None) -> None:
        """End an order."""
        ...

    def marketable(self, order: Order, price: Decimal) -> bool:
        """Tell whether an order would execute at a price."""
        ...

    def triggers(self, order: Order, price: Decimal) -> bool:
        """Tell whether a stop is triggered at a price."""
        ...


class Lists:
    """What follows for the other orders of a list when one of them fills, is triggered or ends."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def holder(self, order: Order) -> Order:
        """Return the order whose binding pays for this one."""
        found = self._book.lists.get(order.list_id)
        if order.locked > 0 or found is None or order.order_id == found.working:
            return order
        return next((other for other in self._others(found, order) if other.locked > 0), order)

    def partners(self, order: Order) -> list[Order]:
        """Return the open orders that may still be paid with what pays for this one."""
        found = self._book.lists.get(order.list_id)
        if found is None or order.order_id == found.working:
            return []
        return [other for other in self._others(found, order) if other.open]

    def _others(self, found: OrderList, order: Order) -> list[Order]:
        """Return the other orders of the pair an order belongs to."""
        numbers = [number for number in found.orders if number not in {order.order_id, found.working}]
        return [self._book.orders[number] for number in numbers]

    # --- what happens to one of them ------------------------------------------------------

    def hold(self, order: Order, received: Decimal) -> None:
        """Keep what a working order received for the orders it pays."""
        found = self._book.lists.get(order.list_id)
        if found is not None and found.paying and order.order_id == found.working:
            base = self._book.symbols[order.symbol].base
            self._book.accounts[order.account].lock(base, received)
            found.held += received

    def after_fill(self, order: Order, now_us: int) -> None:
        """Go on after an execution."""
        found = self._book.lists.get(order.list_id)
        if found is None or found.done:
            return
        if order.order_id == found.working:
            if not order.open:
                self._release(found, now_us)
            return
        self._expire_others(found, order, now_us)

    def after_trigger(self, order: Order, now_us: int) -> None:
        """Go on after a stop was triggered."""
        found = self._book.lists.get(order.list_id)
        if found is not None and not found.done:
            self._expire_others(found, order, now_us)

    def _expire_others(self, found: OrderList, order: Order, now_us: int) -> None:
        others = [other for other in self._others(found, order) if other.open]
        for other in others:
            if order.open:
                order.locked, other.locked = order.locked + other.locked, ZERO
        for other in others:
            self._book.end(other, "EXPIRED", now_us, "OCO_TRIGGER")
        found.done = not order.open

    def after_end(self, order: Order, now_us: int) -> None:
        """Go on after an order ended without being filled: the others of its list end too."""
        found = self._book.lists.get(order.list_id)
        if found is None or found.done or order.expiry == "OCO_TRIGGER":
            return
        self.close(found)
        waited = order.order_id == found.working
        for number in found.orders:
            other = self._book.orders[number]
            if other.open:
                self._book.end(other, "EXPIRED", now_us, "OTO_PHASE_ONE_EXPIRED" if waited else "NONE")

    def close(self, found: OrderList) -> None:
        """Mark a list as over, and free what it held."""
        found.done = True
        if found.held > 0:
            base = self._book.symbols[found.symbol].base
            self._book.accounts[found.account].unlock(base, found.held)
            found.held = ZERO

    # --- waiting orders -------------------------------------------------------------------

    def _release(self, found: OrderList, now_us: int) -> None:
        pending = [self._book.orders[number] for number in found.pending]
        try:
            self._pay(found, pending)
        except PaperError:
            self.close(found)
            for order in pending:
                self._book.end(order, "REJECTED", now_us, "REJECTED")
            return
        for order in pending:
            if order.open:
                self._book.activate(order, now_us)

    def _pay(self, found: OrderList, pending: list[Order]) -> None:
        """Size and bind waiting orders, as far as that is possible now."""
        symbol = self._book.symbols[found.symbol]
        if found.paying:
            quantity = found.held - found.held % symbol.step
            for order in pending:
                order.quantity = quantity
        for order in pending:
            check_size(symbol, order)
            if order.kind == "LIMIT_MAKER" and self._book.marketable(order, symbol.price):
                raise PaperError(-2010, "Order would immediately match and take.")
            if order.kind in STOPS and order.stop_price and self._book.triggers(order, symbol.price):
                raise PaperError(-2010, "Order would trigger immediately.")
        if found.paying:
            self._book.accounts[found.account].unlock(symbol.base, found.held)
            found.held = ZERO
        self._book.bind(pending[0], max(self._book.need(order)[0] for order in pending))
