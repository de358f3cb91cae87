"""Policy documents: what an operator writes, strictly read. Pure, without pydantic: gateways read them too.

Rules:
1. Unknown fields, wrong types and impossible numbers are refused, all at once, each by its dotted name.
2. Numbers of money are text or whole numbers, never floating point: 0.1 is not a tenth.
3. What is absent is denied (no symbol, no endpoint), or unlimited only where it says so (`order.rate`). The collar is
   never absent: a policy that names none has `COLLAR`.
4. Withdrawals, transfers and key administration cannot be written down at all.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, Never
from unicodedata import is_normalized

from broker import policy_text
from broker.errors import Malformed, Problem
from broker.lease import LEASE_US, US
from clients.venues.paths import is_read

VERSION = 1
COLLAR = Decimal("0.05")
"""The collar of a policy that names none."""

GROUPS = ("market", "account", "trade", "wallet-read", "margin-read", "subaccount-read", "deposit")
"""Endpoint groups that may be granted. What is in no group here can never be."""

_ENDPOINT = re.compile(r"[a-z0-9_]+(?:\.[a-z0-9_]+)+")
_SYMBOL = re.compile(r"[A-Z0-9]{2,30}")
_LONGEST_NAME = 50
_ASSET = re.compile(r"[A-Z0-9]{1,20}")
MOST_ORDERS = 10_000
"""The largest number of new orders that a rate may count."""

_LONGEST_LEASE_S = 300
_LONGEST_EXITS_S = 3600
_LONGEST_CHECKOUT_S = 7 * 24 * 3600
_LONGEST_WHY, _LONGEST_NAME = 200, 80
_MOST_PROBLEMS = 50
_MONEY = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,18})?(?:[eE]\+?[0-9]{1,2})?")


class PolicyMode(StrEnum):
    """Whether a policy refuses, or only says what it would have refused."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


@dataclass(frozen=True, slots=True)
class Symbols:
    """Which pairs: those listed, or all that trade in one of `quotes`, but never those of `but`."""

    listed: frozenset[str] = frozenset()
    quotes: frozenset[str] = frozenset()
    but: frozenset[str] = frozenset()

    def covers(self, symbol: str, quote: str) -> bool:
        """Tell whether a pair with that quote asset is one of them."""
        return symbol not in self.but and (symbol in self.listed or quote in self.quotes)


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `orders` new orders in any `seconds`."""

    orders: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy as judged. Money is in units of `reference_asset`; `collar` is a fraction (0.05 is 5 %)."""

    allow: frozenset[str]
    symbols: Symbols
    reference_asset: str = "USDT"
    mode: PolicyMode = PolicyMode.ENFORCE
    order_max: Decimal | None = None
    collar: Decimal | None = COLLAR
    market_orders: bool = True
    rate: Rate | None = None
    day_max: Decimal | None = None
    extra_reads: frozenset[str] = frozenset()
    account_owner: bool = False
    lease_us: int = LEASE_US
    exits_after_end_us: int = 0
    checkout_us: int = 0
    account_day_max: Decimal | None = None
    consumer_day_max: Decimal | None = None
    text: str = field(default="", repr=False, compare=False)


def load(text: str) -> Policy:
    """Read a policy from TOML or JSON text.

    Raises:
        Malformed: With every problem found, by field.
    """
    try:
        document = policy_text.document_of(text)
    except ValueError as fault:
        _refuse(
            [Problem("policy", f"is neither TOML nor JSON that can be used: {str(fault)[:_LONGEST_WHY]}")]
        )
    return parse(document)


