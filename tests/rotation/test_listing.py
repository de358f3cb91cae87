"""A list that lacks a key proves its death where it has one that has to live."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from broker.db import accounts as account_store
from broker.model import Death, KeyRef, Stage
from clients.errors import VenueAmbiguous
from clients.keys import Standing, VenueKey
from clients.venue import Slot
from clients.venues.binance.admin import BinanceAdmin
from rotation.comparing import Comparing
from rotation.listing import Beside, look
from rotation.making import Making
from rotation.reach import Reach
from rotation.retire import ABSENT, BARE, LISTED, NAMED_ALONE, UNASKED, UNNAMED
from rotation.state import Answer, Reply, State
from rotation.venues import Desk, Venues
from tests.losing import lose
from tests.rotation.place import Place, running_place
from tests.rotation.test_assisted import hurry
from tests.rotation.test_by_name import on_record, planned

OLD = KeyRef("main", Slot.TRADE, 1)
PROBES = 9
IN_USE = cast("Any", SimpleNamespace(ref="main/trade/2", venue_key_id="stays"))
REPLACED = cast("Any", SimpleNamespace(ref="main/trade/1", venue_key_id="replaced"))
GONE = cast("Any", SimpleNamespace(ref="main/read/1", venue_key_id="gone"))


def desk(*listed: str, found: str | None = None) -> Desk:
    admin = SimpleNamespace(
        find=lambda *_: found, list=lambda _: tuple(SimpleNamespace(key_id=one) for one in listed)
    )
    return cast("Desk", SimpleNamespace(admin=admin, subaccount="x@paper.test"))


@pytest.mark.parametrize(
    ("shown", "living", "standing", "says"),
    [
        (desk("stays"), (IN_USE,), Standing.REFUSED, ABSENT),
        (desk("stays"), (IN_USE,), None, ABSENT),
        (desk(), (IN_USE,), Standing.NAMED, BARE),
        (desk("a stranger's"), (IN_USE,), None, BARE),
        (desk(), (), Standing.NAMED, NAMED_ALONE),
        (desk(), (), Standing.REFUSED, UNNAMED),
        (desk(), (), None, UNASKED),
        (desk("stays", found="goes"), (IN_USE,), Standing.REFUSED, LISTED),
        (desk("stays", "goes"), (IN_USE,), Standing.REFUSED, LISTED),
        (desk(), (GONE,), Standing.NAMED, NAMED_ALONE),
        (desk(), (GONE,), Standing.REFUSED, UNNAMED),
        (desk(), (GONE, IN_USE), Standing.NAMED, BARE),
        (desk("replaced"), (IN_USE,), None, ABSENT),
        (desk("replaced"), (), Standing.REFUSED, ABSENT),
    ],
)
def test_what_a_list_says_of_a_key_that_it_lacks(
    shown: Desk, living: tuple[Any, ...], standing: Standing | None, says: str
) -> None:
    """Two things that say nothing prove nothing together: an empty list, and a refusal that a ban may be the reason of."""
    heard = {"gone": Standing.NAMED, "stays": Standing.REFUSED}
    beside = Beside((*living, REPLACED), living)
    found = look(shown, "goes", beside, standing, lambda one: heard[one.venue_key_id])
    assert found.reason == says
    told = look(shown, "goes", beside, standing, lambda one: heard[one.venue_key_id], told=True)
    alone = says in {UNNAMED, NAMED_ALONE}
    assert told.reason == (ABSENT if alone else says), "the exchange said that it deleted it"
    alike = look(shown, "goes", replace(beside, alike=True), standing, lambda one: heard[one.venue_key_id])
    assert alike.reason == (ABSENT if says == NAMED_ALONE else says), (
        "the manager key is served by the same way"
    )


def nothing(*_: Any) -> tuple[int, tuple[()]]:
    """Answer as an exchange that shows no keys, whatever it is asked."""
    return 0, ()


def lose_the_delete(monkeypatch: pytest.MonkeyPatch, then: Callable[[], None] = lambda: None) -> None:
    def lost(_: BinanceAdmin, subaccount: str, key_id: str, *, stamp: Callable[[], int]) -> None:
        then()
        raise VenueAmbiguous("binance", "delete", "timed_out", text=f"{subaccount} {key_id} {stamp()}")

    monkeypatch.setattr(BinanceAdmin, "delete", lost)


def gone_here(here: Place, how: str) -> None:
    if how == "secret lost":
        lose(here.world.service.desk.secrets, OLD.path, "destroyed")
    else:
        here.world.paper.exchange.keys[here.old_key].ips = ("127.0.0.99",)


@pytest.mark.sockets
@pytest.mark.parametrize("how", ["secret lost", "address left"])
async def test_a_list_without_the_key_that_stays_ends_no_rotation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The delete never arrived, and the exchange showed no keys at all: a living key was proven dead, its secret destroyed."""
    async with running_place(tmp_path) as here:
        here.plays = ("dead", "living", "lives", "proven", "key")

        def then() -> None:
            monkeypatch.setattr(BinanceAdmin, "_page", nothing)
            gone_here(here, how)

        lose_the_delete(monkeypatch, then)
        known, runner = await planned(here), here.runner()
        async with asyncio.timeout(60):
            while (retiring := known.retirement) is None or retiring.probes < PROBES:
                hurry(here, known.id)
                await asyncio.to_thread(runner.once)
                known = on_record(here, known.id)
        assert "does not have main/trade/2 either, which is in use" in retiring.seen
        assert retiring.absent_since is None
        (old,) = [key for key in here.world.service.keys.list("main") if key.ref == OLD]
        assert old.stage is not Stage.TOMBSTONE
        assert old.death is not Death.PROVEN
        assert not here.world.paper.exchange.keys[here.old_key].deleted


