"""What operators ask is carried out once, by one rotator, or answered with why not."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

from broker.db import asks as store
from broker.db import cutovers
from broker.db.asks import Ask
from broker.errors import StoreUnavailable
from broker.service.rotations import Wish
from broker.steady import Moment, Watch
from clients.secret import Secret
from clients.venue import Slot
from rotation.asks import EVERY, SLOW, Asks
from rotation.journal import Journal
from rotation.state import State
from rotation.venues import Venues
from tests.rotation.place import POLLS, Place, now, running_place, trading

pytestmark = pytest.mark.sockets


def asks(here: Place, who: str = "asks", kinds: frozenset[str] = EVERY) -> Asks:
    service = here.world.service
    return Asks(service, Venues(service), Journal(service.desk.database, service.audit, who), who, now, kinds)


def outcome(here: Place, ask: Ask) -> str | None:
    return here.world.service.rotations.outcome(ask.id).outcome


def ghost(here: Place, version: int, until_us: int) -> None:
    """A gateway somewhere that holds a key version and does not let go."""
    with here.world.service.desk.database.write() as connection:
        cutovers.hold(connection, cutovers.Hold("ghost", "b1", f"main/trade/{version}", until_us))


async def until(here: Place, rotation: str, state: State) -> None:
    runner = here.runner()
    for _ in range(POLLS):
        await asyncio.to_thread(runner.once)
        if here.world.service.rotations.get(rotation).state == state.value:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(here.world.service.rotations.get(rotation))


async def test_it_is_started_under_the_id_that_was_answered(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        ask = here.world.service.rotations.start("main", Slot.TRADE)
        assert outcome(here, ask) is None
        assert asks(here).once()
        assert outcome(here, ask) == ""
        assert here.world.service.rotations.get(ask.rotation).state == "planned"
        assert not asks(here).once(), "once"


async def test_a_second_start_is_a_no_with_its_reason(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        here.world.service.rotations.start("main", Slot.TRADE)
        second = here.world.service.rotations.start("main", Slot.TRADE)
        work = asks(here)
        assert work.once()
        assert work.once()
        assert (outcome(here, second) or "").startswith("rotating: ")
        assert len(here.world.service.rotations.list().items) == 1


async def test_what_strangers_may_hold_up_holds_no_other_ask(tmp_path: Path) -> None:
    """A sweep and a test of a channel are asked first, and are carried out apart: a start, or a way back, passes them."""
    async with running_place(tmp_path) as here:
        service = here.world.service
        service.alerts.add("phone", "webhook", Secret("json://127.0.0.1:1/x"))
        swept, tested = service.rotations.sweep(), service.alerts.test("phone")
        started = service.rotations.start("main", Slot.TRADE)
        quick, slow = asks(here, "quick", EVERY - SLOW), asks(here, "slow", SLOW)
        assert await asyncio.to_thread(quick.once)
        assert outcome(here, started) == ""
        assert outcome(here, swept) is None
        assert not await asyncio.to_thread(quick.once)
        while await asyncio.to_thread(slow.once):
            pass
        assert outcome(here, swept) is not None
        assert "did not take a test" in (outcome(here, tested) or "")


async def test_one_ask_is_carried_out_by_one_of_two_rotators(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        here.world.service.rotations.start("main", Slot.TRADE)
        database, spans = here.world.service.desk.database, here.world.service.desk.spans
        with database.write() as connection:
            assert store.claim(connection, "other", spans) is not None
        assert not asks(here).once()
        past = spans.now()
        later = replace(past, boot_us=past.boot_us + store.CLAIM_US, wall_us=past.wall_us + store.CLAIM_US)
        with database.write() as connection:
            assert store.claim(connection, "mine", Watch(None, lambda _: later)) is not None, "it came back"  # type: ignore[arg-type]


@pytest.mark.parametrize("step", [3_600_000_000, -3_600_000_000, 200_000_000, -120_000_000])
async def test_who_sets_a_clock_gives_no_ask_to_two_rotators_and_keeps_none_back(
    tmp_path: Path, step: int
) -> None:
    """Set forward, what one rotator worked on was claimed by another; set back, it waited for as long as the step."""
    async with running_place(tmp_path) as here:
        here.world.service.rotations.start("main", Slot.TRADE)
        database, spans = here.world.service.desk.database, here.world.service.desk.spans
        with database.write() as connection:
            ask = store.claim(connection, "other", spans)
        assert ask is not None
        past, began = spans.now(), [0]

        def now(_: object) -> Moment:
            return replace(past, boot_us=past.boot_us + began[0], wall_us=past.wall_us + step + began[0])

        set_by_hand = Watch(None, now)  # type: ignore[arg-type]
        with database.write() as connection:
            assert store.claim(connection, "mine", set_by_hand) is None
            assert not store.is_waiting(connection, set_by_hand)
            store.put_off(connection, ask.id, spans)
        began[0] = store.AGAIN_US + 60_000_000  # this machine may have been busy since
        with database.write() as connection:
            assert store.is_waiting(connection, set_by_hand)
            assert store.claim(connection, "mine", set_by_hand) is not None


async def test_an_operator_takes_the_old_key_back_while_it_lives(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here, trading(here.bot) as answers:
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200
        service = here.world.service
        old = here.old_key
        ghost(here, 1, time.time_ns() // 1000 + 3600 * 1_000_000)
        planned = here.plan()
        here.runner().journal.plan(planned)
        await until(here, planned.id, State.DRAINING)
        ask = service.rotations.ask(planned.id, Wish.ROLL_BACK, {"reason": "the new one is slow"})
        work = asks(here)
        while outcome(here, ask) is None:
            await asyncio.to_thread(work.once)
            await asyncio.sleep(0.02)
        assert outcome(here, ask) == ""
        done = await here.carried_out(planned.id, here.runner())
        assert (done.state, done.reason) == (State.ABANDONED, "the new one is slow")
        assert [key.key_id for key in here.living()] == [old]
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200
        assert set(answers()) == {(200, None)}


async def test_a_pause_holds_and_a_resume_lets_go(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        service, work = here.world.service, asks(here)
        planned = here.plan()
        here.runner().journal.plan(planned)
        pause = service.rotations.ask(planned.id, Wish.PAUSE, {})
        work.once()
        assert outcome(here, pause) == ""
        assert here.runner().once() is None, "a paused rotation is nobody's work"
        again = service.rotations.ask(planned.id, Wish.PAUSE, {})
        work.once()
        assert (outcome(here, again) or "").startswith("not_now: it is planned, paused")
        resume = service.rotations.ask(planned.id, Wish.RESUME, {})
        work.once()
        assert outcome(here, resume) == ""
        assert (await here.carried_out(planned.id, here.runner())).state is State.DONE


async def test_a_rotation_at_work_is_asked_again_a_moment_later(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        planned = here.plan()
        other = here.runner("other").journal
        other.plan(planned)
        assert other.claim(now()) is not None
        ask = here.world.service.rotations.ask(planned.id, Wish.PAUSE, {})
        assert asks(here).once()
        assert outcome(here, ask) is None, "it is not dropped"


async def test_a_store_that_is_away_keeps_the_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_place(tmp_path) as here:
        service = here.world.service
        ask = service.rotations.start("main", Slot.TRADE)

        def away(*_: object) -> None:
            raise StoreUnavailable("away")

        monkeypatch.setattr(service.accounts, "get", away)
        assert asks(here).once()
        assert outcome(here, ask) is None
