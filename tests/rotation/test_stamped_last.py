"""What an exchange takes for so long only is signed as the last thing before it is sent, and comes too late so often only.

Time passes by hand here, for the exchange and for us: a slow look takes as long as a test says.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.deeds import Deed
from broker.model import moment
from broker.seat import DEAD_S
from broker.service.host_guard import HostGuard
from clients.keys import KeyOrder, MadeKey
from clients.paper.faults import Fault
from clients.venues.binance.admin import BinanceAdmin
from rotation import retire
from rotation.alerts.conditions import conditions
from rotation.decide import decide
from rotation.journal import CLAIM_US, Lost
from rotation.making import Making
from rotation.retire import Onward, Stuck
from rotation.state import (
    STALE,
    TOO_LATE,
    Answer,
    Do,
    Effect,
    Limits,
    Reply,
    Restarted,
    Resume,
    Retirement,
    Rotation,
    State,
)
from rotation.staying import Staying
from rotation.venues import GUARDED_US
from tests.gateway.world import WallClock
from tests.rotation.deaths import release
from tests.rotation.place import POLLS, QUICK, Place, now, running_place
from tests.rotation.test_late import stopped_before
from tests.rotation.world import BEGAN, World, planned

SECOND_US = 1_000_000
SLOW_US = 7 * SECOND_US
"""Longer than the receive window, and shorter than anybody waits."""


class Passing:
    """Time that passes for everybody at once. The exchange's is put back once it has heard what it was to hear."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.here: Place | None = None
        self.us = 0
        now_us, boot_us = WallClock.now_us, WallClock.boot_us
        monkeypatch.setattr(WallClock, "now_us", lambda clock: now_us(clock) + self.us)
        monkeypatch.setattr(WallClock, "boot_us", lambda clock: boot_us(clock) + self.us)
        monkeypatch.setattr(WallClock, "now", lambda clock: moment(clock.now_us()))
        create, delete = BinanceAdmin.create, BinanceAdmin.delete

        def created(admin: BinanceAdmin, order: KeyOrder, *, stamp: Callable[[], int]) -> MadeKey:
            try:
                return create(admin, order, stamp=stamp)
            finally:
                self.settle()

        def deleted(admin: BinanceAdmin, subaccount: str, key_id: str, *, stamp: Callable[[], int]) -> None:
            try:
                delete(admin, subaccount, key_id, stamp=stamp)
            finally:
                self.settle()

        monkeypatch.setattr(BinanceAdmin, "create", created)
        monkeypatch.setattr(BinanceAdmin, "delete", deleted)

    def by(self, us: int) -> None:
        assert self.here is not None
        self.us += us
        self.here.world.paper.exchange.offset_us += us

    def settle(self) -> None:
        assert self.here is not None
        self.here.world.paper.exchange.offset_us = 0


@pytest.fixture
def passing(monkeypatch: pytest.MonkeyPatch) -> Passing:
    return Passing(monkeypatch)


def heard(here: Place, method: str) -> list[tuple[int, int | None]]:
    """Return what the exchange answered to requests of a kind for keys."""
    return [
        (int(row["status"]), row["code"])
        for row in here.world.paper.exchange.requests
        if row["method"] == method and "subAccountApi" in str(row["path"])
    ]


def sent(here: Place) -> int:
    return len(heard(here, "DELETE")) + len(heard(here, "POST"))


def slow_guard(monkeypatch: pytest.MonkeyPatch, passing: Passing, deed: Deed, us: int) -> None:
    """Have the guard's last look take so long: Vault is far away."""
    ensure = HostGuard.ensure

    def slow(guard: HostGuard, asked: Deed, within_s: float = 0.0) -> None:
        ensure(guard, asked, within_s)
        if asked is deed:
            passing.by(us)

    monkeypatch.setattr(HostGuard, "ensure", slow)


def slow_stays(monkeypatch: pytest.MonkeyPatch, passing: Passing, us: int) -> None:
    """Have the look at the key that stays take so long: the exchange answers slowly."""
    look = Staying.look

    def slow(staying: Staying, rotation: Rotation, version: int) -> Reply | None:
        passing.by(us)
        return look(staying, rotation, version)

    monkeypatch.setattr(Staying, "look", slow)


async def until_sent(here: Place, method: str) -> list[tuple[int, int | None]]:
    """Carry a rotation on until one was sent; return what the exchange answered."""
    planned_ = replace(here.plan(), limits=replace(QUICK, signed_for=Limits().signed_for))
    runner = here.runner()
    await asyncio.to_thread(runner.journal.plan, planned_)
    for _ in range(POLLS):
        await asyncio.to_thread(runner.once)
        if found := heard(here, method):
            return found
        await asyncio.sleep(0.02)
    raise AssertionError("nothing was sent")


