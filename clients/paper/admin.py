"""The admin API of the paper exchange, `/paper/*`: for tests, drills and demos. JSON in, JSON out, bearer token.

Rules:
1. Whoever has the token may do everything here; compared in constant time, asked for on every call.
2. Bad input is a 400 that names the field; nothing was changed then.
3. No answer holds a secret, but the one that makes an HMAC key.
"""

import hmac
import json
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import parse_qsl

from clients.paper import faults
from clients.paper.exchange import MASTER, Answer, PaperExchange
from clients.paper.ledger import PaperKey
from clients.paper.orders import Order
from clients.paper.reading import Call
from clients.paper.spot_form import fresh_client_id, order_record
from clients.paper.switches import checked
from clients.paper.symbols import text
from clients.secret import Secret
from clients.venue import KeyType

_FLAG_NAMES = {
    "reading": "enableReading",
    "spot": "enableSpotAndMarginTrading",
    "withdraw": "enableWithdrawals",
    "transfer": "permitsUniversalTransfer",
    "internal_transfer": "enableInternalTransfer",
    "margin": "enableMargin",
    "futures": "enableFutures",
}


class BadInput(Exception):
    """An admin call that cannot be carried out: the field, and what it must be."""

    def __init__(self, field: str, message: str, status: int = 400) -> None:
        super().__init__(f"{field}: {message}")
        self.field, self.message, self.status = field, message, status


