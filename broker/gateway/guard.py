"""The gateway's judgement of one request: facts gathered, policy asked. Synchronous, changes nothing.

A verdict is made of what is known now; what is missing is named, so that the caller may wait for it. A no that rests on
a fact which could not be had is told as that: the policy did not refuse, we could not ask.
"""

from decimal import Decimal
from typing import NamedTuple

from broker.gate import Mode
from broker.gateway.book import Held
from broker.gateway.job import Failure, Job
from broker.gateway.limits import Pause
from broker.gateway.owners import Owners
from broker.gateway.whose import known_owner, last_word
from broker.policy import Allow, Deny, Facts, Stake, evaluate, settle
from clients.venue import Action, Intent

ZERO = Decimal(0)


class Unanswered(NamedTuple):
    """No verdict: a fact that it needs could not be had. `reason` is short and stable, `pause` the venue's."""

    reason: str
    pause: Pause | None = None


def facts_for(
    held: Held, job: Job, intent: Intent, mode: Mode, owners: Owners, boot_us: int, *, final: bool = False
) -> Facts:
    """Gather what is known for one judgement."""
    owner = None
    if intent.target is not None and not intent.target.all_open and intent.action is not Action.READ:
        owner = job.owner or known_owner(held, intent, owners)
        if owner is None and (final or "owner" in job.failed):
            owner = last_word(held, intent)
    if intent.action is not Action.PLACE:
        return Facts(halted=mode is Mode.HALT, account_owner=held.account_owner, owner=owner, final=final)
    assert job.view is not None and job.account is not None  # noqa: S101, PT018 - set with the lease
    symbol = intent.symbols[0] if intent.symbols else ""
    pair = job.view.pairs.get(symbol)
    known = pair is not None and job.account.known(boot_us)
    standing = held.standing
    count = sum(len(group) for group in intent.orders)
    return Facts(
        halted=mode is Mode.HALT,
        account_owner=held.account_owner,
        owner=owner,
        pairs=job.view.pairs,
        quotes=job.view.quotes(boot_us),
        free=job.account.free(pair.base, alone=held.sole) if pair is not None and known else None,
        locked=job.account.locked(pair.base) if pair is not None and known else ZERO,
        alone=held.sole,
        stake=stake_of(held, job, symbol, final=final),
        bids=job.view.bids(symbol),
        under_way=job.view.under_way(symbol) if "book:" + symbol in job.asked else ZERO,
        budget=standing.purse.spendable(boot_us),
        limited=standing.slice_usual > ZERO,
        rate_free=standing.rate.free(held.policy.rate, count, boot_us),
        asked=job.asked,
        failed=job.failed,
        final=final,
    )


def stake_of(held: Held, job: Job, symbol: str, *, final: bool) -> Stake | None:
    """Return whose the base asset is, less what was sold since; where nobody can be asked now, as it was told last."""
    known = job.staked or final or "stake" in job.failed
    return held.standing.stakes.of(symbol, job.replaces) if known else None


def verdict_of(
    held: Held, job: Job, intent: Intent, mode: Mode, owners: Owners, boot_us: int, *, final: bool
) -> Allow | Deny | Unanswered:
    """Judge one request by gates' mode and policy.

    Returns:
        Allow; or Deny, with `missing` where facts that were not waited for yet could turn it; or Unanswered, where
        they were waited for and could not be had.
    """
    facts = facts_for(held, job, intent, mode, owners, boot_us, final=final)
    verdict = evaluate(held.policy, intent, facts, job.request.path, job.request.method)
    if isinstance(verdict, Deny) and verdict.missing:
        if not final and any(name not in job.asked for name in verdict.missing):
            return verdict
        settled = settle(held.policy, verdict)
        unanswered = None if isinstance(settled, Allow) else unanswered_by(job, verdict.missing)
        if unanswered is not None:
            return unanswered
        return settled if isinstance(settled, Allow) else Deny(verdict.reason, verdict.kind, verdict.detail)
    return verdict


_WORDS = {
    "pair": "pair_unknown",
    "price": "no_reference_price",
    "holdings": "holdings_unknown",
    "owner": "owner_unknown",
    "budget": "budget_unknown",
    "stake": "holdings_unknown",
    "book": "book_unknown",
}
_NOT_ASKED = Failure("no_time")


def unanswered_by(job: Job, missing: tuple[str, ...]) -> Unanswered | None:
    """Say which of the missing facts could not be had; a pause of the venue explains the most, so it comes first."""
    failed = [
        (name, job.failed.get(name, _NOT_ASKED))
        for name in missing
        if name in job.failed or name not in job.asked
    ]
    for _, failure in failed:
        if failure.pause is not None:
            return Unanswered("venue_banned" if failure.pause.banned else "venue_weight", failure.pause)
    if failed:
        return Unanswered(_WORDS.get(failed[0][0].partition(":")[0], "not_known"))
    return None
