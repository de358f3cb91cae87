"""What every request meets first, before any route: the door of the API as plain ASGI.

In this order:
1. The peer is on loopback, and the Host names loopback: a web page that rebinds its name gets nothing.
2. A body is at most `LARGEST_BODY` bytes, counted as it comes, whatever Content-Length says.
3. A request gets an id; answers carry it, are not cached, and are not sniffed.
"""

import ipaddress
import secrets

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from broker.api import problems

LARGEST_BODY = 256 * 1024
HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})


class _TooLarge(Exception):
    """The body went over the limit."""


class Guard:
    """ASGI middleware; see the module's rules."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{secrets.token_hex(8)}"
        scope["portcullis.request_id"] = request_id
        structlog.contextvars.bind_contextvars(request=request_id)
        counted = _Counted(receive)
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers["Cache-Control"] = "no-store"
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        refusal = _refused(scope)
        if refusal is not None:
            status, reason, detail = refusal
            await problems.answer(request_id, status, reason, detail)(scope, receive, sending)
            return
        try:
            await self._app(scope, counted, sending)
        except _TooLarge:
            if not started:
                detail = f"the body is larger than {LARGEST_BODY // 1024} KiB"
                await problems.answer(request_id, 413, "too_large", detail)(scope, receive, sending)


class _Counted:
    """Counts a body while it comes in."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self._size = receive, 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size > LARGEST_BODY:
            raise _TooLarge
        return message


def _refused(scope: Scope) -> tuple[int, str, str] | None:
    """Return status, reason and detail where a request may not come in."""
    client = scope.get("client")
    if client is None or not _is_loopback(client[0]):
        return 403, "not_loopback", "the API answers on loopback only"
    headers = Headers(scope=scope)
    host = headers.get("host", "")
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if name.lower() not in HOSTS:
        return 403, "foreign_host", "the Host header names another host; use 127.0.0.1"
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > LARGEST_BODY:
        return 413, "too_large", f"the body is larger than {LARGEST_BODY // 1024} KiB"
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
