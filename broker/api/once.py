"""Routes that know who asks, and writes that are done once for each `Idempotency-Key`.

Rules:
1. A write under a key that was used before by this operator answers the same, without secrets, and says that it is old:
   `"replayed": true` with `first_answered_at`, and in headers `Idempotency-Replayed` and `Idempotency-First-Answered`.
   The same key with other content is 409.
2. Two writes under one key at the same time: the second waits for the first.
3. Only what was done is kept: a refusal may be mended and tried again under its key.
4. What was asked is kept as an HMAC keyed with the operator's token: a body may hold a password, and a plain
   hash of that could be guessed.
"""

import asyncio
import hmac
import json
import logging
from collections.abc import Callable, Coroutine
from typing import Any
from weakref import WeakValueDictionary

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.responses import JSONResponse

from broker.api.access import authenticate
from broker.api.lanes import run
from broker.errors import BrokerError, Malformed, Problem
from broker.service import Service
from broker.service.operators import Operator

HEADER = "Idempotency-Key"
SECRETS = frozenset({"secret", "token"})
_LOG = logging.getLogger("portcullis.api")
_LONGEST = 128
_REDIRECT = 300
_LOCKS: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class OnceRoute(APIRoute):
    """A route for operators; see the module's rules."""

    def get_route_handler(self) -> Handler:
        """See FastAPI."""
        handle = super().get_route_handler()

        async def answered(request: Request) -> Response:
            service = service_of(request.app)
            operator = await authenticate(service, request)
            key = request.headers.get(HEADER)
            if request.method == "GET" or key is None:
                return await handle(request)
            if not 0 < len(key) <= _LONGEST or not key.isascii() or not key.isprintable():
                raise Malformed("malformed", (Problem(HEADER, f"is 1 to {_LONGEST} printable characters"),))
            lock = _LOCKS.setdefault((operator.name, key), asyncio.Lock())
            async with lock:
                return await _once(service, operator, key, request, handle)

        return answered


def service_of(app: FastAPI) -> Service:
    """Return the service an application was made over."""
    service = app.state.service
    if not isinstance(service, Service):
        raise TypeError("the application was made without a service")
    return service


async def _once(
    service: Service, operator: Operator, key: str, request: Request, handle: Handler
) -> Response:
    asked = b"\n".join((request.method.encode(), request.url.path.encode(), await request.body()))
    content = hmac.digest(request.headers.get("authorization", "").encode(), asked, "sha256")
    before = await run(service.operators.remembered, operator.name, key, content)
    if before is not None:
        return await _replayed(service, operator, key, *before)
    response = await handle(request)
    if response.status_code < _REDIRECT:
        body = _without_secrets(bytes(response.body))
        try:
            await run(service.operators.remember, operator.name, key, content, response.status_code, body)
        except BrokerError as fault:  # what was done is done: an error would say otherwise
            _LOG.error("an answer could not be kept under its idempotency key: %s", fault.reason)
    return response


async def _replayed(service: Service, operator: Operator, key: str, status: int, body: str) -> Response:
    """Give an answer once more, and say that it is old: things may have changed since."""
    at = await run(service.operators.answered_at, operator.name, key)
    when = "" if at is None else at.isoformat(timespec="seconds")
    document = json.loads(body) | {"replayed": True, "first_answered_at": when}
    return JSONResponse(
        document, status, {"Idempotency-Replayed": "true", "Idempotency-First-Answered": when}
    )


def _without_secrets(body: bytes) -> str:
    document = json.loads(body)
    for name in SECRETS & document.keys():
        document[name] = None
    return bytes(JSONResponse(document).body).decode()