@pytest.mark.sockets
@pytest.mark.parametrize("slow", ["guard", "stays"])
async def test_a_delete_is_in_time_however_long_the_looks_before_it_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passing: Passing, slow: str
) -> None:
    async with running_place(tmp_path) as here:
        passing.here = here
        if slow == "guard":
            slow_guard(monkeypatch, passing, Deed.DELETE, SLOW_US)
        else:
            slow_stays(monkeypatch, passing, SLOW_US)
        assert await until_sent(here, "DELETE") == [(200, None)]
        assert [key.key_id for key in here.living()] != [here.old_key]


@pytest.mark.sockets
async def test_so_is_a_create(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passing: Passing) -> None:
    async with running_place(tmp_path) as here:
        here.plays = ("live beside", "lives that")
        passing.here = here
        slow_guard(monkeypatch, passing, Deed.MAKE, SLOW_US)
        assert await until_sent(here, "POST") == [(200, None)]


@pytest.mark.sockets
async def test_so_is_the_delete_of_a_new_key_that_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passing: Passing
) -> None:
    async with running_place(tmp_path) as here:
        passing.here = here
        slow_guard(monkeypatch, passing, Deed.DELETE, SLOW_US)
        refused = Reply(Answer.REFUSED, "withdraw is on and should be off")
        monkeypatch.setattr(Making, "verify", lambda *_: refused)
        assert await until_sent(here, "DELETE") == [(200, None)]
        assert [key.key_id for key in here.living()] == [here.old_key]


# --- who stands still --------------------------------------------------------------------------


@pytest.mark.sockets
@pytest.mark.parametrize("do", [Do.DELETE, Do.CREATE])
@pytest.mark.parametrize("where", ["guard", "clock"])
async def test_what_was_looked_at_long_ago_is_not_acted_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passing: Passing, do: Do, where: str
) -> None:
    """It stood still after the guard's word, or since the clock was read: others may have carried it on meanwhile."""
    async with running_place(tmp_path) as here:
        here.plays = ("live beside", "lives that")
        passing.here = here
        late = await stopped_before(here, do)
        before = sent(here)
        stood_us = GUARDED_US + SECOND_US
        if where == "clock":
            assert late.stamp_us is not None
            stood_us = SECOND_US
            late = replace(late, stamp_us=late.stamp_us - late.limits.latest_us(0))
        slow_guard(monkeypatch, passing, Deed.DELETE if do is Do.DELETE else Deed.MAKE, stood_us)
        effect = late.asked or Effect(do)
        reply = await asyncio.to_thread(here.runner("first").effects.perform, late, effect)
        assert (reply.answer, reply.code) == (Answer.RETRY, TOO_LATE)
        assert reply.says.endswith("Nothing was sent")
        assert sent(here) == before


@pytest.mark.sockets
@pytest.mark.parametrize("do", [Do.DELETE, Do.CREATE])
async def test_the_claim_is_looked_at_after_the_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, do: Do
) -> None:
    async with running_place(tmp_path) as here:
        here.plays = ("live beside", "lives that")
        late = await stopped_before(here, do)
        before, ensure = sent(here), HostGuard.ensure
        asked = Deed.DELETE if do is Do.DELETE else Deed.MAKE
        looks = 0

        def then_claimed(guard: HostGuard, deed: Deed, within_s: float = 0.0) -> None:
            nonlocal looks
            ensure(guard, deed, within_s)
            looks += deed is asked
            if looks == 2:  # the first is before the effect, the second right before the request
                looks += 1
                release(here)
                assert here.runner("second").journal.claim_one(late.id, now()) is not None

        monkeypatch.setattr(HostGuard, "ensure", then_claimed)
        with pytest.raises(Lost):
            await asyncio.to_thread(here.runner("first").effects.perform, late, late.asked or Effect(do))
        assert looks == 3
        assert sent(here) == before


def test_nothing_that_was_signed_outlives_the_claim_it_was_signed_under_or_the_seat() -> None:
    limits = Limits()
    assert (limits.signed_for + limits.window_for).total_seconds() * SECOND_US < CLAIM_US
    assert GUARDED_US + limits.window_for.total_seconds() * SECOND_US < DEAD_S * SECOND_US


