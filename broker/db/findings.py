"""Queries on what the sweep found. A row without a key says which sweep of an account began last.

Rows of `_LACKING` are no findings: they say since when lists of an account lack a key that was ended, by the exchange's
clock in `first_us`, and of which place those are in `says`. They never stand.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, or_, select, tuple_

from broker.db import tables as t
from broker.db.upsert import upsert
from broker.model import Death, Stage, moment

BY_WORD = "by-word"
"""`what` of a key that is dead on record by a person's word alone, until somebody confirms it or lists prove it."""

SERVED = "served"
"""`what` of a key that the exchange served after it was ended on record, until a person says that it is deleted."""

LEFT = "left"
"""`what` of a key whose rotation a person ended before it was proven dead, until it is, or it is in use again."""

_SAID = frozenset({BY_WORD, SERVED, LEFT})
"""What no sweep found. That a sweep does not find it again ends none of it."""

_LACKING = "lacking"

_OF_THE_LIST = frozenset({"manager", "missing"})
"""`what` of a manager key that is refused, and of a living key that is in no list."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One key that is not as it is on record. `ref` is None where the record does not know it."""

    account: str
    key_id: str
    what: str
    says: str
    ref: str | None = None
    first_at: datetime | None = None
    last_at: datetime | None = None

    @property
    def step(self) -> str:
        """What a person does about it."""
        if self.what == LEFT:
            return f"portcullis sweep retire {self.ref}"
        word = self.what in {BY_WORD, SERVED}
        return f"portcullis reconcile --deleted {self.ref}" if word else "portcullis sweep show"


def found(
    connection: Connection, account: str, ones: Iterable[Finding], now_us: int, *, only_more: bool = False
) -> list[Finding]:
    """Write down what a sweep of an account found, end what it did not find again; return what is new.

    What no sweep found stands (`_SAID`): `confirm`, `end` and `not_left` end it. `only_more`: it could not look at
    everything, so what was found before stands.
    """
    here = t.FINDINGS.c
    known = {
        (row.key_id, row.what)
        for row in connection.execute(
            select(here.key_id, here.what).where(here.account == account, here.ended_us.is_(None))
        )
    }
    now = list(ones)
    for one in now:
        _put(connection, one, now_us, fresh=(one.key_id, one.what) not in known)
    gone = {one for one in known if one[1] not in _SAID} - {(one.key_id, one.what) for one in now}
    if gone and not only_more:
        connection.execute(
            t.FINDINGS.update()
            .where(here.account == account, tuple_(here.key_id, here.what).in_(list(gone)))
            .values(ended_us=now_us)
        )
    return [one for one in now if (one.key_id, one.what) not in known]


def add(connection: Connection, one: Finding, now_us: int) -> None:
    """Write one down that no sweep found."""
    _put(connection, one, now_us, fresh=True)


def _put(connection: Connection, one: Finding, now_us: int, *, fresh: bool) -> None:
    values = {"ref": one.ref, "says": one.says, "last_us": now_us, "ended_us": None}
    if fresh:
        values["first_us"] = now_us
    row = upsert(connection, t.FINDINGS).values(
        account=one.account, key_id=one.key_id, what=one.what, **({"first_us": now_us} | values)
    )
    connection.execute(row.on_conflict_do_update(index_elements=["account", "key_id", "what"], set_=values))


def lacking(
    connection: Connection, account: str, place: str, gone: Mapping[str, str], seen_us: int
) -> dict[str, int]:
    """Write down which ended keys (with their names) a list lacks; return since when lists of its place lack each.

    What is not among them begins anew, and all of it with a list of another place. A key that the exchange served after
    it was ended is left out: lists lacked it while it lived. So is one that another account's list was found to have,
    for as long as that stands.
    """
    here = t.FINDINGS.c
    mine = (here.account == account, here.what == _LACKING)
    over = or_(here.key_id.not_in(list(gone)), here.says != place)
    connection.execute(t.FINDINGS.delete().where(*mine, over))
    known = {row.key_id: row.first_us for row in connection.execute(select(t.FINDINGS).where(*mine))}
    elsewhere = and_(here.account != account, here.what.not_in(_SAID), here.ended_us.is_(None))
    lives = or_(here.what == SERVED, elsewhere)
    served = set(connection.execute(select(here.key_id).where(here.key_id.in_(list(gone)), lives)).scalars())
    connection.execute(t.FINDINGS.delete().where(*mine, here.key_id.in_(list(served))))
    for key_id in gone.keys() - known.keys() - served:
        connection.execute(
            t.FINDINGS.insert().values(
                account=account, key_id=key_id, what=_LACKING, ref=gone[key_id], says=place, first_us=seen_us,
                last_us=seen_us, ended_us=seen_us,
            )
        )  # fmt: skip
        known[key_id] = seen_us
    return {key_id: since_us for key_id, since_us in known.items() if key_id not in served}


