"""Servers between us and Vault that misbehave on purpose."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Relay:
    """Passes bytes on to a real server; `mode` says how it misbehaves.

    `pass`: it does not. `lose-reply`: hands the request over and drops the answer. `hang`: takes the request and
    says nothing. `answer`: says `said` to everything and asks nobody.
    """

    port: int
    target: tuple[str, int]
    mode: str = "pass"
    said: bytes = b""
    seen: list[bytes] = field(default_factory=list)
    spare: int = 0
    """So many requests pass before the mode counts."""
    instead: tuple[str, bytes] | None = None
    """What is said to requests whose path has this in it; nobody else is asked."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def relay(target: str) -> Iterator[Relay]:
    """Run a relay to a base URL."""
    host, port = target.removeprefix("http://").split(":")
    listener = socket.create_server(("127.0.0.1", 0))
    one = Relay(listener.getsockname()[1], (host, int(port)))
    stopped = threading.Event()

    def serve(client: socket.socket) -> None:
        with client:
            client.settimeout(60)
            while not stopped.is_set():
                try:
                    request = _message(client)
                except OSError:
                    return
                if not request:
                    return
                one.seen.append(request)
                mode = one.mode
                if one.spare > 0:
                    one.spare -= 1
                    mode = "pass"
                if one.instead is not None and one.instead[0].encode() in request.partition(b"\r\n")[0]:
                    client.sendall(one.instead[1])
                    return
                if mode == "hang":
                    stopped.wait(60)
                    return
                if mode == "answer":
                    client.sendall(one.said)
                    return
                with socket.create_connection(one.target, timeout=60) as upstream:
                    upstream.sendall(request.replace(b"Connection: keep-alive", b"Connection: close"))
                    answer = b""
                    while chunk := upstream.recv(65536):
                        answer += chunk
                if mode == "lose-reply":
                    return
                client.sendall(answer)
                return

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield one
    finally:
        stopped.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _message(client: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = client.recv(65536)
        if not chunk:
            return b""
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        body += client.recv(65536)
    return head + b"\r\n\r\n" + body
