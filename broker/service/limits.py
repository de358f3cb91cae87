"""The rolling limits a grant stands under: its own, and those of its account and consumer.

Rules:
1. `[account.day]` in the policy of any living grant binds every grant on that account, `[consumer.day]` every grant of
   that consumer; of several the strictest.
2. A grant's own limit counts what revoked grants of the same consumer on the same account used, too: revoking one and
   making another opens no fresh window.
3. Usage counts from when it was first limited: what nobody limited was not counted.
"""

from collections.abc import Iterator
from functools import lru_cache

from broker import policy_document
from broker.budget import Limit, Rules
from broker.db import Connection
from broker.db import grants as store
from broker.model import Grant
from broker.policy_document import Policy, PolicyMode
from broker.service import rights

_KEPT = 256


@lru_cache(maxsize=_KEPT)
def _loaded(text: str) -> Policy:
    return policy_document.load(text)


def rules_of(connection: Connection, grant: Grant) -> Rules:
    """Return the limits of a grant as they are on record now."""
    on_account = store.grants(connection, account=grant.account)
    of_consumer = store.grants(connection, consumer=grant.consumer)
    policy = _loaded(grant.policy)
    limits = []
    if policy.day_max is not None:
        revoked = [
            one.id for one in on_account if one.consumer == grant.consumer and one.revoked_at is not None
        ]
        limits.append(Limit(policy.day_max, policy.reference_asset, frozenset([grant.id, *revoked])))
    limits += [
        Limit(policy.account_day_max, policy.reference_asset, account=grant.account)
        for policy in _living(on_account)
        if policy.account_day_max is not None
    ]
    limits += [
        Limit(policy.consumer_day_max, policy.reference_asset, consumer=grant.consumer)
        for policy in _living(of_consumer)
        if policy.consumer_day_max is not None
    ]
    concerned = {one.id: one for one in (*on_account, *of_consumer)}.values()
    number = sum(one.policy_version + (one.revoked_at is not None) for one in concerned)
    return Rules(number, policy.reference_asset, policy.order_max, tuple(limits))


def _living(grants: list[Grant]) -> list[Policy]:
    return [_loaded(one.policy) for one in grants if one.revoked_at is None]


def beside(connection: Connection, grant: Grant) -> tuple[str, ...]:
    """Say what whoever makes a grant or changes its policy should know of the grants beside it."""
    policy = _loaded(grant.policy)
    said = [
        f"consumer {grant.consumer!r} has grant {one.id} on account {grant.account!r} for the same pairs already: "
        "each has its own limits, and together they may use both. Revoke one, or set [account.day] or [consumer.day], "
        "which bind them together"
        for one in store.grants(connection, account=grant.account, consumer=grant.consumer)
        if one.revoked_at is None and one.id != grant.id and _overlap(policy, _loaded(one.policy))
    ]
    rules = rules_of(connection, grant)
    shared = [limit for limit in rules.limits if limit.shared]
    if shared and policy.mode is PolicyMode.OBSERVE:
        names = " and ".join(
            sorted(
                {
                    f"account {one.account!r}" if one.account else f"consumer {one.consumer!r}"
                    for one in shared
                }
            )
        )
        said.append(
            f"this grant only observes: what the limit of {names} would refuse is written down as what its own would, "
            "and passes; what passes within it counts, and grants beside it that enforce are refused once it is used up"
        )
    others = sorted({limit.asset for limit in rules.limits} - {rules.asset})
    if others:
        said.append(
            f"this policy counts in {rules.asset}, a limit of its account or consumer in {', '.join(others)}: "
            "no budget is lent until both count in the same asset"
        )
    return (*said, *rights.beside(connection, grant))


def mismatched(connection: Connection) -> Iterator[tuple[Grant, bool, str]]:
    """Yield the living grants that nothing is lent to, because a limit of several counts in another asset.

    Each with whether it only observes, and what is wrong.
    """
    living = [(one, _loaded(one.policy)) for one in store.grants(connection) if one.revoked_at is None]
    assets: dict[tuple[str, str], set[str]] = {}
    for one, policy in living:
        if policy.account_day_max is not None:
            assets.setdefault(("account", one.account), set()).add(policy.reference_asset)
        if policy.consumer_day_max is not None:
            assets.setdefault(("consumer", one.consumer), set()).add(policy.reference_asset)
    for one, policy in living:
        limits = assets.get(("account", one.account), set()) | assets.get(("consumer", one.consumer), set())
        if others := limits - {policy.reference_asset}:
            named = ", ".join(sorted(others))
            why = f"its policy counts in {policy.reference_asset}, a limit of its account or consumer in {named}"
            yield one, policy.mode is PolicyMode.OBSERVE, why


def _overlap(one: Policy, other: Policy) -> bool:
    """Tell whether two policies list a pair in common. In doubt they do."""
    if one.symbols.quotes or other.symbols.quotes:
        shared = not one.symbols.quotes.isdisjoint(other.symbols.quotes)
        return shared or bool(one.symbols.listed or other.symbols.listed)
    return not one.symbols.listed.isdisjoint(other.symbols.listed)
