"""What keys go through: each birth and each death is a rotation's on record, at its time, and is proven. Pure.

1. A key that is in use is not deleted; by nobody, unless a rotation on record is about it. Another home's rotator is
   nobody: one that was superseded, one that was restored beside it.
2. Nothing is signed with a key after its delete.
3. Where a key was deleted for another one, the secret of that one is in the secret store.
4. A key is moved into use while its rotation is at that, and while the exchange has it.
5. A death is on record with what was seen, and after it was; a rotation is over once its old key is dead.
6. A key that a rotation made is of a rotation on record.

An incident deletes what leaked, in use or not: what it is about is let be, but for the proofs.
"""

from collections.abc import Iterator

from tests.history.events import Deleted, History, Rotation, Version

CURRENT, TOMBSTONE = "current", "tombstone"
DONE, HALTED = "done", "halted"
_HALTING = frozenset({"halting", HALTED})
_MOVES = frozenset({"cutting-over", "rolling-back"})
_SAME_US = 100_000
"""Nearer than this two clocks of one host cannot tell which was first."""


def broken(history: History) -> Iterator[str]:
    """Yield what breaks a law."""
    if not history.whole:
        return
    versions = {one.key_id: one for one in history.versions if one.key_id}
    for gone in history.deleted:
        version = versions.get(gone.key_id)
        if version is not None and not _is_incident(history, version.slot):
            yield from _deleted(history, gone, version)
    yield from _moved(history)
    yield from _proven(history)
    yield from _over(history)
    yield from _made(history)


def _is_incident(history: History, slot: str) -> bool:
    return any(
        one.slot == slot and (one.state in _HALTING or any(state in _HALTING for _, state in one.states))
        for one in history.rotations
    )


def _deleted(history: History, gone: Deleted, version: Version) -> Iterator[str]:
    name = f"{version.slot}/{version.number}"
    about = [
        one for one in history.rotations if one.slot == version.slot and version.number in {one.old, one.new}
    ]
    if not about:
        yield f"the key of {name} was deleted, and no rotation on record is about it"
    in_use = _in_use(history, version.slot, gone.at_us)
    if history.one_clock and in_use == version.number:
        yield f"the key of {name} was deleted while it was in use"
    late = [one.at_us for one in history.written if one.key == name and one.at_us > gone.at_us + _SAME_US]
    if late:
        yield f"{name} was signed with {(max(late) - gone.at_us) / 1000:.1f} ms after its key was deleted"
    for stays in history.versions:
        if stays.slot == version.slot and stays.stage == CURRENT and stays.kept is False:
            yield f"the key of {name} was deleted, and the secret of {stays.slot}/{stays.number}, which stays, is gone"


def _in_use(history: History, slot: str, at_us: int) -> int | None:
    """Return which version was in use at an instant, by the audit trail; None where none was."""
    before = [one for one in history.became if one.slot == slot and one.at_us <= at_us]
    return max(before, key=lambda one: one.at_us).number if before else None


def _moved(history: History) -> Iterator[str]:
    if not history.one_clock:
        return
    rotations = {one.name: one for one in history.rotations}
    deleted = {one.key_id: one.at_us for one in history.deleted}
    key_ids = {(one.slot, one.number): one.key_id for one in history.versions}
    for one in history.became:
        name, rotation = f"{one.slot}/{one.number}", rotations.get(one.rotation)
        gone_us = deleted.get(key_ids.get((one.slot, one.number), ""))
        if gone_us is not None and gone_us < one.at_us:
            yield f"{name} was moved into use after its key was deleted"
        state = None if rotation is None else _state_at(rotation, one.at_us)
        if rotation is not None and state is not None and state not in _MOVES:
            yield f"{name} was moved into use while {rotation.name} was {state}"


def _state_at(rotation: Rotation, at_us: int) -> str | None:
    before = [state for since_us, state in rotation.states if since_us <= at_us]
    return before[-1] if before else None


def _proven(history: History) -> Iterator[str]:
    dead = {(one.slot, one.number): one for one in history.buried}
    deleted = _first_deleted(history)
    for one in history.versions:
        if one.stage != TOMBSTONE or not one.key_id:
            continue
        buried = dead.get((one.slot, one.number))
        if buried is None or not buried.proof:
            yield f"{one.slot}/{one.number} is called dead, and nothing says by what that is known"
        elif history.one_clock and deleted.get(one.key_id, 0) > buried.at_us:
            yield f"{one.slot}/{one.number} was called dead before its key was deleted"


def _first_deleted(history: History) -> dict[str, int]:
    """Return when each key was deleted; where it lived again, and was deleted again, the first time counts."""
    return {one.key_id: one.at_us for one in sorted(history.deleted, key=lambda one: -one.at_us)}


def _over(history: History) -> Iterator[str]:
    deleted = _first_deleted(history)
    key_ids = {(one.slot, one.number): one.key_id for one in history.versions}
    for one in history.rotations if history.one_clock else ():
        if one.state != DONE or one.old is None or one.ended_us is None:
            continue
        if deleted.get(key_ids.get((one.slot, one.old), ""), 0) > one.ended_us:
            yield f"{one.name} was told done before the key of {one.slot}/{one.old} was deleted"


def _made(history: History) -> Iterator[str]:
    if not history.rotations:
        return
    known = {one.name for one in history.rotations}
    for key in history.keys:
        if key.label.startswith("rot_") and key.label not in known:
            yield f"a key of {key.account} was made for {key.label}, and no such rotation is on record"
