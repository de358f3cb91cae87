"""What an operator can do about a rotation where it stands, as commands. Pure; said beside every no.

It lists what `decide` takes: a test tries every command here, and that nothing else is taken.
"""

from collections.abc import Iterator

from rotation.state import Do, Phase, Rotation, State

_PAUSES = frozenset(
    {State.PLANNED, State.PREPARING, State.VERIFYING, State.CANARY, State.DRAINING, State.DRAINING_NEW}
)


def may_pause(rotation: Rotation) -> bool:
    """Tell whether it may stand still here."""
    return rotation.state in _PAUSES and not rotation.paused


def may_give_up(rotation: Rotation) -> bool:
    """Tell whether the new key can be given up here: before it was asked for, and until the old one is retired."""
    match rotation.state:
        case State.PLANNED | State.PREPARING | State.VERIFYING | State.CANARY | State.DRAINING:
            return True
        case State.CREATING:
            return rotation.asked is None or rotation.asked.do is not Do.CREATE
        case State.STALLED:
            return rotation.stalled_from is State.DRAINING or _is_old_untouched(rotation)
        case _:
            return False


def _is_old_untouched(rotation: Rotation) -> bool:
    """Tell whether a rotation that made a key stalled before a delete of the old one was ever sent, or asked for."""
    retirement = rotation.retirement
    return (
        rotation.stalled_from is State.RETIRING_OLD
        and rotation.has_private
        and retirement is not None
        and retirement.phase is Phase.DELETING
        and retirement.deleted_at is None
    )


def may_leave(rotation: Rotation) -> bool:
    """Tell whether one that waits for a person's delete can be ended with the key that was to go as it is.

    It may wait for ever: nothing else is served from here either, nothing can be listed, or nobody deletes it.
    """
    retirement = rotation.retirement
    return (
        rotation.state in {State.RETIRING_OLD, State.DISCARDING_NEW}
        and retirement is not None
        and retirement.by_hand
        and not leaves_dead(rotation)
    )


def leaves_dead(rotation: Rotation) -> bool:
    """Tell whether the key that goes is dead, and only its tombstone or its secret is left to be seen to."""
    return rotation.retirement is not None and rotation.retirement.phase is Phase.ENTOMBING


def commands(rotation: Rotation) -> tuple[str, ...]:
    """Return the commands that work now, without `portcullis`, each with what it does."""
    return tuple(_commands(rotation))


def held_commands(rotation: Rotation) -> tuple[str, ...]:
    """Return those that work on one that is held since a restore or a failover: it asks nobody for anything."""
    back = (f'rotation rollback {rotation.id} --reason "..." (gives the new key up)',)
    return (
        f"rotation resume {rotation.id} (lets it go on)",
        *(back if may_give_up(rotation) else ()),
        f'rotation drop {rotation.id} --reason "..." (ends it on record alone)',
    )


def can(rotation: Rotation, held: str = "") -> str:
    """Say what can be done where a rotation stands, for beside a no. `held`: why nobody carries it on."""
    found = held_commands(rotation) if held else commands(rotation)
    return f"What can: {'; '.join(f'portcullis {one}' for one in found)}"


def standing(rotation: Rotation, held: str = "") -> str:
    """Say where a rotation stands."""
    stalled = f" from {rotation.stalled_from.value}" if rotation.stalled_from is not None else ""
    waits = ", paused" if rotation.paused else ""
    return f"{rotation.state.value}{stalled}{waits}" + (f", and held ({held})" if held else "")


def _commands(rotation: Rotation) -> Iterator[str]:
    name = rotation.id
    if rotation.over:
        yield f"rotation start --account {rotation.account} --slot {rotation.slot.value} (a new one)"
        return
    if rotation.paused or rotation.state is State.STALLED:
        yield f"rotation resume {name}"
    match rotation.stalled_from if rotation.state is State.STALLED else None:
        case State.RECONCILING:
            yield f"rotation resume {name} --key-id ID, or --no-key (you looked at the exchange)"
        case State.CUTTING_OVER:
            yield f"rotation resume {name} --discard (gives the new key up)"
        case State.ROLLING_BACK:
            yield f"rotation resume {name} --onward (goes on with the new key)"
        case State.RETIRING_OLD | State.DISCARDING_NEW:
            goes = "is dead, and its secret may stay in the store" if leaves_dead(rotation) else "lives on"
            yield f"rotation resume {name} --leave (ends it; the key that was to go {goes})"
        case _:
            pass
    if may_pause(rotation):
        yield f"rotation pause {name}"
    if may_give_up(rotation):
        yield f'rotation rollback {name} --reason "..." (gives the new key up)'
    retirement = rotation.retirement
    if rotation.by_hand and rotation.state is State.CREATING:
        yield f"rotation answer {name} --key-id ID"
    elif retirement is not None and retirement.by_hand and rotation.state is not State.STALLED:
        yield f"rotation answer {name} --deleted"
    if may_leave(rotation):
        yield f"rotation resume {name} --leave (ends it; the key that was to go is not called dead)"
    yield f"rotation watch {name}"
