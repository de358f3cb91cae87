"""No key goes to a gateway past a cut that was answered, or from a home that is not the one that serves any more.

Whatever was waited for before: the turn to write, the commit, the loop's next turn.
"""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.authority.link import Link
from broker.db import cutovers as store
from broker.gate import Mode
from broker.link.frames import Frame, Material
from broker.service.service import open_service
from clients.venue import Credential, KeyFacts, KeyType, Slot
from tests.gateway.test_cutover import NEW, second, trading_world
from tests.gateway.test_leases_ahead import leased, until
from tests.gateway.world import WallClock, World, running_world

pytestmark = pytest.mark.sockets
Happens = Callable[[World], None]


def restored_elsewhere(world: World) -> None:
    """Another host has this home's place; upkeep has heard of it."""
    service = world.service
    place = {"instance": service.desk.home.instance, "generation": service.desk.home.generation + 1}
    service.desk.secrets.mirror.change("instance", lambda _: json.dumps(place))
    service.desk.guard.hear()


def restored_on_record(world: World) -> None:
    """Another process of this home heard of it, and put it on record."""
    other = open_service(world.service.desk.database, world.service.desk.secrets, WallClock())
    generation = world.service.desk.home.generation + 1
    place = {"instance": world.service.desk.home.instance, "generation": generation}
    other.desk.secrets.mirror.change("instance", lambda _: json.dumps(place))
    other.mirror.merge()
    other.close()


def cut_at_another_broker(world: World) -> None:
    """It is on record, answered, and this broker has not heard of it."""
    other = open_service(world.service.desk.database, world.service.desk.secrets, WallClock())
    made, _ = other.cuts.close(targets=("account:main",), mode=Mode.CLOSED, reason="leak", actor="me")
    assert made.on_record
    other.close()


def cut_here(world: World) -> None:
    made, _ = world.service.cuts.close(targets=("account:main",), mode=Mode.CLOSED, reason="leak", actor="me")
    assert made.on_record


HAPPENS = pytest.mark.parametrize(
    "happens", [restored_elsewhere, restored_on_record, cut_at_another_broker, cut_here]
)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which key versions went to a gateway, whatever became of them there."""
    tell, gone = Link.tell, list[str]()

    def told(link: Link, frame: Frame) -> bool:
        if isinstance(frame, Material):
            gone.append(frame.key)
        return tell(link, frame)

    monkeypatch.setattr(Link, "tell", told)
    return gone


def before(thing: Any, name: str, once: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Have something happen as often as a step begins, until it did; return whether it did."""
    real, done = getattr(thing, name), list[bool]()

    def stepped(*args: Any, **more: Any) -> Any:
        if not done:
            once()
            done.append(True)
        return real(*args, **more)

    monkeypatch.setattr(thing, name, stepped)
    return done


@pytest.mark.parametrize(
    ("wait", "happens"),
    [
        *(
            ("_hold", one)
            for one in (restored_elsewhere, restored_on_record, cut_at_another_broker, cut_here)
        ),
        *(("_send_soon", one) for one in (restored_elsewhere, cut_here)),
    ],
)
async def test_a_key_that_goes_with_a_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: list[str], happens: Happens, wait: str
) -> None:
    """`_hold` waits for its turn and for the commit; what is sent from the loop waits for its turn there, in memory."""
    async with running_world(tmp_path) as world:
        world.account()
        done = before(world.authority.leases, wait, lambda: happens(world), monkeypatch)
        issued = world.issue()
        await until(lambda: bool(done))
        await asyncio.sleep(0.3)
        assert not sent
        assert not leased(world, issued.grant.key_id)
        (link,) = world.authority.changes.links.values()
        assert not link.keys


@HAPPENS
async def test_a_key_that_leases_are_moved_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: list[str], happens: Happens
) -> None:
    async with trading_world(tmp_path) as (world, _bot):
        monkeypatch.setattr(world.authority.leases, "judge", _nothing)  # none is opened beside that
        done = before(world.authority.cutovers, "_held", lambda: happens(world), monkeypatch)
        second(world)
        await until(lambda: bool(done))
        await asyncio.sleep(0.3)
        assert str(NEW) not in sent


@HAPPENS
async def test_a_key_that_a_gateway_is_to_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: list[str], happens: Happens
) -> None:
    async with trading_world(tmp_path) as (world, _bot):
        (link,) = world.authority.changes.links.values()
        spare = "main/read/1"
        made = world.paper.key("main@paper.test")
        assert made.secret is not None
        facts = KeyFacts(True, False, False, False, True, world.service.accounts.get("main").venue_uid or "1")
        world.service.keys.import_key(
            "main", slot=Slot.READ, credential=Credential(made.key_id, made.secret, KeyType.HMAC), facts=facts
        )
        done = before(world.authority.cutovers, "_sent", lambda: happens(world), monkeypatch)
        one = store.Canary("rot_1", link.gateway, spare, world.service.desk.clock.now_us())
        with world.service.desk.database.write() as connection:
            store.ask_canary(connection, one)
        await until(lambda: bool(done))
        await asyncio.sleep(0.3)
        assert spare not in sent
        assert spare not in link.keys


async def test_a_lease_that_lost_its_key_on_the_way_is_opened_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changed was no cut: the gateway has key and lease a moment later, and no lease without its key."""
    async with running_world(tmp_path) as world:
        world.account()
        stands, kept = world.authority.leases.stands, list[bool]()

        def once(*args: Any) -> bool:
            kept.append(bool(kept) and stands(*args))
            return kept[-1]

        monkeypatch.setattr(world.authority.leases, "stands", once)
        bot = world.bot()
        assert (await bot.call("GET", "/api/v3/account")).status == 200
        assert kept[0] is False
        await world.settled()


def _nothing(*_: object, **__: object) -> Any:
    raise AssertionError("not in this test")
