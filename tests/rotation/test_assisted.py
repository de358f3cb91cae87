"""A main account: the same states, and a person makes and deletes the keys. A slip of theirs costs nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.db import tables as t
from broker.errors import NotFound, StoreUnavailable
from broker.model import KeyRef, Stage
from broker.service.rotations import Wish
from clients.keys import PERMISSIONS
from clients.secret import Secret
from clients.venue import KeyType, Slot
from rotation import document
from rotation.asks import Asks
from rotation.effects import Effects
from rotation.journal import Journal
from rotation.retire import NOT_DELETED, STATED, UNNAMED
from rotation.state import Answer, Do, Effect, Rotation, State
from rotation.venues import Venues
from tests.rotation.place import ACCOUNT_ADDRESS, EMAIL, POLLS, Place, now, running_place, trading

pytestmark = pytest.mark.sockets


@asynccontextmanager
async def running_alone(directory: Path) -> AsyncIterator[Place]:
    """A place whose account is under no manager key."""
    async with running_place(directory) as here:
        with here.world.service.desk.database.write() as connection:
            connection.execute(t.ACCOUNTS.update().values(manager=None, subaccount=None))
        yield here


def person_makes(here: Place, todo: dict[str, Any], **changes: Any) -> str:
    """Do at the exchange's pages what the steps say, to the letter."""
    text = "\n".join(todo["steps"])
    assert f"trusted IPs only: {ACCOUNT_ADDRESS}" in text
    ticked = next(step for step in todo["steps"] if step.startswith("Tick: "))
    flags = {"enableSpotAndMarginTrading": "Spot & Margin Trading" in ticked} | changes.get("flags", {})
    label = next(step for step in todo["steps"] if step.startswith("Label: ")).removeprefix("Label: ")
    public_key = todo["public_key"] or None
    kind = KeyType.ED25519 if public_key else KeyType.HMAC
    key = here.world.paper.exchange.make_key(
        EMAIL, kind, flags, ips=changes.get("ips", (ACCOUNT_ADDRESS,)), label=label, public_key=public_key
    )
    return key.key_id


def asks(here: Place) -> Asks:
    service = here.world.service
    journal = Journal(service.desk.database, service.audit, "asks")
    return Asks(service, Venues(service), journal, "asks", now)


async def told(here: Place, rotation: str, body: dict[str, object], secret: Secret | None = None) -> str:
    ask = here.world.service.rotations.ask(rotation, Wish.ANSWER, body, secret)
    work = asks(here)
    while (outcome := here.world.service.rotations.outcome(ask.id).outcome) is None:
        await asyncio.to_thread(work.once)
        await asyncio.sleep(0.02)
    return outcome


async def begun(here: Place, slot: Slot = Slot.TRADE, *, hmac: bool = False) -> str:
    ask = here.world.service.rotations.start("main", slot, hmac=hmac)
    assert await asyncio.to_thread(asks(here).once)
    assert here.world.service.rotations.outcome(ask.id).outcome == ""
    await reached(here, ask.rotation, State.CREATING)
    return ask.rotation


async def reached(here: Place, rotation: str, *states: State, most: int = POLLS) -> dict[str, Any]:
    """Carry everything on until a rotation stands in one of these states."""
    runner = here.runner()
    for _ in range(most):
        await asyncio.to_thread(runner.once)
        known = here.world.service.rotations.get(rotation)
        waits = known.state == State.CREATING.value and not known.todo
        if known.state in {state.value for state in states} and not waits:
            return dict(known.todo)
        hurry(here, rotation)
        await asyncio.sleep(0.02)
    raise AssertionError(here.world.service.rotations.get(rotation))


def hurry(here: Place, rotation: str) -> None:
    """Let a waiting rotation be due: tests do not wait for people."""
    with here.world.service.desk.database.write() as connection:
        rows = t.ROTATIONS
        row = connection.execute(rows.select().where(rows.c.id == rotation)).one()
        if row.state in {"retiring-old", "discarding-new"}:
            known = document.load(row.document)
            fresh = document.dump(_due(known))
            connection.execute(rows.update().where(rows.c.id == rotation).values(due_us=0, document=fresh))


def _due(known: Rotation) -> Rotation:
    return replace(known, due_at=known.started_at)


def living(here: Place) -> set[str]:
    return {key.key_id for key in here.living()}


