"""How we reach a venue: the addresses it sees us from, and the way there.

Rules:
1. Three ways: direct from a source address, HTTP CONNECT, SOCKS5 with names resolved at the proxy (socks5h).
2. TLS is end to end: a proxy sees host name, port and timing, never a key. The certificate is checked against
   the venue's host, whatever the way.
3. Handshakes are small and strict: an answer that is not exactly a yes is a no, bytes before ours are a no.
4. A refusal carries a short reason and never the proxy's user or password.
5. What the venue is said to see (`addresses`) is a claim of the operator; nothing here checks it.
6. Of several addresses of a venue or a proxy the one that answers is used, whichever it is (`clients.addresses`).

Sources: RFC 9110 section 9.3.6 (CONNECT), RFC 1928 (SOCKS5), RFC 1929 (user and password).
"""

import asyncio
import base64
import ipaddress
import re
import socket
import ssl as tls
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

from clients.addresses import TRIED
from clients.dialling import dial, judged, places
from clients.secret import Secret

P = TypeVar("P", bound=asyncio.BaseProtocol)

CONNECT_TIMEOUT_S = 5.0
"""A venue or proxy that takes longer is not worth waiting for: an order is older than its window by then."""

_LARGEST_HEAD = 8192
_LONGEST_NAME = 255
_LARGEST_PORT = 65535
_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.\-]{0,252}[A-Za-z0-9])?")
_CONNECT_YES = re.compile(rb"HTTP/1\.[01] 200(?: [^\r\n]*)?")


class Way(StrEnum):
    """How connections leave this machine."""

    DIRECT = "direct"
    CONNECT = "http-connect"
    SOCKS5H = "socks5h"


class EgressError(ConnectionError):
    """The way to the venue is closed. Nothing reached the venue. `reason` is a short stable code."""

    def __init__(self, egress: str, reason: str) -> None:
        super().__init__(f"egress {egress}: {reason}")
        self.egress, self.reason = egress, reason


@dataclass(frozen=True, slots=True)
class Egress:
    """One way out.

    Attributes:
        name: Ours, for logs.
        addresses: IP addresses the venue sees, as bound to keys. Empty: not declared.
        way: See `Way`.
        source: Local address to connect from; direct only.
        proxy_host, proxy_port: Where the proxy listens; not for direct.
        proxy_user, proxy_password: Both or none.
    """

    name: str
    addresses: tuple[str, ...] = ()
    way: Way = Way.DIRECT
    source: str | None = None
    proxy_host: str | None = None
    proxy_port: int | None = None
    proxy_user: str | None = field(default=None, repr=False)
    proxy_password: Secret | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for address in (*self.addresses, *(() if self.source is None else (self.source,))):
            ipaddress.ip_address(address)
        if self.way is Way.DIRECT:
            if self.proxy_host is not None or self.proxy_port is not None or self.proxy_user is not None:
                raise ValueError("a direct egress has no proxy")
            return
        if self.source is not None:
            raise ValueError("a source address is for a direct egress; a proxy chooses its own")
        if self.proxy_host is None or self.proxy_port is None or not 0 < self.proxy_port <= _LARGEST_PORT:
            raise ValueError("a proxy egress needs host and port")
        if (self.proxy_user is None) != (self.proxy_password is None):
            raise ValueError("a proxy's user and password come together")


DIRECT = Egress("direct")


async def open_connection(
    egress: Egress,
    host: str,
    port: int,
    ssl: tls.SSLContext | None,
    protocol_factory: Callable[[], P],
    *,
    timeout_s: float = CONNECT_TIMEOUT_S,
) -> tuple[asyncio.Transport, P]:
    """Connect to a venue by an egress.

    Args:
        egress: The way to take.
        host: Host name of the venue; resolved here for direct, at the proxy otherwise.
        port: Its port.
        ssl: TLS context, checked against `host`; None for plain text, which only loopback upstreams use.
        protocol_factory: As for `loop.create_connection`.
        timeout_s: For everything: resolution, proxy, TLS.

    Returns:
        Transport and protocol, connected and ready to write.

    Raises:
        EgressError: The proxy said no, or something that is not a yes.
        OSError: Not reachable, or TLS failed (`ssl.SSLError`). TimeoutError is one. Nothing was sent to the
            venue in any of these.
        ValueError: `host` or `port` is none (caller's bug).
    """
    if not _HOST_NAME.fullmatch(host) or not 0 < port <= _LARGEST_PORT:
        raise ValueError("not a host name and port")
    async with asyncio.timeout(timeout_s):
        return await _open(egress, host, port, ssl, protocol_factory)


