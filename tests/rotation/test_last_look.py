"""The last look at the gates comes after the last wait: what was judged before it brings no key to a destination."""

import json
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from broker.db import Connection
from broker.destination import ClusterSettings, FileSettings, Kind, Reload, WebhookSettings
from broker.errors import NotGranted
from broker.files.place import Content, Spot
from broker.gate import Mode
from broker.model import KeyRef
from broker.service import Service
from clients import lines
from clients.secret import Secret
from clients.venue import Credential, Environment, KeyFacts, KeyType, Slot
from portcullis.foundation import found, opened
from rotation.destinations.cluster import ClusterPlace
from rotation.destinations.delivery import Deliveries
from rotation.destinations.files import FilePlace
from rotation.destinations.parcel import Parcel
from rotation.destinations.webhook import WebhookPlace
from tests.lacking import lack
from tests.rotation.place import Unfenced

SAFE = KeyFacts(True, True, False, False, True, "42")
PATIENCE_S = 60.0


class Waits(Unfenced):
    """A turn at the database that is waited for while somebody does something."""

    meanwhile: Callable[[], None]

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        self.meanwhile()
        with super().writing() as connection:
            yield connection


@pytest.fixture
def home(tmp_path: Path) -> Iterator[tuple[Service, Service, Path]]:
    """A broker and the rotator beside it, and a file that gets the key."""
    made = found(tmp_path / "home", Environment.PAPER, "solo").home
    (tmp_path / "bot").mkdir()
    env = tmp_path / "bot" / ".env"
    env.write_text("KEY=a\nSECRET=b\n")
    with opened(made) as broker, opened(made) as rotator:
        broker.accounts.create_egress("out", addresses=("127.0.0.7",))
        broker.accounts.create("main", venue="binance", egress="out", upstream="http://127.0.0.1:9")
        broker.keys.import_key(
            "main", slot=Slot.TRADE, credential=Credential("REAL", Secret("planted-secret"), KeyType.HMAC), facts=SAFE
        )  # fmt: skip
        broker.destinations.create(
            "file", account="main", slot=Slot.TRADE, kind="dotenv",
            settings={
                "path": str(env), "key_id": "KEY", "secret": "SECRET",
                "reload": {"command": ["/usr/bin/touch", str(tmp_path / "told")]},
            },
        )  # fmt: skip
        broker.mirror.merge()
        rotator.mirror.merge()
        yield broker, rotator, env


def cut(broker: Service) -> None:
    made, _ = broker.cuts.close(targets=("account:main",), mode=Mode.CLOSED, reason="leak", actor="me")
    assert made.on_record


def bring(rotator: Service, meanwhile: Callable[[], None] = lambda: None) -> str:
    fence = Waits(rotator.desk.database, "rot_00000000000000000000", 1)
    object.__setattr__(fence, "meanwhile", meanwhile)
    (key,) = rotator.keys.list("main")
    deliveries = Deliveries(rotator, rotator.desk.clock.now_us)
    return deliveries.bring(fence, key, venue="binance")


def test_a_cut_that_was_answered_while_the_record_was_waited_for_holds_a_delivery(
    home: tuple[Service, Service, Path],
) -> None:
    """Both looks were before that, and the key was written out after the cut was on record."""
    broker, rotator, env = home
    once = iter([cut])
    assert "cut off" in bring(rotator, lambda: [one(broker) for one in once] and None)
    assert env.read_text() == "KEY=a\nSECRET=b\n"


