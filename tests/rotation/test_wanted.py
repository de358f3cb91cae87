"""An errand that hung brings nothing that is wanted no more: it outlives its claim, its rotation, and the key it carries."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.db import accounts as account_store
from broker.db import destinations as destination_store
from broker.db import meta
from broker.db import rotations as store
from broker.db import tables as t
from broker.destination import ClusterSettings, Destination
from broker.errors import StoreUnavailable
from broker.files.place import Content, Spot
from broker.model import Stage
from broker.service import Service
from broker.service.host_guard import SUPERSEDED
from broker.service.rotations import Wish
from clients.keys import Permissions
from clients.secret import Secret
from clients.venue import KeyType, Slot
from rotation import document
from rotation.destinations.cluster import ClusterPlace
from rotation.destinations.delivery import Deliveries
from rotation.destinations.parcel import Place
from rotation.destinations.webhook import WebhookPlace
from rotation.fence import Fence
from rotation.journal import Lost, _fresh
from rotation.state import RollBack, Rotation, State
from tests.rotation.deaths import release, tell
from tests.rotation.place import running_place
from tests.rotation.test_asks import asks
from tests.rotation.test_deliveries import add_file, begun, state, until
from tests.rotation.test_last_look import PATIENCE_S, Cluster, cluster, home

__all__ = ["home"]
BEFORE = "KEY=a\nSECRET=b\n"
Meanwhile = Callable[[Service], object]


def draining(service: Service) -> Fence:
    """Put a rotation on record that brings the key in use, and return what stands before what it changes."""
    at = datetime.now(UTC)
    one = Rotation(
        "rot_0123456789abcdef0123", "main", Slot.TRADE, 1, None, KeyType.HMAC, Permissions(trade=True), (), "asked",
        by_hand=False, listed=True, leased=True, state=State.DRAINING, started_at=at, entered_at=at, due_at=at,
    )  # fmt: skip
    with service.desk.database.write() as connection:
        store.add(connection, _fresh(one))
    return Fence(service.desk.database, one.id, 1)


def moved_to(state: State, **more: object) -> Meanwhile:
    """Return what carries the rotation on to a state."""

    def carry(service: Service) -> None:
        with service.desk.database.write() as connection:
            (row,) = store.every_open(connection)
            known = replace(document.load(row.document), state=state, **more)  # type: ignore[arg-type]
            assert store.save(connection, row.id, row.row_version, _fields(known))

    return carry


def _fields(rotation: Rotation) -> dict[str, object]:
    kept = ("id", "row_version", "created_us", "claimed_until_us")
    return {name: value for name, value in _fresh(rotation).items() if name not in kept}


def waived(service: Service) -> None:
    with service.desk.database.write() as connection:
        (row,) = connection.execute(t.DELIVERIES.select())
        known = destination_store.delivery(connection, row.rotation, row.destination, row.version)
        destination_store.save(connection, replace(known, waived_by="ann"))


def dead(service: Service) -> None:
    (key,) = service.keys.list("main")
    with service.desk.database.write() as connection:
        account_store.set_stage(connection, key.ref, Stage.TOMBSTONE, key_id=key.venue_key_id)


def held(service: Service) -> None:
    with service.desk.database.write() as connection:
        assert store.hold_open(connection, "everything was closed")


def superseded(service: Service) -> None:
    with service.desk.database.write() as connection:
        meta.put(connection, SUPERSEDED, "7")


MEANWHILE: dict[str, Meanwhile] = {
    "it is over": moved_to(State.ABANDONED),
    "it is taken back": moved_to(State.ROLLING_BACK),
    "it stalled as it was taken back": moved_to(State.STALLED, stalled_from=State.ROLLING_BACK),
    "it is held": held,
    "it is paused": moved_to(State.DRAINING, paused=True),
    "its destination is waived": waived,
    "its destination is removed": lambda service: service.destinations.remove("file"),
    "its key is dead": dead,
    "another host has its place": superseded,
}


def bring(rotator: Service, fence: Fence, at_work: Callable[[Destination], Place] | None = None) -> None:
    """Bring the key, to the end of the errand, whatever became of the record meanwhile."""
    deliveries = Deliveries(rotator, rotator.desk.clock.now_us)
    if at_work is not None:
        deliveries._at_work = at_work  # type: ignore[method-assign]
    (key,) = rotator.keys.list("main")
    with suppress(Lost, StoreUnavailable):
        deliveries.bring(fence, key, venue="binance")
    for errand in tuple(deliveries._errands._by_place.values()):
        assert errand.done.wait(2 * PATIENCE_S)


@contextmanager
def slow_file(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]) -> Iterator[None]:
    """A disk that hangs while something happens."""
    read, once = Spot.read, iter([meanwhile])

    def slow(place: Spot) -> Content:
        for act in once:
            act()
        return read(place)

    with monkeypatch.context() as patched:
        patched.setattr(Spot, "read", slow)
        yield


@pytest.mark.parametrize("what", MEANWHILE)
def test_what_is_wanted_no_more_is_not_written_by_a_disk_that_comes_back(
    home: tuple[Service, Service, Path], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The gates were open: a key that was dead by then was written over the living one, and the program was told."""
    broker, rotator, env = home
    fence = draining(broker)
    with slow_file(monkeypatch, lambda: MEANWHILE[what](broker)):
        bring(rotator, fence)
    assert env.read_text() == BEFORE
    assert not (env.parent.parent / "told").exists()
    assert not list(env.parent.glob(".*portcullis"))


