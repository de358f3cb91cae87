"""A key that a person left as it is: its rotation is over, and it is not called dead.

On record it stays what it was, and it is told of until it is proven dead, or in use again. One whose death is on record
already was not left: only its secret may lie in the store.
"""

from collections.abc import Callable

from broker.db import Connection, findings
from broker.model import Death, KeyRef, KeyVersion, Stage
from broker.service import Service
from rotation.ending import version_that_goes
from rotation.state import Rotation


def told_of(
    service: Service, rotation: Rotation, also: Callable[[Connection], None]
) -> Callable[[Connection], None]:
    """Return what puts on record that a rotation's key was left, in the transaction that `also` belongs to."""
    ref = KeyRef(rotation.account, rotation.slot, version_that_goes(rotation))
    key = next((one for one in service.keys.list(rotation.account) if one.ref == ref), None)
    seen = "" if rotation.retirement is None else rotation.retirement.seen

    def tell(connection: Connection) -> None:
        also(connection)
        now_us = service.desk.clock.now_us()
        if key is not None and _is_dead(key):
            findings.not_left(connection, key.venue_key_id, now_us)
        elif key is not None and key.venue_key_id:
            findings.add(connection, _finding(ref, key.venue_key_id, rotation.id, seen), now_us)

    return tell


def _is_dead(key: KeyVersion) -> bool:
    return key.stage is Stage.TOMBSTONE and key.death not in {Death.UNSAID, Death.UNPROVEN}


def _finding(ref: KeyRef, key_id: str, rotation: str, seen: str) -> findings.Finding:
    last = f" What was seen of it last: {seen}." if seen else ""
    says = (
        f"{ref} is not proven dead: {rotation} was ended before that, and it may live on.{last} Once another key of "
        f"this account is served: portcullis sweep retire {ref}"
    )
    return findings.Finding(ref.account, key_id, findings.LEFT, says, str(ref))