async def test_the_machine_waits_and_a_person_does_what_it_says(tmp_path: Path) -> None:
    async with running_alone(tmp_path) as here, trading(here.bot) as answers:
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200
        old = here.old_key
        here.world.paper.exchange.switches["deleted_key_api_code"] = -2008
        rotation = await begun(here)
        todo = dict(here.world.service.rotations.get(rotation).todo)
        assert todo["public_key"].startswith("-----BEGIN PUBLIC KEY-----")
        forbidden = next(step for step in todo["steps"] if step.startswith("Do NOT tick: "))
        assert "Enable Withdrawals" in forbidden
        assert "Enable Margin" not in forbidden, "it reads like the one for trade, which is to be ticked"
        assert "margin borrow/repay (enableMargin)" in forbidden
        assert len(forbidden.split(", ")) == len(PERMISSIONS), "each permission is ticked or not, by name"
        fresh = person_makes(here, todo)
        assert await told(here, rotation, {"key_id": fresh}) == ""
        todo = await reached(here, rotation, State.RETIRING_OLD)
        assert f"{old[:8]}...{old[-4:]}" in todo["title"]
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200
        assert living(here) == {old, fresh}, "nothing is called dead that is not"
        here.world.paper.exchange.keys[old].deleted = True
        await reached(here, rotation, State.DONE)
        reason = here.world.service.rotations.get(rotation).reason
        assert "refused it by name on every host: /sapi -2008, /api -2008 at 20" in reason
        stages = {
            key.ref: key.stage for key in here.world.service.keys.list("main") if key.ref.slot is Slot.TRADE
        }
        assert [stage for _, stage in sorted(stages.items(), key=str)] == [Stage.TOMBSTONE, Stage.CURRENT]
        assert set(answers()) == {(200, None)}


async def test_a_standby_key_is_enrolled_in_the_same_sitting(tmp_path: Path) -> None:
    async with running_alone(tmp_path) as here:
        await begun(here)
        (standby,) = [one for one in here.world.service.rotations.list().items if one.slot is Slot.STANDBY]
        assert standby.why == "standby"
        await reached(here, standby.id, State.CREATING)
        todo = dict(here.world.service.rotations.get(standby.id).todo)
        assert await told(here, standby.id, {"key_id": person_makes(here, todo)}) == ""
        await reached(here, standby.id, State.DONE)
        (key,) = [one for one in here.world.service.keys.list("main") if one.ref.slot is Slot.STANDBY]
        assert key.stage is Stage.CURRENT
        assert key.venue_key_id in living(here)


async def test_a_mistyped_id_costs_nothing(tmp_path: Path) -> None:
    async with running_alone(tmp_path) as here:
        rotation = await begun(here)
        said = await told(here, rotation, {"key_id": "A" * 64})
        assert said.startswith("venue_")
        assert "Compare the id you copied" in said
        assert here.world.service.rotations.get(rotation).state == "creating"
        todo = dict(here.world.service.rotations.get(rotation).todo)
        assert await told(here, rotation, {"key_id": person_makes(here, todo)}) == ""


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"flags": {"enableWithdrawals": True}}, "withdraw is on"),
        ({"flags": {"enableFutures": True}}, "futures is on and should be off"),
        ({"flags": {"enableSpotAndMarginTrading": False}}, "trade is off and should be on"),
        ({"ips": ()}, "bound to no address"),
    ],
)
async def test_a_key_made_otherwise_is_never_cut_over_to(
    tmp_path: Path, changes: dict[str, Any], word: str
) -> None:
    async with running_alone(tmp_path) as here:
        old = here.old_key
        rotation = await begun(here)
        todo = dict(here.world.service.rotations.get(rotation).todo)
        wrong = person_makes(here, todo, **changes)
        assert await told(here, rotation, {"key_id": wrong}) == ""
        todo = await reached(here, rotation, State.DISCARDING_NEW)
        assert wrong[:8] in todo["title"], "the wrong one is to be deleted, not the one in use"
        here.world.paper.exchange.keys[wrong].deleted = True
        assert await told(here, rotation, {"deleted": True}) == ""
        await reached(here, rotation, State.ABANDONED, most=1500)
        assert word in here.world.service.rotations.get(rotation).reason
        assert living(here) == {old}
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200


