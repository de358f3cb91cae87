"""What each effect looks at before it says yes: shown by breaking one thing in the world at a time."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from broker.db import cutovers
from broker.db import tables as t
from broker.db.log_tables import CALLS
from broker.errors import NotFound, StoreUnavailable
from broker.model import KeyRef
from clients.paper.exchange import MASTER
from clients.venue import KeyType, Slot
from rotation.decide import decide
from rotation.effects import Effects
from rotation.journal import Journal
from rotation.runner import Runner
from rotation.state import KEYS_REFUSED, Answer, Do, Effect, Reply, Rotation, State, Tick
from tests.rotation.place import EMAIL, QUICK, STRANGER, Place, now, running_place

pytestmark = pytest.mark.sockets


async def performed(here: Place, rotation: Rotation, do: Do, version: int = 2) -> Reply:
    return await asyncio.to_thread(here.runner().effects.perform, rotation, Effect(do, version))


async def prepared(here: Place, **changes: object) -> Rotation:
    """Put a rotation on record whose pair is made."""
    planned = replace(here.plan(), **changes)  # type: ignore[arg-type]
    await asyncio.to_thread(here.runner().journal.plan, planned)
    reply = await performed(here, planned, Do.PREPARE)
    assert reply.answer is Answer.OK, reply
    return replace(planned, public_key=reply.public_key)


async def made(here: Place) -> Rotation:
    """Put a rotation on record whose key exists."""
    ready = await prepared(here)
    clock = await performed(here, ready, Do.READ_CLOCK)
    stamped = replace(ready, stamp_us=clock.venue_us, created_us=clock.venue_us)
    reply = await performed(here, stamped, Do.CREATE)
    assert reply.answer is Answer.OK, reply
    return replace(stamped, new_key_id=reply.key_id)


# --- before a key is made ---------------------------------------------------------------------


async def test_a_manager_key_that_can_withdraw_makes_nothing(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        master = next(key for key in here.world.paper.exchange.keys.values() if key.account == MASTER)
        master.flags["enableWithdrawals"] = True
        done = await here.rotate()
        assert done.state is State.ABANDONED
        assert "it can withdraw" in done.reason
        assert len(here.living()) == 1


async def test_a_manager_key_that_is_refused_is_named(tmp_path: Path) -> None:
    """Who reads it at night must not look for the fault at the account's own key."""
    async with running_place(tmp_path) as here:
        master = next(key for key in here.world.paper.exchange.keys.values() if key.account == MASTER)
        master.ips = ("127.0.0.99",)
        done = await here.rotate()
        assert done.state is State.ABANDONED
        assert done.reason.startswith("the exchange refuses the manager key (key_refused)")


async def test_a_sub_account_that_is_full_is_told_of_before_anything_is_made(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        here.plays = (STRANGER,)
        exchange = here.world.paper.exchange
        for number in range(29):
            exchange.make_key(EMAIL, KeyType.HMAC, {}, ips=("127.0.0.7",), label=f"other {number}")
        done = await here.rotate()
        assert done.state is State.ABANDONED
        assert "has 30 keys, and the exchange allows 30" in done.reason
        assert not [row for row in here.world.executed() if row["action"] == "key-create"]


async def test_the_store_is_proven_writable_as_often_as_it_is_asked(tmp_path: Path) -> None:
    """A rotator that died after it proved it asks again."""
    async with running_place(tmp_path) as here:
        planned = await prepared(here, key_type=KeyType.HMAC)
        again = await performed(here, planned, Do.PREPARE)
        assert again.answer is Answer.OK


# --- whether it was made ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("early", "answer"), [(timedelta(minutes=5), Answer.UNKNOWN), (timedelta(0), Answer.OK)]
)
async def test_that_none_was_made_is_said_once_none_can_come_any_more(
    tmp_path: Path, early: timedelta, answer: Answer
) -> None:
    """Window and settling time after the timestamp that was signed, and not before. The clocks go on meanwhile."""
    async with running_place(tmp_path) as here:
        ready = await prepared(here)
        ready = replace(ready, limits=replace(ready.limits, settling_for=timedelta(minutes=10)))
        clock = await performed(here, ready, Do.READ_CLOCK)
        assert clock.venue_us is not None
        settled = ready.limits.window_for + ready.limits.settling_for
        signed_us = clock.venue_us - (settled - early) // timedelta(microseconds=1)
        reply = await performed(here, replace(ready, created_us=signed_us), Do.FIND)
        assert (reply.answer, reply.key_id) == (answer, None)