def parse(document: object) -> Policy:
    """Read a policy from a parsed document.

    Raises:
        Malformed: With every problem found, by field.
    """
    reader = _Reader()
    root = reader.table(
        document,
        "",
        {
            "version",
            "mode",
            "allow",
            "symbols",
            "reference_asset",
            "order",
            "day",
            "account",
            "consumer",
            "extra_reads",
            "account_owner",
            "lease",
            "checkout",
        },
    )
    if root.get("version", VERSION) != VERSION or isinstance(root.get("version"), bool):
        reader.wrong("version", f"is {VERSION} in this release")
    order = reader.table(root.get("order", {}), "order", {"max_notional", "collar_percent", "market", "rate"})
    day = reader.table(root.get("day", {}), "day", {"max_notional"})
    account_day, consumer_day = (
        reader.table(
            reader.table(root.get(name, {}), name, {"day"}).get("day", {}), f"{name}.day", {"max_notional"}
        )
        for name in ("account", "consumer")
    )
    lease = reader.table(root.get("lease", {}), "lease", {"seconds", "exits_after_end_seconds"})
    checkout = reader.table(root.get("checkout", {}), "checkout", {"max_seconds"})
    order_max = reader.money(order, "order.max_notional")
    day_max = reader.money(day, "day.max_notional")
    collar = reader.money(order, "order.collar_percent")
    if collar is not None and collar >= 100:  # noqa: PLR2004 - per cent
        reader.wrong("order.collar_percent", "is below 100; write 5 for five per cent")
    if order_max is not None and day_max is not None and day_max < order_max:
        reader.wrong("day.max_notional", "is below order.max_notional: no order could ever use the latter")
    mode = root.get("mode", "enforce")
    if mode not in {"enforce", "observe"}:
        reader.wrong("mode", "is enforce or observe")
        mode = "enforce"
    allow = reader.names(
        root,
        "allow",
        lambda name: name in GROUPS or _ENDPOINT.fullmatch(name) is not None,
        f"lists groups ({', '.join(GROUPS)}) or endpoints, as in spot.order.place",
    )
    if "allow" not in root:
        reader.wrong("allow", f"is missing: list what the bot may call, from {', '.join(GROUPS)}")
    symbols = _symbols(reader, root.get("symbols", []))
    if ("trade" in allow or any(".order" in name for name in allow)) and symbols == Symbols():
        reader.wrong(
            "symbols", 'is empty: list pairs, as in ["BTCUSDT"], or a rule, as in {quote = ["USDT"]}'
        )
    policy = Policy(
        allow,
        symbols,
        reader.one(root, "reference_asset", _ASSET, "USDT", "is an asset, as in USDT"),
        PolicyMode(mode),
        order_max,
        COLLAR if collar is None else collar / 100,
        reader.flag(order, "order.market", default=True),
        _rate(reader, order.get("rate")),
        day_max,
        reader.names(
            root,
            "extra_reads",
            is_read,
            "lists paths to read by GET, each in its one spelling, as in /sapi/v1/asset/tradeFee; none that writes",
        ),
        reader.flag(root, "account_owner", default=False),
        US * reader.count(lease, "lease.seconds", LEASE_US // US, 2, _LONGEST_LEASE_S),
        US * reader.count(lease, "lease.exits_after_end_seconds", 0, 0, _LONGEST_EXITS_S),
        US * reader.count(checkout, "checkout.max_seconds", 0, 0, _LONGEST_CHECKOUT_S),
        reader.money(account_day, "account.day.max_notional"),
        reader.money(consumer_day, "consumer.day.max_notional"),
        "" if reader.problems else json.dumps(document, sort_keys=True, separators=(",", ":")),
    )
    if reader.problems:
        _refuse(reader.problems)
    return policy


def _refuse(problems: list[Problem]) -> Never:
    raise Malformed("bad_policy", tuple(problems)) from None


def _symbols(reader: "_Reader", value: object) -> Symbols:
    if isinstance(value, list):
        return Symbols(
            reader.texts(value, "symbols", _is_symbol, "lists pairs in the venue's spelling: BTCUSDT")
        )
    rule = reader.table(value, "symbols", {"quote", "but", "list"})
    return Symbols(
        reader.texts(rule.get("list", []), "symbols.list", _is_symbol, "lists pairs, as in BTCUSDT"),
        reader.texts(rule.get("quote", []), "symbols.quote", _is_asset, "lists assets, as in USDT"),
        reader.texts(rule.get("but", []), "symbols.but", _is_symbol, "lists pairs, as in BTCUSDT"),
    )


def _is_symbol(name: str) -> bool:
    return _SYMBOL.fullmatch(name) is not None or _is_foreign(name)


def _is_asset(name: str) -> bool:
    return _ASSET.fullmatch(name) is not None or _is_foreign(name)


def _is_foreign(name: str) -> bool:
    """Tell whether a name is of letters and digits of another script, in the one spelling it has."""
    return (
        not name.isascii()
        and len(name) <= _LONGEST_NAME
        and name.isalnum()
        and name == name.upper()
        and is_normalized("NFC", name)
    )


def _rate(reader: "_Reader", value: object) -> Rate | None:
    if value is None:
        return None
    table = reader.table(value, "order.rate", {"orders", "seconds"})
    if "orders" not in table:
        reader.wrong("order.rate.orders", "is missing: how many new orders in that time")
    orders = reader.count(table, "order.rate.orders", 1, 1, MOST_ORDERS)
    return Rate(orders, reader.count(table, "order.rate.seconds", 1, 1, 86_400))


class _Reader:
    """Reads fields and gathers every problem, so that an operator mends them in one go."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def wrong(self, name: str, message: str) -> None:
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(Problem(name[:_LONGEST_NAME] or "policy", message))

    def table(self, value: object, name: str, known: set[str]) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            self.wrong(name, "is a table of fields")
            return {}
        for key in value:
            if key not in known:
                self.wrong(
                    f"{name}.{key}" if name else str(key),
                    f"is not known; known are {', '.join(sorted(known))}",
                )
        return value

    def money(self, table: Mapping[str, Any], name: str) -> Decimal | None:
        value = table.get(name.rpartition(".")[2])
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            self.wrong(name, 'is a number in quotes, as in "1000.50"')
            return None
        if isinstance(value, str) and not _MONEY.fullmatch(value):
            self.wrong(name, 'is digits in quotes, at most 18 after the dot, as in "1000.50"')
            return None
        number = Decimal(value)
        if not 0 < number < Decimal("1e15"):
            self.wrong(name, "is above zero and below 1e15")
            return None
        return number

    def count(self, table: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
        value = table.get(name.rpartition(".")[2], default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.wrong(name, f"is a whole number from {least} to {most}")
            return default
        return value

    def flag(self, table: Mapping[str, Any], name: str, *, default: bool) -> bool:
        value = table.get(name.rpartition(".")[2], default)
        if not isinstance(value, bool):
            self.wrong(name, "is true or false")
            return default
        return value

    def one(
        self, table: Mapping[str, Any], name: str, shape: re.Pattern[str], default: str, message: str
    ) -> str:
        value = table.get(name, default)
        if not isinstance(value, str) or not shape.fullmatch(value):
            self.wrong(name, message)
            return default
        return value

    def names(
        self, table: Mapping[str, Any], name: str, fits: Callable[[str], bool], message: str
    ) -> frozenset[str]:
        return self.texts(table.get(name, []), name, fits, message)

    def texts(self, value: object, name: str, fits: Callable[[str], bool], message: str) -> frozenset[str]:
        if not isinstance(value, list):
            self.wrong(name, message)
            return frozenset()
        for entry in value:
            if not isinstance(entry, str) or not fits(entry):
                self.wrong(name, f"{message}; {str(entry)[:40]!r} does not fit")
                return frozenset()
        return frozenset(value)
