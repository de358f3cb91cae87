"""The matching engine of the paper exchange: orders rest, trigger, fill, expire. No I/O; time is passed in.

Rules:
1. A buy at or above the price fills at the price, and so does a sell at or below it, as deep as the book is.
2. Stops wait for their trigger, then are limit or market orders like others. Trailing stops follow the best price
   since they became active: a buy triggers on a rise from the lowest, a sale on a fall from the highest.
3. Orders that cannot be paid are refused; what an order binds is freed when it ends. No balance goes below zero:
   a triggered market buy that the account cannot pay is cut down to what it can.
4. Money moves only here, in `ledger`, and in the wallet; whatever is bound is `locked` of exactly one order.
"""

import itertools
from decimal import ROUND_DOWN, Decimal

from clients.paper.errors import rejected
from clients.paper.ledger import ZERO, Account
from clients.paper.limits import Limits
from clients.paper.order_checks import check_form, check_room, check_size
from clients.paper.order_lists import Lists
from clients.paper.orders import MARKETS, STOPS, Fill, Order, OrderList
from clients.paper.symbols import Symbol

FEE = Decimal("0.001")
_POINTS = Decimal(10_000)
_PLACES = Decimal("0.00000001")


class Engine:
    """All orders of all accounts."""

    def __init__(self, symbols: dict[str, Symbol], accounts: dict[str, Account], limits: Limits) -> None:
        self.symbols, self.accounts, self._limits = symbols, accounts, limits
        self.orders: dict[int, Order] = {}
        self.lists: dict[int, OrderList] = {}
        self.open_ids: dict[str, set[int]] = {}
        self.by_client: dict[tuple[str, str, str], int] = {}
        self._lists = Lists(self)
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

    def check(self, order: Order, *, waiting: bool = False, count: int = 1) -> None:
        """Refuse an order that may not be placed. A waiting one is sized and triggered later."""
        symbol = self.symbols[order.symbol]
        check_form(symbol, order)
        if not waiting or order.quantity:
            check_size(symbol, order)
        check_room(order, (self.orders[number] for number in self.open_ids.get(order.symbol, ())), count)
        if not waiting:
            if order.kind in STOPS and not order.trailing and self._reached(order, symbol.price):
                raise rejected("Order would trigger immediately.")
            if order.kind == "LIMIT_MAKER" and self.marketable(order, symbol.price):
                raise rejected("Order would immediately match and take.")
        known = self.orders.get(self.by_client.get((order.account, order.symbol, order.client_order_id), -1))
        if known is not None and known.open:
            raise rejected("Duplicate order sent.")

    def place(self, order: Order, now_us: int, *, bind: bool = True) -> None:
        """Put a checked order on the book and let it execute."""
        order.created_us = order.updated_us = now_us
        if bind:
            self.bind(order)
        self._keep(order)
        self.open_ids.setdefault(order.symbol, set()).add(order.order_id)
        self.activate(order, now_us)

    def wait(self, order: Order, now_us: int) -> None:
        """Keep an order that waits for its working order."""
        order.status = "PENDING_NEW"
        order.created_us = order.updated_us = now_us
        self._keep(order)
        self.open_ids.setdefault(order.symbol, set()).add(order.order_id)

    def activate(self, order: Order, now_us: int) -> None:
        """Let a bound order into the book: stops start to watch, others execute or rest."""
        symbol = self.symbols[order.symbol]
        order.status = "NEW"
        if order.kind in STOPS:
            order.best = symbol.price
            if order.trailing and (not order.stop_price or self._reached(order, symbol.price)):
                order.trailing_us = now_us
            return
        order.working_us = now_us
        self._execute(order, symbol, now_us, maker=False)

    def _keep(self, order: Order) -> None:
        self.orders[order.order_id] = order
        self.by_client[(order.account, order.symbol, order.client_order_id)] = order.order_id

    def need(self, order: Order) -> tuple[Decimal, str]:
        """Return what an order may need, and of which asset; sizes an order given in quote."""
        symbol = self.symbols[order.symbol]
        if order.quote_quantity and not order.quantity:
            order.quantity = steps(order.quote_quantity / symbol.price, symbol.step)
        if order.side == "SELL":
            return order.quantity, symbol.base
        return order.quantity * (order.price or order.stop_price or symbol.price), symbol.quote

    def bind(self, order: Order, at_least: Decimal = ZERO) -> None:
        """Lock what an order may need."""
        amount, asset = self.need(order)
        amount = max(amount, at_least)
        self.accounts[order.account].lock(asset, amount)
        order.locked = amount

    # --- executing ------------------------------------------------------------------------

    def marketable(self, order: Order, price: Decimal) -> bool:
        """Tell whether an order would execute at a price."""
        if order.kind in MARKETS:
            return True
        return order.price >= price if order.side == "BUY" else order.price <= price

    def triggers(self, order: Order, price: Decimal) -> bool:
        """Tell whether a stop is triggered at a price."""
        if not order.trailing:
            return self._reached(order, price)
        if order.trailing_us == 0:
            return False
        share = order.trailing / _POINTS
        if order.side == "BUY":
            return price >= order.best * (1 + share)
        return price <= order.best * (1 - share)

    @staticmethod
    def _reached(order: Order, price: Decimal) -> bool:
        """Tell whether a price is at the stop price, from the side the order waits on."""
        rises = (order.side == "BUY") == order.kind.startswith("STOP")
        return price >= order.stop_price if rises else price <= order.stop_price

    def _execute(self, order: Order, symbol: Symbol, now_us: int, *, maker: bool) -> None:
        once = order.kind in MARKETS or order.time_in_force in {"IOC", "FOK"}
        if self.marketable(order, symbol.price):
            price = order.price if maker and order.price else symbol.price
            quantity = min(order.left, steps(symbol.depth / price, symbol.step))
            if order.side == "BUY":
                quantity = min(quantity, self._affordable(order, symbol, price))
            if quantity > 0 and not (order.time_in_force == "FOK" and quantity < order.left):
                self._fill(order, symbol, price, quantity, now_us, maker=maker)
        if order.open and once:
            reasons = {"IOC": "UNFILLED_IOC_QUANTITY_EXPIRED", "FOK": "UNFILLED_FOK_ORDER_EXPIRED"}
            self.end(order, "EXPIRED", now_us, reasons.get(order.time_in_force, "INSUFFICIENT_LIQUIDITY"))

    def _affordable(self, order: Order, symbol: Symbol, price: Decimal) -> Decimal:
        free = self.accounts[order.account].balance(symbol.quote).free
        bound = self._lists.holder(order).locked
        return steps((free + bound) / price, symbol.step)

    def _fill(
        self, order: Order, symbol: Symbol, price: Decimal, quantity: Decimal, now_us: int, *, maker: bool
    ) -> None:
        account, holder = self.accounts[order.account], self._lists.holder(order)
        cost = (quantity * price).quantize(_PLACES)
        if order.side == "BUY":
            spent = account.balance(symbol.quote)
            bound = holder.locked
            if quantity < order.left:
                bound = (bound * quantity / order.left).quantize(_PLACES, ROUND_DOWN)
            spent.locked -= bound
            spent.free += bound - cost
            holder.locked -= bound
            fee, asset = (quantity * FEE).quantize(_PLACES), symbol.base
            account.balance(symbol.base).free += quantity - fee
            self._lists.hold(order, quantity - fee)
        else:
            account.balance(symbol.base).locked -= quantity
            holder.locked -= quantity
            fee, asset = (cost * FEE).quantize(_PLACES), symbol.quote
            account.balance(symbol.quote).free += cost - fee
        if not order.executed:
            self._limits.uncount_order(order.account, now_us)
        order.executed += quantity
        order.executed_quote += cost
        order.updated_us = now_us
        order.fills.append(Fill(self.number(), price, quantity, fee, asset, now_us, maker))
        if order.left <= 0:
            self.end(order, "FILLED", now_us)
        else:
            order.status = "PARTIALLY_FILLED"
        self._lists.after_fill(order, now_us)

    def end(self, order: Order, status: str, now_us: int, reason: str | None = None) -> None:
        """End an order and free what it bound; the others of its list go with it."""
        symbol, account = self.symbols[order.symbol], self.accounts[order.account]
        order.status, order.updated_us, order.expiry = status, now_us, reason
        if order.locked > 0:
            account.unlock(symbol.base if order.side == "SELL" else symbol.quote, order.locked)
            order.locked = ZERO
        self.open_ids.get(order.symbol, set()).discard(order.order_id)
        if status != "FILLED":
            self._lists.after_end(order, now_us)

    # --- ending and moving ----------------------------------------------------------------

    def cancel(self, order: Order, now_us: int) -> list[Order]:
        """Cancel an order, and with it the others of its list; return all that ended."""
        found = self.lists.get(order.list_id)
        members = [order] if found is None else [self.orders[number] for number in found.orders]
        ended = [entry for entry in members if entry.open]
        if found is not None:
            self._lists.close(found)
        for entry in ended:
            self.end(entry, "CANCELED", now_us)
        return ended

    def expire(self, order: Order, now_us: int) -> None:
        """Let an order expire, as the venue may."""
        if order.open:
            self.end(order, "EXPIRED", now_us, "EXCHANGE_CANCELED")

    def reduce(self, order: Order, quantity: Decimal, now_us: int) -> None:
        """Make an open order smaller and free what it no longer needs."""
        symbol, account = self.symbols[order.symbol], self.accounts[order.account]
        holder, share = self._lists.holder(order), (order.quantity - quantity) / order.left
        partners = self._lists.partners(order)
        order.quantity, order.updated_us = quantity, now_us
        if partners:
            freed = max(ZERO, holder.locked - max(self.need(one)[0] for one in (order, *partners)))
        else:
            freed = (holder.locked * share).quantize(_PLACES, ROUND_DOWN)
        account.unlock(symbol.base if order.side == "SELL" else symbol.quote, freed)
        holder.locked -= freed

    def rename(self, order: Order, client_order_id: str) -> None:
        """Give an order another client order id."""
        known = self.orders.get(self.by_client.get((order.account, order.symbol, client_order_id), -1))
        if known is not None and known.open and known is not order:
            raise rejected("Duplicate order sent.")
        order.client_order_id = client_order_id
        self.by_client[(order.account, order.symbol, client_order_id)] = order.order_id

    def set_price(self, symbol: Symbol, price: Decimal, now_us: int) -> None:
        """Move the market; whatever that triggers or fills, does."""
        symbol.price = price
        for number in sorted(self.open_ids.get(symbol.name, set())):
            order = self.orders[number]
            if not order.open or order.status == "PENDING_NEW":
                continue
            if order.kind in STOPS and not order.triggered:
                if not self._watch(order, price, now_us):
                    continue
                order.triggered, order.working_us = True, now_us
                self._lists.after_trigger(order, now_us)
                self._execute(order, symbol, now_us, maker=False)
            else:
                self._execute(order, symbol, now_us, maker=True)

    def _watch(self, order: Order, price: Decimal, now_us: int) -> bool:
        """Follow a price with a waiting stop; tell whether it is triggered."""
        if order.trailing and order.trailing_us == 0 and self._reached(order, price):
            order.trailing_us, order.best = now_us, price
        if order.trailing and order.trailing_us:
            order.best = min(order.best, price) if order.side == "BUY" else max(order.best, price)
        return self.triggers(order, price)


def steps(quantity: Decimal, step: Decimal) -> Decimal:
    """Return a quantity cut down to the step of its pair."""
    return (quantity / step).to_integral_value(ROUND_DOWN) * step