def created(reply: Reply | Restarted) -> Rotation:
    """Return a rotation whose create was asked for, and answered."""
    rotation = replace(planned(World()), state=State.CREATING, asked=Effect(Do.READ_CLOCK))
    asked = decide(rotation, Reply(Answer.OK, venue_us=1_000), BEGAN).rotation
    assert (asked.stamp_us, asked.asked) == (1_000, Effect(Do.CREATE, 2))
    return decide(asked, reply, BEGAN).rotation


@pytest.mark.parametrize(
    ("reply", "signed_us"),
    [
        (Restarted(), Limits().latest_us(1_000)),
        (Reply(Answer.UNKNOWN, "failed unforeseen"), Limits().latest_us(1_000)),
        (Reply(Answer.UNKNOWN, "timed_out", venue_us=5_000), 5_000),
    ],
)
def test_that_no_key_was_made_is_concluded_from_when_its_create_was_signed_at_the_latest(
    reply: Reply | Restarted, signed_us: int
) -> None:
    found = created(reply)
    assert (found.state, found.created_us) == (State.RECONCILING, signed_us)


# --- what comes too late again and again --------------------------------------------------------

LATE = [Reply(Answer.RETRY, f"{code}: it came too late") for code in (STALE, TOO_LATE)]


@pytest.mark.parametrize("reply", LATE)
def test_deletes_that_come_too_late_are_counted_and_a_person_is_told(reply: Reply) -> None:
    known, limits = Retirement(1), Limits()
    for number in range(1, limits.deletes + 1):
        stamped = retire.step(known, Do.READ_CLOCK, Reply(Answer.OK), limits, BEGAN)
        assert isinstance(stamped, Onward)
        outcome = retire.step(stamped.retirement, Do.DELETE, reply, limits, BEGAN)
        if number < limits.deletes:
            assert isinstance(outcome, Onward)
            assert (outcome.effect.do, outcome.wait) == (Do.READ_CLOCK, True), "the clock is read anew"
        else:
            assert isinstance(outcome, Stuck)
            assert outcome.reason == "it was not deleted, 8 tries came too late: it came too late"
        known = outcome.retirement
    assert (known.deletes, known.deleted_at) == (0, None), "none of them took effect"
    assert retire.again(known).retirement.late == 0


def test_one_that_is_sent_to_hear_a_word_is_not_waited_for_if_it_comes_too_late() -> None:
    known = Retirement(1, deletes=2, deleted_at=BEGAN, unheard=True, late=Limits().deletes)
    outcome = retire.step(known, Do.DELETE, LATE[0], Limits(), BEGAN)
    assert isinstance(outcome, Onward)
    assert outcome.effect.do is Do.PROBE
    much_later = BEGAN.replace(year=2027)
    seen = Reply(Answer.UNKNOWN, retire.UNNAMED)
    looked = retire.step(outcome.retirement, Do.PROBE, seen, Limits(), much_later)
    assert isinstance(looked, Onward)
    assert looked.effect.do is Do.PROBE, "it is not sent again"


def test_a_create_that_comes_too_late_ends_with_words() -> None:
    rotation = replace(
        planned(World()), state=State.CREATING, asked=Effect(Do.CREATE, 2), stamp_us=1, tries=6
    )
    step = decide(rotation, LATE[0], BEGAN)
    assert (step.rotation.state, step.rotation.reason) == (State.ABANDONED, "it came too late")


@pytest.mark.sockets
async def test_an_exchange_that_takes_no_delete_in_time_stalls_the_rotation(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        here.plays = ("live beside",)
        faults = here.world.paper.server.faults
        stale = Fault("error", method="DELETE", status=400, code=-1021, times=1000)
        faults.append(stale)
        done = await here.rotate()
        assert (done.state, done.stalled_from, done.runbook) == (State.STALLED, State.RETIRING_OLD, "RB-10")
        assert (stale.times, heard(here, "DELETE")) == (1000 - QUICK.deletes, [])
        assert done.reason.startswith(
            "it was not deleted, 8 tries came too late: the exchange says that it was not"
        )
        told = [one.says for one in conditions(here.world.service, datetime.now(UTC))]
        assert any(done.reason in says for says in told)
        assert here.old_key in {key.key_id for key in here.living()}
        faults.clear()
        runner = here.runner()
        claimed = runner.journal.claim_one(done.id, now())
        assert claimed is not None
        runner.carry_on(claimed, Resume())
        assert (await here.carried_out(done.id, runner)).state is State.DONE
        assert here.old_key not in {key.key_id for key in here.living()}