async def _open(
    egress: Egress,
    host: str,
    port: int,
    ssl: tls.SSLContext | None,
    protocol_factory: Callable[[], P],
) -> tuple[asyncio.Transport, P]:
    loop = asyncio.get_running_loop()
    name = None if ssl is None else host
    if egress.way is Way.DIRECT:
        place, sock = await dial(await places(host, port, egress.source), egress.source, TRIED)
        with judged(place, sock, TRIED):
            return await loop.create_connection(protocol_factory, sock=sock, ssl=ssl, server_hostname=name)
    try:
        there = await places(egress.proxy_host or "", egress.proxy_port or 0, None)
        place, sock = await dial(there, None, TRIED)
    except OSError:
        raise EgressError(egress.name, "proxy_unreachable") from None
    with judged(place, sock, TRIED):
        if egress.way is Way.CONNECT:
            await _connect(egress, sock, host, port)
        else:
            await _socks(egress, sock, host, port)
    try:
        return await loop.create_connection(protocol_factory, sock=sock, ssl=ssl, server_hostname=name)
    except BaseException:
        sock.close()
        raise


async def _connect(egress: Egress, sock: socket.socket, host: str, port: int) -> None:
    """Ask an HTTP proxy for a tunnel."""
    loop = asyncio.get_running_loop()
    lines = [f"CONNECT {host}:{port} HTTP/1.1", f"Host: {host}:{port}"]
    if egress.proxy_password is not None:
        pair = f"{egress.proxy_user}:{egress.proxy_password.reveal()}"
        lines.append("Proxy-Authorization: Basic " + base64.b64encode(pair.encode()).decode("ascii"))
    await loop.sock_sendall(sock, "\r\n".join([*lines, "", ""]).encode("ascii"))
    head = b""
    while b"\r\n\r\n" not in head:
        chunk = await loop.sock_recv(sock, _LARGEST_HEAD - len(head))
        head += chunk
        if not chunk or len(head) >= _LARGEST_HEAD:
            raise EgressError(egress.name, "proxy_closed" if not chunk else "proxy_talks_too_much")
    head, _, early = head.partition(b"\r\n\r\n")
    status = head.partition(b"\r\n")[0]
    if not _CONNECT_YES.fullmatch(status):
        refused = b"407" in status.split(b" ")[1:2]
        raise EgressError(egress.name, "proxy_login_refused" if refused else "proxy_refused")
    if early:
        raise EgressError(egress.name, "proxy_spoke_first")


_VERSION, _NO_LOGIN, _PASSWORD_LOGIN, _TUNNEL, _BY_NAME = 5, 0, 2, 1, 3
_LOGIN_VERSION, _SUCCESS = 1, 0
_ADDRESS_LENGTH = {1: 4, 4: 16}  # IPv4, IPv6


async def _socks(egress: Egress, sock: socket.socket, host: str, port: int) -> None:
    """Ask a SOCKS5 proxy for a connection, by host name."""
    loop = asyncio.get_running_loop()
    method = _NO_LOGIN if egress.proxy_password is None else _PASSWORD_LOGIN
    await loop.sock_sendall(sock, bytes([_VERSION, 1, method]))
    if await _exactly(egress, sock, 2) != bytes([_VERSION, method]):
        raise EgressError(egress.name, "proxy_refused")
    if egress.proxy_password is not None:
        user, password = (egress.proxy_user or "").encode(), egress.proxy_password.reveal().encode()
        if not 0 < len(user) <= _LONGEST_NAME or not 0 < len(password) <= _LONGEST_NAME:
            raise EgressError(egress.name, "proxy_login_too_long")
        login = bytes([_LOGIN_VERSION, len(user)]) + user + bytes([len(password)]) + password
        await loop.sock_sendall(sock, login)
        if await _exactly(egress, sock, 2) != bytes([_LOGIN_VERSION, _SUCCESS]):
            raise EgressError(egress.name, "proxy_login_refused")
    name = host.encode("ascii")
    ask = bytes([_VERSION, _TUNNEL, 0, _BY_NAME, len(name)]) + name + port.to_bytes(2, "big")
    await loop.sock_sendall(sock, ask)
    version, answer, _, kind = await _exactly(egress, sock, 4)
    if version != _VERSION or answer != _SUCCESS:
        raise EgressError(egress.name, "proxy_refused")
    length = (await _exactly(egress, sock, 1))[0] if kind == _BY_NAME else _ADDRESS_LENGTH.get(kind)
    if length is None:
        raise EgressError(egress.name, "proxy_refused")
    await _exactly(egress, sock, length + 2)


async def _exactly(egress: Egress, sock: socket.socket, count: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < count:
        chunk = await loop.sock_recv(sock, count - len(data))
        if not chunk:
            raise EgressError(egress.name, "proxy_closed")
        data += chunk
    return data
