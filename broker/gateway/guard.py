"""The gateway's judgement of one request: facts gathered, policy asked. Synchronous, changes nothing.

A verdict is made of what is known now; what is missing is named, so that the caller may wait for it. A no that rests on
a fact which could not be had, or grew too old meanwhile, is told as that: the policy did not refuse, we do not know.
"""

from collections.abc import Collection
from decimal import Decimal
from typing import NamedTuple

from msgspec import structs

from broker import lease
from broker.gate import Mode
from broker.gateway.book import Held
from broker.gateway.fills import UNKNOWN
from broker.gateway.job import Failure, Job
from broker.gateway.limits import TURNED_AWAY, Pause
from broker.gateway.owners import Owners
from broker.gateway.whose import NOBODY, known_owner, last_word
from broker.policy import FRESH_US, Allow, Deny, Facts, Stake, evaluate, settle
from clients.venue import Action, Intent

ZERO = Decimal(0)
ACTS_US = 3_000_000
"""For how long the broker's word whose an asset is may be acted on: less than `authority.given.OPEN_S`."""


class Unanswered(NamedTuple):
    """No verdict: a fact that it needs could not be had. `reason` is short and stable, `pause` the venue's."""

    reason: str
    pause: Pause | None = None


def facts_for(
    held: Held, job: Job, intent: Intent, mode: Mode, owners: Owners, boot_us: int, *, final: bool = False
) -> Facts:
    """Gather what is known for one judgement.

    Whose the asset is may be known at its worst by another question, on behalf of another request, that has not come to
    its end: that is enough for a yes, and no answer to this one's.
    """
    ended = lease.only_exits(held.lease, boot_us)
    owner = None
    if intent.target is not None and not intent.target.all_open and intent.action is not Action.READ:
        owner = job.owner or known_owner(held, intent, owners)
        if owner is None and (final or "owner" in job.failed):
            owner = last_word(held, intent)
    if intent.action is not Action.PLACE:
        return Facts(
            halted=mode is Mode.HALT, ended=ended, account_owner=held.account_owner, owner=owner, final=final
        )
    assert job.view is not None and job.account is not None  # noqa: S101, PT018 - set with the lease
    symbol = intent.symbols[0] if intent.symbols else ""
    pair, asks = job.view.pairs.get(symbol), job.view.asks.of(symbol, boot_us, held.consumer)
    known = pair is not None and job.account.known(boot_us)
    standing = held.standing
    count = sum(len(group) for group in intent.orders)
    locked = job.account.locked(pair.base) if pair is not None and known else ZERO
    stake = stake_of(held, job, symbol, boot_us, final=final)
    if stake is not None and owner == NOBODY and held.account_owner and job.frees and not intent.persists:
        stake = structs.replace(
            stake, freed=max(stake.freed, min(job.frees, locked))
        )  # on no record: the venue told it
    told_us, perhaps = None if stake is None else stake.as_of_us, ZERO
    if pair is not None and known:
        perhaps = job.account.perhaps(pair.base, alone=held.sole, grant=held.lease.grant, since_us=told_us)
    return Facts(
        halted=mode is Mode.HALT,
        ended=ended,
        account_owner=held.account_owner,
        owner=owner,
        pairs=job.view.pairs,
        quotes=job.view.quotes(boot_us),
        free=job.account.free(pair.base, alone=held.sole) if pair is not None and known else None,
        perhaps=perhaps,
        locked=locked,
        alone=held.sole,
        stake=stake,
        bids=job.view.bids.of(symbol, boot_us, held.consumer),
        asks={} if asks is None else {symbol: asks},
        budget=standing.purse.spendable(boot_us),
        limited=standing.slice_usual > ZERO,
        rate_free=standing.rate.free(held.policy.rate, count, boot_us),
        asked=job.asked,
        failed=job.failed if stake is None or stake.sure else job.failed.keys() | {"stake"},
        final=final,
    )


