"""What an older home has on record of its dead keys says as much after an upgrade, and no more."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from broker.db import accounts as account_store
from broker.db import schema
from broker.db import tables as t
from broker.db.database import Database
from broker.model import Death
from rotation.retire import STATED, STATED_ALONE, STATED_UNASKED, TWICE_ABSENT, TWICE_NAMED
from tests.places import database_at

pytestmark = pytest.mark.usefixtures("kind")

_COLUMNS = ("account", "slot", "version", "stage", "venue_key_id", "key_type", "path", "created_us")
_LISTS = "absent from two lists a settling time apart"
_SEEN = "First seen so at 2026-11-28 10:00:00Z, then: /sapi -2008, /api -2008 at 2026-11-28 10:01:00Z"
_STATED = "an operator says it is deleted, and the exchange refuses it without naming it: stated, not proven. First seen"


@pytest.fixture
def older(tmp_path: Path) -> Iterator[Database]:
    database = database_at(tmp_path)
    database.upgrade()
    with database.write() as connection:
        schema.STATE.downgrade(connection, "0017")
        connection.execute(t.EGRESS.insert().values(name="out", way="direct", addresses="", created_us=1))
        connection.execute(
            t.ACCOUNTS.insert().values(
                name="main", venue="binance", environment="paper", egress="out", created_us=1
            )
        )
        for version in range(1, 7):
            connection.execute(
                sa.table("key_versions", *map(sa.column, _COLUMNS)).insert().values(
                    account="main", slot="trade", version=version, stage="current" if version == 6 else "tombstone",
                    venue_key_id=f"K{version}", key_type="hmac", path=f"p{version}", created_us=1,
                )
            )  # fmt: skip
    yield database
    database.close()


def noted(database: Database, seq: int, action: str, version: int, details: str) -> None:
    with database.write() as connection:
        connection.execute(
            t.AUDIT.insert().values(
                writer="one", seq=seq, at_us=seq, actor="portcullis", action=action,
                subject=f"key-version:main/trade/{version}", details=details, previous="", digest=str(seq),
            )
        )  # fmt: skip


def test_what_was_stated_is_not_proven_after_an_upgrade(older: Database) -> None:
    noted(older, 1, "key.dead", 1, f'{{"rotation":"rot_1","proof":"{_LISTS}. {_SEEN}","stated":false}}')
    noted(older, 2, "key.dead", 2, '{"rotation":"rot_2","proof":"x","stated":true}')
    noted(older, 3, "key.dead", 3, f'{{"rotation":"rot_3","proof":"{_STATED}"}}')
    noted(older, 4, "key.dead", 4, '{"rotation":"rot_4","proof":"x","stated":true}')
    noted(older, 5, "key.confirm-deleted", 4, "{}")
    noted(
        older, 6, "key.dead", 6, '{"rotation":"rot_6","proof":"of a key that is in use again","stated":false}'
    )
    noted(older, 7, "key.dead", 7, "no document")
    with older.write() as connection:
        connection.execute(t.AUDIT.update().where(t.AUDIT.c.seq == 7).values(subject="key-version:damaged"))
    noted(older, 8, "key.dead", 2, "no document")
    older.upgrade()
    with older.read() as connection:
        found = {key.ref.version: key.death for key in account_store.keys(connection)}
    assert found == {
        1: Death.PROVEN, 2: Death.UNPROVEN, 3: Death.STATED, 4: Death.CONFIRMED, 5: Death.UNPROVEN, 6: Death.UNSAID,
    }  # fmt: skip


_ONE_LOOK = "the exchange refused it by name on every host: /sapi -2008, /api -2008 at 2026-11-28 10:00:00Z"


@pytest.mark.parametrize(
    ("proof", "death"),
    [
        (f"{TWICE_ABSENT}. {_SEEN}", Death.PROVEN),
        (f"{TWICE_NAMED}. {_SEEN}", Death.PROVEN),
        (_ONE_LOOK, Death.UNPROVEN),
        ("the exchange refused it by name, and serves it on no host", Death.UNPROVEN),
        (_LISTS, Death.UNPROVEN),  # of before lists had to add up
        ("", Death.UNPROVEN),
        (f"{STATED}. {_SEEN}", Death.STATED),
        (f"{STATED_ALONE}. {_SEEN}", Death.STATED),
        (f"{STATED_UNASKED}. {_SEEN}", Death.STATED),
    ],
)
def test_what_proves_a_death_today_is_what_an_older_home_has_proven(
    older: Database, proof: str, death: Death
) -> None:
    noted(older, 1, "key.dead", 1, json.dumps({"rotation": "rot_1", "proof": proof}))
    older.upgrade()
    with older.read() as connection:
        assert account_store.keys(connection)[0].death is death


def test_a_person_s_word_on_what_was_proven_by_one_look_states_it(older: Database) -> None:
    noted(older, 1, "key.dead", 1, json.dumps({"rotation": "rot_1", "proof": _ONE_LOOK}))
    noted(older, 2, "key.confirm-deleted", 1, "{}")
    older.upgrade()
    with older.read() as connection:
        assert account_store.keys(connection)[0].death is Death.STATED


def found(database: Database, what: str, last_us: int, ended_us: int | None) -> None:
    """A sweep found the first key so."""
    with database.write() as connection:
        connection.execute(
            t.FINDINGS.insert().values(
                account="main", key_id="K1", what=what, ref=None, says="", first_us=1, last_us=last_us,
                ended_us=ended_us,
            )
        )  # fmt: skip


_PROVEN = json.dumps({"rotation": "rot_1", "proof": f"{TWICE_ABSENT}. {_SEEN}", "stated": False})
_WORD = json.dumps({"rotation": "rot_1", "proof": f"{STATED}. {_SEEN}"})


@pytest.mark.parametrize(
    ("what", "last_us", "ended_us", "death"),
    [
        ("undead", 6, None, Death.UNPROVEN),
        ("undead", 4, None, Death.UNPROVEN),  # nothing ended it
        ("undead", 6, 7, Death.UNPROVEN),  # one list that lacks it proves nothing
        ("unknown", 6, None, Death.UNPROVEN),  # in the list of another account
        ("orphan", 6, None, Death.UNPROVEN),
        ("undead", 4, 5, Death.PROVEN),  # it was retired again since, with proof
        ("permissions", 4, None, Death.PROVEN),
    ],
)
def test_a_key_that_a_list_had_after_its_proof_is_not_proven_dead(
    older: Database, what: str, last_us: int, ended_us: int | None, death: Death
) -> None:
    noted(older, 5, "key.dead", 1, _PROVEN)
    noted(older, 6, "key.dead", 2, _PROVEN)
    found(older, what, last_us, ended_us)
    older.upgrade()
    with older.read() as connection:
        deaths = [key.death for key in account_store.keys(connection)]
    assert deaths[:2] == [death, Death.PROVEN]


@pytest.mark.parametrize(
    ("last_us", "ended_us", "death"),
    [(7, None, Death.UNPROVEN), (7, 8, Death.UNPROVEN), (4, 5, Death.CONFIRMED), (4, None, Death.UNPROVEN)],
)
def test_a_person_s_word_is_taken_back_by_a_list_that_had_the_key(
    older: Database, last_us: int, ended_us: int | None, death: Death
) -> None:
    noted(older, 5, "key.dead", 1, _WORD)
    noted(older, 6, "key.confirm-deleted", 1, "{}")
    found(older, "undead", last_us, ended_us)
    older.upgrade()
    with older.read() as connection:
        assert account_store.keys(connection)[0].death is death
