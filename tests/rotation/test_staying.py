"""No key is deleted before the one that stays was looked at: on record, in the secret store and at the exchange."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.db import accounts as account_store
from broker.db import rotations as store
from broker.db import tables as t
from broker.errors import Conflict
from broker.model import KeyRef, Stage
from broker.service.rotations import Wish
from clients.venue import Credential, KeyFacts, KeyType, Slot
from portcullis.cli.rotation_words import KEPT
from rotation import document
from rotation.making import _fresh_private
from rotation.plan import draw_up_retirement
from rotation.retire import NOT_DELETED
from rotation.runner import Runner
from rotation.state import Answer, Do, Effect, Reply, Retirement, Rotation, State
from tests.rotation.place import BY_HAND, QUICK, REPLACED, STRANGER, Place, now, running_place
from tests.rotation.test_slips import said
from tests.rotation.test_sweeper import imported, living

pytestmark = pytest.mark.sockets


def before(runner: Runner, do: Do, act: Callable[[], object], state: State | None = None) -> None:
    """Have something happen right before an effect is performed for the first time."""
    perform, done = runner.effects._do[do], list[object]()

    def first(rotation: Rotation, version: int) -> Reply:
        if not done and (state is None or rotation.state is state):
            done.append(act())
        return perform(rotation, version)

    runner.effects._do[do] = first


def wipe(here: Place, version: int) -> None:
    """Destroy a version's secret in the store; whoever served it goes on serving it from memory."""
    here.world.service.desk.secrets.destroy(KeyRef("main", Slot.TRADE, version).path)


async def begun(here: Place, runner: Runner) -> Rotation:
    assert (await here.bot.call("GET", "/api/v3/account")).status == 200
    planned = replace(here.plan(), limits=QUICK)
    await asyncio.to_thread(runner.journal.plan, planned)
    return planned


def deletes(here: Place) -> list[Any]:
    return [row for row in here.world.executed() if row["action"] == "key-delete"]


def shown(here: Place, rotation: str) -> tuple[str, str]:
    known = here.world.service.rotations.get(rotation)
    return known.state, known.reason


# --- the secret of the key that stays ---------------------------------------------------------


@pytest.mark.parametrize(
    ("do", "state"),
    [(Do.MOVE, "cutting-over"), (Do.DRAIN, "retiring-old"), (Do.READ_CLOCK, "retiring-old"),
     (Do.DELETE, "retiring-old")],
)  # fmt: skip
async def test_the_old_key_is_not_deleted_when_the_new_ones_secret_is_gone(
    tmp_path: Path, do: Do, state: str
) -> None:
    """Wiped while cutting over, draining, or just before the delete: a gateway's memory is not where a key is kept."""
    async with running_place(tmp_path) as here:
        runner, old = here.runner(), here.old_key
        planned = await begun(here, runner)
        before(runner, do, lambda: wipe(here, 2), State.RETIRING_OLD if do is Do.READ_CLOCK else None)
        assert (await here.carried_out(planned.id, runner)).stalled_from == State(state)
        assert deletes(here) == []
        assert old in living(here)
        if state == "retiring-old":
            assert shown(here, planned.id)[1].startswith(f"{NOT_DELETED}the secret of main/trade/2")
            back = await said(here, planned.id, Wish.ROLL_BACK, reason="the new one's secret is lost")
        else:
            back = await said(here, planned.id, Wish.RESUME, discard=True)
        assert back == ""
        assert (await here.carried_out(planned.id, here.runner())).state is State.ABANDONED
        assert living(here) == {old}
        keys = {key.ref.version: key.stage for key in here.world.service.keys.list("main")}
        assert keys == {1: Stage.CURRENT, 2: Stage.TOMBSTONE}
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200


async def test_the_new_key_is_not_discarded_when_the_old_ones_secret_is_gone(tmp_path: Path) -> None:
    """The other way round: it may be all that is left; a person can end it there, and the sweep tells of the key."""
    async with running_place(tmp_path) as here:
        runner = here.runner()
        planned = await begun(here, runner)
        before(runner, Do.DELETE, lambda: wipe(here, 1))
        runner.effects._do[Do.VERIFY] = lambda *_: Reply(Answer.REFUSED, "not as ordered")
        assert (await here.carried_out(planned.id, runner)).stalled_from is State.DISCARDING_NEW
        assert shown(here, planned.id)[1].startswith(f"{NOT_DELETED}the secret of main/trade/1")
        assert deletes(here) == []
        assert (await said(here, planned.id, Wish.ROLL_BACK, reason="no")).startswith("not_now")
        assert await said(here, planned.id, Wish.RESUME, leave=True) == ""
        assert shown(here, planned.id) == (
            "abandoned", "the operator ends it: version 2 may live on",
        )  # fmt: skip
        assert len(living(here)) == 2
        fresh = imported(here)
        assert fresh in living(here), "the slot is free again"


