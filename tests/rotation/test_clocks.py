"""Rotations while clocks step: a step costs a delay at most, and never a key that is in use."""

import asyncio
import random
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from broker.db import rotations as store
from broker.model import KeyRef, moment
from broker.steady import Moment, Watch
from clients.venue import Slot
from rotation.carrying import carried
from rotation.journal import CLAIM_US, Claimed, Journal
from rotation.moving import Moving
from rotation.returned import Returned
from rotation.schedule import Rotator
from rotation.state import Retirement, Rotation, State, Step
from rotation.sweeper import Sweeper
from rotation.ticks import Ticks
from rotation.venues import Venues
from tests.gateway.test_cutover import holders
from tests.gateway.world import POLICY, WallClock
from tests.long import LONG
from tests.rotation import place
from tests.rotation.place import Place, running_place, trading
from tests.rotation.test_gateways import another
from tests.rotation.world import World, planned

pytestmark = pytest.mark.sockets

HOUR_US = 3_600_000_000
BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
OLD = KeyRef("main", Slot.TRADE, 1)
STEPS = {"wall forward": (1, 0), "wall back": (-1, 0), "boot forward": (0, 1), "boot back": (0, -1)}
STATES = [
    State.PREPARING, State.CREATING, State.VERIFYING, State.CANARY, State.CUTTING_OVER, State.DRAINING,
    State.RETIRING_OLD,
]  # fmt: skip
EVERY = [(state, which) for state in STATES for which in STEPS]
SAMPLE = [
    (State.CREATING, "wall back"), (State.CANARY, "wall forward"), (State.DRAINING, "wall forward"),
    (State.DRAINING, "boot forward"), (State.RETIRING_OLD, "wall forward"),
]  # fmt: skip