@pytest.mark.sockets
async def test_a_list_without_the_key_in_use_does_not_say_that_none_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A create in doubt: by that list its private half was destroyed, and the key lived on at the exchange."""
    async with running_place(tmp_path) as here:
        known = await planned(here)
        service = here.world.service
        making = Making(Reach(service, Venues(service)))
        long_ago = replace(known, created_us=0)
        monkeypatch.setattr(BinanceAdmin, "_page", nothing)
        assert known.new is not None
        reply = await asyncio.to_thread(making.find, long_ago, known.new)
        assert reply.reason == BARE


@pytest.mark.sockets
@pytest.mark.parametrize("heard", [Standing.NAMED, None])
async def test_nor_does_one_that_has_other_keys_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: Standing | None
) -> None:
    """Another sub-account's, while a ban lets the key in use seem dead, or nobody can ask with it."""
    async with running_place(tmp_path) as here:
        known = await planned(here)
        service = here.world.service
        making = Making(Reach(service, Venues(service)))
        monkeypatch.setattr(BinanceAdmin, "list", lambda *_: (VenueKey("stranger", "rot_" + "0b" * 10),))
        monkeypatch.setattr(Comparing, "heard", lambda *_: heard)
        assert known.new is not None
        reply = await asyncio.to_thread(making.find, replace(known, created_us=1), known.new)
        assert reply.reason == BARE


@pytest.mark.sockets
@pytest.mark.parametrize("code", [-2008, -2015])
async def test_a_create_beside_a_key_that_is_dead_itself_is_found_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Why a fresh one is made: no list owes us that one, whether or not the exchange refuses it by name."""
    async with running_place(tmp_path) as here:
        here.plays = ("dead", "living", "lives", "proven", "key", "use", "deleted")
        exchange = here.world.paper.exchange
        exchange.switches["deleted_key_api_code"] = code
        exchange.keys[here.old_key].deleted = True

        def unanswered(*_: Any, **__: Any) -> None:
            raise VenueAmbiguous("binance", "create", "timed_out", text="no answer")

        monkeypatch.setattr(BinanceAdmin, "create", unanswered)
        known, runner = await planned(here), here.runner()
        async with asyncio.timeout(60):
            while not known.over and known.state is not State.STALLED:
                hurry(here, known.id)
                await asyncio.to_thread(runner.once)
                known = on_record(here, known.id)
        assert known.state is State.ABANDONED, known.reason


@pytest.mark.sockets
async def test_an_empty_list_and_a_refusal_that_names_nothing_prove_nothing_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first key that is given up, its delete lost, and refused for its addresses: nothing else has to be in the list."""
    async with running_place(tmp_path) as here:
        here.plays = ("dead", "living", "lives", "proven", "key", "use", "deleted", "nothing")
        exchange, service = here.world.paper.exchange, here.world.service
        exchange.keys[here.old_key].deleted = True
        with service.desk.database.write() as connection:
            account_store.set_stage(
                connection, OLD, Stage.TOMBSTONE, unless=(), key_id=here.old_key, death=Death.PROVEN
            )
        monkeypatch.setattr(Making, "verify", lambda *_: Reply(Answer.REFUSED, "bound to other addresses"))

        def then() -> None:
            monkeypatch.setattr(BinanceAdmin, "_page", nothing)
            for key in exchange.keys.values():
                key.ips = ("127.0.0.99",)

        lose_the_delete(monkeypatch, then)
        known, runner = await planned(here), here.runner()
        async with asyncio.timeout(60):
            while (retiring := known.retirement) is None or retiring.probes < PROBES:
                hurry(here, known.id)
                await asyncio.to_thread(runner.once)
                known = on_record(here, known.id)
        assert "no other key is in use there that it could show" in retiring.seen
        assert retiring.absent_since is None
        made = next(key for key in service.keys.list("main") if key.ref.version == known.new)
        assert made.stage is not Stage.TOMBSTONE
        assert made.death is not Death.PROVEN
