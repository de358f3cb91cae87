"""Policies in words, and the differences between two. Pure; nothing here judges a request."""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Literal

from broker.lease import US
from broker.policy_document import Policy, PolicyMode, Symbols
from broker.policy_sizes import collar_of

Effect = Literal["narrows", "widens", "changes"]
_HUNDRED = 100


def meaning(policy: Policy) -> list[str]:
    """Say what a policy lets a bot do, a line for each rule."""
    lines = []
    if policy.mode is PolicyMode.OBSERVE:
        lines.append(
            "OBSERVE: nothing below is refused to this grant, only written down (withdrawals are refused all the same)"
        )
    lines.append(f"may call: {_names(policy.allow)}")
    lines.append(f"pairs: {_symbols(policy.symbols)}")
    lines.append(f"an order: {_money(policy.order_max, policy)}")
    lines.append(f"any 24 hours: {_money(policy.day_max, policy)}")
    others = "; grants beside it that enforce are refused by it" if policy.mode is PolicyMode.OBSERVE else ""
    for whose, limit in (
        ("on its account", policy.account_day_max),
        ("of its consumer", policy.consumer_day_max),
    ):
        if limit is not None:
            lines.append(f"any 24 hours, all grants {whose} together: {_money(limit, policy)}{others}")
    lines.append(f"price: {_collar(policy)}")
    lines.append("market orders: " + ("allowed" if policy.market_orders else "refused"))
    if policy.rate is not None:
        lines.append(f"at most {policy.rate.orders} new orders in {policy.rate.seconds} s")
    if policy.extra_reads:
        lines.append(f"also reads: {_names(policy.extra_reads)}")
    if policy.account_owner:
        lines.append("speaks for the whole account: others' orders, cancel-all, account settings")
    lines.append(f"a partition survives {policy.lease_us // US} s, a cut may take as long through one")
    if policy.exits_after_end_us:
        lines.append(f"cancels and exits pass {policy.exits_after_end_us // US} s longer than that")
    if policy.checkout_us:
        lines.append(
            f"its real key may be handed out for {policy.checkout_us // US} s, past gateway and policy"
        )
    lines.append("withdrawals, transfers out and key administration: never")
    return lines


def differences(old: Policy, new: Policy) -> list[tuple[str, str, str, Effect]]:
    """Return what differs: field, old, new, and whether it narrows or widens."""
    found = []
    for name, read, said in _FIELDS:
        before, after = read(old), read(new)
        if before != after:
            found.append((name, said(old), said(new), _effect(name, before, after)))
    return found


def _effect(name: str, before: object, after: object) -> Effect:
    if isinstance(before, frozenset) and isinstance(after, frozenset):
        grows, shrinks = before < after, after < before
        if name == "symbols.but":
            grows, shrinks = shrinks, grows
        return "widens" if grows else "narrows" if shrinks else "changes"
    if isinstance(before, bool) and isinstance(after, bool):
        return "widens" if after else "narrows"
    if name in _CAPS:
        if after is None:
            return "widens"
        if before is None:
            return "narrows"
        if isinstance(before, (int, Decimal)) and isinstance(after, (int, Decimal)):
            return "widens" if after > before else "narrows"
    if name == "mode":
        return "widens" if after is PolicyMode.OBSERVE else "narrows"
    return "changes"


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _symbols(symbols: Symbols) -> str:
    parts = []
    if symbols.listed:
        parts.append(_names(symbols.listed))
    if symbols.quotes:
        parts.append(f"all that trade in {_names(symbols.quotes)}")
    if symbols.but:
        parts.append(f"never {_names(symbols.but)}")
    return "; ".join(parts) or "none"


def _money(amount: Decimal | None, policy: Policy) -> str:
    return "no limit" if amount is None else f"at most {amount:,f} {policy.reference_asset}"


def _collar(policy: Policy) -> str:
    return f"within {(collar_of(policy) * _HUNDRED).normalize():f} % of the market"


_CAPS = frozenset({"order.max_notional", "order.collar_percent", "day.max_notional", "account.day.max_notional",
                   "consumer.day.max_notional", "lease.seconds",
                   "lease.exits_after_end_seconds", "checkout.max_seconds"})  # fmt: skip
_FIELDS: tuple[tuple[str, Callable[[Policy], object], Callable[[Policy], str]], ...] = (
    ("mode", lambda p: p.mode, lambda p: p.mode.value),
    ("allow", lambda p: p.allow, lambda p: _names(p.allow)),
    ("symbols.list", lambda p: p.symbols.listed, lambda p: _names(p.symbols.listed)),
    ("symbols.quote", lambda p: p.symbols.quotes, lambda p: _names(p.symbols.quotes)),
    ("symbols.but", lambda p: p.symbols.but, lambda p: _names(p.symbols.but)),
    ("reference_asset", lambda p: p.reference_asset, lambda p: p.reference_asset),
    ("order.max_notional", lambda p: p.order_max, lambda p: _money(p.order_max, p)),
    ("order.collar_percent", lambda p: p.collar, _collar),
    ("order.market", lambda p: p.market_orders, lambda p: "allowed" if p.market_orders else "refused"),
    (
        "order.rate",
        lambda p: p.rate,
        lambda p: "no limit" if p.rate is None else f"{p.rate.orders} in {p.rate.seconds} s",
    ),
    ("day.max_notional", lambda p: p.day_max, lambda p: _money(p.day_max, p)),
    ("account.day.max_notional", lambda p: p.account_day_max, lambda p: _money(p.account_day_max, p)),
    ("consumer.day.max_notional", lambda p: p.consumer_day_max, lambda p: _money(p.consumer_day_max, p)),
    ("extra_reads", lambda p: p.extra_reads, lambda p: _names(p.extra_reads)),
    ("account_owner", lambda p: p.account_owner, lambda p: "yes" if p.account_owner else "no"),
    ("lease.seconds", lambda p: p.lease_us, lambda p: f"{p.lease_us // US} s"),
    (
        "lease.exits_after_end_seconds",
        lambda p: p.exits_after_end_us,
        lambda p: f"{p.exits_after_end_us // US} s",
    ),
    ("checkout.max_seconds", lambda p: p.checkout_us, lambda p: f"{p.checkout_us // US} s"),
)
