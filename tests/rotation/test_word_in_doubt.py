"""The exchange says that it deleted a key, and serves or lists it after that: its word counts for nothing until it is known which was true."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from broker.model import Death, KeyRef, Stage
from clients.venue import Slot
from clients.venues.binance.admin import BinanceAdmin
from rotation import retire
from rotation.burial import Burial
from rotation.retire import ALIVE, LISTED, UNNAMED, Onward, Outcome
from rotation.state import Answer, Do, Incident, Limits, Phase, Reply, Retirement, Rotation
from tests.rotation.deaths import tell
from tests.rotation.place import EMAIL, QUICK, running_place
from tests.rotation.world import BEGAN

OLD = KeyRef("main", Slot.TRADE, 1)
LIMITS = Limits(settling_for=timedelta(seconds=10))
SETTLED, MOMENT = LIMITS.window_for + LIMITS.settling_for, timedelta(microseconds=1)
PROBING = Retirement(1, phase=Phase.PROBING, deletes=1, deleted_at=BEGAN)


def probed(known: Retirement, reason: str, after: timedelta) -> Outcome:
    answer = Answer.REFUSED if reason == ALIVE else Answer.UNKNOWN
    return retire.step(known, Do.PROBE, Reply(answer, reason), LIMITS, BEGAN + after)


def went_on(outcome: Outcome) -> Retirement:
    assert isinstance(outcome, Onward)
    return outcome.retirement


@pytest.mark.parametrize("shows", [ALIVE, LISTED])
def test_it_counts_again_where_the_key_shows_no_more_once_its_delete_has_settled(shows: str) -> None:
    lags = went_on(probed(replace(PROBING, told=True), shows, timedelta(seconds=1)))
    assert not lags.told, "what leans on it is worth nothing yet"
    soon = went_on(probed(lags, UNNAMED, SETTLED - MOMENT))
    assert (soon.told, soon.phase) == (False, Phase.PROBING)
    later = went_on(probed(soon, UNNAMED, SETTLED))
    assert (later.told, later.doubted) == (True, False)
    assert later.phase is Phase.PROBING, "it was heard, and is not asked for once more"


@pytest.mark.parametrize("shows", [ALIVE, LISTED])
def test_it_is_belied_where_the_key_shows_on(shows: str) -> None:
    lags = went_on(probed(replace(PROBING, told=True), shows, timedelta(seconds=1)))
    lives = went_on(probed(lags, shows, SETTLED))
    assert (lives.told, lives.doubted, lives.phase) == (False, False, Phase.DELETING)


@pytest.mark.parametrize("shows", [ALIVE, LISTED])
def test_one_that_a_delete_was_sent_again_for_is_belied_at_once(shows: str) -> None:
    """The first delete had settled by then: what it did is no lag any more. The word is asked for once more."""
    known = replace(PROBING, told=True, unheard=True, deletes=2)
    shown = went_on(probed(known, shows, timedelta(seconds=1)))
    assert (shown.told, shown.doubted) == (False, False)
    wants = went_on(probed(shown, UNNAMED, SETTLED))
    assert (wants.told, wants.phase, wants.unheard) == (False, Phase.DELETING, True)


def test_a_key_that_never_showed_is_judged_by_the_word_at_once() -> None:
    assert went_on(probed(replace(PROBING, told=True), UNNAMED, timedelta(0))).told


@pytest.mark.sockets
@pytest.mark.timeout(240)
async def test_a_key_that_was_served_after_its_delete_and_is_refused_here_then_is_not_called_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its delete was accepted and not applied; then our address leaves its list, and the account's list is half an answer."""
    seen, real = list[str](), Burial.probe

    def delete(_: BinanceAdmin, _subaccount: str, _key_id: str, *, stamp: Callable[[], int]) -> None:
        assert stamp()

    def shows_nothing(*_: Any) -> tuple[int, tuple[()]]:
        return 0, ()

    async with running_place(tmp_path) as here:
        here.plays = ("dead", "living", "lives", "proven", "key", "use", "deleted", "nothing")

        def probe(self: Burial, rotation: Rotation, version: int) -> Reply:
            reply = real(self, rotation, version)
            seen.append(reply.reason)
            if reply.reason == ALIVE:
                for key in here.world.paper.exchange.keys.values():
                    if key.account == EMAIL:
                        key.ips = ("127.0.0.99",)
                monkeypatch.setattr(BinanceAdmin, "_page", shows_nothing)
            return reply

        monkeypatch.setattr(BinanceAdmin, "delete", delete)
        monkeypatch.setattr(Burial, "probe", probe)
        patient = timedelta(minutes=2)  # whatever a busy machine takes, the delete has not settled by then
        limits = replace(QUICK, probes=100, settling_for=timedelta(seconds=1), window_for=patient)
        rotation, runner = replace(here.plan(), limits=limits), here.runner()
        await asyncio.to_thread(runner.journal.plan, rotation)
        await tell(here, rotation.id, Incident((1,), "the key leaked"))
        last: Rotation | None = None
        async with asyncio.timeout(200):
            while last is None or not (last.over or len(seen) > 4):  # two looks were all it took
                last = await asyncio.to_thread(runner.once) or last
                await asyncio.sleep(0.02)
        assert ALIVE in seen
        assert [key.key_id for key in here.living()] == [here.old_key]
        (old,) = [key for key in here.world.service.keys.list("main") if key.ref == OLD]
        assert not last.over, last.reason
        assert (old.stage, old.death) != (Stage.TOMBSTONE, Death.PROVEN)
