"""What must hold in every history, whatever was tried in it. Pure: each law names what breaks it.

1. Nobody in scope trades after a cut: nothing signed leaves between "it is in force" and the thaw; under a halt no risk.
   Two witnesses: what gateways wrote, and the instants in the signatures of what the exchange executed. Where nobody
   was told of a cut that is on record, it is in force once a lease of before is over.
2. Nothing is executed that no gateway wrote: a key of ours in use past every gateway.
3. Nothing is called dead that is not, nor before it is, nor without what was seen.
4. One living key a slot, and that is the one on record as current; unless a rotation of it is open, or an incident
   ended it. What keys go through meanwhile: `lives`.
5. Nothing is told that did not happen: a rotation that is done left its new key, and no old one; a cut that somebody
   was told of is on record.
"""

from collections import defaultdict
from collections.abc import Iterator

from tests.history import lives
from tests.history.events import History, InForce, Written
from tests.history.lives import CURRENT, DONE, HALTED, TOMBSTONE

_LEASE_US = 20_000_000
"""A lease, and what a busy machine adds."""

_SKEW_US = 1_000_000
"""How far a gateway's measure of the exchange's clock may be off, on a machine that does other work."""


def broken(history: History) -> list[str]:
    """Return what breaks a law; nothing where all hold."""
    return [
        *_trades_after_a_cut(history), *_executed_after_a_cut(history), *_outlives_its_lease(history), *_past_every_gateway(history),
        *_called_dead(history), *_living(history), *_told(history), *lives.broken(history),
    ]  # fmt: skip


def _trades_after_a_cut(history: History) -> Iterator[str]:
    for cut in history.in_force:
        until_us = _until(history, cut)
        for one in history.written:
            inside = cut.at_us < one.at_us and (until_us is None or one.at_us < until_us)
            inside &= not cut.but or one.virtual not in {"", cut.but}
            if inside and not cut.scopes.isdisjoint(one.scopes) and (one.risk or not cut.halt):
                late_ms = (one.at_us - cut.at_us) / 1000
                yield f"{one.grant} sent {one.names} {late_ms:.1f} ms after cut {cut.cut} was said to be in force"


def _executed_after_a_cut(history: History) -> Iterator[str]:
    """A request that was on its way when a cut came in force was signed before; what was signed after it had no way.

    A name is used again: what wrote an order is the request of that name which left as it was signed.
    """
    by_name = defaultdict[str, list[Written]](list)
    for one in history.written:
        for name in one.names:
            by_name[name].append(one)
    for cut in history.in_force:
        since_us, until_us = cut.at_us + _SKEW_US, _until(history, cut)
        for order in history.executed:
            if order.name not in by_name or order.signed_us is None or cut.but:
                continue
            signed_us = order.signed_us
            wrote = min(by_name[order.name], key=lambda one: abs(one.at_us - signed_us))
            if cut.halt and not wrote.risk:
                continue
            inside = since_us < signed_us and (until_us is None or signed_us < until_us - _SKEW_US)
            if inside and not cut.scopes.isdisjoint(wrote.scopes):
                late_ms = (signed_us - cut.at_us) / 1000
                yield f"the exchange executed {order.name}, signed {late_ms:.1f} ms after cut {cut.cut} was in force"


def _outlives_its_lease(history: History) -> Iterator[str]:
    for cut in history.noted if history.one_clock else ():
        for one in history.written:
            inside = cut.opened_us + _LEASE_US < one.at_us and (
                cut.thawed_us is None or one.at_us < cut.thawed_us
            )
            if inside and not cut.scopes.isdisjoint(one.scopes) and one.risk:
                yield f"{one.grant} sent {one.names} {(one.at_us - cut.opened_us) / 1000:.1f} ms after {cut.cut} was made"


def _until(history: History, cut: InForce) -> int | None:
    """Return when somebody began to take a cut back; None where nobody did."""
    return min((one.at_us for one in history.reopened if one.cut == cut.cut), default=None)


def _past_every_gateway(history: History) -> Iterator[str]:
    names = {name for one in history.written for name in one.names}
    for order in history.executed:
        if order.name not in names:
            yield f"the exchange executed {order.name}, and no gateway wrote it"


def _called_dead(history: History) -> Iterator[str]:
    living = {key.key_id for key in history.keys if key.lives}
    for one in history.versions:
        if one.stage == TOMBSTONE and one.key_id in living:
            yield f"{one.slot}/{one.number} is called dead, and its key lives"


def _living(history: History) -> Iterator[str]:
    living = {key.key_id: key for key in history.keys if key.lives}
    slots = sorted({one.slot for one in history.versions if one.stage != TOMBSTONE})
    for slot in slots:
        if any(one.slot == slot and (not one.over or one.state == HALTED) for one in history.rotations):
            continue
        versions = [one for one in history.versions if one.slot == slot]
        current = [one for one in versions if one.stage == CURRENT]
        if len(current) != 1:
            yield f"{slot} has {len(current)} current versions"
        for one in current:
            if one.key_id not in living:
                yield f"{slot}/{one.number} is current, and its key is dead"
        alive = sorted(one.number for one in versions if one.key_id in living and one.stage != CURRENT)
        if alive and any(one.slot == slot and one.state == DONE for one in history.rotations):
            yield f"{slot}: versions {alive} live beside the current one, and no rotation is open"
    if not slots:
        return
    unknown = living.keys() - {one.key_id for one in history.versions}
    for key_id in sorted(unknown) if not any(not one.over for one in history.rotations) else ():
        yield f"a key of {living[key_id].account} lives that no record knows"


def _told(history: History) -> Iterator[str]:
    taken_back = {one.cut for one in history.reopened}
    for cut in history.in_force if history.cuts is not None else ():
        if cut.cut not in (history.cuts or ()) and cut.cut not in taken_back:
            yield f"cut {cut.cut} was told, and is not on record"
    for rotation in history.rotations:
        if rotation.state != DONE:
            continue
        stages = {one.number: one.stage for one in history.versions if one.slot == rotation.slot}
        if stages.get(rotation.new) not in {CURRENT, TOMBSTONE, "previous"}:
            yield f"{rotation.name} is done, and {rotation.slot}/{rotation.new} is {stages.get(rotation.new)}"
        if rotation.old is not None and stages.get(rotation.old) != TOMBSTONE:
            yield f"{rotation.name} is done, and {rotation.slot}/{rotation.old} is {stages.get(rotation.old)}"