def stake_of(held: Held, job: Job, symbol: str, boot_us: int, *, final: bool) -> Stake | None:
    """Return whose the base asset is, less what was sold since; where nobody can be asked now, as it was told last.

    What was told last is not known to be all that others have where nobody answered on behalf of this request, nor
    where holdings came after that. What was told to this request too long ago is not known at all, also where it is
    that at worst: what it was told as its own another gateway may have sold by now.
    """
    if _is_old(job, boot_us):
        return None
    if job.worst is not None:
        return job.worst
    known = job.staked or final or "stake" in job.failed
    stake = held.standing.stakes.of(symbol, job.replaces) if known else None
    if stake is None or held.sole or (job.told and not lags(job, boot_us)):
        return stake
    return structs.replace(stake, others=UNKNOWN)


def lapsed(job: Job, boot_us: int) -> tuple[str, ...]:
    """Return the facts that came for this request and are not known any more: it waited for others, or stood still.

    Whose an asset is came also where it is known only at its worst (`Job.told`).
    """
    return tuple(name for name in job.asked if _lapsed(job, name, boot_us))


def lags(job: Job, boot_us: int) -> bool:
    """Tell whether holdings came after others' part in them was found out, where that decides.

    What is the grant's own is so whatever others did since, and who is alone has no others.
    """
    stake = beyond_own(job, boot_us)
    return stake is not None and job.account is not None and job.account.came_us > stake.as_of_us


def beyond_own(job: Job, boot_us: int) -> Stake | None:
    """Return whose the asset is, where holdings are known and an exit needs more of them than is its grant's own."""
    held, account, reading = job.held, job.account, job.reading
    if held is None or held.sole or account is None or reading is None or not reading.intent.symbols:
        return None
    stake = held.standing.stakes.of(reading.intent.symbols[0], job.replaces)
    if stake is None or not account.known(boot_us):
        return None
    amounts = [order.quantity for group in reading.intent.orders for order in group]
    more = any(amount is None for amount in amounts) or sum(filter(None, amounts), ZERO) > stake.own
    return stake if more else None


def _is_old(job: Job, boot_us: int) -> bool:
    """Tell whether the broker takes it that nobody acts any more on what it said: this process stood still."""
    return job.told and not job.sole and boot_us - job.told_us > ACTS_US


def _lapsed(job: Job, name: str, boot_us: int) -> bool:
    kind, _, what = name.partition(":")
    if kind == "stake" and _is_old(job, boot_us):
        return True
    if name in job.failed:
        return False
    if kind == "stake":
        return lags(job, boot_us)
    if kind == "holdings":
        return job.account is not None and not job.account.known(boot_us)
    if job.view is None or kind not in {"pair", "price", "book", "deep", "asks"}:
        return False
    if kind == "pair":
        return what not in job.view.pairs
    if kind == "book":
        return job.view.bids.of(what, boot_us) is None
    if kind == "deep":
        return not job.view.bids.is_deep(what, boot_us)
    if kind == "asks":
        return job.view.asks.of(what, boot_us) is None
    quote = job.view.quotes(boot_us).get(what)
    return quote is None or quote.age_us > FRESH_US


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
        unanswered = None if isinstance(settled, Allow) else unanswered_by(job, verdict.missing, facts.failed)
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
    "fees": "holdings_unknown",
    "landed": "holdings_unknown",
    "book": "book_unknown",
    "deep": "book_unknown",
    "asks": "book_unknown",
}
_NOT_ASKED = Failure("no_time")


def unanswered_by(job: Job, missing: tuple[str, ...], not_had: Collection[str]) -> Unanswered | None:
    """Say which of the missing facts were not had; a pause of the venue explains the most, so it comes first."""
    failed = [
        (name, job.failed.get(name, _NOT_ASKED))
        for name in missing
        if name in not_had or name not in job.asked
    ]
    for _, failure in failed:
        if failure.pause is not None:
            return Unanswered("venue_banned" if failure.pause.banned else "venue_weight", failure.pause)
    if any(failure.reason == TURNED_AWAY for _, failure in failed):
        return Unanswered(TURNED_AWAY)
    if failed:
        return Unanswered(_WORDS.get(failed[0][0].partition(":")[0], "not_known"))
    return None
