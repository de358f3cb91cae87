"""What lists say of keys that were ended and that nothing proves dead.

1. What two lists of an account lack, a settling time apart by the exchange's clock, and no list in between has, is
   proven dead: as where a rotation ends a key that nobody can ask with (`rotation.retire`, rule 5). One list is no
   sign of anything: it may lag.
2. A list proves something where it has every key that the account has in use, and there is one: nothing else shows that
   it is the list of the sub-account that the ended key belongs to. What a list lacks counts with lists of the same
   sub-account, had with the same manager key, alone. What is seen while keys of the slot change proves nothing.
3. Of a key that the exchange served after it was ended no list proves anything here: one may have lacked it while it
   lived. Where a list has it, it is retired; else a person says that it is deleted, and that stays their word.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from broker.db import Connection, findings
from broker.db import accounts as account_store
from broker.model import Death, KeyVersion, Stage, moment
from broker.service.audit import Audit
from clients.venue import Slot
from rotation.retire import TWICE_ABSENT

APART = timedelta(minutes=1)
"""Between two lists that lack a key. Our caution: no exchange says how long a list may lag."""


@dataclass(frozen=True, slots=True)
class Lacks:
    """Which keys that were ended and are not proven dead a list lacks, by id, with their names; and when it was had.

    `place`: of which sub-account it is, and with which manager key it was had.
    """

    account: str
    place: str
    keys: Mapping[str, str]
    seen_us: int


def ended(known: Iterable[KeyVersion], listed: Collection[str], settling: Collection[Slot]) -> dict[str, str]:
    """Return what of an account's keys a list lacks that was ended and is not proven dead. Pure."""
    known = tuple(known)
    used = [key.venue_key_id for key in known if key.stage is Stage.CURRENT]
    if not used or any(key_id not in listed for key_id in used):
        return {}
    return {
        key.venue_key_id: str(key.ref)
        for key in known
        if key.stage is Stage.TOMBSTONE and key.death is not Death.PROVEN and key.ref.slot not in settling
        and key.venue_key_id and key.venue_key_id not in listed
    }  # fmt: skip


def bury(connection: Connection, audit: Audit, lacks: Lacks, now_us: int) -> None:
    """Put on record what a list lacks, and that a key is dead which an earlier one lacked so long before."""
    since = findings.lacking(connection, lacks.account, lacks.place, lacks.keys, lacks.seen_us)
    for key_id, since_us in since.items():
        if lacks.seen_us - since_us < APART // timedelta(microseconds=1):
            continue
        if account_store.prove(connection, key_id):
            findings.end(connection, key_id, now_us)
            proof = f"{TWICE_ABSENT}. First seen so at {_said(since_us)}, then: at {_said(lacks.seen_us)}"
            audit.record(
                connection, "key.dead", f"key-version:{lacks.keys[key_id]}", {"proof": proof, "stated": False}
            )


def _said(at_us: int) -> str:
    return f"{moment(at_us):%Y-%m-%d %H:%M:%S}Z"
