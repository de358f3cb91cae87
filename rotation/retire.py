"""Retiring one key version: delete it at the venue, and believe nothing but proof. Pure.

Used by a rotation's end, by the discarding of a new key, and by an incident.

1. A venue's clock is read and saved; by it the delete is signed right before it is sent, and only so long after that
   reading (`rotation.stamp`), so that a delete that was held up dies by itself. Before that the key that stays is
   looked at (`rotation.staying`); a no there is a no of ours: nothing was sent. One that came too late is tried again
   with a fresh look at the clock, so often and no more: then a human is paged.
2. Whatever the answer, unless it is a no for another reason than "not found": probe until this key is proven dead. A
   delete that was sent again only to hear a word is followed by that whatever comes of it, but a no of ours: how an
   exchange refuses a second one is not known, and other things may prove it meanwhile.
3. Still alive: delete again. Cannot tell: probe again; where nothing but the exchange's own word that it deleted it is
   missing, and the delete can take effect no more: delete again, to hear it. Its word is a plain answer
   to a delete: "unknown key" is none, for living keys are told that as well. Budget spent: a
   human is paged. A key that is served or listed after its delete was answered puts that word in doubt: it counts for
   nothing until the delete has settled, then again where the key shows no more; where it does, it is belied. Of a
   delete that was sent to hear the word, that belies it at once.
4. Only then the tombstone is written, and the secret destroyed. A timeout is never proof of death.

Proof is what was seen twice, a settling time apart, and in the same way. One look is none, and a refusal alone is none,
also where every host refuses the key by name: living keys were told so, all of one address at once.

5. Where a manager key lists the account's keys: the key is refused, or cannot be asked with, and is not in the list,
   which has another one. Where none has to live, the key has to be refused as well, and the exchange has said that it
   deleted it, or refuses it by name while it serves the manager key by the same way (`rotation.listing`): of one that
   cannot be asked with, a word that is not true and an empty list would be all there is.
6. Where nothing can be listed, or a list has no other key to show: every host refuses it by name, and right after that
   another key, which has to live, is served by the same way.
7. Where a host refuses it without its name, or there is nothing to compare it with: never on that alone. An operator
   who says that it is deleted is believed while it is refused, and no key that could be served is refused, too. That is
   recorded as stated, never as proven.
8. Where nobody can ask, for its secret is lost and nothing lists it: an operator's word alone ends it, and says so; it
   is told of from then on until somebody confirmed it once more (`broker.db.findings`).
9. Where nothing else is served from here either, or no list can be had: never, whoever says so. A person who waits for
   that no longer ends the rotation with the key as it is: not dead on record, and told of (`rotation.left`).

What was seen, where and when, is the proof. A settling time is counted by the venue's clock, as it was read with each
look: ours may be put right between two of them.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from rotation.state import STALE, TOO_LATE, Answer, Do, Effect, Limits, Phase, Reply, Retirement

GONE = "unknown_key"
NOT_DELETED = "not deleted: "
"""How a reply begins where a delete was not sent, because of the key that stays: a person has to look."""

ALIVE, LISTED, BLIND, NO_LIST, BARE = "alive", "listed", "nothing_served", "no_list", "bare_list"
"""What a probe answers where the key may live. Blind: no key that has to live is served from here, either. Bare: the
list lacks those, too."""

ABSENT, NAMED = "absent", "refused-by-name"
"""What proves a death when it is seen twice. Named: on every host, while another key was served."""

UNNAMED, NAMED_ALONE, UNASKED = "refused-unnamed", "refused-by-name-alone", "not-asked-with"
"""What proves nothing. Unnamed: some host does not say that it does not know it. Alone: there is nothing to compare."""

TWICE_ABSENT = "absent from two lists a settling time apart"
TWICE_NAMED = (
    "refused by name on every host, twice a settling time apart, while another key was served by the same way"
)
STATED = "an operator says it is deleted, and the exchange refuses it without naming it: stated, not proven"
STATED_ALONE = (
    "an operator says it is deleted, and the exchange refuses it by name, with no other key there to compare it with: "
    "stated, not proven"
)
STATED_UNASKED = (
    "an operator says it is deleted, and nobody could ask the exchange, for its secret is lost: by a person's word "
    "alone, stated, not proven"
)
LOST = "its secret is lost, so it was not asked with"
"""What is seen of a key that nobody can ask with: nothing, and no word of the exchange's."""