@pytest.mark.parametrize("sapi", [-2015, -2008])
async def test_a_persons_word_is_stated_and_never_proof(tmp_path: Path, sapi: int) -> None:
    """Both readings of what the exchange says of a deleted key on `/sapi`; on `/api` it does not name it."""
    async with running_alone(tmp_path) as here:
        old = here.old_key
        here.world.paper.exchange.switches["deleted_key_sapi_code"] = sapi
        rotation = await begun(here)
        fresh = person_makes(here, dict(here.world.service.rotations.get(rotation).todo))
        await told(here, rotation, {"key_id": fresh})
        await reached(here, rotation, State.RETIRING_OLD)
        assert await told(here, rotation, {"deleted": True}) == ""
        with pytest.raises(AssertionError):
            await reached(here, rotation, State.DONE, most=25)
        assert old in living(here), "it was said, and it lives: it is not called dead"
        here.world.paper.exchange.keys[old].deleted = True
        await told(here, rotation, {"deleted": True})
        await reached(here, rotation, State.DONE, most=1500)
        reason = here.world.service.rotations.get(rotation).reason
        assert STATED in reason
        assert f"/sapi {sapi}, /api -2015 at 20" in reason


async def test_a_persons_word_counts_for_nothing_where_every_key_is_refused(tmp_path: Path) -> None:
    """This host's address changed: the exchange refuses each key just as it does a deleted one, and the old one lives."""
    async with running_alone(tmp_path) as here:
        old, service = here.old_key, here.world.service
        rotation = await begun(here)
        fresh = person_makes(here, dict(service.rotations.get(rotation).todo))
        await told(here, rotation, {"key_id": fresh})
        await reached(here, rotation, State.RETIRING_OLD)
        assert await told(here, rotation, {"deleted": True}) == ""
        with service.desk.database.read() as connection:
            row = connection.execute(t.ROTATIONS.select().where(t.ROTATIONS.c.id == rotation)).one()
        known = replace(document.load(row.document), row_version=row.row_version)
        effects = Effects(service, Venues(service))
        for key in (old, fresh):
            here.world.paper.exchange.keys[key].ips = ("127.0.0.99",)
        reply = await asyncio.to_thread(effects.perform, known, Effect(Do.PROBE, 1))
        assert (reply.answer, reply.reason) == (Answer.UNKNOWN, "nothing_served")
        assert "main/trade/2, which is in use, is not served from here either" in reply.proof
        here.world.paper.exchange.keys[fresh].ips = (ACCOUNT_ADDRESS,)
        reply = await asyncio.to_thread(effects.perform, known, Effect(Do.PROBE, 1))
        assert (reply.answer, reply.reason) == (Answer.UNKNOWN, UNNAMED)


async def test_a_key_whose_secret_the_exchange_shows(tmp_path: Path) -> None:
    async with running_alone(tmp_path) as here:
        rotation = await begun(here, hmac=True)
        todo = dict(here.world.service.rotations.get(rotation).todo)
        assert todo["public_key"] == ""
        assert todo["then"].endswith("--hmac")
        fresh = person_makes(here, todo)
        assert (await told(here, rotation, {"key_id": fresh})).startswith("wrong_kind: ")
        secret = here.world.paper.exchange.keys[fresh].secret
        assert secret is not None
        assert await told(here, rotation, {"key_id": fresh}, secret) == ""
        await reached(here, rotation, State.RETIRING_OLD)
        store = here.world.service.desk.secrets
        assert [path for path in store.paths("inbox/") if _readable(here, path)] == [], (
            "the inbox is empty again"
        )
        current = next(
            key
            for key in here.world.service.keys.list("main")
            if key.stage is Stage.CURRENT and key.ref.slot is Slot.TRADE
        )
        assert (current.venue_key_id, current.key_type) == (fresh, KeyType.HMAC)


def _readable(here: Place, path: str) -> bool:
    try:
        here.world.service.desk.secrets.read(path)
    except NotFound:
        return False
    return True


async def shown_once(here: Place) -> tuple[str, str, Secret]:
    """Begin a rotation whose key the exchange makes; return it, and the key that a person made with its secret."""
    rotation = await begun(here, hmac=True)
    fresh = person_makes(here, dict(here.world.service.rotations.get(rotation).todo))
    secret = here.world.paper.exchange.keys[fresh].secret
    assert secret is not None
    return rotation, fresh, secret


def brought(here: Place) -> list[str]:
    return [path for path in here.world.service.desk.secrets.paths("inbox/") if _readable(here, path)]