def test_a_cut_while_a_destination_is_slow_holds_what_was_not_done_yet(
    home: tuple[Service, Service, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, rotator, env = home
    read, once = Spot.read, iter([cut])

    def slow(place: Spot) -> Content:
        for one in once:
            one(broker)
        return read(place)

    monkeypatch.setattr(Spot, "read", slow)
    assert "cut off" in bring(rotator)
    assert env.read_text() == "KEY=a\nSECRET=b\n"
    assert not list(env.parent.glob(".*portcullis"))


def test_a_cut_between_two_steps_of_a_delivery_holds_the_next(
    home: tuple[Service, Service, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file was written by then; no program is told to take the key into use."""
    broker, rotator, env = home
    replace = Spot.replace

    def then(place: Spot, text: str, owner: tuple[int, int] | None, look: Callable[[], None]) -> None:
        replace(place, text, owner, look)
        cut(broker)

    monkeypatch.setattr(Spot, "replace", then)
    assert "cut off" in bring(rotator)
    assert not (env.parent.parent / "told").exists()


def test_a_key_that_is_brought_is_brought_as_before(home: tuple[Service, Service, Path]) -> None:
    _, rotator, env = home
    assert bring(rotator) == ""
    assert "planted-secret" in env.read_text()


# --- where each kind looks --------------------------------------------------------------------


def parcel(look: Callable[[], None]) -> Parcel:
    ref = KeyRef("main", Slot.TRADE, 2)
    return Parcel("rot_1", ref, "binance", "KEY2", KeyType.HMAC, Secret("planted-secret"), look)


def refuse() -> None:
    raise NotGranted("cut", "cut off")


@pytest.fixture(params=["nameless", "named"])
def named(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether what is written beside a file has a name at once: a file system may have no files without one."""
    if request.param == "named":
        monkeypatch.setattr(Spot, "_nameless", lambda _: None)
    return request.param == "named"


def test_a_file_is_looked_about_once_its_replacement_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, named: bool
) -> None:
    """To write takes as long as the disk likes; what is refused then leaves nothing behind."""
    (tmp_path / "env").write_text("KEY=a\nSECRET=b\n")
    settings = FileSettings(str(tmp_path / "env"), "KEY", "SECRET", Reload())
    there, synced, fsync = list[tuple[str, ...]](), list[int](), os.fsync

    def sync(fd: int) -> None:
        synced.append(os.fstat(fd).st_size)
        fsync(fd)

    def look() -> None:
        there.append(tuple(sorted(one.name for one in tmp_path.iterdir() if one.name != "env")))
        if synced:
            refuse()

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(NotGranted):
        FilePlace(Kind.DOTENV, settings).deliver(parcel(look))
    assert there == [(), (".env.portcullis",) if named else ()], (
        "nobody reads it under another name before that"
    )
    assert synced == [len("KEY=KEY2\nSECRET=planted-secret\n")]
    assert [one.name for one in tmp_path.iterdir()] == ["env"]


def test_what_is_written_beside_a_file_is_its_owner_s_after_the_look_alone(
    tmp_path: Path, *, named: bool
) -> None:
    """They could read the key under its other name while the look was waited for, and where that said no."""
    if os.geteuid() != 0:
        lack("only root gives a file away")
    (tmp_path / "env").write_text("KEY=a\nSECRET=b\n")
    os.chown(tmp_path / "env", 12345, 12346)
    seen = list[tuple[int, int, int]]()

    def look() -> None:
        if (tmp_path / ".env.portcullis").exists():
            known = (tmp_path / ".env.portcullis").stat()
            seen.append((known.st_uid, known.st_gid, stat.S_IMODE(known.st_mode)))

    settings = FileSettings(str(tmp_path / "env"), "KEY", "SECRET", Reload())
    FilePlace(Kind.DOTENV, settings).deliver(parcel(look))
    known = (tmp_path / "env").stat()
    assert seen == ([(0, 0, 0o600)] if named else [])
    assert (known.st_uid, known.st_gid, stat.S_IMODE(known.st_mode)) == (12345, 12346, 0o600)
    assert known.st_nlink == 1
    assert "planted-secret" in (tmp_path / "env").read_text()


@pytest.mark.sockets
def test_a_webhook_is_looked_about_once_its_connection_is_there() -> None:
    """Names, a proxy, a handshake: the key went out however long they had taken."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE_S)
        accepted: list[socket.socket] = []

        def look() -> None:
            accepted.append(listener.accept()[0])
            refuse()

        url = f"http://127.0.0.1:{listener.getsockname()[1]}/keys"
        with pytest.raises(NotGranted):
            WebhookPlace(WebhookSettings(url), Secret("planted-signing"), lambda: 1).deliver(parcel(look))
        (there,) = accepted
        with there, there.makefile("rb") as heard:
            there.settimeout(PATIENCE_S)
            assert b"planted" not in heard.read()


_SPEC = {"spec": {"selector": {}, "template": {}}}


class Cluster:
    """Answers what a cluster would, and notes what happened in which order.

    `missing`: the Secret is not there. `hangs_up`: it keeps no connection, as a balancer before it may not.
    """

    def __init__(self, *, missing: bool = False, hangs_up: bool = False) -> None:
        self.missing, self.hangs_up = missing, hangs_up
        self.noted: list[str] = []


@contextmanager
def cluster(here: Cluster) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            body = self.rfile.read(length)
            if len(body) == length:  # else it was not asked: its head alone asks nothing
                here.noted.append(f"{self.command} {self.path.rpartition('/')[2]}")
            done = json.dumps({"metadata": {"name": "one"}, **_SPEC}).encode()
            is_missing = here.missing and self.command == "PATCH" and self.path.endswith("/keys")
            self.send_response(404 if is_missing else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(done)))
            if here.hangs_up:
                self.send_header("Connection", "close")
                self.close_connection = True
            self.end_headers()
            self.wfile.write(done)

        do_GET = do_PATCH = do_POST = answer  # noqa: N815 - what http.server calls

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Callable[[Cluster], None]:
    """Note in a cluster when a connection is begun: a name, TCP and TLS may take as long as the call has."""

    def note(here: Cluster) -> None:
        made = lines.connect

        def connect(*args: Any, **more: Any) -> lines.Line:
            here.noted.append("connect")
            return made(*args, **more)

        monkeypatch.setattr(lines, "connect", connect)

    return note


def brought(here: Cluster, address: str, looks: int | None = None) -> None:
    """Bring a parcel whose look says no after so many."""
    done = 0

    def look() -> None:
        nonlocal done
        here.noted.append("look")
        if done == looks:
            refuse()
        done += 1

    settings = ClusterSettings("bots", "keys", restart=("deployment/bot", "deployment/other"), server=address)
    ClusterPlace(settings, Secret("planted-token")).deliver(parcel(look))


@pytest.mark.sockets
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("hangs_up", [False, True])
def test_a_cluster_is_looked_about_once_the_connection_of_each_step_is_there(
    connections: Callable[[Cluster], None], *, missing: bool, hangs_up: bool
) -> None:
    """An end that keeps no connection had the next one made between the look and the key."""
    here = Cluster(missing=missing, hangs_up=hangs_up)
    connections(here)
    with cluster(here) as address:
        brought(here, address)
    steps = ["PATCH keys", *(["POST secrets"] if missing else []), "PATCH bot", "PATCH other"]
    again = ["connect"] if hangs_up else []
    each = [[*again, "look", step] for step in steps]
    assert here.noted == [*([] if hangs_up else ["connect"]), *(one for part in each for one in part)]


@pytest.mark.sockets
@pytest.mark.parametrize("looks", [0, 1, 2])
def test_what_a_look_at_a_cluster_forbids_is_not_asked_nor_what_comes_after(looks: int) -> None:
    here = Cluster()
    with cluster(here) as address, pytest.raises(NotGranted):
        brought(here, address, looks)
    asked = [one for one in here.noted if one != "look"]
    assert asked == ["PATCH keys", "PATCH bot"][:looks]