_WANTS_WORD = frozenset({UNNAMED, NAMED_ALONE, BLIND})
"""Seen under a manager key of one that the list lacks, with no other to show: the exchange's word would prove it."""

_PROVES = {ABSENT: TWICE_ABSENT, NAMED: TWICE_NAMED}
_STATES = {UNNAMED: STATED, NAMED_ALONE: STATED_ALONE, UNASKED: STATED_UNASKED}


def is_stated(proof: str) -> bool:
    """Tell whether a person's word is what a key was ended by, whatever was seen beside it."""
    return proof.startswith(tuple(_STATES.values()))


def is_word_alone(proof: str) -> bool:
    """Tell whether nothing but a person's word says that a key is deleted: nobody could ask."""
    return proof.startswith(STATED_UNASKED)


@dataclass(frozen=True, slots=True)
class Onward:
    """Do this next. `wait`: after a pause that grows with `tries`."""

    retirement: Retirement
    effect: Effect
    wait: bool = False


@dataclass(frozen=True, slots=True)
class Stuck:
    """It cannot go on without a human."""

    retirement: Retirement
    reason: str


@dataclass(frozen=True, slots=True)
class Dead:
    """It was proven, or stated where nothing proves it, and the tombstone is written."""

    retirement: Retirement


Outcome = Onward | Stuck | Dead


def begin(version: int, *, by_hand: bool) -> Onward:
    """Begin to retire a version."""
    retirement = Retirement(version, by_hand)
    return Onward(retirement, effect_of(retirement))


def again(retirement: Retirement) -> Onward:
    """Go on after a human said so, with a fresh budget."""
    fresh = replace(retirement, deletes=0, probes=0, late=0)
    return Onward(fresh, effect_of(fresh))


def effect_of(retirement: Retirement) -> Effect:
    """Return the effect to begin a phase with."""
    match retirement.phase:
        case Phase.DELETING:
            return Effect(Do.ASK_DELETE if retirement.by_hand else Do.READ_CLOCK, retirement.version)
        case Phase.PROBING:
            return Effect(Do.PROBE, retirement.version)
        case Phase.ENTOMBING:
            return Effect(Do.ENTOMB, retirement.version)


def step(retirement: Retirement, asked: Do, reply: Reply, limits: Limits, now: datetime) -> Outcome:
    """Go on by the answer to what was asked."""
    match asked:
        case Do.READ_CLOCK:
            return _clock(retirement, reply)
        case Do.DELETE | Do.ASK_DELETE:
            return _deleted(retirement, asked, reply, limits, now)
        case Do.PROBE:
            return _probed(retirement, reply, limits, now)
        case _:
            return _entombed(retirement, reply, limits)


def _clock(retirement: Retirement, reply: Reply) -> Outcome:
    if reply.answer is Answer.OK:
        stamped = replace(retirement, deletes=retirement.deletes + 1)
        return Onward(stamped, Effect(Do.DELETE, retirement.version))
    return Onward(retirement, Effect(Do.READ_CLOCK, retirement.version), wait=True)


def _deleted(retirement: Retirement, asked: Do, reply: Reply, limits: Limits, now: datetime) -> Outcome:
    is_late = reply.answer is Answer.RETRY and reply.code in {STALE, TOO_LATE}
    tries_late = retirement.late + (1 if is_late else 0)
    undone = replace(retirement, deletes=max(retirement.deletes - 1, 0), late=tries_late)
    if reply.answer is Answer.REFUSED and reply.reason.startswith(NOT_DELETED):
        return Stuck(undone, reply.reason)
    is_no = reply.answer is Answer.REFUSED and reply.reason != GONE
    if is_no and not retirement.unheard:
        return Stuck(retirement, f"the exchange refuses to delete it: {reply.reason}")
    if reply.answer is Answer.RETRY:
        if is_late and tries_late >= limits.deletes and not undone.unheard:
            return Stuck(undone, f"it was not deleted, {tries_late} tries came too late: {reply.says}")
        # sent to hear a word, it may not keep what else would prove it from being seen
        goes_on = replace(undone, phase=Phase.PROBING) if retirement.unheard else undone
        return Onward(goes_on, effect_of(goes_on), wait=True)
    at = now if asked is Do.DELETE else retirement.deleted_at
    told = asked is Do.DELETE and reply.answer is Answer.OK  # `GONE` may be said of the manager key, in a ban
    probing = replace(retirement, phase=Phase.PROBING, deleted_at=at, told=told or retirement.told)
    return Onward(probing, Effect(Do.PROBE, retirement.version), wait=is_no)


