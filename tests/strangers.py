"""Servers of strangers that never come to an end, each in a way of its own. They stop when their context ends."""

import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

DRIP_S = 0.2
_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNK = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"


@dataclass
class Stranger:
    """One at work. `asked` counts connections; `sent` the bytes that went out; `over` ends it."""

    port: int
    asked: int = 0
    sent: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/x"

    def say(self, connection: socket.socket, data: bytes) -> None:
        """Send something, and count it."""
        connection.sendall(data)
        self.sent += len(data)


def _drip(here: Stranger, connection: socket.socket, text: bytes) -> None:
    for byte in text:
        if here.over.wait(DRIP_S):
            return
        here.say(connection, bytes([byte]))


def _dripping_head(here: Stranger, connection: socket.socket) -> None:
    _drip(here, connection, _OK + b"X-Long: " + b"a" * 100_000)


def _dripping_body(here: Stranger, connection: socket.socket) -> None:
    here.say(connection, _OK + b"Content-Length: 100000\r\n\r\n")
    _drip(here, connection, b"a" * 100_000)


def _endless_body(here: Stranger, connection: socket.socket) -> None:
    here.say(connection, _OK + b"Transfer-Encoding: chunked\r\n\r\n")
    while not here.over.is_set():
        here.say(connection, _CHUNK)


def _endless_head(here: Stranger, connection: socket.socket) -> None:
    here.say(connection, _OK)
    number = 0
    while not here.over.is_set():
        number += 1
        here.say(connection, f"X-{number}: {'a' * 1000}\r\n".encode())


def _endless_interim(here: Stranger, connection: socket.socket) -> None:
    while not here.over.is_set():
        here.say(connection, b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 100)


def _silent(here: Stranger, _: socket.socket) -> None:
    here.over.wait()


def _compressed(here: Stranger, connection: socket.socket) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = packer.compress(bytes(64 * 2**20)) + packer.flush()
    here.say(
        connection,
        _OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed,
    )


def _redirecting(here: Stranger, connection: socket.socket) -> None:
    here.say(connection, b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n")


KINDS: dict[str, Callable[[Stranger, socket.socket], None]] = {
    "drips its head": _dripping_head,
    "drips its body": _dripping_body,
    "answers without end": _endless_body,
    "sends heads without end": _endless_head,
    "sends interim answers without end": _endless_interim,
    "says nothing": _silent,
}
"""Those that end no call by themselves."""

FINITE: dict[str, Callable[[Stranger, socket.socket], None]] = {
    "redirects for ever": _redirecting,
    "packs 64 MiB into 64 KiB": _compressed,
}


@contextmanager
def stranger(kind: str) -> Iterator[Stranger]:
    """Serve everybody who connects in one of these ways."""
    work = (KINDS | FINITE)[kind]
    listener = socket.create_server(("127.0.0.1", 0))
    here = Stranger(listener.getsockname()[1])
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection:
            connection.settimeout(60)
            try:
                if kind != "says nothing":
                    connection.recv(65536)
                work(here, connection)
            except OSError:
                pass

    def accept() -> None:
        while not here.over.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            here.asked += 1
            threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
            threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield here
    finally:
        here.over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()


def ends(work: Callable[[], object], patience_s: float = 60.0) -> object:
    """Return what work returns, or the exception it raises; fail where it does not come to an end."""
    found: list[object] = []

    def working() -> None:
        try:
            found.append(work())
        except Exception as fault:  # noqa: BLE001 - it is what is looked at
            found.append(fault)

    thread = threading.Thread(target=working, daemon=True)
    thread.start()
    thread.join(patience_s)
    assert found, "it does not come to an end"
    return found[0]