@pytest.mark.parametrize("ends", [StoreUnavailable("store_busy", "planted"), KeyboardInterrupt()])
async def test_a_secret_that_was_brought_is_there_until_its_answer_is_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: BaseException
) -> None:
    """The exchange shows it once: a rotator that lost the database, or ended, in between cost the person's key."""
    async with running_alone(tmp_path) as here:
        rotation, fresh, secret = await shown_once(here)
        ask = here.world.service.rotations.ask(rotation, Wish.ANSWER, {"key_id": fresh}, secret)
        real, failed = Journal.save, list[bool]()

        def save(*given: Any, **more: Any) -> Any:
            if not failed:
                failed.append(True)
                raise ends
            return real(*given, **more)

        monkeypatch.setattr(Journal, "save", save)

        def work() -> None:
            with suppress(KeyboardInterrupt):  # as if it was started anew
                asks(here).once()

        while here.world.service.rotations.outcome(ask.id).outcome is None:
            await asyncio.to_thread(work)
            await asyncio.sleep(0.02)
        assert (failed, here.world.service.rotations.outcome(ask.id).outcome) == ([True], "")
        await reached(here, rotation, State.RETIRING_OLD)
        assert brought(here) == []


async def test_a_secret_that_was_brought_in_vain_does_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither where its answer was refused, nor where who answered ended right after."""
    async with running_alone(tmp_path) as here:
        rotation, fresh, secret = await shown_once(here)
        assert (await told(here, rotation, {"key_id": "A" * 64}, secret)).startswith("venue_")
        assert brought(here) == []
        with monkeypatch.context() as patch:
            patch.setattr(Asks, "_empty", lambda *_: None)
            assert await told(here, rotation, {"key_id": fresh}, secret) == ""
        assert len(brought(here)) == 1
        await asyncio.to_thread(asks(here).clear)
        assert brought(here) == []


async def test_an_answer_nobody_waits_for_is_refused(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        planned = here.plan()
        here.runner().journal.plan(planned)
        assert (await told(here, planned.id, {"key_id": "A" * 64})).startswith("not_now: it is planned")


# --- what stays is looked at before a person is asked to delete --------------------------------


def wipe(here: Place, version: int) -> None:
    here.world.service.desk.secrets.destroy(KeyRef("main", Slot.TRADE, version).path)


async def test_nobody_is_asked_to_delete_the_old_key_when_the_new_ones_secret_is_gone(tmp_path: Path) -> None:
    async with running_alone(tmp_path) as here:
        rotation = await begun(here)
        fresh = person_makes(here, dict(here.world.service.rotations.get(rotation).todo))
        assert await told(here, rotation, {"key_id": fresh}) == ""
        await reached(here, rotation, State.DRAINING)
        wipe(here, 2)
        assert await reached(here, rotation, State.STALLED) == {}
        known = here.world.service.rotations.get(rotation)
        assert known.reason.startswith(f"{NOT_DELETED}the secret of main/trade/2")
        deletes = [
            line for line in here.world.service.rotations.history(rotation) if line.state == "retiring-old"
        ]
        assert all("waits for a person" not in line.event for line in deletes)


async def test_who_was_asked_to_delete_the_old_key_is_asked_no_more_when_the_new_one_is_lost(
    tmp_path: Path,
) -> None:
    """They may not have got to it yet: it is all that is left."""
    async with running_alone(tmp_path) as here:
        old, rotation = here.old_key, await begun(here)
        fresh = person_makes(here, dict(here.world.service.rotations.get(rotation).todo))
        assert await told(here, rotation, {"key_id": fresh}) == ""
        await reached(here, rotation, State.RETIRING_OLD)
        for _ in range(100):
            if todo := here.world.service.rotations.get(rotation).todo:
                break
            await asyncio.to_thread(here.runner().once)
        assert todo["title"].startswith("delete the key")
        wipe(here, 2)
        assert await reached(here, rotation, State.STALLED) == {}
        ask = here.world.service.rotations.ask(rotation, Wish.ROLL_BACK, {"reason": "the new one is lost"})
        while here.world.service.rotations.outcome(ask.id).outcome is None:
            await asyncio.to_thread(asks(here).once)
        assert here.world.service.rotations.outcome(ask.id).outcome == ""
        await reached(here, rotation, State.DISCARDING_NEW)
        current = [
            key.venue_key_id for key in here.world.service.keys.list("main") if key.stage is Stage.CURRENT
        ]
        assert current == [old]
