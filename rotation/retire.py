"""Retiring one key version: delete it at the venue, and believe nothing but proof. Pure.

Used by a rotation's end, by the discarding of a new key, and by an incident.

1. A venue's clock is read, the delete signed with that instant, so that a delete that was held up dies by itself. Right
   before it is sent the key that stays is looked at (`rotation.staying`); a no there is a no of ours: nothing was sent.
2. Whatever the answer, unless it is a no for another reason than "not found": probe until this key is refused by name
   on every host.
3. Still alive: delete again. Cannot tell: probe again. Budget spent: a human is paged.
4. Only then the tombstone is written, and the secret destroyed. A timeout is never proof of death.

Where no secret of ours can probe it, or a host refuses it without its name, a key is dead when it is absent from two
lists a settling time apart. Where nothing can be listed either, the operator's word is recorded as stated, never as
proven: and only while the key is refused, and the one in use is not. What was seen, where and when, is the proof. A
settling time is counted by the venue's clock, as it was read with each list: ours may be put right between two of them.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from rotation.state import Answer, Do, Effect, Limits, Phase, Reply, Retirement

GONE = "unknown_key"
NOT_DELETED = "not deleted: "
"""How a reply begins where a delete was not sent, because of the key that stays: a person has to look."""

ALIVE, ABSENT, LISTED, UNNAMED = "alive", "absent", "listed", "refused-unnamed"
"""What a probe answers beside proof. Unnamed: the exchange refuses the key without saying that it does not know it."""

STATED = "an operator says it is deleted, and the exchange refuses it without naming it: stated, not proven"

TWICE_ABSENT = "absent from two lists a settling time apart"


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
    """The venue was seen refusing it, and the tombstone is written."""

    retirement: Retirement


Outcome = Onward | Stuck | Dead


def begin(version: int, *, by_hand: bool) -> Onward:
    """Begin to retire a version."""
    retirement = Retirement(version, by_hand)
    return Onward(retirement, effect_of(retirement))


def again(retirement: Retirement) -> Onward:
    """Go on after a human said so, with a fresh budget."""
    fresh = replace(retirement, deletes=0, probes=0)
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
            return _deleted(retirement, asked, reply, now)
        case Do.PROBE:
            return _probed(retirement, reply, limits, now)
        case _:
            return _entombed(retirement, reply, limits)


def _clock(retirement: Retirement, reply: Reply) -> Outcome:
    if reply.answer is Answer.OK:
        stamped = replace(retirement, deletes=retirement.deletes + 1)
        return Onward(stamped, Effect(Do.DELETE, retirement.version))
    return Onward(retirement, Effect(Do.READ_CLOCK, retirement.version), wait=True)


def _deleted(retirement: Retirement, asked: Do, reply: Reply, now: datetime) -> Outcome:
    undone = replace(retirement, deletes=max(retirement.deletes - 1, 0))
    if reply.answer is Answer.REFUSED and reply.reason.startswith(NOT_DELETED):
        return Stuck(undone, reply.reason)
    if reply.answer is Answer.REFUSED and reply.reason != GONE:
        return Stuck(retirement, f"the exchange refuses to delete it: {reply.reason}")
    if reply.answer is Answer.RETRY:
        return Onward(undone, effect_of(undone), wait=True)
    at = now if asked is Do.DELETE else retirement.deleted_at
    probing = replace(retirement, phase=Phase.PROBING, deleted_at=at)
    return Onward(probing, Effect(Do.PROBE, retirement.version))


def _probed(retirement: Retirement, reply: Reply, limits: Limits, now: datetime) -> Outcome:
    retirement = replace(retirement, seen=reply.proof or retirement.seen)
    if reply.answer is Answer.OK:
        done = replace(retirement, phase=Phase.ENTOMBING, proof=reply.proof)
        return Onward(done, Effect(Do.ENTOMB, retirement.version))
    if reply.reason.startswith(NOT_DELETED):  # a person was asked to delete it, and had better not
        return Stuck(replace(retirement, phase=Phase.DELETING), reply.reason)
    probes = retirement.probes + 1
    deleted_at = retirement.deleted_at
    settled = deleted_at is not None and now - deleted_at >= limits.window_for + limits.settling_for
    if reply.answer is Answer.REFUSED or (reply.reason == LISTED and settled):
        return _alive(replace(retirement, probes=probes, absent_since=None), limits, settled=settled)
    since = retirement.absent_since
    if reply.reason == ABSENT or (reply.reason == UNNAMED and retirement.stated):
        at = now if reply.seen_us is None else datetime.fromtimestamp(reply.seen_us / 1_000_000, UTC)
        if since is not None and at - since >= limits.settling_for:
            began = f"{since:%Y-%m-%d %H:%M:%S}Z"
            how = STATED if reply.reason == UNNAMED else TWICE_ABSENT
            proof = f"{how}. First seen so at {began}, then: {reply.proof or 'the same'}"
            done = replace(retirement, phase=Phase.ENTOMBING, proof=proof)
            return Onward(done, Effect(Do.ENTOMB, retirement.version))
        since = since or at
    elif reply.reason == LISTED:
        since = None
    fresh = replace(retirement, probes=probes, absent_since=since)
    if probes > limits.probes and not retirement.by_hand:
        more = f" ({reply.proof})" if reply.proof else ""
        return Stuck(fresh, f"whether it is dead cannot be told: {reply.reason or 'no answer'}{more}")
    return Onward(fresh, Effect(Do.PROBE, retirement.version), wait=True)


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
        return Stuck(fresh, f"it is dead, but its tombstone cannot be written: {reply.reason}")
    return Onward(fresh, Effect(Do.ENTOMB, retirement.version), wait=True)
