"""The paper exchange's state as JSON: what a second start goes on from. Faults and counters are not kept.

The file holds secrets of paper keys, so it is readable by its owner only; it is replaced whole, never edited.
"""

import json
import os
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

from clients.paper.exchange import PaperExchange
from clients.paper.ledger import Account, Balance, PaperKey
from clients.paper.orders import Fill, Order, OrderList
from clients.secret import Secret
from clients.venue import KeyType

VERSION = 1
_ORDER_NUMBERS = ("quantity", "quote_quantity", "price", "stop_price", "best", "executed", "executed_quote",
                  "locked", "iceberg")  # fmt: skip
_FILL_NUMBERS = ("price", "quantity", "commission")


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not saved")


def dump(exchange: PaperExchange) -> str:
    """Write the state down."""
    engine = exchange.engine
    document = {
        "version": VERSION,
        "last_number": engine.last_number,
        "prices": {name: symbol.price for name, symbol in exchange.symbols.items()},
        "accounts": [asdict(account) for account in exchange.accounts.values()],
        "keys": [
            {
                "key_id": key.key_id, "account": key.account, "key_type": key.key_type.value,
                "flags": key.flags, "ips": key.ips, "label": key.label, "created_us": key.created_us,
                "secret": None if key.secret is None else key.secret.reveal(), "public_key": key.public_key,
                "deleted": key.deleted, "deleted_us": key.deleted_us,
            }
            for key in exchange.keys.values()
        ],
        "orders": [asdict(order) for order in engine.orders.values()],
        "lists": [asdict(one) for one in engine.lists.values()],
        "executed": exchange.executed,
        "switches": exchange.switches,
        "depths": {name: symbol.depth for name, symbol in exchange.symbols.items()},
        "offset_us": exchange.offset_us,
    }  # fmt: skip
    return json.dumps(document, default=_plain, separators=(",", ":"))


def load(exchange: PaperExchange, text: str) -> None:
    """Put a saved state into a fresh exchange.

    Raises:
        ValueError: The text is not a state of this version.
    """
    document: dict[str, Any] = json.loads(text)
    if document.get("version") != VERSION:
        raise ValueError("the paper exchange's state file is of another version; move it away to start anew")
    engine = exchange.engine
    for name, price in document["prices"].items():
        exchange.symbols[name].price = Decimal(price)
    exchange.accounts.clear()
    for row in document["accounts"]:
        balances = {
            asset: Balance(Decimal(held["free"]), Decimal(held["locked"]))
            for asset, held in row.pop("balances").items()
        }
        wallets = {
            name: {asset: Decimal(amount) for asset, amount in held.items()}
            for name, held in row.pop("wallets", {}).items()
        }
        exchange.accounts[row["email"]] = Account(**row, balances=balances, wallets=wallets)
    exchange.keys.clear()
    for row in document["keys"]:
        row["key_type"] = KeyType(row["key_type"])
        row["ips"] = tuple(row["ips"])
        row["secret"] = None if row["secret"] is None else Secret(row["secret"])
        exchange.keys[row["key_id"]] = PaperKey(**row)
    for row in document["orders"]:
        fills = [Fill(**_decimals(fill, _FILL_NUMBERS)) for fill in row.pop("fills")]
        order = Order(**_decimals(row, _ORDER_NUMBERS), fills=fills)
        engine.orders[order.order_id] = order
        engine.by_client[(order.account, order.symbol, order.client_order_id)] = order.order_id
        if order.open:
            engine.open_ids.setdefault(order.symbol, set()).add(order.order_id)
    for row in document["lists"]:
        engine.lists[row["list_id"]] = OrderList(**_decimals(row, ("held",)))
    engine.start_numbers_after(document["last_number"])
    exchange.executed = document["executed"]
    known = {name: value for name, value in document.get("switches", {}).items() if name in exchange.switches}
    exchange.switches |= known
    for name, depth in document.get("depths", {}).items():
        exchange.symbols[name].depth = Decimal(depth)
    exchange.offset_us = document.get("offset_us", 0)


def _decimals(row: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return row | {name: Decimal(row[name]) for name in names if name in row}


def save(exchange: PaperExchange, path: Path) -> None:
    """Replace the state file."""
    fresh = path.with_suffix(".new")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.write(dump(exchange))
    fresh.replace(path)
    exchange.changed = False
