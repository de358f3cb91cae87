"""What every request meets first, before any route: the door of the API as plain ASGI.

In this order:
1. The peer is on loopback or came by the socket in the home, and the Host names loopback: a web page that rebinds
   its name gets nothing.
2. Target, headers and body hold no more than `broker.api.bounds` allows. A body is counted as it comes, whatever
   Content-Length says, and is whole within `SLOWEST_BODY_S`; a route sees it only then. That of a cut, a halt, a
   revoke or a thaw is made text before.
3. It gets a place in its lane (`broker.api.lanes`), or is told that it is busy. The place is given back before the
   answer is sent: who does not read holds up nobody.
4. A request gets an id; answers carry it, are not cached, and are not sniffed.
"""

import asyncio
import ipaddress
import re
import secrets
from contextlib import suppress

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.api import bounds, problems
from broker.api.bounds import LARGEST_BODY
from broker.api.lanes import LOCAL, NETWORK, Busy, Lanes
from broker.service.throttle import LOCAL as THIS_HOST
from broker.service.throttle import asking_from

SLOWEST_BODY_S = 10.0
_DRAINED, _DRAIN_S = 4 * LARGEST_BODY, 1.0
_NUMBER = re.compile(r"[0-9]{1,9}")
_WHYS = frozenset({"/v1/cuts", "/v1/thaws"})
ORIGIN = "origin"
"""Name in a server's state under which it says where its connections come from."""

_BUSY = "too much is asked at once; nothing was done: try again in a second"
HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})


class Guard:
    """ASGI middleware; see the module's rules."""

    def __init__(self, app: ASGIApp, lanes: Lanes) -> None:
        self._app, self._lanes = app, lanes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{secrets.token_hex(8)}"
        scope["portcullis.request_id"] = request_id
        structlog.contextvars.bind_contextvars(request=request_id)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers["Cache-Control"] = "no-store"
                headers["X-Content-Type-Options"] = "nosniff"
                if refusal is not None:  # a body that was not read does not begin the next request
                    headers["Connection"] = "close"
            await send(message)

        asking_from.set(_source(scope))
        refusal, body = _refused(scope), b""
        if refusal is None:
            refusal, body = await _whole(receive, mended=_says_why(scope))
        else:
            await _drain(receive)
        if refusal is not None:
            status, reason, detail = refusal
            await problems.answer(request_id, status, reason, detail)(scope, receive, sending)
            return
        lane = self._lanes.of(_origin(scope), scope["method"], scope["path"])
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        try:
            async with lane.place():
                await self._app(scope, _Replayed(body, receive), keep)
        except Busy:
            busy = problems.answer(request_id, 503, "busy", _BUSY, (), {"Retry-After": "1"})
            await busy(scope, receive, sending)
            return
        for message in answer:
            await sending(message)


class _Replayed:
    """Hands out a body that was read before, then what comes after it."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        body, self._body = self._body, None
        if body is None:
            return await self._receive()
        return {"type": "http.request", "body": body, "more_body": False}


Refused = tuple[int, str, str]
"""Status, reason, detail."""


async def _whole(receive: Receive, *, mended: bool) -> tuple[Refused | None, bytes]:
    """Read a body, or say why not; one that is to be `mended` is refused for no byte of its texts."""
    body = bytearray()
    try:
        async with asyncio.timeout(SLOWEST_BODY_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return (400, "gone", "the connection ended before the body did"), b""
                body += message.get("body", b"")
                if len(body) > LARGEST_BODY:
                    if message.get("more_body", False):
                        await _drain(receive)
                    return (413, "too_large", f"the body is larger than {LARGEST_BODY // 1024} KiB"), b""
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        return (408, "too_slow", f"the body was not whole within {SLOWEST_BODY_S:.0f} s"), b""
    whole = bounds.as_text(bytes(body)) if mended else bytes(body)
    odd = bounds.odd_body(whole)
    return ((400, "malformed", odd), b"") if odd else (None, whole)


async def _drain(receive: Receive) -> None:
    """Read what is left of a refused body, for a moment: who is still sending would lose the answer."""
    left = _DRAINED
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            while left > 0:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
                left -= len(message.get("body", b""))


def _refused(scope: Scope) -> Refused | None:
    """Say why where a request may not come in."""
    client = scope.get("client")
    if _origin(scope) != LOCAL and (client is None or not _is_loopback(client[0])):
        return 403, "not_loopback", "the API answers on loopback only"
    if odd := bounds.odd_headers(scope["headers"]):
        return 431, "too_large", odd
    if odd := bounds.odd_target(scope.get("raw_path") or b"", scope["query_string"]):
        return 414, "too_large", odd
    headers = Headers(scope=scope)
    host = headers.get("host", "")
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if name.lower() not in HOSTS:
        return 403, "foreign_host", "the Host header names another host; use 127.0.0.1"
    length = headers.get("content-length", "0")
    if not _NUMBER.fullmatch(length) or int(length) > LARGEST_BODY:
        return 413, "too_large", f"the body is larger than {LARGEST_BODY // 1024} KiB"
    return None


def _says_why(scope: Scope) -> bool:
    """Tell whether a request says why somebody is stopped, or may trade again."""
    path = str(scope["path"])
    return scope["method"] == "POST" and (path in _WHYS or path.endswith("/revoke"))


def _origin(scope: Scope) -> str:
    """Tell where a request came from; the server says so of each listener, and no client can."""
    return str(scope.get("state", {}).get(ORIGIN, NETWORK))


def _source(scope: Scope) -> str:
    """Return where who asks is: an address, or this host's own socket."""
    client = scope.get("client")
    return THIS_HOST if _origin(scope) == LOCAL or client is None else str(client[0])


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
