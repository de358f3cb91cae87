"""A real key leaves only where a grant says so, only while every gate is open, and is rotated when its time is over."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from broker import gate_document
from broker.db import managers as manager_store
from broker.db import rows
from broker.db import tables as t
from broker.errors import Conflict
from broker.gate import Mode
from broker.gate_document import NotedCut
from broker.model import Death, KeyRef, Stage, new_id
from clients.secret import Secret
from clients.venue import Credential, KeyType, Slot
from rotation.journal import Journal
from rotation.plan import draw_up, draw_up_retirement
from rotation.planner import REST, Planner
from rotation.returned import Returned
from tests.api.desk import POLICY, REAL_SECRET, SAFE, UPSTREAM, Desk

ALLOWED = POLICY + "[checkout]\nmax_seconds = 3600\n"


@pytest.fixture
def grant(desk: Desk) -> str:
    desk.service.accounts.create_egress("out", addresses=("127.0.0.7",))
    desk.service.accounts.create("main", venue="binance", egress="out", upstream=UPSTREAM)
    key = Credential("REAL", Secret(REAL_SECRET), KeyType.HMAC)
    desk.service.keys.import_key("main", slot=Slot.TRADE, credential=key, facts=SAFE)
    master = Credential("MASTER", Secret("planted-manager-secret"), KeyType.HMAC)
    draft = desk.service.managers.draft("m", venue="binance", egress="out", upstream=UPSTREAM, key=master)
    desk.service.managers.take(draft, master, SAFE)
    with desk.service.desk.database.write() as connection:
        manager_store.assign(connection, "main", "m", "a@b.c")
    desk.service.grants.create_consumer("bot")
    return desk.service.grants.create(consumer="bot", account="main", policy=ALLOWED).grant.id


async def ask(desk: Desk, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    async with desk.client() as client:
        answer = await client.request(method, f"/v1/{path}", json=body)
        return answer.status_code, answer.json()


def wanted(held: str, **changes: Any) -> dict[str, Any]:
    return {"grant": held, "ttl_s": 600, "holder": "Ann", "reason": "tax report"} | changes


def returned(desk: Desk) -> Returned:
    service = desk.service
    return Returned(service, Journal(service.desk.database, service.audit, "planner"))


async def test_it_is_handed_out_once_and_on_record(desk: Desk, grant: str) -> None:
    status, out = await ask(desk, "POST", "checkouts", wanted(grant))
    assert (status, out["secret"], out["venue_key_id"]) == (201, REAL_SECRET, "REAL")
    _, listed = await ask(desk, "GET", "checkouts")
    (one,) = listed["items"]
    assert (one["holder"], one["reason"], one["key"]) == ("Ann", "tax report", "main/trade/1")
    assert "secret" not in one
    _, audit = await ask(desk, "GET", "audit")
    (entry,) = [entry for entry in audit["items"] if entry["action"] == "checkout.open"]
    assert REAL_SECRET not in str(entry)
    assert "Ann" in str(entry)


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"ttl_s": 3601}, 403, "too_long"),
        ({"ttl_s": 0}, 400, "malformed"),
        ({"holder": " "}, 400, "bad_checkout"),
        ({"reason": " "}, 400, "bad_checkout"),
        ({"grant": "grt_nobody"}, 404, "no_grant"),
    ],
)
async def test_what_is_not_allowed_hands_nothing_out(
    desk: Desk, grant: str, changes: dict[str, Any], status: int, reason: str
) -> None:
    found, problem = await ask(desk, "POST", "checkouts", wanted(grant, **changes))
    assert (found, problem["reason"]) == (status, reason)
    assert REAL_SECRET not in str(problem)
    assert desk.service.checkouts.list() == ()


async def test_a_policy_that_says_nothing_allows_nothing(desk: Desk, grant: str) -> None:
    desk.service.grants.set_policy(grant, POLICY)
    assert (await ask(desk, "POST", "checkouts", wanted(grant)))[1]["reason"] == "no_checkout"


@pytest.mark.parametrize("target", ["everything", "account:main", "consumer:bot", "key-version:main/trade/1"])
@pytest.mark.parametrize("mode", [Mode.CLOSED, Mode.HALT])
async def test_no_key_leaves_while_a_gate_is_shut_even_half(
    desk: Desk, grant: str, target: str, mode: Mode
) -> None:
    desk.service.cuts.close(targets=(target,), mode=mode, reason="x", actor="x")
    status, problem = await ask(desk, "POST", "checkouts", wanted(grant))
    assert (status, problem["reason"]) == (403, "cut")
    assert desk.service.checkouts.list() == ()


async def test_its_end_by_hand_is_a_rotation(desk: Desk, grant: str) -> None:
    _, out = await ask(desk, "POST", "checkouts", wanted(grant))
    assert returned(desk).look(datetime.now(UTC)) == ()
    assert desk.service.rotations.list().items == (), "its time is not over"
    await ask(desk, "POST", f"checkouts/{out['checkout']['id']}/close")
    assert returned(desk).look(datetime.now(UTC)) == ()
    (rotation,) = desk.service.rotations.list().items
    assert (rotation.why, rotation.old_version) == ("checkout", 1)
    (one,) = desk.service.checkouts.list()
    assert (one.rotation, one.dead_at) == (rotation.id, None), "nothing is called dead that is not"
    with desk.service.desk.database.write() as connection:
        connection.execute(t.ROTATIONS.update().values(open_slot=None, ended_us=1, state="done"))
        connection.execute(
            t.KEY_VERSIONS.update().where(t.KEY_VERSIONS.c.version == 1).values(stage=Stage.TOMBSTONE.value)
        )
    returned(desk).look(datetime.now(UTC))
    assert desk.service.checkouts.list()[0].dead_at is None, "a tombstone is no proof"
    with desk.service.desk.database.write() as connection:
        connection.execute(t.KEY_VERSIONS.update().values(death=Death.PROVEN.value))
    returned(desk).look(datetime.now(UTC))
    assert desk.service.checkouts.list()[0].dead_at is not None


async def test_its_end_by_time_is_one_and_a_failed_one_is_tried_again(desk: Desk, grant: str) -> None:
    await ask(desk, "POST", "checkouts", wanted(grant))
    now = datetime.now(UTC)
    returned(desk).look(now + timedelta(seconds=601))
    (first,) = desk.service.rotations.list().items
    ended_us = round((now + timedelta(seconds=700)).timestamp() * 1_000_000)
    with desk.service.desk.database.write() as connection:
        connection.execute(
            t.ROTATIONS.update().values(
                open_slot=None, ended_us=ended_us, state="abandoned", reason="the exchange said no"
            )
        )
    (trouble,) = returned(desk).look(now + timedelta(seconds=701))
    assert "the exchange said no" in trouble
    returned(desk).look(now + timedelta(seconds=701) + REST)
    assert len(desk.service.rotations.list().items) == 2, "what left is not forgotten"
    assert desk.service.checkouts.list()[0].rotation != first.id


async def test_a_rotation_under_way_ends_it_too(desk: Desk, grant: str) -> None:
    _, out = await ask(desk, "POST", "checkouts", wanted(grant))
    await ask(desk, "POST", f"checkouts/{out['checkout']['id']}/close")
    journal = Journal(desk.service.desk.database, desk.service.audit, "planner")
    Planner(desk.service, journal, random.Random(1)).look(datetime.now(UTC) + timedelta(days=100))  # noqa: S311
    (rotation,) = desk.service.rotations.list().items
    returned(desk).look(datetime.now(UTC))
    assert desk.service.checkouts.list()[0].rotation == rotation.id
    assert len(desk.service.rotations.list().items) == 1


@pytest.mark.parametrize(
    ("target", "mode", "ends"),
    [
        ("everything", Mode.CLOSED, True), ("account:main", Mode.CLOSED, True), ("consumer:bot", Mode.CLOSED, True),
        ("account:main", Mode.HALT, False), ("account:other", Mode.CLOSED, False),
    ],
)  # fmt: skip
async def test_a_cut_ends_the_checkouts_in_its_scope(
    desk: Desk, grant: str, target: str, mode: Mode, ends: bool
) -> None:
    """A key that was handed out heeds no gate: what is left to do is to rotate it."""
    desk.service.accounts.create("other", venue="binance", egress="out", upstream=UPSTREAM)
    _, out = await ask(desk, "POST", "checkouts", wanted(grant))
    desk.service.cuts.close(targets=(target,), mode=mode, reason="x", actor="x")
    (one,) = desk.service.checkouts.list()
    assert (one.closed_at is not None) is ends
    assert one.dead_at is None, "nothing is called dead that is not"
    returned(desk).look(datetime.now(UTC))
    assert len(desk.service.rotations.list().items) == (1 if ends else 0)
    _, audit = await ask(desk, "GET", "audit")
    (cut,) = [line for line in audit["items"] if line["action"] == "cut.close"]
    assert (out["checkout"]["id"] in str(cut["details"])) is ends


@pytest.mark.parametrize(("mode", "ends"), [(Mode.CLOSED, True), (Mode.HALT, False)])
async def test_a_cut_that_only_the_secret_store_knew_ends_them_too(
    desk: Desk, grant: str, mode: Mode, *, ends: bool
) -> None:
    """The broker was killed before the database took the cut, or the database was restored."""
    await ask(desk, "POST", "checkouts", wanted(grant))
    noted_in_the_mirror(desk, "consumer:bot", mode=mode)
    desk.service.mirror.merge()
    (one,) = desk.service.checkouts.list()
    assert (one.closed_at is not None) is ends
    returned(desk).look(datetime.now(UTC))
    assert len(desk.service.rotations.list().items) == (1 if ends else 0)


@pytest.mark.usefixtures("grant")
async def test_a_cut_that_only_the_secret_store_knew_covers_what_replaced_a_version_since(desk: Desk) -> None:
    cut = noted_in_the_mirror(desk, "key-version:main/trade/1")
    fresh = Credential("REAL2", Secret("planted-second-secret"), KeyType.HMAC)
    desk.service.keys.import_key("main", slot=Slot.TRADE, credential=fresh, facts=SAFE)
    desk.service.mirror.merge()
    both = ("key-version:main/trade/1", "key-version:main/trade/2")
    assert desk.service.cuts.get(cut).scopes == both
    with desk.service.desk.database.read() as connection:
        assert {one.mode for one in rows.gates(connection, both).values()} == {Mode.CLOSED}
        assert len(rows.gates(connection, both)) == len(both)


def noted_in_the_mirror(desk: Desk, scope: str, mode: Mode = Mode.CLOSED) -> str:
    """Write a cut down in the secret store alone."""
    noted = NotedCut(new_id("cut"), mode, (scope,), "leak", "ann", desk.service.desk.clock.now_us())
    desk.service.desk.secrets.mirror.change(noted.id, lambda _: gate_document.dump(noted))
    return noted.id


async def test_a_key_that_is_being_rotated_is_not_handed_out(desk: Desk, grant: str) -> None:
    journal = Journal(desk.service.desk.database, desk.service.audit, "planner")
    planned = draw_up(desk.service, "main", Slot.TRADE, "asked", datetime.now(UTC))
    journal.plan(planned)
    status, problem = await ask(desk, "POST", "checkouts", wanted(grant))
    assert (status, problem["reason"]) == (409, "rotating")
    assert planned.id in problem["detail"]
    assert desk.service.checkouts.list() == ()


async def test_a_key_that_left_and_was_replaced_by_an_import_is_retired(desk: Desk, grant: str) -> None:
    _, out = await ask(desk, "POST", "checkouts", wanted(grant))
    fresh = Credential("REAL2", Secret("planted-second-secret"), KeyType.HMAC)
    desk.service.keys.import_key("main", slot=Slot.TRADE, credential=fresh, facts=SAFE)
    await ask(desk, "POST", f"checkouts/{out['checkout']['id']}/close")
    assert returned(desk).look(datetime.now(UTC)) == ()
    (rotation,) = desk.service.rotations.list().items
    assert (rotation.state, rotation.old_version, rotation.new_version) == ("retiring-old", 1, 2)


async def test_who_ends_a_checkout_again_waits_for_no_rest(desk: Desk, grant: str) -> None:
    """Its rotation was given up; the next one begins as soon as somebody says so."""
    _, out = await ask(desk, "POST", "checkouts", wanted(grant))
    close = f"checkouts/{out['checkout']['id']}/close"
    await ask(desk, "POST", close)
    returned(desk).look(datetime.now(UTC))
    ended_us = round(datetime.now(UTC).timestamp() * 1_000_000)
    with desk.service.desk.database.write() as connection:
        connection.execute(
            t.ROTATIONS.update().values(open_slot=None, ended_us=ended_us, state="abandoned", reason="no")
        )
    assert len(returned(desk).look(datetime.now(UTC))) == 1, "it rests"
    await ask(desk, "POST", close)
    assert returned(desk).look(datetime.now(UTC)) == ()
    assert len(desk.service.rotations.list().items) == 2


@pytest.mark.usefixtures("grant")
async def test_a_key_that_a_rotation_may_be_deleting_is_not_taken_back_into_use(desk: Desk) -> None:
    """Between its look at what is in use and its delete, the key in use would be another."""
    keys = desk.service.keys
    first, second = (
        Credential(name, Secret(secret), KeyType.HMAC)
        for name, secret in (("REAL", REAL_SECRET), ("REAL2", "planted-second-secret"))
    )
    keys.import_key("main", slot=Slot.TRADE, credential=second, facts=SAFE)
    journal = Journal(desk.service.desk.database, desk.service.audit, "planner")
    ref = KeyRef("main", Slot.TRADE, 1)
    planned = draw_up_retirement(desk.service, ref, "retire", datetime.now(UTC))
    journal.begin(planned)
    with pytest.raises(Conflict, match=planned.id):
        keys.import_key("main", slot=Slot.TRADE, credential=first, facts=SAFE)
    stages = {key.ref.version: key.stage for key in keys.list("main")}
    assert stages == {1: Stage.PREVIOUS, 2: Stage.CURRENT}
    with desk.service.desk.database.write() as connection:
        connection.execute(t.ROTATIONS.update().values(open_slot=None, ended_us=1, state="abandoned"))
    assert keys.import_key("main", slot=Slot.TRADE, credential=first, facts=SAFE).stage is Stage.CURRENT
