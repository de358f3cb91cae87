"""Id and secret swapped, a private key for a public one: what was typed in the wrong place is on no record."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.db import tables as t
from broker.service.operators import Role
from broker.service.rotations import Wish
from clients.errors import VenueRefused
from clients.venue import KeyType, Slot
from rotation.journal import Journal
from rotation.plan import draw_up
from tests.api.desk import POLICY, Desk
from tests.api.people import Clock, Person, live
from tests.gateway.world import key_pair

REAL = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
ID = "dbefbc809e3e83c283a984c3a1459732ea7db1360ca80c5c2c8867408d28cc83"
TWO_HOURS_US = 7_200_000_000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def team(tmp_path: Path, clock: Clock) -> Iterator[Desk]:
    yield from live(tmp_path, clock, "team")


@pytest.mark.parametrize(
    ("path", "more"), [("managers", {"name": "m"}), ("keys", {"account": "main", "allow_any_address": True})]
)
async def test_an_announced_import_shows_an_id_in_part(
    team: Desk, clock: Clock, path: str, more: dict[str, object]
) -> None:
    """The exchange is asked once it is approved: nobody knows yet that it is a secret."""
    owner = Person(team, clock, "owner")
    clock.ahead_us += TWO_HOURS_US
    async with owner.client() as client:
        headers = {"Portcullis-Code": owner.code()}
        found = await client.post(f"/v1/{path}", json={"key_id": REAL, "secret": ID, **more}, headers=headers)
    assert found.status_code == 202, found.text
    async with team.client(Role.VIEWER) as client:
        seen = await client.get("/v1/acts")
    with team.service.desk.database.read() as connection:
        rows = str([tuple(row) for row in connection.execute(t.ACTS.select())])
    for kept in found.text, seen.text, rows:
        assert REAL not in kept
        assert "vmPUZE6m...Eh8A (sha256 " in kept, "who approves knows it again by that"


@pytest.mark.parametrize("path", ["/v1/grants", "/v1/keys"])
async def test_a_private_key_in_the_place_of_a_public_one_is_refused_at_once(
    team: Desk, clock: Clock, path: str
) -> None:
    private, _ = key_pair(KeyType.ED25519)
    owner = Person(team, clock, "owner")
    clock.ahead_us += TWO_HOURS_US
    body = {"consumer": "bot", "account": "main", "policy": POLICY, "public_key": private}
    if path == "/v1/keys":
        body = {"account": "main", "key_id": private, "secret": ID}
    async with owner.client() as client:
        found = await client.post(path, json=body, headers={"Portcullis-Code": owner.code()})
    async with team.client(Role.VIEWER) as client:
        seen = await client.get("/v1/acts")
    assert (found.status_code, found.json()["reason"]) == (400, "held_secret")
    assert "holds a private key" in found.text
    for kept in found.text, seen.text:
        assert private.split("\n")[1] not in kept


def planned(team: Desk) -> str:
    service = team.service
    service.accounts.create_egress("out", addresses=("203.0.113.7",))
    service.accounts.create("other", venue="binance", egress="out")
    one = draw_up(service, "other", Slot.TRADE, "asked", datetime.now(UTC), hmac=True)
    Journal(service.desk.database, service.audit, "one").plan(one)
    return one.id


def kept_of(team: Desk) -> str:
    with team.service.desk.database.read() as connection:
        return str(
            [tuple(row) for table in (t.AUDIT, t.ROTATION_ASKS) for row in connection.execute(table.select())]
        )


@pytest.mark.parametrize("wish", [Wish.ANSWER, Wish.RESUME])
def test_the_trail_keeps_an_id_in_part(team: Desk, wish: Wish) -> None:
    team.service.rotations.ask(planned(team), wish, {"key_id": REAL})
    with team.service.desk.database.read() as connection:
        trail = str([tuple(row) for row in connection.execute(t.AUDIT.select())])
    assert REAL not in kept_of(team)
    assert "vmPUZE6m...Eh8A" in trail


async def test_an_answer_is_on_record_once_the_exchange_knows_the_key(team: Desk, clock: Clock) -> None:
    rotation = planned(team)
    team.venue.dead[REAL] = VenueRefused("binance", "key.restrictions", "unknown_key", text="no such key")
    owner = Person(team, clock, "owner")
    async with owner.client() as client:
        found = await client.post(f"/v1/rotations/{rotation}/answer", json={"key_id": REAL, "secret": ID})
    assert found.status_code >= 400
    assert team.venue.asked == [REAL]
    assert REAL not in kept_of(team)
    assert ID not in kept_of(team)
