"""The only key of an account is deleted, and one thing goes amiss: its death is proven all the same, and no other's."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.db import accounts as account_store
from broker.db import managers as manager_store
from broker.model import Death, KeyRef, Stage
from clients.errors import VenueAmbiguous, VenueRefused
from clients.venue import Slot
from clients.venues.binance.admin import BinanceAdmin
from rotation import retire
from rotation.making import Making
from rotation.retire import (
    ABSENT,
    ALIVE,
    BARE,
    BLIND,
    GONE,
    LISTED,
    NAMED_ALONE,
    NO_LIST,
    UNASKED,
    UNNAMED,
    Onward,
)
from rotation.runner import Runner
from rotation.state import Answer, Do, Incident, Limits, Phase, Reply, Retirement, Rotation, State
from tests.rotation.deaths import release, tell
from tests.rotation.place import EMAIL, QUICK, Place, running_place
from tests.rotation.world import BEGAN

OLD = KeyRef("main", Slot.TRADE, 1)
SOON = replace(QUICK, window_for=timedelta(seconds=1), probes=100)
"""What is lost here took effect at once, or never does."""

_SLOW = pytest.mark.timeout(240)
_ANY = ("dead", "living", "lives", "proven", "key", "use", "deleted", "nothing")
_DELETE = {"method": "DELETE", "path": "/sapi/v1/sub-account"}
_LOST = {"do": "lose-reply", "match": _DELETE}
CASES: dict[str, tuple[tuple[Mapping[str, Any], ...], Mapping[str, object]]] = {
    "well": ((), {}),
    "served soon after": ((), {"deletion_delay_api_ms": 700, "deletion_delay_sapi_ms": 700}),
    "served long after, and a second delete is as the first": (
        (),
        {"deletion_delay_api_ms": 4000, "deletion_delay_sapi_ms": 4000, "repeated_delete": "empty"},
    ),
    "listed long after": ((), {"listing_delay_ms": 4000}),
    "the second delete is as the first": ((), {"repeated_delete": "empty"}),
    "the answer is lost, and a second delete is as the first": ((_LOST,), {"repeated_delete": "empty"}),
}


async def misbehaves(here: Place, case: str) -> None:
    faults, switches = CASES[case]
    for fault in faults:
        await here.world.paper.admin("POST", "faults", {**fault, "times": 1})
    here.world.paper.exchange.switches.update(switches)


def has_no_key_in_use(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The account's key died before, and one that is made is not as ordered."""
    here.plays = _ANY
    here.world.paper.exchange.keys[here.old_key].deleted = True
    with here.world.service.desk.database.write() as connection:
        account_store.set_stage(
            connection, OLD, Stage.TOMBSTONE, unless=(), key_id=here.old_key, death=Death.PROVEN
        )
    monkeypatch.setattr(Making, "verify", lambda *_: Reply(Answer.REFUSED, "is not as ordered"))


async def carried(runner: Runner, until: Callable[[Rotation], bool]) -> Rotation:
    """Carry the one rotation on."""
    last: Rotation | None = None
    async with asyncio.timeout(170):
        while last is None or not until(last):
            last = await asyncio.to_thread(runner.once) or last
            await asyncio.sleep(0.02)
    return last


def ends(one: Rotation) -> bool:
    return one.over or one.state is State.STALLED


async def begun(here: Place) -> tuple[Rotation, Runner]:
    rotation, runner = replace(here.plan(), limits=SOON), here.runner()
    await asyncio.to_thread(runner.journal.plan, rotation)
    return rotation, runner


