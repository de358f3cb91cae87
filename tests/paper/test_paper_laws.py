"""Laws of the paper exchange's ledger, after every step of random sessions of orders, lists, cancels and moves.

1. No balance is below zero, and what is locked is what open orders and paying lists bind, to the last digit.
2. A closed order binds nothing; what was executed is the sum of its fills, and a filled order's quantity.
3. A list is over when, and only when, none of its orders is open.
4. A refused call changes no balance; what is neither traded nor paid as commission never disappears.
5. A saved state is loaded as it was.
"""

import hashlib
import hmac
import random
from collections import defaultdict
from decimal import Decimal
from urllib.parse import urlencode

import pytest

from clients.paper import PaperExchange, state
from clients.paper.exchange import Answer
from clients.paper.ledger import ZERO
from clients.paper.reading import Call
from clients.paper.server import ROUTES
from clients.venue import KeyType

EMAIL = "laws@paper.test"
BTC = "BTCUSDT"
START = {"USDT": Decimal(20_000), "BTC": Decimal(1)}
STEPS = 150
Params = dict[str, object]


class Session:
    """One account that does what a seed says."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)  # noqa: S311 - a session of a test
        self.now_us = 1_795_000_000_000_000
        self.exchange = PaperExchange(clock=lambda: self.now_us)
        limits = self.exchange.limits
        limits.api_weight = limits.orders_10s = limits.orders_day = 10**9
        self.account = self.exchange.open_account(EMAIL, dict(START))
        self.key = self.exchange.make_key(EMAIL, KeyType.HMAC, {"enableSpotAndMarginTrading": True})

    def call(self, method: str, path: str, params: Params) -> Answer:
        query = urlencode({"symbol": BTC, **params, "timestamp": self.now_us // 1000})
        assert self.key.secret is not None
        digest = hmac.new(self.key.secret.reveal().encode(), query.encode(), hashlib.sha256).hexdigest()
        headers = {b"x-mbx-apikey": self.key.key_id.encode()}
        text = f"{query}&signature={digest}".encode()
        return self.exchange.answer(Call(method, path, text, b"", headers, "127.0.0.1"), ROUTES)

    # --- what it may do -------------------------------------------------------------------

    def side(self) -> str:
        return self.draw.choice(("BUY", "SELL"))

    def force(self) -> str:
        return self.draw.choice(("GTC", "IOC", "FOK"))

    def price(self, low: int = 55_000, high: int = 65_000) -> str:
        return str(self.draw.randrange(low * 100, high * 100) / 100)

    def quantity(self) -> str:
        return str(Decimal(self.draw.randrange(20, 20_000)) / 100_000)

    def order(self) -> tuple[str, str, Params]:
        kinds = ("LIMIT", "MARKET", "STOP_LOSS", "TAKE_PROFIT", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT")
        kind = self.draw.choice(kinds)
        params: Params = {"side": self.side(), "type": kind, "quantity": self.quantity()}
        if kind.endswith("LIMIT"):
            params |= {"price": self.price(), "timeInForce": self.force()}
        if kind.startswith(("STOP", "TAKE")):
            fixed = self.draw.random() < 0.6
            trailing: Params = {"trailingDelta": self.draw.randrange(10, 800)}
            params |= {"stopPrice": self.price()} if fixed else trailing
        if kind == "MARKET" and self.draw.random() < 0.5:
            del params["quantity"]
            params["quoteOrderQty"] = self.draw.randrange(6, 9000)
        return "POST", "/api/v3/order", params

    def pair(self, prefix: str, side: str) -> Params:
        high, low = self.price(60_500, 66_000), self.price(54_000, 59_500)
        maker, stop, name = ("Above", "Below", high) if side == "SELL" else ("Below", "Above", low)
        legs = {maker + "Type": "LIMIT_MAKER", maker + "Price": name}
        legs |= {stop + "Type": "STOP_LOSS", stop + "StopPrice": low if side == "SELL" else high}
        return {prefix + leg if prefix else leg[0].lower() + leg[1:]: value for leg, value in legs.items()}

    def order_list(self) -> tuple[str, str, Params]:
        kind = self.draw.choice(("oco", "oto", "otoco", "opo", "opoco"))
        path = "/api/v3/orderList/" + kind
        if kind == "oco":
            side = self.side()
            return "POST", path, {"side": side, "quantity": self.quantity()} | self.pair("", side)
        pays = kind.startswith("opo")
        params: Params = {
            "workingType": "LIMIT", "workingSide": "BUY" if pays else self.side(), "workingPrice": self.price(),
            "workingQuantity": self.quantity(), "workingTimeInForce": self.draw.choice(("GTC", "IOC")),
            "pendingSide": "SELL" if pays else self.side(),
        }  # fmt: skip
        if not pays:
            params["pendingQuantity"] = self.quantity()
        if kind in {"oto", "opo"}:
            limit: Params = {"pendingType": "LIMIT_MAKER", "pendingPrice": self.price()}
            return "POST", path, params | (limit if self.draw.random() < 0.6 else {"pendingType": "MARKET"})
        return "POST", path, params | self.pair("pending", str(params["pendingSide"]))

    def change(self) -> tuple[str, str, Params]:
        numbers = list(self.exchange.engine.orders)[-30:] or [0]
        one, what = self.draw.choice(numbers), self.draw.randrange(8)
        if what < 4:
            return "DELETE", "/api/v3/order", {"orderId": one}
        if what < 6:
            return "PUT", "/api/v3/order/amend/keepPriority", {"orderId": one, "newQty": self.quantity()}
        if what == 6:
            return "DELETE", "/api/v3/openOrders", {}
        mode = self.draw.choice(("STOP_ON_FAILURE", "ALLOW_FAILURE"))
        new: Params = {"side": self.side(), "type": "LIMIT", "timeInForce": "GTC", "price": self.price()}
        new |= {"quantity": self.quantity(), "cancelReplaceMode": mode, "cancelOrderId": one}
        return "POST", "/api/v3/order/cancelReplace", new

    def move(self) -> None:
        symbol = self.exchange.symbols[BTC]
        symbol.depth = Decimal(self.draw.choice((300, 5000, 500_000)))
        price = Decimal(self.price(57_000, 63_000)).quantize(symbol.tick)
        self.exchange.engine.set_price(symbol, price, self.now_us)

    def step(self) -> None:
        self.now_us += self.draw.randrange(1, 3_000_000)
        chosen = self.draw.choice((self.order, self.order, self.order_list, self.change, self.move))
        if chosen == self.move:
            self.move()
            return
        before = self.balances()
        method, path, params = chosen()
        answer = self.call(method, path, params)
        assert answer.status in {200, 400, 409}, answer.body
        if answer.status == 400 and not path.endswith("cancelReplace"):
            assert self.balances() == before, (path, params, answer.body)

    # --- what must hold -------------------------------------------------------------------

    def balances(self) -> dict[str, tuple[Decimal, Decimal]]:
        return {asset: (held.free, held.locked) for asset, held in self.account.balances.items()}

    def check(self) -> None:
        engine, bound = self.exchange.engine, defaultdict[str, Decimal](Decimal)
        total = defaultdict[str, Decimal](Decimal, START)
        for order in engine.orders.values():
            symbol = self.exchange.symbols[order.symbol]
            bound[symbol.base if order.side == "SELL" else symbol.quote] += order.locked
            assert order.locked == 0 or (order.open and order.locked > 0), order
            assert order.executed == sum((fill.quantity for fill in order.fills), ZERO), order
            assert order.status != "FILLED" or order.left == 0, order
            assert order.left >= 0, order
            sign = 1 if order.side == "BUY" else -1
            total[symbol.base] += sign * order.executed
            total[symbol.quote] -= sign * order.executed_quote
            for fill in order.fills:
                total[fill.commission_asset] -= fill.commission
        for one in engine.lists.values():
            bound[self.exchange.symbols[one.symbol].base] += one.held
            assert one.done == (not any(engine.orders[number].open for number in one.orders)), one
        for asset, held in self.account.balances.items():
            assert held.free >= 0, asset
            assert held.locked == bound[asset], asset
            assert held.free + held.locked == total[asset], asset


@pytest.mark.parametrize("seed", [*range(20), 155])  # 155: the leg that holds a pair's binding is amended
def test_no_session_breaks_the_ledger(seed: int) -> None:
    session = Session(seed)
    for _ in range(STEPS):
        session.step()
        session.check()
    assert any(order.fills for order in session.exchange.engine.orders.values())
    saved = state.dump(session.exchange)
    loaded = PaperExchange(clock=lambda: session.now_us)
    state.load(loaded, saved)
    assert state.dump(loaded) == saved