class Admin:
    """Answers admin calls on one exchange."""

    def __init__(self, exchange: PaperExchange, token: Secret, playing: list[faults.Fault]) -> None:
        self._exchange, self._token, self._faults = exchange, token, playing
        self._routes: dict[tuple[str, str], Callable[[dict[str, Any]], object]] = {
            ("GET", "state"): self._state, ("GET", "accounts"): self._accounts,
            ("POST", "accounts"): self._open_account, ("GET", "keys"): self._keys,
            ("POST", "keys"): self._make_key, ("GET", "executed"): self._executed,
            ("GET", "requests"): self._requests, ("POST", "price"): self._price,
            ("POST", "depth"): self._depth, ("POST", "balances"): self._balances,
            ("POST", "deposit"): self._deposit, ("GET", "faults"): self._show_faults,
            ("POST", "faults"): self._add_faults, ("DELETE", "faults"): self._drop_faults,
            ("POST", "orders/foreign"): self._foreign, ("POST", "expire"): self._expire,
            ("GET", "switches"): self._switches, ("PUT", "switches"): self._set_switches,
            ("POST", "clock"): self._clock, ("POST", "limits"): self._limits,
        }  # fmt: skip

    def answer(self, call: Call) -> Answer:
        """Answer one admin call."""
        given = call.headers.get(b"authorization", b"")
        if not hmac.compare_digest(given, f"Bearer {self._token.reveal()}".encode()):
            return Answer(401, {"error": "the admin token is missing or wrong"})
        path = call.path.removeprefix("/paper/")
        try:
            values: dict[str, Any] = dict(parse_qsl(call.query.decode("ascii", "replace")))
            if call.body:
                values |= _document(call.body)
            if path.startswith("keys/"):
                return Answer(200, self._one_key(call.method, path.removeprefix("keys/"), values))
            route = self._routes.get((call.method, path))
            if route is None:
                raise BadInput("path", "is no admin call; see docs/paper.md", 404)  # noqa: TRY301
            return Answer(200, route(values))
        except BadInput as fault:
            return Answer(fault.status, {"error": str(fault), "field": fault.field})

    # --- accounts and keys ----------------------------------------------------------------

    def _state(self, values: dict[str, Any]) -> object:
        del values
        exchange = self._exchange
        return {
            "now_us": exchange.now_us(),
            "prices": {name: text(symbol.price) for name, symbol in exchange.symbols.items()},
            "accounts": self._accounts({}),
            "keys": self._keys({}),
            "open_orders": [order.shown() for order in exchange.engine.orders.values() if order.open],
            "executed": len(exchange.executed),
        }

    def _accounts(self, values: dict[str, Any]) -> object:
        del values
        return [
            {
                "email": one.email, "uid": one.uid, "master": one.master,
                "balances": {
                    asset: {"free": text(held.free), "locked": text(held.locked)}
                    for asset, held in sorted(one.balances.items())
                },
            }
            for one in self._exchange.accounts.values()
        ]  # fmt: skip

    def _open_account(self, values: dict[str, Any]) -> object:
        email = _text(values, "email")
        if email in self._exchange.accounts:
            raise BadInput("email", "is taken", 409)
        account = self._exchange.open_account(email, _amounts(values.get("balances", {})))
        return {"email": account.email, "uid": account.uid}

    def _keys(self, values: dict[str, Any]) -> object:
        del values
        return [_key(key) for key in self._exchange.keys.values()]

    def _make_key(self, values: dict[str, Any]) -> object:
        account = values.get("account", MASTER)
        if account not in self._exchange.accounts:
            raise BadInput("account", "is not known; GET /paper/accounts lists them", 404)
        try:
            kind = KeyType(values.get("key_type", "hmac"))
        except ValueError:
            raise BadInput("key_type", "is hmac, rsa or ed25519") from None
        public_key = values.get("public_key")
        if (kind is KeyType.HMAC) == (public_key is not None):
            raise BadInput("public_key", "comes with rsa and ed25519, and only with them")
        key = self._exchange.make_key(
            account, kind, _flags(values.get("flags", {})), ips=_addresses(values.get("ips", [])),
            label=str(values.get("label", "")), public_key=public_key,
        )  # fmt: skip
        return _key(key) | ({"secret": key.secret.reveal()} if key.secret is not None else {})

    def _one_key(self, method: str, key_id: str, values: dict[str, Any]) -> object:
        key = self._exchange.keys.get(key_id)
        if key is None:
            raise BadInput("key_id", "is not known", 404)
        if method == "DELETE":
            key.deleted = True
        elif method == "PATCH":
            key.flags |= _flags(values.get("flags", {}))
            if "ips" in values:
                key.ips = _addresses(values["ips"])
            if "deleted" in values:
                key.deleted = bool(values["deleted"])
        elif method != "GET":
            raise BadInput("method", "is GET, PATCH or DELETE", 405)
        self._exchange.changed = True
        return _key(key)

    # --- what happened --------------------------------------------------------------------

    def _executed(self, values: dict[str, Any]) -> object:
        since = _whole(values, "since", 0)
        return {"next": len(self._exchange.executed), "executed": self._exchange.executed[since:]}

    def _requests(self, values: dict[str, Any]) -> object:
        since = _whole(values, "since", 0)
        rows = [row for row in self._exchange.requests if int(str(row["seq"])) > since]
        return {"next": self._exchange.request_seq, "requests": rows}

    # --- the market -----------------------------------------------------------------------

    def _price(self, values: dict[str, Any]) -> object:
        symbol = self._exchange.symbols.get(_text(values, "symbol"))
        if symbol is None:
            raise BadInput("symbol", "is not a pair of this exchange", 404)
        self._exchange.engine.set_price(symbol, _amount(values, "price"), self._exchange.now_us())
        self._exchange.changed = True
        return {"symbol": symbol.name, "price": text(symbol.price)}

    def _depth(self, values: dict[str, Any]) -> object:
        symbol = self._exchange.symbols.get(_text(values, "symbol"))
        if symbol is None:
            raise BadInput("symbol", "is not a pair of this exchange", 404)
        symbol.depth = _amount(values, "quote")
        return {"symbol": symbol.name, "quote": text(symbol.depth)}

    def _balances(self, values: dict[str, Any]) -> object:
        account = self._account(values)
        for asset, amount in _amounts(values.get("balances", {})).items():
            account.balance(asset).free = amount
        self._exchange.changed = True
        return {"email": account.email}

    def _deposit(self, values: dict[str, Any]) -> object:
        account, asset = self._account(values), _text(values, "asset")
        account.balance(asset).free += _amount(values, "amount")
        self._exchange.changed = True
        return {"asset": asset, "free": text(account.balance(asset).free)}

    def _account(self, values: dict[str, Any]) -> Any:
        found = self._exchange.accounts.get(_text(values, "account"))
        if found is None:
            raise BadInput("account", "is not known; GET /paper/accounts lists them", 404)
        return found

    def _foreign(self, values: dict[str, Any]) -> object:
        """Place an order on an account without any key of ours: a thief's, or a hand trade."""
        exchange, account = self._exchange, self._account(values)
        symbol = exchange.symbols.get(_text(values, "symbol"))
        if symbol is None:
            raise BadInput("symbol", "is not a pair of this exchange", 404)
        price = _amount(values, "price") if "price" in values else Decimal(0)
        order = Order(
            exchange.engine.number(), account.email, "", symbol.name, str(values.get("side", "BUY")),
            "LIMIT" if price else "MARKET", "GTC", str(values.get("client_order_id") or fresh_client_id()),
            exchange.now_us(), quantity=_amount(values, "quantity"), price=price,
        )  # fmt: skip
        exchange.engine.place(order, exchange.now_us())
        exchange.executed.append(
            {"seq": len(exchange.executed) + 1, "at_us": exchange.now_us(), "key_id": None,
             "account": account.email, "peer": None, "endpoint": "foreign", "action": "place", "params": {},
             "order": order_record(order), "effect": {"status": order.status}}
        )  # fmt: skip
        exchange.changed = True
        return order.shown()

    def _expire(self, values: dict[str, Any]) -> object:
        order = self._exchange.engine.orders.get(_whole(values, "order_id", 0))
        if order is None:
            raise BadInput("order_id", "is not known", 404)
        self._exchange.engine.expire(order, self._exchange.now_us())
        self._exchange.changed = True
        return order.shown()

    # --- misbehaviour ---------------------------------------------------------------------

    def _show_faults(self, values: dict[str, Any]) -> object:
        del values
        return [fault.shown() for fault in self._faults]

    def _add_faults(self, values: dict[str, Any]) -> object:
        try:
            found = [faults.parse(row) for row in values.get("faults", [values])]
        except ValueError as fault:
            raise BadInput("faults", str(fault)) from None
        self._faults.extend(found)
        return self._show_faults({})

    def _drop_faults(self, values: dict[str, Any]) -> object:
        del values
        self._faults.clear()
        return []

    def _switches(self, values: dict[str, Any]) -> object:
        del values
        return dict(self._exchange.switches)

    def _set_switches(self, values: dict[str, Any]) -> object:
        for name, value in values.items():
            try:
                checked(name, value)
            except ValueError as fault:
                raise BadInput(name, str(fault)) from None
        self._exchange.switches |= values
        self._exchange.changed = True
        return dict(self._exchange.switches)

    def _clock(self, values: dict[str, Any]) -> object:
        self._exchange.offset_us = _whole(values, "offset_us", 0)
        return {"offset_us": self._exchange.offset_us}

    def _limits(self, values: dict[str, Any]) -> object:
        limits = self._exchange.limits
        limits.api_weight = _whole(values, "api_weight", limits.api_weight)
        limits.orders_10s = _whole(values, "orders_10s", limits.orders_10s)
        return {"api_weight": limits.api_weight, "orders_10s": limits.orders_10s}