def _probed(retirement: Retirement, reply: Reply, limits: Limits, now: datetime) -> Outcome:
    retirement = replace(retirement, seen=reply.proof or retirement.seen)
    if reply.reason.startswith(NOT_DELETED):  # a person was asked to delete it, and had better not
        return Stuck(replace(retirement, phase=Phase.DELETING), reply.reason)
    probes = retirement.probes + 1
    deleted_at = retirement.deleted_at
    settled = deleted_at is not None and now - deleted_at >= limits.window_for + limits.settling_for
    retirement = _weighed(retirement, shows=reply.reason in {ALIVE, LISTED}, settled=settled)
    if reply.reason == ALIVE or (reply.reason == LISTED and settled):
        seen = replace(retirement, probes=probes, absent_since=None, absent_how="")
        return _alive(seen, limits, settled=settled)
    since, how = retirement.absent_since, retirement.absent_how
    words = _PROVES.get(reply.reason) or (_STATES.get(reply.reason) if retirement.stated else None)
    if words is not None:
        at = now if reply.seen_us is None else datetime.fromtimestamp(reply.seen_us / 1_000_000, UTC)
        if since is None or how != reply.reason:  # what was seen otherwise is another sign, and begins anew
            since, how = at, reply.reason
        elif at - since >= limits.settling_for:
            began = f"{since:%Y-%m-%d %H:%M:%S}Z"
            proof = f"{words}. First seen so at {began}, then: {reply.proof or 'the same'}"
            done = replace(retirement, phase=Phase.ENTOMBING, proof=proof)
            return Onward(done, Effect(Do.ENTOMB, retirement.version))
    elif reply.reason == LISTED:
        since, how = None, ""
    fresh = replace(retirement, probes=probes, absent_since=since, absent_how=how)
    if probes > limits.probes and not retirement.by_hand:
        more = f" ({reply.proof})" if reply.proof else ""
        return Stuck(fresh, f"whether it is dead cannot be told: {reply.reason or 'no answer'}{more}")
    if reply.reason in _WANTS_WORD and settled and _may_be_told(fresh, limits):
        again = replace(fresh, phase=Phase.DELETING, unheard=True)
        return Onward(again, Effect(Do.READ_CLOCK, retirement.version), wait=True)
    return Onward(fresh, Effect(Do.PROBE, retirement.version), wait=True)


def _weighed(known: Retirement, *, shows: bool, settled: bool) -> Retirement:
    """Weigh the exchange's word that it deleted a key by whether the key is served or listed after it."""
    if shows and settled:
        return replace(known, told=False, doubted=False, unheard=False)
    if shows:  # a lag, or no true word; what was asked for again comes when the first delete had its time
        return replace(known, told=False, doubted=known.doubted or (known.told and not known.unheard))
    return replace(known, told=True, doubted=False) if settled and known.doubted else known


def _may_be_told(retirement: Retirement, limits: Limits) -> bool:
    """Tell whether a delete may still bring the exchange's word. Who deletes by hand sends none."""
    tries = max(retirement.deletes, retirement.late)
    return not (retirement.by_hand or retirement.told) and tries < limits.deletes


def _alive(retirement: Retirement, limits: Limits, *, settled: bool) -> Outcome:
    """It was seen alive: soon after a delete that may be a lag, later it means that the delete was not applied."""
    if retirement.by_hand or not settled:
        return Onward(retirement, Effect(Do.PROBE, retirement.version), wait=True)
    if retirement.deletes >= limits.deletes:
        return Stuck(retirement, "the exchange accepted to delete it several times, and it still lives")
    fresh = replace(retirement, phase=Phase.DELETING)
    return Onward(fresh, Effect(Do.READ_CLOCK, retirement.version), wait=True)


def _entombed(retirement: Retirement, reply: Reply, limits: Limits) -> Outcome:
    if reply.answer is Answer.OK:
        return Dead(retirement)
    probes = retirement.probes + 1
    fresh = replace(retirement, probes=probes)
    if probes > limits.probes:
        return Stuck(
            fresh,
            f"it is dead, but its tombstone cannot be written, or its secret not destroyed: {reply.reason}",
        )
    return Onward(fresh, Effect(Do.ENTOMB, retirement.version), wait=True)
