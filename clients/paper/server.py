"""The paper exchange on a socket: HTTP/1.1 on loopback, the venue's surface and the admin API beside it.

Rules:
1. Requests of one connection are answered in order. Bodies have a Content-Length; other framing is refused. An
   offer to upgrade is ignored, as HTTP lets a server do.
2. `/paper/` is the admin API, everything else the venue.
3. Faults are played here, where a connection can be closed or a reply lost.
"""

import asyncio
import json
from collections import deque
from typing import cast

import httptools

from clients.paper import (
    faults,
    spot_account,
    spot_lists,
    spot_market,
    spot_trade,
    subkeys,
    wallet,
    wallet_reads,
)
from clients.paper.admin import Admin
from clients.paper.exchange import Answer, PaperExchange, Route
from clients.paper.reading import Call
from clients.secret import Secret

ROUTES: dict[tuple[str, str], Route] = {
    **spot_market.ROUTES, **spot_trade.ROUTES, **spot_account.ROUTES, **spot_lists.ROUTES,
    **wallet.ROUTES, **wallet_reads.ROUTES, **subkeys.ROUTES
}  # fmt: skip
LARGEST_BODY = 1024 * 1024
_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
            409: "Conflict", 418: "I'm a teapot", 429: "Too Many Requests", 500: "Internal Server Error",
            503: "Service Unavailable"}  # fmt: skip


class PaperServer:
    """Serves one exchange."""

    def __init__(
        self, exchange: PaperExchange, admin_token: Secret, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.exchange = exchange
        self.faults: list[faults.Fault] = []
        self.admin = Admin(exchange, admin_token, self.faults)
        self._host, self._wanted_port = host, port
        self._server: asyncio.Server | None = None
        self.connections: set[Connection] = set()

    @property
    def port(self) -> int:
        """The port it listens on, once started."""
        if self._server is None:
            raise RuntimeError("the server is not started")
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), self._host, self._wanted_port)

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
            for connection in list(self.connections):
                connection.abort()
            await self._server.wait_closed()


class Connection(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, server: PaperServer) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._peer = ""
        self._waiting: deque[Call] = deque()
        self._held = False
        self._owed = 0  # of a body behind an offer to upgrade
        self._url, self._headers, self._body = b"", {}, b""  # type: tuple[bytes, dict[bytes, bytes], bytes]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by type
        self._peer = self._transport.get_extra_info("peername")[0]
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        del exc
        self._transport = None
        self._server.connections.discard(self)

    def abort(self) -> None:
        """Close now."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        while data:
            if self._owed:
                data = self._take_body(data)
                continue
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                data = data[offer.args[0] :]
            except httptools.HttpParserError:
                self._write(Answer(400, {"code": -1000, "msg": "Malformed request."}))
                if self._transport is not None:
                    self._transport.close()
                return
            else:
                return

    def _take_body(self, data: bytes) -> bytes:
        """Take a body behind an offer to upgrade, of which the parser knows nothing; return what follows it."""
        piece, rest = data[: self._owed], data[self._owed :]
        self._owed -= len(piece)
        self.on_body(piece)
        if not self._owed:
            self._whole()
        return rest

    def on_message_begin(self) -> None:
        """See httptools."""
        self._url, self._headers, self._body = b"", {}, b""

    def on_url(self, url: bytes) -> None:
        """See httptools."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools."""
        self._headers[name.lower()] = value.rstrip(b" \t")

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._body += body
        if len(self._body) > LARGEST_BODY:
            raise ValueError("the body is too large")

    def on_message_complete(self) -> None:
        """See httptools; at an offer to upgrade it is the head that is complete."""
        if self._parser.should_upgrade():
            length = self._headers.get(b"content-length", b"0")
            self._owed = min(int(length), LARGEST_BODY) if length.isdigit() else 0
        if not self._owed:
            self._whole()

    def _whole(self) -> None:
        path, _, query = self._url.partition(b"?")
        self._waiting.append(
            Call(
                self._parser.get_method().decode("ascii"), path.decode("ascii", "replace"), query, self._body,
                self._headers, self._peer,
            )
        )  # fmt: skip
        self._next()

    def _next(self) -> None:
        while self._waiting and not self._held and self._transport is not None:
            self._take(self._waiting.popleft())

    def _take(self, call: Call) -> None:
        server = self._server
        if call.path.startswith("/paper/"):
            self._write(server.admin.answer(call))
            return
        asked = (call.method, call.path, call.key_id, call.peer)
        fault = faults.take(server.faults, *asked) if server.faults else None
        if fault is None:
            self._write(server.exchange.answer(call, ROUTES))
        else:
            self._misbehave(fault, call)

    def _misbehave(self, fault: faults.Fault, call: Call) -> None:
        transport, exchange = self._transport, self._server.exchange
        if transport is None:
            return
        match fault.do:
            case "close":
                transport.abort()
            case "hang":
                self._held = True
            case "accept-not-apply":
                self._write(Answer(200, {}))
            case "error" | "refuse-keys":
                self._write(_played(fault))
            case "error-after":
                exchange.answer(call, ROUTES)
                self._write(_played(fault))
            case "lose-reply":
                exchange.answer(call, ROUTES)
                transport.abort()
            case "garbage":
                exchange.answer(call, ROUTES)
                transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<garbage>")
            case "truncate":
                whole = _bytes(exchange.answer(call, ROUTES))
                transport.write(whole[: len(whole) - 5])
                transport.close()
            case "delay":
                self._held = True
                asyncio.get_running_loop().call_later(fault.ms / 1000, self._late, call)

    def _late(self, call: Call) -> None:
        self._held = False
        self._write(self._server.exchange.answer(call, ROUTES))
        self._next()

    def _write(self, answer: Answer) -> None:
        if self._transport is not None:
            self._transport.write(_bytes(answer))


def _played(fault: faults.Fault) -> Answer:
    headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
    return Answer(fault.status, {"code": fault.code, "msg": fault.text}, headers)


def _bytes(answer: Answer) -> bytes:
    body = json.dumps(answer.body, separators=(",", ":")).encode()
    lines = [f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Status')}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    lines += ["Content-Type: application/json;charset=UTF-8", f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body