async def test_a_version_that_was_left_can_be_retired(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        runner, old = here.runner(), here.old_key
        planned = await begun(here, runner)
        runner.effects._do[Do.VERIFY] = lambda *_: Reply(Answer.REFUSED, "not as ordered")
        runner.effects._do[Do.DELETE] = lambda *_: Reply(Answer.REFUSED, f"{NOT_DELETED}planted")
        assert (await here.carried_out(planned.id, runner)).state is State.STALLED
        assert await said(here, planned.id, Wish.RESUME, leave=True) == ""
        again = draw_up_retirement(here.world.service, KeyRef("main", Slot.TRADE, 2), "retire", now())
        again = replace(again, limits=QUICK)
        await asyncio.to_thread(here.runner().journal.begin, again)
        assert (await here.carried_out(again.id, here.runner())).state is State.DONE
        assert living(here) == {old}


# --- what the exchange says of the key that stays ---------------------------------------------


def _deleted_by_somebody(here: Place, key: str) -> None:
    here.world.paper.exchange.keys[key].deleted = True


def _bound_elsewhere(here: Place, key: str) -> None:
    here.world.paper.exchange.keys[key].ips = ("127.0.0.99",)


@pytest.mark.parametrize("spoil", [_deleted_by_somebody, _bound_elsewhere])
async def test_the_old_key_is_not_deleted_when_the_exchange_does_not_serve_the_new_one(
    tmp_path: Path, spoil: Callable[[Place, str], None]
) -> None:
    async with running_place(tmp_path) as here:
        runner, old = here.runner(), here.old_key
        planned = await begun(here, runner)

        def spoiled() -> None:
            (new,) = living(here) - {old}
            spoil(here, new)

        before(runner, Do.DELETE, spoiled)
        assert (await here.carried_out(planned.id, runner)).stalled_from is State.RETIRING_OLD
        assert "does not serve main/trade/2, the key that stays" in shown(here, planned.id)[1]
        assert old in living(here)
        assert await said(here, planned.id, Wish.ROLL_BACK, reason="the new one is dead") == ""
        assert (await here.carried_out(planned.id, here.runner())).state is State.ABANDONED
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200


async def test_the_old_key_is_not_deleted_when_the_store_gives_another_secret_for_the_new_one(
    tmp_path: Path,
) -> None:
    """A snapshot of another day was put back: there is a secret at the path, and it does not sign."""
    async with running_place(tmp_path) as here:
        runner, old, secrets = here.runner(), here.old_key, here.world.service.desk.secrets
        planned, read = await begun(here, runner), secrets.read
        other = {"secret": _fresh_private()}

        def another() -> None:
            secrets.read = lambda path: other if path.endswith("/2") else read(path)  # type: ignore[method-assign]

        before(runner, Do.DELETE, another)
        assert (await here.carried_out(planned.id, runner)).stalled_from is State.RETIRING_OLD
        assert "does not serve main/trade/2, the key that stays" in shown(here, planned.id)[1]
        assert old in living(here)


async def test_after_a_delete_was_sent_nothing_is_rolled_back(tmp_path: Path) -> None:
    """It may take effect yet: only ending it, or going on, is left."""
    async with running_place(tmp_path) as here:
        rotation = replace(
            here.plan(), limits=QUICK, state=State.STALLED, stalled_from=State.RETIRING_OLD, has_private=True,
            runbook="RB-10", retirement=Retirement(1, deletes=1, deleted_at=now()),
        )  # fmt: skip
        here.runner().journal.plan(replace(rotation, retirement=None))
        held = here.runner().journal.claim_one(rotation.id, now())
        assert held is not None
        with here.world.service.desk.database.write() as connection:
            connection.execute(
                t.ROTATIONS.update().values(document=document.dump(rotation), claimed_until_us=0)
            )
        answer = await said(here, rotation.id, Wish.ROLL_BACK, reason="too late")
        assert answer.startswith("not_now")
        assert "--leave" in answer


# --- imports and rotations exclude each other -------------------------------------------------


@pytest.mark.parametrize("do", [Do.PREPARE, Do.VERIFY, Do.MOVE, Do.DRAIN, Do.DELETE, Do.PROBE, Do.ENTOMB])
async def test_no_key_is_imported_while_its_slot_is_rotated(tmp_path: Path, do: Do) -> None:
    """Whatever the rotation does that moment, it ends as if nobody had tried."""
    async with running_place(tmp_path) as here:
        here.plays = (STRANGER, REPLACED)
        runner, refused = here.runner(), list[str]()
        planned = await begun(here, runner)

        def tries() -> None:
            try:
                imported(here)
            except Conflict as no:
                refused.append(no.reason)

        before(runner, do, tries)
        assert (await here.carried_out(planned.id, runner)).state is State.DONE
        assert refused == ["rotating"]
        current = [key for key in here.world.service.keys.list("main") if key.stage is Stage.CURRENT]
        assert [key.ref.version for key in current] == [2]
        assert imported(here) in living(here), "and afterwards it may be"


async def test_a_rotation_that_begins_in_the_middle_of_an_import_is_the_only_one_that_goes_on(
    tmp_path: Path,
) -> None:
    """The import has written its secret and is about to be taken into use; the old key is being rotated by then."""
    async with running_place(tmp_path) as here:
        here.plays = (REPLACED,)  # what was to be imported lives, and is on record as pending
        service, runner = here.world.service, here.runner()
        wrote, going = threading.Event(), threading.Event()
        write = service.desk.secrets.write

        def stands(*args: Any) -> None:
            write(*args)
            wrote.set()
            assert going.wait(60)

        service.desk.secrets.write = stands  # type: ignore[method-assign]
        importing = asyncio.create_task(asyncio.to_thread(imported, here))
        await asyncio.to_thread(wrote.wait, 60)
        service.desk.secrets.write = write  # type: ignore[method-assign]
        planned = await begun(here, runner)
        going.set()
        with pytest.raises(Conflict, match="is being rotated by"):
            await importing
        assert (await here.carried_out(planned.id, runner)).state is State.DONE


@pytest.mark.parametrize("kind", ["sqlite", "postgres"], indirect=True)
async def test_of_an_import_and_a_rotation_at_the_same_moment_one_goes_on(tmp_path: Path, kind: str) -> None:
    """Whichever is first: what a rotation counts on as current is current, and stays it."""
    del kind
    async with running_place(tmp_path) as here:
        here.plays = (STRANGER, REPLACED)
        service = here.world.service
        for _ in range(6):
            planned, both = here.plan(), threading.Barrier(2)

            def plans(planned: Rotation = planned, both: threading.Barrier = both) -> bool:
                both.wait(60)
                try:
                    here.runner().journal.plan(planned)
                except Conflict:
                    return False
                return True

            def imports(both: threading.Barrier = both) -> bool:
                both.wait(60)
                try:
                    imported(here)
                except Conflict:
                    return False
                return True

            began, took = await asyncio.gather(asyncio.to_thread(plans), asyncio.to_thread(imports))
            with service.desk.database.read() as connection:
                current = account_store.current_key(connection, "main", Slot.TRADE)
                going_on = store.open_of(connection, "main", "trade")
            assert current is not None
            assert (going_on is not None) is began
            assert not began or current.ref.version == planned.old, "it counts on another key than is in use"
            assert began is not took
            if began:
                assert await said(here, planned.id, Wish.ROLL_BACK, reason="the next round") == ""


async def test_what_was_drawn_up_before_an_import_is_not_begun_after_it(tmp_path: Path) -> None:
    """A rotator stood still between the two."""
    async with running_place(tmp_path) as here:
        service, journal, ref = here.world.service, here.runner().journal, KeyRef("main", Slot.TRADE, 1)
        (old,) = here.living()
        assert old.secret is not None
        making = here.plan()
        imported(here)
        with pytest.raises(Conflict):
            journal.plan(making)
        retiring = draw_up_retirement(service, ref, "retire", now())
        with service.desk.database.write() as connection:  # the first is taken back into use
            account_store.set_stage(connection, KeyRef("main", Slot.TRADE, 2), Stage.PREVIOUS)
            account_store.set_stage(connection, ref, Stage.CURRENT)
        with pytest.raises(Conflict, match="another key of main/trade is in use"):
            journal.begin(retiring)
        with service.desk.database.read() as connection:
            assert store.every_open(connection) == []


async def test_a_key_that_was_ended_is_not_imported_again(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        here.plays = (BY_HAND,)
        service = here.world.service
        with service.desk.database.write() as connection:
            account_store.set_stage(connection, KeyRef("main", Slot.TRADE, 1), Stage.TOMBSTONE)
        (old,) = here.living()
        assert old.secret is not None
        old.deleted = True
        facts = KeyFacts(True, True, False, False, True, service.accounts.get("main").venue_uid or "")
        with pytest.raises(Conflict, match="was ended on record"):
            service.keys.import_key(
                "main",
                slot=Slot.TRADE,
                credential=Credential(old.key_id, old.secret, KeyType.HMAC),
                facts=facts,
            )


# --- what is current --------------------------------------------------------------------------


async def test_no_tombstone_is_written_over_a_key_in_use(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        planned = await begun(here, here.runner())
        effects = here.runner().effects
        reply = await asyncio.to_thread(effects.perform, planned, Effect(Do.ENTOMB, 1))
        assert reply.answer is Answer.REFUSED
        keys = {key.ref.version: key.stage for key in here.world.service.keys.list("main")}
        assert keys[1] is Stage.CURRENT
        assert here.world.service.desk.secrets.read(KeyRef("main", Slot.TRADE, 1).path)


async def test_the_old_key_is_not_deleted_while_another_than_the_new_one_is_current(tmp_path: Path) -> None:
    """Whoever moved it, and in whatever way."""
    async with running_place(tmp_path) as here:
        runner, old = here.runner(), here.old_key
        planned = await begun(here, runner)

        def moved() -> None:
            with here.world.service.desk.database.write() as connection:
                account_store.set_stage(connection, KeyRef("main", Slot.TRADE, 2), Stage.PREVIOUS)

        before(runner, Do.DELETE, moved)
        assert (await here.carried_out(planned.id, runner)).stalled_from is State.RETIRING_OLD
        assert "no key is in use that could stay" in shown(here, planned.id)[1]
        assert old in living(here)


def test_the_command_line_knows_the_reason_by_the_same_word() -> None:
    assert KEPT == NOT_DELETED
