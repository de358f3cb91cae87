"""A delete is sent again only to hear a word: whatever comes of it, what else would prove the key dead is looked at on."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from broker.model import Death, KeyRef, Stage
from clients.errors import VenueAmbiguous, VenueRefused
from clients.venue import Slot
from clients.venues.binance.admin import BinanceAdmin
from rotation import retire
from rotation.retire import NOT_DELETED, UNNAMED, Onward, Stuck
from rotation.state import Answer, Do, Incident, Limits, Phase, Reply, Retirement, Rotation, State
from tests.rotation.deaths import tell
from tests.rotation.place import EMAIL, QUICK, running_place
from tests.rotation.test_alone import key_of
from tests.rotation.world import BEGAN

OLD = KeyRef("main", Slot.TRADE, 1)
LIMITS = Limits(settling_for=timedelta(seconds=10))
SETTLED = LIMITS.window_for + LIMITS.settling_for
AGAIN = Retirement(1, phase=Phase.DELETING, deletes=2, deleted_at=BEGAN, unheard=True)
NOES = ("refused", "key_refused", "not_granted: another no")


@pytest.mark.parametrize(
    "reply",
    [
        *(Reply(Answer.REFUSED, no) for no in NOES), Reply(Answer.REFUSED, retire.GONE),
        Reply(Answer.UNKNOWN, "timed_out"), Reply(Answer.RETRY, "unavailable"),
    ],
)  # fmt: skip
def test_whatever_it_is_answered_the_key_is_probed(reply: Reply) -> None:
    outcome = retire.step(AGAIN, Do.DELETE, reply, LIMITS, BEGAN + SETTLED)
    assert isinstance(outcome, Onward)
    assert outcome.effect.do is Do.PROBE
    assert outcome.retirement.phase is Phase.PROBING
    assert not outcome.retirement.told
    assert outcome.retirement.deletes == (1 if reply.answer is Answer.RETRY else 2), "what was sent is a try"


@pytest.mark.parametrize("reply", [Reply(Answer.REFUSED, no) for no in NOES])
def test_a_first_one_that_is_refused_is_a_persons_to_look_at(reply: Reply) -> None:
    outcome = retire.step(replace(AGAIN, unheard=False), Do.DELETE, reply, LIMITS, BEGAN)
    assert isinstance(outcome, Stuck)


def test_a_no_of_ours_is_a_persons_to_look_at() -> None:
    outcome = retire.step(AGAIN, Do.DELETE, Reply(Answer.REFUSED, f"{NOT_DELETED}it stays"), LIMITS, BEGAN)
    assert isinstance(outcome, Stuck)
    assert outcome.retirement.phase is Phase.DELETING


def test_it_is_sent_so_often_and_no_more() -> None:
    """Each time once the last one can take effect no more, until no try is left; then it is only looked at."""
    known, now, sent = replace(AGAIN, phase=Phase.PROBING, deletes=1, unheard=False), BEGAN, 1
    many = replace(LIMITS, probes=1000)
    for _ in range(400):
        now += timedelta(seconds=1)
        looked = retire.step(known, Do.PROBE, Reply(Answer.UNKNOWN, UNNAMED), many, now)
        assert isinstance(looked, Onward)
        known = looked.retirement
        if looked.effect.do is Do.READ_CLOCK:
            stamped = retire.step(known, Do.READ_CLOCK, Reply(Answer.OK), many, now)
            assert isinstance(stamped, Onward)
            sent += 1
            refused = retire.step(stamped.retirement, Do.DELETE, Reply(Answer.REFUSED, "refused"), many, now)
            assert isinstance(refused, Onward)
            known = refused.retirement
    assert sent == LIMITS.deletes
    assert known.phase is Phase.PROBING


@pytest.mark.sockets
@pytest.mark.timeout(240)
async def test_a_dead_key_whose_second_delete_is_refused_with_another_code_ends_once_it_is_proven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, sent = BinanceAdmin.delete, list[str]()

    def delete(self: BinanceAdmin, subaccount: str, key_id: str, *, stamp: Callable[[], int]) -> None:
        sent.append(key_id)
        if len(sent) == 1:
            real(self, subaccount, key_id, stamp=stamp)
            raise VenueAmbiguous("binance", "delete", "timed_out", text="no answer")
        raise VenueRefused("binance", "delete", "refused", status=400, code="-9000", text="no such key")

    monkeypatch.setattr(BinanceAdmin, "delete", delete)
    async with running_place(tmp_path) as here:
        here.plays = ("dead", "living", "lives", "proven", "key", "use", "deleted", "nothing")
        soon = replace(QUICK, window_for=timedelta(seconds=1), probes=100)
        rotation, runner, leaked = replace(here.plan(), limits=soon), here.runner(), here.old_key
        await asyncio.to_thread(runner.journal.plan, rotation)
        await tell(here, rotation.id, Incident((1,), "the key leaked"))
        last: Rotation | None = None
        made = False
        async with asyncio.timeout(200):
            while last is None or not last.over:
                last = await asyncio.to_thread(runner.once) or last
                if len(sent) > 1 and not made:  # the list has another key, and not this one
                    key_of(here, "main", EMAIL, Slot.READ)
                    made = True
                await asyncio.sleep(0.02)
        assert last.state is State.HALTED
        (old,) = [key for key in here.world.service.keys.list("main") if key.ref == OLD]
        assert (old.stage, old.death) == (Stage.TOMBSTONE, Death.PROVEN)
        assert set(sent) == {leaked}


@pytest.mark.sockets
@pytest.mark.timeout(240)
async def test_that_the_exchange_knows_no_such_key_is_no_word_on_a_key_that_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first delete never arrived; then our address left the key's list, and the account's list is empty, as in a ban."""
    sent = list[str]()

    def shows_nothing(*_: Any) -> tuple[int, tuple[()]]:
        return 0, ()

    async with running_place(tmp_path) as here:
        here.plays = ("dead", "living", "lives", "proven", "key", "use", "deleted", "nothing")

        def delete(_: BinanceAdmin, _subaccount: str, key_id: str, *, stamp: Callable[[], int]) -> None:
            sent.append(key_id)
            if len(sent) == 1:
                for key in here.world.paper.exchange.keys.values():
                    if key.account == EMAIL:
                        key.ips = ("127.0.0.99",)
                monkeypatch.setattr(BinanceAdmin, "_page", shows_nothing)
                raise VenueAmbiguous("binance", "delete", "timed_out", text=str(stamp()))
            raise VenueRefused("binance", "delete", retire.GONE, status=400, code="-2008")

        monkeypatch.setattr(BinanceAdmin, "delete", delete)
        soon = replace(QUICK, window_for=timedelta(seconds=1), probes=100)
        rotation, runner = replace(here.plan(), limits=soon), here.runner()
        await asyncio.to_thread(runner.journal.plan, rotation)
        await tell(here, rotation.id, Incident((1,), "the key leaked"))
        last: Rotation | None = None
        async with asyncio.timeout(200):
            while last is None or not (last.over or len(sent) > 2):
                last = await asyncio.to_thread(runner.once) or last
                await asyncio.sleep(0.02)
        assert [key.key_id for key in here.living()] == [here.old_key]
        (old,) = [key for key in here.world.service.keys.list("main") if key.ref == OLD]
        assert (old.stage, old.death) != (Stage.TOMBSTONE, Death.PROVEN)
        assert not last.over, last.reason
