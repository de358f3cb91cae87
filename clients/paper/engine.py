"""The matching engine of the paper exchange: orders rest, trigger, fill, expire. No I/O; time is passed in.

Rules:
1. A buy at or above the price fills at the price, and so does a sell at or below it, as deep as the book is.
2. Stops wait for their trigger, then are limit or market orders like others. Trailing stops follow the best
   price since they were placed, by basis points.
3. Orders that cannot be paid are refused; what an order binds is freed when it ends.
4. Of two orders that cancel each other, the second goes as soon as the first executes in part.
"""

import itertools
from decimal import ROUND_DOWN, Decimal

from clients.paper.errors import rejected
from clients.paper.ledger import ZERO, Account
from clients.paper.limits import Limits
from clients.paper.orders import MARKETS, STOPS, Fill, Order, OrderList
from clients.paper.symbols import Symbol

FEE = Decimal("0.001")
_POINTS = Decimal(10_000)


class Engine:
    """All orders of all accounts."""

    def __init__(self, symbols: dict[str, Symbol], accounts: dict[str, Account], limits: Limits) -> None:
        self.symbols, self.accounts, self._limits = symbols, accounts, limits
        self.orders: dict[int, Order] = {}
        self.lists: dict[int, OrderList] = {}
        self.open_ids: dict[str, set[int]] = {}
        self.by_client: dict[tuple[str, str, str], int] = {}
        self._numbers = itertools.count(1)
        self.last_number = 0

    def number(self) -> int:
        """Return a fresh number, for orders, lists and trades alike."""
        self.last_number = next(self._numbers)
        return self.last_number

    def start_numbers_after(self, last: int) -> None:
        """Go on after the numbers of a saved state."""
        self._numbers = itertools.count(last + 1)
        self.last_number = last

    # --- placing --------------------------------------------------------------------------

    def check(self, order: Order, *, waiting: bool = False) -> None:
        """Refuse an order that filters or its trigger do not allow."""
        symbol = self.symbols[order.symbol]
        if order.price:
            symbol.check_price(order.price)
        if order.quantity:
            symbol.check_quantity(order.quantity, order.price or order.stop_price or symbol.price)
        if order.kind in STOPS and order.stop_price and not waiting:
            symbol.check_price(order.stop_price)
            if self._triggers(order, symbol.price):
                raise rejected("Stop price would trigger immediately.")
        if order.kind == "LIMIT_MAKER" and not waiting and self._marketable(order, symbol.price):
            raise rejected("Order would immediately match and take.")
        if (order.account, order.symbol, order.client_order_id) in self.by_client:
            known = self.orders[self.by_client[(order.account, order.symbol, order.client_order_id)]]
            if known.open:
                raise rejected("Duplicate order sent.")

    def place(self, order: Order, now_us: int, *, bind: bool = True) -> None:
        """Put a checked order on the book and let it execute."""
        symbol, account = self.symbols[order.symbol], self.accounts[order.account]
        order.created_us = order.updated_us = now_us
        order.best = symbol.price
        if bind:
            self._bind(order, symbol, account)
        self._keep(order)
        if order.kind in STOPS:
            return
        self._execute(order, symbol, now_us, maker=False)
        if order.open and (order.kind == "MARKET" or order.time_in_force in {"IOC", "FOK"}):
            self._end(order, "EXPIRED", now_us)

    def wait(self, order: Order, now_us: int) -> None:
        """Keep an order that waits for its working order."""
        order.status = "PENDING_NEW"
        order.created_us = order.updated_us = now_us
        self._keep(order)

    def _keep(self, order: Order) -> None:
        self.orders[order.order_id] = order
        self.by_client[(order.account, order.symbol, order.client_order_id)] = order.order_id
        if order.open:
            self.open_ids.setdefault(order.symbol, set()).add(order.order_id)

    def _bind(self, order: Order, symbol: Symbol, account: Account) -> None:
        """Lock what the order may need."""
        if order.side == "SELL":
            if order.quote_quantity:
                order.quantity = _steps(order.quote_quantity / symbol.price, symbol.step)
            amount, asset = order.quantity, symbol.base
        else:
            if order.quote_quantity:
                order.quantity = _steps(order.quote_quantity / symbol.price, symbol.step)
            amount, asset = order.quantity * (order.price or order.stop_price or symbol.price), symbol.quote
        account.lock(asset, amount)
        order.locked = amount

    # --- executing ------------------------------------------------------------------------

    def _marketable(self, order: Order, price: Decimal) -> bool:
        if order.kind in MARKETS:
            return True
        return order.price >= price if order.side == "BUY" else order.price <= price

    def _triggers(self, order: Order, price: Decimal) -> bool:
        stop = order.stop_price
        if order.trailing:
            share = order.trailing / _POINTS
            rises = (order.side == "BUY") == order.kind.startswith("STOP")
            stop = order.best * (1 + share) if rises else order.best * (1 - share)
            return price >= stop if rises else price <= stop
        up = (order.side == "BUY") == order.kind.startswith("STOP")
        return price >= stop if up else price <= stop

    def _execute(self, order: Order, symbol: Symbol, now_us: int, *, maker: bool) -> None:
        if not self._marketable(order, symbol.price):
            return
        price = order.price if maker and order.price else symbol.price
        most = _steps(symbol.depth / price, symbol.step)
        quantity = min(order.left, most)
        if order.time_in_force == "FOK" and quantity < order.left:
            return
        if quantity > 0:
            self._fill(order, symbol, price, quantity, now_us, maker=maker)

    def _fill(
        self, order: Order, symbol: Symbol, price: Decimal, quantity: Decimal, now_us: int, *, maker: bool
    ) -> None:
        account, holder = self.accounts[order.account], self._holder(order)
        cost = quantity * price
        if order.side == "BUY":
            spent = account.balance(symbol.quote)
            bound = min(holder.locked, quantity * (holder.price or holder.stop_price or price))
            spent.locked -= bound
            spent.free += bound - cost
            holder.locked -= bound
            fee, asset = quantity * FEE, symbol.base
            account.balance(symbol.base).free += quantity - fee
        else:
            account.balance(symbol.base).locked -= quantity
            holder.locked -= quantity
            fee, asset = cost * FEE, symbol.quote
            account.balance(symbol.quote).free += cost - fee
        if not order.executed:
            self._limits.uncount_order(order.account, now_us)
        order.executed += quantity
        order.executed_quote += cost
        order.updated_us = now_us
        order.fills.append(Fill(self.number(), price, quantity, fee, asset, now_us, maker))
        if order.left <= 0:
            self._end(order, "FILLED", now_us)
        else:
            order.status = "PARTIALLY_FILLED"
        self._after_fill(order, now_us)

    def _holder(self, order: Order) -> Order:
        """Return the order whose binding pays: of two that cancel each other, only one holds it."""
        found = self.lists.get(order.list_id)
        if order.locked > 0 or found is None:
            return order
        members = [self.orders[number] for number in found.orders if number != found.working]
        return next((other for other in members if other.locked > 0), order)

    def _end(self, order: Order, status: str, now_us: int) -> None:
        symbol, account = self.symbols[order.symbol], self.accounts[order.account]
        order.status, order.updated_us = status, now_us
        if order.locked > 0:
            account.unlock(symbol.base if order.side == "SELL" else symbol.quote, order.locked)
            order.locked = ZERO
        self.open_ids.get(order.symbol, set()).discard(order.order_id)

    # --- lists ----------------------------------------------------------------------------

    def _after_fill(self, order: Order, now_us: int) -> None:
        found = self.lists.get(order.list_id)
        if found is None or found.done:
            return
        if order.order_id == found.working:
            if order.status == "FILLED":
                self._release_pending(found, now_us)
            return
        for number in found.pending if found.working is not None else found.orders:
            other = self.orders[number]
            if number != order.order_id and other.open:
                self._end(other, "EXPIRED", now_us)
        if not order.open:
            found.done = True

    def _release_pending(self, found: OrderList, now_us: int) -> None:
        """Place what waited for the working order; two that cancel each other bind only once."""
        first = True
        for number in found.pending:
            order = self.orders[number]
            order.status = "NEW"
            order.best = self.symbols[order.symbol].price
            symbol, account = self.symbols[order.symbol], self.accounts[order.account]
            if found.contingency == "OPO" or order.quantity > account.balance(symbol.base).free:
                order.quantity = _steps(account.balance(symbol.base).free, symbol.step)
            if first:
                self._bind(order, symbol, account)
            first = False
            self.open_ids.setdefault(order.symbol, set()).add(number)
        for number in found.pending:
            order = self.orders[number]
            if order.open and order.kind not in STOPS:
                self._execute(order, self.symbols[order.symbol], now_us, maker=False)

    # --- ending and moving ----------------------------------------------------------------

    def cancel(self, order: Order, now_us: int) -> list[Order]:
        """Cancel an order, and with it the others of its list; return all that ended."""
        found = self.lists.get(order.list_id)
        ended = [order] if found is None else [self.orders[number] for number in found.orders]
        ended = [entry for entry in ended if entry.open]
        for entry in ended:
            self._end(entry, "CANCELED", now_us)
        if found is not None:
            found.done = True
        return ended

    def expire(self, order: Order, now_us: int) -> None:
        """Let an order expire, as the venue may."""
        if order.open:
            self._end(order, "EXPIRED", now_us)

    def reduce(self, order: Order, quantity: Decimal, now_us: int) -> None:
        """Make an open order smaller and free what it no longer needs."""
        symbol, account = self.symbols[order.symbol], self.accounts[order.account]
        gone = order.quantity - quantity
        freed = gone if order.side == "SELL" else gone * order.price
        account.unlock(symbol.base if order.side == "SELL" else symbol.quote, freed)
        order.locked -= freed
        order.quantity, order.updated_us = quantity, now_us

    def set_price(self, symbol: Symbol, price: Decimal, now_us: int) -> None:
        """Move the market; whatever that triggers or fills, does."""
        symbol.price = price
        for number in sorted(self.open_ids.get(symbol.name, set())):
            order = self.orders[number]
            if not order.open or order.status == "PENDING_NEW":
                continue
            if order.kind in STOPS and not order.triggered:
                if order.trailing:
                    sells = (order.side == "SELL") == order.kind.startswith("STOP")
                    order.best = max(order.best, price) if sells else min(order.best, price)
                if not self._triggers(order, price):
                    continue
                order.triggered = True
            if order.kind not in STOPS or order.triggered:
                self._execute(order, symbol, now_us, maker=order.kind not in STOPS)


def _steps(quantity: Decimal, step: Decimal) -> Decimal:
    return (quantity / step).to_integral_value(ROUND_DOWN) * step