class Stepping:
    """Sets the clocks of broker and rotator, whoever asks them; the exchange and the gateways have their own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall_us = self.boot_us = 0
        now_us, boot_us = WallClock.now_us, WallClock.boot_us
        monkeypatch.setattr(WallClock, "now_us", lambda clock: now_us(clock) + self.wall_us)
        monkeypatch.setattr(WallClock, "boot_us", lambda clock: boot_us(clock) + self.boot_us)
        monkeypatch.setattr(WallClock, "now", lambda clock: moment(clock.now_us()))
        monkeypatch.setattr(place, "now", lambda: WallClock().now())

    def by(self, wall: int, boot: int) -> None:
        self.wall_us += wall * HOUR_US
        self.boot_us += boot * HOUR_US


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> Stepping:
    return Stepping(monkeypatch)


def when(monkeypatch: pytest.MonkeyPatch, state: State, act: Callable[[], None]) -> list[State]:
    """Do something once, right after a rotation was saved in a state."""
    done: list[State] = []
    save = Journal.save

    def saved(journal: Journal, claimed: Claimed, made: Step, *more: object, **named: object) -> Claimed:
        after = save(journal, claimed, made, *more, **named)  # type: ignore[arg-type]
        if made.rotation.state is state and not done:
            done.append(state)
            act()
        return after

    monkeypatch.setattr(Journal, "save", saved)
    return done


@pytest.mark.parametrize(("state", "which"), EVERY if LONG else SAMPLE)
async def test_a_step_by_an_hour_in_any_state_kills_no_key_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: Stepping, state: State, which: str
) -> None:
    """One gateway is cut off while the other moves: it signs with the old key for as long as its leases last."""
    async with running_place(tmp_path) as here, another(here, "away") as (_, lost):
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200
        old = here.old_key

        def cut_off_and_step() -> None:
            here.world.authority.changes.links["away"].channel.send = lambda _: None  # type: ignore[method-assign]
            step.by(*STEPS[which])

        stepped = when(monkeypatch, state, cut_off_and_step)
        async with trading(lost) as theirs:
            done = await rotated(here)
        assert stepped == [state]
        assert done.state is State.DONE, (done.state, done.reason)
        said = theirs()
        assert {status for status, _ in said} <= {200, 503}, said
        served = [row for row in here.world.paper.exchange.requests if row["key_id"] == old]
        deleted_us = next(int(row["at_us"]) for row in here.world.executed() if row["action"] == "key-delete")
        assert max(int(row["at_us"]) for row in served if row["status"] == 200) < deleted_us
        assert len(here.living()) == 1


async def rotated(here: Place, most: int = place.POLLS) -> Rotation:
    """Rotate as a rotator does: what a step put off is looked at anew."""
    planned, runner = here.plan(), here.runner()
    await asyncio.to_thread(runner.journal.plan, planned)
    rotator = Rotator(here.world.service, "looks", place.now, random.SystemRandom(), workers=1)
    found: Rotation | None = None
    for _ in range(most):
        spans = here.world.service.desk.spans
        rotator._look_for_steps(spans.now(), here.world.service.desk.clock.now_us())
        found = await asyncio.to_thread(runner.once) or found
        if found is not None and (found.over or found.state is State.STALLED):
            break
        await asyncio.sleep(0.02)
    rotator._workers.shutdown()
    assert found is not None
    return found


async def test_a_wall_clock_that_is_set_ends_no_lease_and_forgets_no_hold(
    tmp_path: Path, step: Stepping
) -> None:
    async with running_place(tmp_path) as here:
        world = here.world
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200
        leases = set(world.gateway.book.by_lease)
        for hours in (1, -2, 200 * 24, -400 * 24):
            step.by(hours, 0)
            for _ in range(2):
                await world.authority.beat()
            assert holders(world, OLD) == 1
            assert (await here.bot.call("GET", "/api/v3/account")).status == 200
        assert set(world.gateway.book.by_lease) == leases, "none was opened anew"


async def test_a_claim_is_counted_on_the_boot_clock(tmp_path: Path, step: Stepping) -> None:
    """The one who works on it is in the middle of an effect when the clock is set: nobody takes it from them."""
    async with running_place(tmp_path) as here:
        planned = here.plan()
        first, second = here.runner("first").journal, here.runner("second").journal
        first.plan(planned)
        assert first.claim(place.now()) is not None
        for wall, boot in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            step.by(wall, boot)
            assert second.claim(place.now()) is None, (wall, boot)
        step.by(1, 1)
        assert second.claim(place.now()) is not None


async def test_what_a_dead_rotator_claimed_is_free_in_time_after_a_clock_was_set_back(
    tmp_path: Path, step: Stepping
) -> None:
    async with running_place(tmp_path) as here:
        first, second = here.runner("first").journal, here.runner("second").journal
        first.plan(here.plan())
        assert first.claim(place.now()) is not None
        step.by(-1, 0)
        step.boot_us += CLAIM_US
        step.wall_us += CLAIM_US
        with here.world.service.desk.database.write() as connection:
            store.look_anew(connection, here.world.service.desk.clock.now_us())
        assert second.claim(place.now()) is not None


async def test_a_rotator_on_another_host_believes_neither_clock_of_the_brokers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its wall clock is an hour ahead: it waits for as long as a hold lasts, by its own clocks."""
    async with running_place(tmp_path) as here, another(here, "away") as (_, lost):
        assert (await here.bot.call("GET", "/api/v3/account")).status == 200
        desk, old = here.world.service.desk, here.old_key
        there = Watch(
            desk.clock, lambda clock: Moment("there", clock.boot_us() // 2, clock.now_us() + HOUR_US)
        )
        here.world.authority.changes.links["away"].channel.send = lambda _: None  # type: ignore[method-assign]
        monkeypatch.setattr(Moving, "_spans", property(lambda _: there))
        async with trading(lost) as theirs:
            done = await here.rotate()
        assert done.state is State.DONE, done.reason
        assert {status for status, _ in theirs()} <= {200, 503}
        served = [row for row in here.world.paper.exchange.requests if row["key_id"] == old]
        deleted_us = next(int(row["at_us"]) for row in here.world.executed() if row["action"] == "key-delete")
        assert max(int(row["at_us"]) for row in served if row["status"] == 200) < deleted_us


async def test_a_checkout_ends_later_rather_than_sooner(tmp_path: Path, step: Stepping) -> None:
    """A person works with that key: a clock that is set by an hour takes it from nobody before its time."""
    async with running_place(tmp_path) as here:
        service = here.world.service
        issued = here.world.issue("hand", policy=POLICY + "[checkout]\nmax_seconds = 7200\n")
        out = service.checkouts.open(issued.grant.id, ttl=timedelta(minutes=90), holder="me", reason="look")
        ends = Returned(service, here.runner("plan").journal)
        for wall, boot in ((2, 0), (-2, 0), (0, 2), (0, -2)):
            step.by(wall, boot)
            assert ends.look(place.now()) == ()
            assert service.checkouts.list()[0].closed_at is None, (wall, boot)
        step.by(2, 2)
        ends.look(place.now())
        assert service.checkouts.list()[0].rotation is not None
        assert out.checkout.id == service.checkouts.list()[0].id


async def test_a_clock_that_was_set_back_keeps_no_account_from_being_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_place(tmp_path) as here:
        service, swept, hour = here.world.service, list[datetime](), timedelta(hours=1)
        sweeper = Sweeper(service, Venues(service), here.runner("sweeps").journal)
        monkeypatch.setattr(sweeper, "_sweep", lambda _account, now: swept.append(now))
        for at in (BEGAN, BEGAN + hour / 2, BEGAN - 4800 * hour, BEGAN - 4799.5 * hour, BEGAN - 4799 * hour):
            await asyncio.to_thread(sweeper.sweep, at, hour)
        assert swept == [BEGAN, BEGAN - 4800 * hour, BEGAN - 4799 * hour]


# --- a rotation's own instants --------------------------------------------------------------------


def waiting(at: Moment) -> Rotation:
    """A rotation that drains, put off by a second, to stall in a minute; its delete was five seconds ago."""
    return replace(
        planned(World()), state=State.DRAINING, entered_at=BEGAN, due_at=BEGAN + timedelta(seconds=1), seen=at,
        deadline_at=BEGAN + timedelta(minutes=1),
        retirement=Retirement(1, deleted_at=BEGAN - timedelta(seconds=5), absent_since=BEGAN),
    )  # fmt: skip


def after(at: Moment, wall_us: int, boot_us: int, base: str = "here") -> Moment:
    return Moment(base, at.boot_us + boot_us, at.wall_us + wall_us)


AT = Moment("here", 10 * HOUR_US, round(BEGAN.timestamp() * 1_000_000))
SECOND = 1_000_000


@pytest.mark.parametrize(
    ("later", "moved"),
    [
        (after(AT, SECOND, SECOND), 0),
        (after(AT, SECOND + HOUR_US, SECOND), HOUR_US),
        (after(AT, SECOND - HOUR_US, SECOND), -HOUR_US),
        (after(AT, SECOND, SECOND + HOUR_US), 0),
        (after(AT, SECOND, SECOND - HOUR_US), 0),
        (after(AT, SECOND + 200 * 24 * HOUR_US, SECOND), 200 * 24 * HOUR_US),
        (after(AT, HOUR_US, 5, "rebooted"), 0),
        (after(AT, -HOUR_US, 5, "rebooted"), -HOUR_US),
    ],
)
def test_what_waits_goes_on_waiting_as_long_as_it_had_to(later: Moment, moved: int) -> None:
    before, by = waiting(AT), timedelta(microseconds=moved)
    found = carried(before, later)
    assert found.due_at - before.due_at == by
    assert found.entered_at - before.entered_at == by
    assert found.deadline_at is not None
    assert before.deadline_at is not None
    assert found.deadline_at - before.deadline_at == by
    assert found.retirement is not None
    assert found.retirement.deleted_at == BEGAN - timedelta(seconds=5) + by
    assert found.retirement.absent_since == BEGAN, "that is the exchange's time"
    assert found.started_at == before.started_at


# --- ticks ----------------------------------------------------------------------------------------


def test_ticks_come_one_after_the_other_and_end() -> None:
    counted, many = [], threading.Event()
    ticks = Ticks()

    def count() -> None:
        counted.append(len(counted))
        if len(counted) == 5:
            many.set()

    ticks.begin(count, 0.001)
    assert many.wait(60)
    ticks.stop()
    so_far = len(counted)
    assert counted == list(range(so_far))


@pytest.mark.parametrize("hours", [200 * 24, -1])
async def test_a_rotator_whose_clock_is_set_goes_on_at_once(
    tmp_path: Path, step: Stepping, hours: int
) -> None:
    """Forward, what has become due is planned; back, what was put off is looked at: neither waits for the other clock."""
    async with running_place(tmp_path) as here:
        service = here.world.service
        rotator = Rotator(service, "one", lambda: WallClock().now(), random.SystemRandom())
        looks: list[datetime] = []
        look = rotator._planner.look

        def looked(now: datetime) -> tuple[str, ...]:
            looks.append(now)
            return look(now)

        rotator._planner.look = looked  # type: ignore[method-assign]
        rotator.start()
        try:
            await until(lambda: bool(looks))
            step.by(hours, 0)
            set_at = WallClock().now()
            await until(lambda: any(abs(one - set_at) < timedelta(minutes=30) for one in looks[1:]))
            if hours > 0:
                await until(lambda: bool(service.rotations.list().items))
        finally:
            await asyncio.to_thread(rotator.stop)


async def until(fits: Callable[[], bool]) -> None:
    for _ in range(place.POLLS):
        if await asyncio.to_thread(fits):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never came")