@pytest.mark.parametrize(
    "what",
    [
        moved_to(State.DRAINING),
        moved_to(State.STALLED, stalled_from=State.DRAINING),
        lambda _: None,
    ],
    ids=["claimed by another", "stalled over it", "nothing"],
)
def test_what_is_wanted_still_is_brought_however_long_it_took(
    home: tuple[Service, Service, Path], monkeypatch: pytest.MonkeyPatch, what: Meanwhile
) -> None:
    """A claim is given back and taken again while an errand hangs: its row version is no sign of anything."""
    broker, rotator, env = home
    fence = draining(broker)
    with slow_file(monkeypatch, lambda: what(broker)):
        bring(rotator, fence)
    assert "planted-secret" in env.read_text()
    assert (env.parent.parent / "told").exists()


@pytest.mark.sockets
@pytest.mark.usefixtures("errands_hang")
async def test_a_rotation_that_is_taken_back_over_a_disk_that_hangs_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk came back when its key was deleted at the exchange: that was written over the one that lives."""
    async with running_place(tmp_path) as here:
        path, old, service = add_file(here, tmp_path), here.old_key, here.world.service
        path.write_text(f"API_KEY={old}\nAPI_SECRET=old\n")
        hangs, goes_on, read = threading.Event(), threading.Event(), Spot.read

        def hung(place: Spot) -> Content:
            if not hangs.is_set():
                hangs.set()
                goes_on.wait(10 * PATIENCE_S)
            return read(place)

        monkeypatch.setattr(Spot, "read", hung)
        rotation, runner = begun(here), here.runner()
        await until(here, rotation, hangs.is_set, runner)
        release(here)
        await tell(here, rotation, RollBack("asked"))
        await until(here, rotation, lambda: state(here, rotation) == "draining-new", runner)
        service.rotations.ask(rotation, Wish.WAIVE, {"destination": "env", "reason": "its disk hangs"})
        assert await asyncio.to_thread(asks(here).once)
        await until(here, rotation, lambda: state(here, rotation) == "abandoned", runner)
        assert {one.key_id for one in here.living()} == {old}
        (errand,) = runner.effects.deliveries._errands._by_place.values()
        goes_on.set()
        assert await asyncio.to_thread(errand.done.wait, PATIENCE_S)
        assert path.read_text() == f"API_KEY={old}\nAPI_SECRET=old\n"
        assert errand.found is not None
        assert f"{rotation} is over" in str(errand.found.fault)


SOME = ["it is over", "its destination is waived", "another host has its place"]


@pytest.mark.sockets
@pytest.mark.parametrize("what", SOME)
def test_nor_does_a_webhook_get_it(
    home: tuple[Service, Service, Path], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    broker, rotator, env = home
    broker.destinations.remove("file")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE_S)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/keys"
        broker.destinations.create(
            "hook", account="main", slot=Slot.TRADE, kind="webhook", settings={"url": url},
            secret=Secret("planted-signing"),
        )  # fmt: skip
        fence, heard, send = draining(broker), list[bytes](), WebhookPlace._send

        def listen() -> None:
            there, _ = listener.accept()
            there.settimeout(PATIENCE_S)
            with there:
                while data := there.recv(65536):
                    heard.append(data)

        def slow(place: WebhookPlace, *given: object) -> object:
            MEANWHILE[what](broker)
            return send(place, *given)  # type: ignore[arg-type]

        monkeypatch.setattr(WebhookPlace, "_send", slow)
        listening = threading.Thread(target=listen, daemon=True)
        listening.start()
        bring(rotator, fence)
        listening.join(PATIENCE_S)
        assert not listening.is_alive(), "it was connected to, and hung up on"
    assert b"planted" not in b"".join(heard)
    assert env.read_text() == BEFORE


@pytest.mark.sockets
@pytest.mark.parametrize("what", SOME)
def test_nor_a_cluster(home: tuple[Service, Service, Path], what: str) -> None:
    """The Secret is patched by then; what uses it is not told to take it into use."""
    broker, rotator, _ = home
    fence = draining(broker)

    class Slow(list[str]):
        def append(self, one: str) -> None:
            super().append(one)
            if one == "PATCH keys":
                MEANWHILE[what](broker)

    here = Cluster()
    here.noted = Slow()
    with cluster(here) as address:
        settings = ClusterSettings("bots", "keys", restart=("deployment/bot",), server=address)
        bring(rotator, fence, lambda _: ClusterPlace(settings, Secret("planted-token")))
    assert here.noted == ["PATCH keys"]