@pytest.mark.sockets
@_SLOW
@pytest.mark.parametrize(
    "case", ["served soon after", "the answer is lost, and a second delete is as the first"]
)
async def test_a_first_key_that_is_given_up(
    tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_place(tmp_path) as here:
        has_no_key_in_use(here, monkeypatch)
        await misbehaves(here, case)
        _, runner = await begun(here)
        last = await carried(runner, ends)
        assert here.living() == []
        assert last.state is State.ABANDONED, last.reason


@pytest.mark.sockets
@_SLOW
@pytest.mark.parametrize("case", CASES)
async def test_the_only_key_that_an_incident_ends(tmp_path: Path, case: str) -> None:
    async with running_place(tmp_path) as here:
        await misbehaves(here, case)
        rotation, runner = await begun(here)
        await tell(here, rotation.id, Incident((1,), "the key leaked"))
        last = await carried(runner, lambda one: one.over)
        assert here.living() == []
        assert last.state is State.HALTED
        (old,) = [key for key in here.world.service.keys.list("main") if key.ref == OLD]
        assert (old.stage, old.death) == (Stage.TOMBSTONE, Death.PROVEN)


class Killed(BaseException):
    """What ends a rotator where it stands."""


@pytest.mark.sockets
@_SLOW
async def test_a_rotator_that_was_killed_before_it_could_save_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, sent = BinanceAdmin.delete, list[str]()

    def delete(self: BinanceAdmin, subaccount: str, key_id: str, *, stamp: Callable[[], int]) -> None:
        sent.append(key_id)
        real(self, subaccount, key_id, stamp=stamp)
        if len(sent) == 1:
            raise Killed

    monkeypatch.setattr(BinanceAdmin, "delete", delete)
    async with running_place(tmp_path) as here:
        await misbehaves(here, "the second delete is as the first")
        rotation, runner = await begun(here)
        await tell(here, rotation.id, Incident((1,), "the key leaked"))
        with pytest.raises(Killed):
            await carried(runner, ends)
        release(here)
        last = await carried(runner, lambda one: one.over)
        assert here.living() == []
        assert last.state is State.HALTED
        assert sent == [here.old_key] * 2, "it was asked once more"


# --- what lives is never called dead ----------------------------------------------------------


def refused_here(here: Place) -> None:
    """The address that we ask from left the list of every key of the account: it lives, and is refused by no name."""
    for key in here.world.paper.exchange.keys.values():
        if key.account == EMAIL:
            key.ips = ("127.0.0.99",)


def shows_nothing(*_: Any) -> tuple[int, tuple[()]]:
    """Answer as an exchange that shows no keys, whatever it is asked."""
    return 0, ()


async def halted_by(here: Place, sent: list[str]) -> Rotation:
    """An incident wants the only key dead; carry that on until it was to be deleted three times."""
    rotation, runner = await begun(here)
    await tell(here, rotation.id, Incident((1,), "the key leaked"))
    return await carried(runner, lambda one: one.over or len(sent) > 2)


def is_not_called_dead(here: Place, last: Rotation) -> None:
    assert not last.over, last.reason
    (old,) = [key for key in here.world.service.keys.list("main") if key.ref == OLD]
    assert old.stage is not Stage.TOMBSTONE
    assert old.death is not Death.PROVEN
    assert here.world.service.desk.secrets.read(OLD.path)["secret"].reveal()
    assert [key.key_id for key in here.living()] == [here.old_key]


@pytest.mark.sockets
@_SLOW
@pytest.mark.parametrize("ban", ["began before the delete", "lasts longer than the delete"])
async def test_a_living_key_beside_a_ban_and_an_empty_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ban: str
) -> None:
    """No delete arrives: the first one is lost, and to all others the manager key itself is refused by name."""
    sent, world, clock = list[str](), SimpleNamespace(banned=False), Making.read_clock

    def refused() -> VenueRefused:
        return VenueRefused("binance", "keys", GONE, status=400, code="-2008")

    def read_clock(self: Making, rotation: Rotation, version: int) -> Reply:
        reply = clock(self, rotation, version)
        world.banned = bool(sent) and ban == "began before the delete"
        return reply

    def delete(_: BinanceAdmin, _subaccount: str, key_id: str, *, stamp: Callable[[], int]) -> None:
        sent.append(key_id)
        monkeypatch.setattr(BinanceAdmin, "_page", page)
        if len(sent) == 1:
            refused_here(here)
            raise VenueAmbiguous("binance", "delete", "timed_out", text=str(stamp()))
        world.banned = ban == "lasts longer than the delete"
        raise refused()

    def page(*_: Any) -> tuple[int, tuple[()]]:
        if world.banned:
            world.banned = ban == "began before the delete"
            raise refused()
        return shows_nothing()

    monkeypatch.setattr(Making, "read_clock", read_clock)
    monkeypatch.setattr(BinanceAdmin, "delete", delete)
    async with running_place(tmp_path) as here:
        is_not_called_dead(here, await halted_by(here, sent))


