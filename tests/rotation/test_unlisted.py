"""A key that was ended is proven dead by two lists that lack it, a settling time apart, and by no less."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from broker.db import accounts as account_store
from broker.db import managers
from broker.errors import Conflict
from broker.model import Death, Stage
from clients.secret import Secret
from clients.venue import Credential, KeyFacts, KeyType, Slot
from clients.venues.binance.admin import BinanceAdmin
from rotation.retire import TWICE_ABSENT
from rotation.sweeper import Sweeper
from rotation.unlisted import APART, Lacks, bury, ended
from rotation.venues import Venues
from tests.rotation.place import BY_HAND, EMAIL, Place, now, running_place
from tests.rotation.test_stated import OLD, in_the_list, left, looked, told
from tests.rotation.test_sweeper import imported

pytestmark = pytest.mark.sockets
_LIVES = "is called dead, and its key lives"
_SECOND = timedelta(seconds=1)


def ends(here: Place, death: Death, *, lives: bool = False) -> None:
    """Another key is in use, and the first one, which left, is ended on record so."""
    here.plays = (BY_HAND, _LIVES, "no rotation is open")
    imported(here)
    left(here)
    with here.world.service.desk.database.write() as connection:
        account_store.set_stage(connection, OLD, Stage.TOMBSTONE, death=death)
    here.world.paper.exchange.keys[here.old_key].deleted = not lives
    looked(here)


async def swept(here: Place, after: timedelta = timedelta(0)) -> Death | None:
    """Sweep when the exchange's clock is so much further; return what the checkout's death is known by then."""
    exchange, service = here.world.paper.exchange, here.world.service
    exchange.offset_us += after // timedelta(microseconds=1)
    sweeper = Sweeper(service, Venues(service), here.runner().journal)
    troubles = list[str]()
    for _ in range(3):  # one that was held up is no look
        if not (troubles := [*await asyncio.to_thread(sweeper.sweep, now())]):
            break
    assert troubles == []
    exchange.offset_us -= after // timedelta(microseconds=1)
    (one,) = service.checkouts.list()
    return one.death


def hidden(monkeypatch: pytest.MonkeyPatch, *key_ids: str) -> None:
    """The list of the exchange lacks these, whatever they are."""
    real = BinanceAdmin.list
    monkeypatch.setattr(
        BinanceAdmin, "list",
        lambda self, of: tuple(key for key in real(self, of) if key.key_id not in key_ids),
    )  # fmt: skip


@pytest.mark.parametrize("death", [Death.UNSAID, Death.UNPROVEN, Death.STATED, Death.CONFIRMED])
async def test_two_lists_a_settling_time_apart_prove_what_one_does_not(tmp_path: Path, death: Death) -> None:
    async with running_place(tmp_path) as here:
        ends(here, death)
        before = told(here)
        assert await swept(here) is death, "a list may lag"
        assert await swept(here, APART / 2) is death
        assert told(here) == before
        assert await swept(here, APART + _SECOND) is Death.PROVEN
        looked(here)
        assert (in_the_list(here), told(here)) == ("dead", {})
        (said,) = (
            one.entry
            for one in here.world.service.audit.list(limit=1000).items
            if one.entry.action == "key.dead"
        )
        assert said.subject == "key-version:main/trade/1"
        assert TWICE_ABSENT in said.details
        assert "key.confirm-deleted" not in {
            one.entry.action for one in here.world.service.audit.list(limit=1000).items
        }, "no person said anything"


@pytest.mark.parametrize("death", [Death.PROVEN, Death.STATED])
async def test_a_list_that_has_it_takes_its_death_back_and_what_lists_lacked_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, death: Death
) -> None:
    async with running_place(tmp_path) as here:
        ends(here, death, lives=True)
        with monkeypatch.context() as lagging:
            hidden(lagging, here.old_key)
            assert await swept(here) is death
        assert await swept(here, APART) is Death.UNPROVEN
        assert set(told(here)) == {"status", "alerts", "ready"}
        here.world.paper.exchange.keys[here.old_key].deleted = True
        assert await swept(here, APART * 2) is Death.UNPROVEN, "that is the first one that lacks it"


async def test_a_key_that_the_exchange_served_since_is_proven_dead_by_no_list_that_lacks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_place(tmp_path) as here:
        ends(here, Death.PROVEN, lives=True)
        hidden(monkeypatch, here.old_key)
        assert await swept(here) is Death.PROVEN
        service = here.world.service
        facts = KeyFacts(True, True, False, False, True, service.accounts.get("main").venue_uid or "")
        credential = Credential(here.old_key, Secret("x" * 64), KeyType.HMAC)
        with pytest.raises(Conflict, match="it may live"):
            service.keys.import_key("main", slot=Slot.TRADE, credential=credential, facts=facts)
        for after in (timedelta(0), APART, APART * 60):
            assert await swept(here, after) is Death.UNPROVEN
        views, step = told(here), "portcullis reconcile --deleted main/trade/1"
        assert set(views) == {"status", "alerts", "ready"}
        assert all(said.endswith(step) for said in views.values())
        assert [one.step for one in service.conditions.look() if one.kind == "key"] == [step]
        here.world.paper.exchange.keys[here.old_key].deleted = True


async def test_a_list_that_lacks_a_key_in_use_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_place(tmp_path) as here:
        ends(here, Death.STATED)
        (used,) = (key for key in here.world.service.keys.list("main") if key.stage is Stage.CURRENT)
        hidden(monkeypatch, used.venue_key_id)
        for after in (timedelta(0), APART, APART * 60):
            assert await swept(here, after) is Death.STATED


async def test_lists_of_another_sub_account_prove_nothing_of_an_account_with_no_key_in_use(
    tmp_path: Path,
) -> None:
    async with running_place(tmp_path) as here:
        ends(here, Death.UNPROVEN, lives=True)
        service = here.world.service
        (used,) = (key for key in service.keys.list("main") if key.stage is Stage.CURRENT)
        with service.desk.database.write() as connection:
            account_store.set_stage(connection, used.ref, Stage.TOMBSTONE, death=Death.UNPROVEN)
        here.world.paper.account("other@example.com")
        service.managers.assign("main", "master", "other@example.com", lambda: ())
        for after in (timedelta(0), APART + _SECOND, APART * 60):
            assert await swept(here, after) is Death.UNPROVEN, "it lives in its own"
        assert set(told(here)) == {"status", "alerts", "ready"}
        for key_id in (here.old_key, used.venue_key_id):
            here.world.paper.exchange.keys[key_id].deleted = True


@pytest.mark.parametrize("other", [("master", "other@example.com"), ("second", EMAIL)])
async def test_what_a_list_of_another_place_lacked_is_no_first_look(
    tmp_path: Path, other: tuple[str, str]
) -> None:
    async with running_place(tmp_path) as here:
        ends(here, Death.STATED)
        database, audit = here.world.service.desk.database, here.world.service.audit
        place, gone = f"master: {EMAIL}", {here.old_key: "main/trade/1"}
        before = Lacks("main", "{}: {}".format(*other), gone, 1)
        with database.write() as connection:
            bury(connection, audit, before, 1)
        minute_us = APART // timedelta(microseconds=1)
        for seen_us, death in ((minute_us + 1, Death.STATED), (2 * minute_us + 1, Death.PROVEN)):
            with database.write() as connection:
                bury(connection, audit, replace(before, place=place, seen_us=seen_us), 1)
            assert here.world.service.checkouts.list()[0].death is death


async def test_what_a_sweep_saw_before_the_account_moved_is_no_first_look(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        ends(here, Death.STATED)
        service = here.world.service
        assert await swept(here) is Death.STATED
        second = replace(service.managers.get("master"), name="second")
        with service.desk.database.write() as connection:
            managers.add(connection, second, 1)
            managers.assign(connection, "main", "second", EMAIL)
        assert await swept(here, APART + _SECOND) is Death.STATED, "that is the first of its place"
        assert await swept(here, APART * 3) is Death.PROVEN


async def test_what_settles_was_never_made_or_is_proven_is_not_looked_for(tmp_path: Path) -> None:
    async with running_place(tmp_path) as here:
        ends(here, Death.STATED)
        known = here.world.service.keys.list("main")
        there = {key.venue_key_id for key in known if key.stage is Stage.CURRENT}
        assert ended(known, there, ()) == {here.old_key: "main/trade/1"}
        assert ended(known, there, {Slot.TRADE}) == {}
        assert ended(known, there | {here.old_key}, ()) == {}
        assert ended([replace(key, death=Death.PROVEN) for key in known], there, ()) == {}
        assert ended([key for key in known if key.stage is not Stage.CURRENT], there, ()) == {}
        tombs = [replace(key, venue_key_id="") for key in known if key.stage is Stage.TOMBSTONE]
        used = [key for key in known if key.stage is Stage.CURRENT]
        assert ended([*used, *tombs], there, ()) == {}
