"""What a rotation made that was open at a restore or a failover: the record may have forgotten it.

Rules:
1. No create is done again blindly. Before a person lets one go on that has no key on record, or gives it up, the
   exchange is asked for a key with its label: that one is gone on with, or given up as a key that lives. That there is
   none tells only a list that has another key of the account on record: else it may be another sub-account's.
2. Where no list tells (keys that a person makes), who gives it up touches nothing: it stays held, so that what it
   prepared is kept. It may be the secret of the key in use.
"""

from dataclasses import replace
from datetime import datetime

from broker.errors import Conflict
from broker.model import Stage
from broker.service import Service
from rotation.budget import Haste
from rotation.decide import decide
from rotation.ending import discard
from rotation.state import Event, Resume, RollBack, Rotation, State, Step
from rotation.venues import Venues

_MADE_NONE = frozenset({State.PLANNED, State.PREPARING, State.CREATING})
"""Where the record has no key yet. Later states know it, or look it up by themselves."""


def _is_without(rotation: Rotation) -> bool:
    return rotation.state in _MADE_NONE and rotation.new_key_id is None


def may_have_made(rotation: Rotation) -> bool:
    """Tell whether the exchange can be asked for a key that the record may have forgotten."""
    return _is_without(rotation) and rotation.listed and not rotation.by_hand


def may_be_anothers(rotation: Rotation) -> bool:
    """Tell whether nobody can: what was prepared may be the secret of a key that lives."""
    return _is_without(rotation) and not may_have_made(rotation)


def look(service: Service, venues: Venues, rotation: Rotation) -> str | None:
    """Return the id of the key with a rotation's label; None where there is none.

    Raises:
        VenueError: The exchange does not say.
        Conflict: Its list has none of the keys that the account has on record.
    """
    account = service.accounts.get(rotation.account)
    with venues.desk(account, haste=Haste.URGENT, needs=("list",)) as desk:
        listed = desk.admin.list(desk.subaccount)
    made = next((key.key_id for key in listed if key.label == rotation.label), None)
    keys = service.keys.list(account.name)
    known = {key.venue_key_id for key in keys if key.venue_key_id and key.stage is not Stage.TOMBSTONE}
    if made is None and known and known.isdisjoint(key.key_id for key in listed):
        raise Conflict(
            "bare_list",
            f"whether its key was made cannot be told: the list that was had for {account.name} has none of its keys "
            "on record, and may be another sub-account's (portcullis account list says whose is asked for). Nothing "
            f'was changed. To end it on record alone: portcullis rotation drop {rotation.id} --reason "..."',
        )
    return made


def goes_on_with(rotation: Rotation, key_id: str, event: Event, now: datetime, *, has_private: bool) -> Step:
    """Say what becomes of it, now that its key is known."""
    known = replace(rotation, paused=False)
    if isinstance(event, RollBack):
        return discard(replace(known, new_key_id=key_id, has_private=has_private), event.reason, now)
    doubtful = replace(known, state=State.STALLED, stalled_from=State.RECONCILING)
    return decide(doubtful, Resume(key_id, has_private), now)
