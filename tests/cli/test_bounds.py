"""Whoever answers at the broker's address ends no command late: one call has bounds in all."""

import socket
import threading
from pathlib import Path

import httpx
import pytest

from clients.bounds import MIB, Bounds
from clients.near_http import NearTransport
from portcullis.cli import client
from portcullis.cli.client import Api
from portcullis.cli.face import Face, Stopped
from portcullis.cli.people_answers import Act
from portcullis.cli.way import Way
from portcullis.running import Running
from portcullis.settings import Environment, Home
from tests.strangers import FINITE, KINDS, ends, stranger

pytestmark = pytest.mark.sockets


@pytest.mark.parametrize("kind", [*KINDS, "packs 64 MiB into 64 KiB"])
def test_who_answers_without_end_or_byte_by_byte_is_no_answer(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each wait had an end, and a byte every few seconds kept them all."""
    assert kind in KINDS | FINITE
    monkeypatch.setattr(client, "BOUNDS", Bounds(1.0, MIB))
    with stranger(kind) as here:
        base = here.url.removesuffix("/x")
        home = Home(tmp_path, Environment.PAPER, "solo")
        api = Api(Face(), home, Running(0, here.port, 0, 0), ways=[Way(base)], who="nobody")
        found = ends(lambda: list(api.pages(Act, "acts")))
        assert isinstance(found, Stopped)
        assert found.reason == "no_answer"
        assert here.sent < 32 * MIB


def test_the_socket_in_the_home_has_the_same_bounds(tmp_path: Path) -> None:
    path = str(tmp_path / "api.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(4)
        over = threading.Event()

        def serve() -> None:
            for body in (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", b"HTTP/1.1 200 OK\r\n"):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(body)
                    if b"{}" not in body:
                        over.wait(120)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        transport = NearTransport(Bounds(60.0, MIB), uds=path)
        with httpx.Client(transport=transport, base_url="http://x", timeout=120) as near:
            assert near.get("/").json() == {}
        with httpx.Client(
            transport=NearTransport(Bounds(1.0, MIB), uds=path), base_url="http://x", timeout=120
        ) as near:
            assert isinstance(ends(lambda: near.get("/")), httpx.ReadTimeout)
        over.set()
        thread.join(60)


def test_a_socket_that_nobody_listens_at_is_passed_over(tmp_path: Path) -> None:
    """Nothing was sent by it: the next way is tried."""
    with (
        httpx.Client(
            transport=NearTransport(Bounds(5.0), uds=str(tmp_path / "none")), base_url="http://x"
        ) as near,
        pytest.raises(httpx.ConnectError),
    ):
        near.get("/")