def _document(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        raise BadInput("body", "is not JSON") from None
    if not isinstance(found, dict):
        raise BadInput("body", "is an object")
    return found


def _text(values: dict[str, Any], name: str) -> str:
    value = values.get(name)
    if not isinstance(value, str) or not value:
        raise BadInput(name, "is missing")
    return value


def _whole(values: dict[str, Any], name: str, default: int) -> int:
    try:
        return int(values.get(name, default))
    except (TypeError, ValueError):
        raise BadInput(name, "is a whole number") from None


def _amount(values: dict[str, Any], name: str) -> Decimal:
    try:
        amount = Decimal(str(values[name]))
    except (KeyError, InvalidOperation):
        raise BadInput(name, "is a number in quotes") from None
    if not amount.is_finite() or amount < 0:
        raise BadInput(name, "is at or above zero")
    return amount


def _amounts(values: object) -> dict[str, Decimal]:
    if not isinstance(values, dict):
        raise BadInput("balances", "is an object of asset and amount")
    return {asset: _amount(values, asset) for asset in values}


def _addresses(values: object) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise BadInput("ips", "is a list of addresses")
    return tuple(values)


def _flags(values: object) -> dict[str, bool]:
    if not isinstance(values, dict):
        raise BadInput("flags", f"is an object; known are {', '.join(_FLAG_NAMES)}")
    for name in values:
        if name not in _FLAG_NAMES:
            raise BadInput(f"flags.{name}", f"is not known; known are {', '.join(_FLAG_NAMES)}")
    return {_FLAG_NAMES[name]: bool(value) for name, value in values.items()}


def _key(key: PaperKey) -> dict[str, object]:
    return {
        "key_id": key.key_id, "account": key.account, "key_type": key.key_type.value, "label": key.label,
        "flags": {short: key.may(long) for short, long in _FLAG_NAMES.items()}, "ips": list(key.ips),
        "deleted": key.deleted,
    }  # fmt: skip
