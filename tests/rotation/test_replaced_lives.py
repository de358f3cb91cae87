"""A key that an import took the place of lives on: that is told until it is dead, under a manager key or not."""

import asyncio
from pathlib import Path

import pytest

from broker.model import Death, KeyRef, Stage
from broker.service.conditions import Condition
from clients.venue import Credential, KeyFacts, KeyType, Slot
from rotation.alerts.conditions import all_that_is_wrong
from rotation.state import State
from rotation.sweeper import Sweeper
from rotation.venues import Venues
from tests.rotation.place import ACCOUNT_ADDRESS, EMAIL, REPLACED, Place, now, running_place
from tests.rotation.test_assisted import asks, running_alone
from tests.rotation.test_by_name import on_record
from tests.rotation.test_left import imported, looks

pytestmark = pytest.mark.sockets
OLD = KeyRef("main", Slot.TRADE, 1)


def told(here: Place) -> list[Condition]:
    return [one for one in here.world.service.conditions.everything() if one.kind == "replaced"]


def alerted(here: Place) -> list[str]:
    return [one.step for one in all_that_is_wrong(here.world.service, now()) if str(OLD) in one.says]


async def test_one_that_a_person_has_to_delete_is_told_until_it_is_proven_dead(tmp_path: Path) -> None:
    """No list is looked at, so that nobody ever said so."""
    async with running_alone(tmp_path) as here:
        here.plays = (REPLACED,)
        service, exchange = here.world.service, here.world.paper.exchange
        exchange.switches["deleted_key_api_code"] = -2008
        assert told(here) == []
        imported(here)
        (one,) = told(here)
        assert (one.subject, one.account) == (str(OLD), "main")
        assert one.says.startswith(
            "main: its key main/trade/1 was replaced, and nothing says that it is deleted"
        )
        assert one.step == "portcullis sweep retire main/trade/1"
        assert alerted(here) == [one.step]
        (account,) = service.ready.look()
        assert one.step in {red.step for red in account.red}
        assert [key.ref for key in service.keys.replaced("main", Slot.TRADE)] == [OLD]

        ask = service.rotations.retire(OLD)
        assert await asyncio.to_thread(asks(here).once)
        assert service.rotations.outcome(ask.id).outcome == ""
        assert told(here) == [], "its rotation tells what to do"
        await looks(here, ask.rotation, 1)
        assert any("person is waited for" in one.says for one in all_that_is_wrong(service, now()))
        exchange.keys[here.old_key].deleted = True
        for _ in range(20):
            await looks(here, ask.rotation, 1)
            if on_record(here, ask.rotation).over:
                break
        assert on_record(here, ask.rotation).state is State.DONE
        old = next(key for key in service.keys.list("main") if key.ref == OLD)
        assert (old.stage, old.death) == (Stage.TOMBSTONE, Death.PROVEN)
        assert (told(here), alerted(here)) == ([], [])


async def test_under_a_manager_key_it_is_told_before_a_sweep_and_once_after_it(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        here.plays = (REPLACED,)
        service = here.world.service
        imported(here)
        assert [one.subject for one in told(here)] == [str(OLD)]
        await asyncio.to_thread(Sweeper(service, Venues(service), here.runner().journal).sweep, now())
        assert [one.what for one in service.rotations.findings()] == ["replaced"]
        assert told(here) == []
        assert len(alerted(here)) == 1


async def test_one_that_is_taken_back_into_use_is_told_no_more_and_the_other_is(tmp_path: Path) -> None:
    async with running_alone(tmp_path) as here:
        here.plays = (REPLACED,)
        service, exchange = here.world.service, here.world.paper.exchange
        new = imported(here)
        old = exchange.keys[here.old_key]
        assert old.secret is not None
        facts = KeyFacts(True, True, False, False, True, str(exchange.accounts[EMAIL].uid))
        assert old.ips == (ACCOUNT_ADDRESS,)
        back = Credential(old.key_id, old.secret, KeyType.HMAC)
        assert service.keys.import_key("main", slot=Slot.TRADE, credential=back, facts=facts).ref == OLD
        assert [one.subject for one in told(here)] == [str(new)]