def seen(connection: Connection, key_id: str) -> None:
    """A key was seen to live: what lists lacked before that says nothing any more."""
    here = t.FINDINGS.c
    connection.execute(t.FINDINGS.delete().where(here.key_id == key_id, here.what == _LACKING))


def confirm(connection: Connection, refs: Iterable[str], now_us: int) -> list[str]:
    """End what stands of keys until a person says that they are deleted. Return of which that ended."""
    here = t.FINDINGS.c
    stand = (here.what.in_([BY_WORD, SERVED]), here.ended_us.is_(None), here.ref.in_(list(refs)))
    confirmed = list(connection.execute(select(here.ref).where(*stand).order_by(here.ref)).scalars())
    connection.execute(t.FINDINGS.update().where(*stand).values(ended_us=now_us))
    return confirmed


def released(connection: Connection, account: str, now_us: int) -> None:
    """An account is under no manager key any more: no list is looked at, and what only a list could end is over.

    What was found of keys that are not on record stands until somebody has looked (`looked_up`); what was found of one
    that is, until that one is dead. A sweep that is on its way counts no more.
    """
    begin(connection, account, "", now_us)
    here = t.FINDINGS.c
    connection.execute(t.FINDINGS.delete().where(here.account == account, here.what == _LACKING))
    of_the_list = (here.account == account, here.what.in_(_OF_THE_LIST), here.ended_us.is_(None))
    connection.execute(t.FINDINGS.update().where(*of_the_list).values(ended_us=now_us))


def looked_up(connection: Connection, accounts: Iterable[str], now_us: int) -> list[str]:
    """End what was found of keys that are on no record: somebody says that there are none. Return whose that was."""
    here = t.FINDINGS.c
    stand = (here.account.in_(list(accounts)), here.ref.is_(None), here.ended_us.is_(None))
    names = sorted(set(connection.execute(select(here.account).where(*stand)).scalars()))
    connection.execute(t.FINDINGS.update().where(*stand).values(ended_us=now_us))
    return names


_SWEEP = ("", "sweep")
"""Key id and `what` of the row that is no finding."""


def begin(connection: Connection, account: str, sweep: str, now_us: int) -> None:
    """A sweep of an account begins: what earlier ones found counts no more."""
    values = {"ref": sweep, "says": "", "first_us": now_us, "last_us": now_us, "ended_us": now_us}
    row = upsert(connection, t.FINDINGS).values(account=account, key_id=_SWEEP[0], what=_SWEEP[1], **values)
    connection.execute(row.on_conflict_do_update(index_elements=["account", "key_id", "what"], set_=values))


def is_last(connection: Connection, account: str, sweep: str) -> bool:
    """Tell whether no later sweep of an account began; none does until the transaction ends."""
    here = t.FINDINGS.c
    query = (
        select(here.ref)
        .where(here.account == account, here.key_id == _SWEEP[0], here.what == _SWEEP[1])
        .with_for_update()
    )
    return connection.execute(query).scalar() == sweep


def end(connection: Connection, key_id: str, now_us: int) -> None:
    """End what was found about a key: it is dead."""
    here = t.FINDINGS.c
    connection.execute(
        t.FINDINGS.update().where(here.key_id == key_id, here.ended_us.is_(None)).values(ended_us=now_us)
    )


def not_left(connection: Connection, key_id: str, now_us: int) -> None:
    """End that a key was left: it is in use again, or dead."""
    here = t.FINDINGS.c
    stand = (here.key_id == key_id, here.what == LEFT, here.ended_us.is_(None))
    connection.execute(t.FINDINGS.update().where(*stand).values(ended_us=now_us))


def standing(connection: Connection) -> list[Finding]:
    """Return what was found and not ended, by account. No key was left that is proven dead on record."""
    here, key = t.FINDINGS.c, t.KEY_VERSIONS.c
    dead = select(key.venue_key_id).where(
        key.stage == Stage.TOMBSTONE.value, key.death == Death.PROVEN.value, key.venue_key_id != ""
    )
    query = (
        select(t.FINDINGS)
        .where(here.ended_us.is_(None), or_(here.what != LEFT, here.key_id.not_in(dead)))
        .order_by(here.account, here.first_us, here.key_id)
    )
    return [
        Finding(
            row.account, row.key_id, row.what, row.says, row.ref, moment(row.first_us), moment(row.last_us)
        )
        for row in connection.execute(query)
    ]
