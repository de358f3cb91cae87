"""What one order call of `/api/v3` asks for: read from its parameters, refused where the venue's documents do.

Legs of order lists carry a prefix (`above`, `working`, `pendingBelow`); their names are built from the plain ones.

Source: Binance spot REST docs, "New order", "Pegged Orders Info" and "Order lists", state of 2026-07-21.
"""

import secrets
from decimal import Decimal

from clients.paper.errors import PaperError, mandatory, not_required, rejected
from clients.paper.exchange import PaperExchange, Seen
from clients.paper.ledger import ZERO
from clients.paper.orders import STOPS, Order
from clients.paper.reading import Params
from clients.paper.symbols import Symbol, find, text

_TYPES = frozenset({"LIMIT", "LIMIT_MAKER", "MARKET", *STOPS})
PRICED = frozenset({"LIMIT", "LIMIT_MAKER", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"})
_TIMED = frozenset({"LIMIT", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"})
_FORCES = frozenset({"GTC", "IOC", "FOK"})
_PREVENTIONS = frozenset({"NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT"})
_PEGS = frozenset({"PRIMARY_PEG", "MARKET_PEG"})
_ANSWERS = frozenset({"ACK", "RESULT", "FULL"})
_FURTHEST_LEVEL = 100
_LEAST_STRATEGY = 1_000_000
_LONGEST_ID = 36


def fresh_client_id() -> str:
    """Return a client order id, as the venue makes one where the client gave none."""
    return secrets.token_urlsafe(16).replace("-", "a").replace("_", "b")


def client_id(params: Params, name: str) -> str:
    """Return the client order id a call gives, or a fresh one."""
    given = params.get(name)
    if given is None:
        return fresh_client_id()
    plain = given.isascii() and all(sign.isalnum() or sign in ".:/_-" for sign in given)
    if not given or len(given) > _LONGEST_ID or not plain:
        raise PaperError(-1100, f"Illegal characters found in parameter '{name}'.")
    return given


def answer_kind(params: Params, default: str) -> str:
    """Return which answer a call wants: ACK, RESULT or FULL."""
    return params.one_of("newOrderRespType", _ANSWERS) or default


class _Leg:
    """The parameters of one leg, under their prefix."""

    def __init__(self, params: Params, prefix: str) -> None:
        self._params, self._prefix = params, prefix

    def name(self, word: str) -> str:
        return self._prefix + word[0].upper() + word[1:] if self._prefix else word

    def get(self, word: str) -> str | None:
        return self._params.get(self.name(word))

    def number(self, word: str) -> Decimal | None:
        return self._params.number(self.name(word))

    def whole(self, word: str) -> int | None:
        return self._params.whole(self.name(word))

    def need(self, word: str) -> str:
        return self._params.need(self.name(word))


def read_order(
    exchange: PaperExchange,
    seen: Seen,
    prefix: str = "",
    *,
    side: str | None = None,
    size: str | None = "quantity",
) -> Order:
    """Read one order of a call. `size` names the parameter of its quantity; None: it has none yet."""
    params, leg = seen.params, _Leg(seen.params, prefix)
    symbol = find(exchange.symbols, params.need("symbol"))
    side = side or leg.need("side")
    kind = leg.need("type")
    if side not in {"BUY", "SELL"}:
        raise PaperError(-1117, "Invalid side.")
    if kind not in _TYPES:
        raise PaperError(-1116, "Invalid orderType.")
    quantity, quote = _sizes(params, kind, prefix, size)
    price = _price(symbol, leg, side, kind)
    stop, trailing = leg.number("stopPrice"), leg.whole("trailingDelta")
    if kind in STOPS and stop is None and trailing is None:
        raise mandatory(leg.name("stopPrice"))
    if kind not in STOPS and (stop is not None or trailing is not None):
        raise not_required(leg.name("stopPrice" if stop is not None else "trailingDelta"))
    force, iceberg = _force(leg, kind), leg.number("icebergQty")
    if iceberg and (kind in {"MARKET", "STOP_LOSS", "TAKE_PROFIT"} or force != "GTC"):
        raise PaperError(-1014, "Unsupported order combination.")
    strategy, strategy_type = leg.whole("strategyId"), leg.whole("strategyType")
    if strategy_type is not None and strategy_type < _LEAST_STRATEGY:
        raise PaperError(-1134, "`strategyType` was less than 1000000.")
    prevention = params.one_of("selfTradePreventionMode", _PREVENTIONS)
    assert seen.account is not None and seen.key is not None  # noqa: S101, PT018 - signed routes have both
    return Order(
        exchange.engine.number(), seen.account.email, seen.key.key_id, symbol.name, side, kind, force,
        client_id(params, leg.name("clientOrderId") if prefix else "newClientOrderId"), seen.now_us,
        quantity or ZERO, quote or ZERO, price or ZERO, stop or ZERO, trailing or 0,
        stp=prevention or "EXPIRE_MAKER", iceberg=iceberg or ZERO, strategy_id=strategy,
        strategy_type=strategy_type, peg=leg.get("pegPriceType"), peg_level=leg.whole("pegOffsetValue"),
    )  # fmt: skip


def _sizes(params: Params, kind: str, prefix: str, size: str | None) -> tuple[Decimal | None, Decimal | None]:
    if size is None:
        if "pendingQuantity" in params:
            raise PaperError(-1225, "A pending quantity was sent when not required.")
        return None, None
    quantity, quote = params.number(size), None if prefix else params.number("quoteOrderQty")
    if quote is not None and (kind != "MARKET" or quantity is not None):
        raise not_required("quoteOrderQty")
    if quantity is None and quote is None:
        raise mandatory(size)
    return quantity, quote


def _force(leg: _Leg, kind: str) -> str:
    force = leg.get("timeInForce")
    if force is None:
        if kind in _TIMED:
            raise mandatory(leg.name("timeInForce"))
        return "GTC"
    if kind not in _TIMED:
        raise not_required(leg.name("timeInForce"))
    if force not in _FORCES:
        raise PaperError(-1115, "Invalid timeInForce.")
    return force


def _price(symbol: Symbol, leg: _Leg, side: str, kind: str) -> Decimal | None:
    price, peg = leg.number("price"), leg.get("pegPriceType")
    if kind not in PRICED:
        if peg is not None:
            raise rejected("This order type may not use pegged price.")
        if price is not None:
            raise not_required(leg.name("price"))
        return None
    offset, level = leg.get("pegOffsetType"), leg.whole("pegOffsetValue")
    if (offset is None) != (level is None):
        raise PaperError(-1128, "Combination of optional parameters invalid.")
    if peg is None:
        if price is None:
            raise mandatory(leg.name("price"))
        return price
    if peg not in _PEGS:
        raise PaperError(-1210, "Invalid pegPriceType.")
    if offset not in {None, "PRICE_LEVEL"}:
        raise PaperError(-1211, "Invalid pegOffsetType.")
    if level is not None and level > _FURTHEST_LEVEL:
        raise PaperError(-1130, f"Data sent for parameter '{leg.name('pegOffsetValue')}' is not valid.")
    if peg == "MARKET_PEG" and kind == "LIMIT_MAKER":
        raise rejected("This price peg cannot be used with this order type.")
    bids = (side == "BUY") == (peg == "PRIMARY_PEG")
    return symbol.bid(level or 0) if bids else symbol.ask(level or 0)


def order_record(order: Order) -> dict[str, object]:
    """Return an order as the record of executions has it."""
    return {
        "symbol": order.symbol,
        "side": order.side,
        "type": order.kind,
        "quantity": text(order.quantity) if order.quantity else None,
        "quote_quantity": text(order.quote_quantity) if order.quote_quantity else None,
        "price": text(order.price) if order.price else None,
        "trigger": text(order.stop_price) if order.stop_price else None,
        "order_id": order.order_id,
        "client_order_id": order.client_order_id,
    }
