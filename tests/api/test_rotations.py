"""What one rotation shows: itself, and what else waits of the same account."""

from datetime import UTC, datetime

import pytest

from broker.api import rotations
from broker.db import tables as t
from broker.deeds import No
from broker.service.operators import Role
from clients.venue import Slot
from rotation.journal import Journal
from rotation.plan import draw_up, enrol_standby
from tests.api.desk import UPSTREAM, Desk
from tests.api.test_readiness import account


async def test_a_rotation_by_hand_names_the_standby_key_of_the_same_sitting(desk: Desk) -> None:
    account(desk)
    desk.service.accounts.create("other", venue="binance", egress="out", upstream=UPSTREAM)
    now, service = datetime.now(UTC), desk.service
    with service.desk.database.write() as connection:
        connection.execute(t.KEY_VERSIONS.delete().where(t.KEY_VERSIONS.c.slot == "standby"))
    journal = Journal(service.desk.database, service.audit, "test")
    trade, other = (draw_up(service, name, Slot.TRADE, "asked", now) for name in ("main", "other"))
    for planned in (trade, other):
        journal.plan(planned)
    enrol_standby(service, journal, trade, now)
    async with desk.client(Role.VIEWER) as client:
        shown = (await client.get(f"/v1/rotations/{trade.id}")).json()
        alone = (await client.get(f"/v1/rotations/{other.id}")).json()
    assert [(one["account"], one["slot"], one["why"]) for one in shown["beside"]] == [
        ("main", "standby", "standby")
    ]
    assert alone["beside"] == []


@pytest.mark.parametrize("what", ["rotations", "sweeps"])
async def test_what_no_rotator_has_done_yet_is_not_said_to_have_changed_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """It stays on record, and a rotator that was only stopped carries it out: the old key is deleted then."""
    account(desk)
    monkeypatch.setattr(rotations, "_PATIENCE_S", 0.05)
    monkeypatch.setattr(rotations, "_SWEEP_S", 0.05)
    async with desk.client(Role.ADMIN) as client:
        answer = await client.post(
            f"/v1/{what}", json={"account": "main", "slot": "trade"} if what == "rotations" else None
        )
    assert (answer.status_code, answer.json()["reason"]) == (503, "not_yet"), answer.text
    assert answer.json()["done"] == "unknown"
    assert "it is on record" in answer.json()["detail"]


async def test_what_waits_for_a_sealed_vault_says_so_and_sends_nobody_to_look_for_a_rotator(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    account(desk)
    monkeypatch.setattr(rotations, "_PATIENCE_S", 0.05)
    no = No("guard_away", "what an operator asks of the rotator waits, nothing was done: Vault is sealed")
    monkeypatch.setattr(desk.service.desk.guard, "allows", lambda _: no)
    async with desk.client(Role.ADMIN) as client:
        answer = await client.post("/v1/rotations", json={"account": "main", "slot": "trade"})
    assert (answer.status_code, answer.json()["reason"]) == (503, "not_yet"), answer.text
    detail = answer.json()["detail"]
    assert "sealed" in detail
    assert "RB-03" in detail
    assert "portcullis status" not in detail