# --- whether it is as ordered -----------------------------------------------------------------


def _of_somebody_else(here: Place, _: Rotation) -> None:
    with here.world.service.desk.database.write() as connection:
        connection.execute(t.ACCOUNTS.update().where(t.ACCOUNTS.c.name == "main").values(venue_uid="12345"))


def _may_do_more(here: Place, rotation: Rotation) -> None:
    here.world.paper.exchange.keys[rotation.new_key_id or ""].flags["enableInternalTransfer"] = True


@pytest.mark.parametrize(
    ("broken", "word"),
    [
        (_of_somebody_else, "it belongs to another account"),
        (_may_do_more, "enableInternalTransfer is on and should be off"),
    ],
)
async def test_a_key_that_is_not_as_ordered_says_what_differs(
    tmp_path: Path, broken: Callable[[Place, Rotation], None], word: str
) -> None:
    async with running_place(tmp_path) as here:
        rotation = await made(here)
        assert (await performed(here, rotation, Do.VERIFY)).answer is Answer.OK
        broken(here, rotation)
        reply = await performed(here, rotation, Do.VERIFY)
        assert (reply.answer, reply.reason) == (Answer.REFUSED, word)


async def test_whose_an_account_is_is_remembered_from_its_first_key(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        rotation = await made(here)
        with here.world.service.desk.database.write() as connection:
            connection.execute(t.ACCOUNTS.update().values(venue_uid=None))
        assert (await performed(here, rotation, Do.VERIFY)).answer is Answer.OK
        uid = str(here.world.paper.exchange.accounts[EMAIL].uid)
        assert here.world.service.accounts.get("main").venue_uid == uid


# --- the cutover ------------------------------------------------------------------------------


async def test_what_one_gateway_is_refused_no_gateway_is_moved_to(tmp_path: Path) -> None:
    """The rotator is served with the new key, and the gateway is not."""
    async with running_place(tmp_path) as here:
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200
        planned = replace(here.plan(), limits=QUICK)
        runner, old = here.runner(), here.old_key
        verify = runner.effects._do[Do.VERIFY]

        def then_bound_elsewhere(rotation: Rotation, version: int) -> Reply:
            reply = verify(rotation, version)
            here.world.paper.exchange.keys[rotation.new_key_id or ""].ips = ("127.0.0.99",)
            return reply

        runner.effects._do[Do.VERIFY] = then_bound_elsewhere
        await asyncio.to_thread(runner.journal.plan, planned)
        done = await here.carried_out(planned.id, runner)
        assert done.state is State.ABANDONED
        assert "no gateway could use it" in done.reason
        assert "cutting-over" not in here.history(planned.id)
        assert [key.key_id for key in here.living()] == [old]


async def test_a_version_is_made_current_only_in_the_place_of_the_one_it_replaces(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        old, new, other = (KeyRef("main", Slot.TRADE, version) for version in (1, 2, 9))
        await asyncio.to_thread(here.runner().journal.plan, here.plan())
        with here.world.service.desk.database.write() as connection:
            assert not cutovers.move_current(connection, new, other)
            assert not cutovers.move_current(connection, new, None)
            assert not cutovers.move_current(connection, other, old)
            assert cutovers.is_current(connection, old)
            assert cutovers.move_current(connection, new, old)
            assert cutovers.move_current(connection, new, old), "it is done already"
            assert not cutovers.is_current(connection, old)


async def test_a_bot_that_was_always_refused_takes_no_key_back(tmp_path: Path) -> None:
    """What it asks for its key never was allowed: that is not the new key's fault."""
    async with running_place(tmp_path) as here:
        await refused_often(here, 1, 10)
        done = await drained_with(here, 10)
        assert done.answer is not Answer.REFUSED or not done.reason.startswith(KEYS_REFUSED)


@pytest.mark.parametrize(("well", "taken_back"), [(0, True), (9, True), (10, False), (100, False)])
async def test_more_than_half_of_the_answers_take_the_old_key_back(
    tmp_path: Path, well: int, taken_back: bool
) -> None:
    """One that is refused now and then is a ban, or a bot that asks for too much."""
    async with running_place(tmp_path) as here:
        done = await drained_with(here, 10, well)
        assert (done.answer is Answer.REFUSED and done.reason.startswith(KEYS_REFUSED)) is taken_back


async def drained_with(here: Place, refused: int, well: int = 0) -> Reply:
    planned = replace(here.plan(), state=State.DRAINING)
    await asyncio.to_thread(here.runner().journal.plan, planned)
    await refused_often(here, 2, refused, well)
    return await performed(here, planned, Do.DRAIN, 1)


async def refused_often(here: Place, version: int, refused: int, well: int = 0) -> None:
    """Put answers to calls with a key version on record."""
    now_us = here.world.service.desk.clock.now_us() + (0 if version == 2 else -60_000_000)
    template = await a_call(here)
    with here.world.service.desk.database.log.write() as connection:
        for number in range(refused + well):
            code = "-2015" if number < refused else None
            row = template | {
                "gateway": "ghost", "boot": f"b{version}", "seq": number, "key": f"main/trade/{version}",
                "at_us": now_us, "code": code, "outcome": "done",
            }  # fmt: skip
            connection.execute(CALLS.insert().values(row))


async def a_call(here: Place) -> dict[str, object]:
    """Return a call as the log keeps it."""
    assert (await here.bot.call("GET", "/api/v3/account")).status == 200
    async with asyncio.timeout(60):
        while True:
            with here.world.service.desk.database.log.read() as connection:
                row = connection.execute(CALLS.select().limit(1)).first()
            if row is not None:
                return dict(row._mapping)
            await asyncio.sleep(0.02)


# --- when the machinery fails -----------------------------------------------------------------


async def test_what_fails_unforeseen_counts_as_a_try_and_says_nothing_of_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_place(tmp_path) as here:
        runner = here.runner()

        def breaks(*_: object) -> Reply:
            raise LookupError("planted-secret-in-a-text")

        runner.effects._do[Do.VERIFY] = breaks
        planned = replace(here.plan(), limits=QUICK)
        await asyncio.to_thread(runner.journal.plan, planned)
        done = await here.carried_out(planned.id, runner)
        assert done.state is State.ABANDONED
        assert done.reason == "not as ordered: failed unforeseen (LookupError)"
        assert "planted-secret-in-a-text" not in caplog.text
        assert len(here.living()) == 1


class Unsaved(Journal):
    """A journal whose database goes away at one save."""

    fails_at = State.CREATING

    def save(self, claimed, step, event, now, *, goes_on=False):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
        if step.rotation.state is self.fails_at and step.effect is not None and step.effect.do is Do.CREATE:
            raise StoreUnavailable("gone", "the database does not answer")
        return super().save(claimed, step, event, now, goes_on=goes_on)


async def test_what_could_not_be_saved_is_not_done(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        service, known = here.world.service, here.runner()
        runner = Runner(Unsaved(service.desk.database, service.audit, "one"), known.effects, now)
        planned = replace(here.plan(), limits=QUICK)
        await asyncio.to_thread(runner.journal.plan, planned)
        with pytest.raises(StoreUnavailable):
            await asyncio.to_thread(runner.once)
        assert not [row for row in here.world.executed() if row["action"] == "key-create"]
        assert len(here.living()) == 1


async def test_what_a_dead_rotator_left_is_cleared_away(tmp_path: Path) -> None:
    """It ended the rotation and died before it destroyed the pair."""
    async with running_place(tmp_path) as here:
        rotation = await prepared(here)
        service, journal = here.world.service, here.runner().journal
        held = journal.claim_one(rotation.id, now())
        assert held is not None
        ended = replace(held.rotation, state=State.ABANDONED)
        step = decide(held.rotation, Tick(), now())
        journal.save(held, replace(step, rotation=ended, effect=None, note="given up"), Tick(), now())
        path = KeyRef("main", Slot.TRADE, 2).path
        assert service.desk.secrets.read(path)
        effects: Effects = here.runner().effects
        effects.burial.clear_up()
        key = next(one for one in service.keys.list("main") if one.ref.version == 2)
        assert key.stage.value == "tombstone"
        with pytest.raises(NotFound):
            service.desk.secrets.read(path)