@pytest.mark.sockets
@_SLOW
async def test_a_living_key_beside_the_list_of_another_sub_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That one has no such key, says so, and lists none: that is true, and says nothing of this key."""
    real, sent, other = BinanceAdmin.delete, list[str](), "other@paper.test"

    def delete(self: BinanceAdmin, subaccount: str, key_id: str, *, stamp: Callable[[], int]) -> None:
        sent.append(key_id)
        real(self, subaccount, key_id, stamp=stamp)

    monkeypatch.setattr(BinanceAdmin, "delete", delete)
    async with running_place(tmp_path) as here:
        here.world.paper.account(other)
        with here.world.service.desk.database.write() as connection:
            manager_store.assign(connection, "main", "master", other)
        refused_here(here)
        is_not_called_dead(here, await halted_by(here, sent))


# --- when it is sent once more, and how long a word counts -------------------------------------

LIMITS = Limits(settling_for=timedelta(seconds=10))
SETTLED, MOMENT = LIMITS.window_for + LIMITS.settling_for, timedelta(microseconds=1)
PROBING = Retirement(1, phase=Phase.PROBING, deletes=1, deleted_at=BEGAN)


def probed(known: Retirement, reason: str, after: timedelta) -> Onward:
    answer = Answer.REFUSED if reason == ALIVE else Answer.UNKNOWN
    outcome = retire.step(known, Do.PROBE, Reply(answer, reason), LIMITS, BEGAN + after)
    assert isinstance(outcome, Onward)
    return outcome


@pytest.mark.parametrize("reason", [ALIVE, LISTED])
@pytest.mark.parametrize(("after", "doubted"), [(SETTLED - MOMENT, True), (SETTLED, False)])
def test_a_word_is_belied_by_a_key_that_shows_once_its_delete_has_settled(
    reason: str, after: timedelta, *, doubted: bool
) -> None:
    shown = probed(replace(PROBING, told=True), reason, after).retirement
    assert (shown.told, shown.doubted) == (False, doubted)
    assert shown.absent_since is None


@pytest.mark.parametrize(
    ("known", "reason", "after", "again"),
    [
        *((PROBING, wanting, SETTLED, True) for wanting in (UNNAMED, NAMED_ALONE, BLIND)),
        (PROBING, UNNAMED, SETTLED - MOMENT, False),
        (replace(PROBING, deletes=LIMITS.deletes), UNNAMED, SETTLED, False),
        (replace(PROBING, told=True), UNNAMED, SETTLED, False),
        (replace(PROBING, by_hand=True), UNNAMED, SETTLED, False),
        (replace(PROBING, by_hand=True, stated=True), UNNAMED, SETTLED, False),
        *((PROBING, other, SETTLED, False) for other in (ABSENT, BARE, NO_LIST, UNASKED, "timed_out", "")),
    ],
)  # fmt: skip
def test_a_delete_that_nobody_heard_of_is_sent_once_more_where_its_answer_is_all_that_is_missing(
    known: Retirement, reason: str, after: timedelta, *, again: bool
) -> None:
    outcome = probed(known, reason, after)
    assert (outcome.retirement.phase is Phase.DELETING) is again
    assert outcome.retirement.unheard is again
    assert (outcome.effect.do is Do.READ_CLOCK) is again, "signed with a fresh instant"


def test_one_that_is_seen_alive_is_deleted_and_not_to_hear_a_word() -> None:
    lives = probed(replace(PROBING, unheard=True), ALIVE, SETTLED).retirement
    assert (lives.phase, lives.unheard) == (Phase.DELETING, False)
