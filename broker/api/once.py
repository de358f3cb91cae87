"""Routes that know who asks, and writes that are done once for each `Idempotency-Key`.

Rules:
1. A write under a key that was used before by this operator answers the same, without secrets, and says that it is old:
   `"replayed": true` with `first_answered_at`, and in headers `Idempotency-Replayed` and `Idempotency-First-Answered`.
   The same key with other content is 409.
2. Two writes under one key at the same time: the second waits for the first.
3. Only what was done is kept: a refusal may be mended and tried again under its key. It is kept in memory until it is
   on record, and no answer waits long for that, nor fails by it; a cut's does not wait for it at all, nor for a look
   at the record that does not answer or fails. What changes nothing (`changes_nothing`) is kept under no key: whoever
   may read could fill a disk with it.
4. An answer by which a real key leaves is kept without it, and waits for that; the key comes into it after that
   (`leaves`). Where it may not leave by then, nothing is kept.
5. No text of a write keeps a secret (`free_text`).
6. What was asked is kept as an HMAC keyed with the operator's token: a body may hold a password, and a plain
   hash of that could be guessed.
7. Nothing that stops somebody is refused for its key, or answered from memory while it may not hold. A cut is answered
   as before where it was asked for in the same words and is known to be in force; else it is made anew, and that is
   kept. What ends a right for good (`ends`) is done each time. A key that is none is passed over, and the answer says
   so in `Idempotency-Ignored`.
"""

import asyncio
import hmac
import json
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.responses import JSONResponse

from broker.api.access import IN_DOUBT, authenticate, is_cut
from broker.api.free_text import closes, refuse_secret_path, refuse_secrets
from broker.api.lanes import begun, run
from broker.api.leaves import completed
from broker.background import described
from broker.errors import BrokerError, Conflict, Malformed, Problem, StoreUnavailable
from broker.service import Service
from broker.service.operators import KEY_REUSED, Operator
from broker.threads import Threads

HEADER = "Idempotency-Key"
SECRETS = frozenset({"secret", "token"})
_LOG = logging.getLogger("portcullis.api")
_LONGEST = 128
_NO_KEY = f"is 1 to {_LONGEST} printable characters"
_REDIRECT = 300
_LOCKS: WeakValueDictionary[tuple[str, str, bool], asyncio.Lock] = WeakValueDictionary()
_KEPT_WITHIN_S = 1.0
_CUT_LOOKS_S = 0.5
_MOST_FRESH = 1_000

_CHANGE_NOTHING = set[Callable[..., Any]]()

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def changes_nothing(endpoint: Endpoint) -> Endpoint:
    """Mark what changes nothing, or nothing more when it is asked twice, although it is no GET: it is done each time.

    Below the route's own decorator.
    """
    _CHANGE_NOTHING.add(endpoint)
    return endpoint


class OnceRoute(APIRoute):
    """A route for operators; see the module's rules."""

    def get_route_handler(self) -> Handler:
        """See FastAPI."""
        handle = super().get_route_handler()

        async def answered(request: Request) -> Response:
            service = service_of(request.app)
            operator = await authenticate(service, request)
            key = request.headers.get(HEADER)
            if request.method != "GET" and not closes(request):
                is_name = service.is_name
                await run(refuse_secret_path, f"{request.url.path}?{request.url.query}", is_name)
                await run(refuse_secrets, await request.body(), is_name)
            if request.method == "GET" or key is None or self.endpoint in _CHANGE_NOTHING or ends(request):
                return await completed(request, await handle(request))
            if not 0 < len(key) <= _LONGEST or not key.isascii() or not key.isprintable():
                if not closes(request):
                    raise Malformed("malformed", (Problem(HEADER, _NO_KEY),))
                response = await completed(request, await handle(request))
                response.headers["Idempotency-Ignored"] = _NO_KEY
                return response
            # a cut waits for no other write, whatever key that has
            lock = _LOCKS.setdefault((operator.name, key, is_cut(request)), asyncio.Lock())
            async with lock:
                return await _once(service, operator, key, request, handle)

        return answered


def ends(request: Request) -> bool:
    """Tell whether a request ends a right for good: done twice is as once, and not done, because it was before, is not.

    A name may be used again, and a database that was put back forgets.
    """
    return request.method == "POST" and request.url.path.endswith(("/revoke", "/end"))


def service_of(app: FastAPI) -> Service:
    """Return the service an application was made over."""
    service = app.state.service
    if not isinstance(service, Service):
        raise TypeError("the application was made without a service")
    return service


@dataclass(frozen=True, slots=True)
class _Answered:
    """What was answered under a key, and when."""

    content: bytes
    status: int
    body: str
    at: datetime


class Answers:
    """Answers that are not on record yet, by operator and key."""

    def __init__(self, service: Service) -> None:
        self._operators, self._clock = service.operators, service.desk.clock
        self._fresh: dict[tuple[str, str], _Answered] = {}
        self._withheld: set[tuple[str, str]] = set()
        self._thread = Threads(1, "answers")

    async def before(
        self, operator: str, key: str, content: bytes, *, cuts: bool, doubt: bool
    ) -> _Answered | None:
        """Return what was answered to a key before; None where it is new, or a cut cannot wait for who knows.

        Raises:
            Conflict: The key was used for something else, and this is no cut.
            StoreUnavailable: Nobody knows.
        """
        fresh = self._fresh.get((operator, key))
        if fresh is not None:
            if hmac.compare_digest(fresh.content, content):
                return fresh
            if cuts:
                return None
            raise Conflict(*KEY_REUSED)
        if (operator, key) in self._withheld:
            return None
        if not cuts:
            return await run(self._on_record, operator, key, content)
        if doubt:
            return None  # made twice does no harm; not made does
        try:
            async with asyncio.timeout(_CUT_LOOKS_S):
                return await run(self._on_record, operator, key, content)
        except Conflict:
            return None
        except Exception as fault:  # noqa: BLE001 - made twice does no harm, whatever keeps us from looking
            if not isinstance(fault, (StoreUnavailable, TimeoutError)):
                _LOG.error("whether a cut was made before could not be looked up: %s", described(fault))
            return None

    def _on_record(self, operator: str, key: str, content: bytes) -> _Answered | None:
        found = self._operators.remembered(operator, key, content)
        if found is None:
            return None
        at = self._operators.answered_at(operator, key) or self._clock.now()
        return _Answered(content, *found, at)

    async def keep(self, operator: str, key: str, content: bytes, answer: Response, *, cuts: bool) -> None:
        """Keep what was answered; on record soon, and in memory until then."""
        body = _without_secrets(bytes(answer.body))
        name = (operator, key)
        # what is answered now counts, whether the earlier one could be forgotten or not
        self._withheld.discard(name)
        self._fresh[name] = kept = _Answered(content, answer.status_code, body, self._clock.now())
        while len(self._fresh) > _MOST_FRESH:
            del self._fresh[next(iter(self._fresh))]
        remember = partial(self._operators.remember, operator, key, content, answer.status_code, body)
        done = self._in_turn(remember)
        done.add_done_callback(lambda one: self._kept(name, kept, one))
        if not cuts:
            await asyncio.wait({done}, timeout=_KEPT_WITHIN_S)

    async def forget(self, operator: str, key: str) -> None:
        """Keep nothing under a key: what was kept was withheld after all, and may be asked for again."""
        name = (operator, key)
        self._fresh.pop(name, None)
        if len(self._withheld) >= _MOST_FRESH:
            self._withheld.clear()
        self._withheld.add(name)
        done = self._in_turn(partial(self._operators.forget, operator, key))
        done.add_done_callback(lambda one: self._forgotten(name, one))
        await asyncio.wait({done}, timeout=_KEPT_WITHIN_S)

    def _in_turn(self, work: Callable[[], None]) -> "asyncio.Future[None]":
        """Have something done by the thread that keeps, after what it has to keep; where there is none, that failed."""
        try:
            return begun(self._thread, work)
        except StoreUnavailable as fault:  # what was done is done
            failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            failed.set_exception(fault)
            return failed

    def ready(self) -> None:
        """Have the thread that keeps, for when a host has none left.

        Raises:
            RuntimeError: It cannot be had.
        """
        self._thread.ready()

    def _forgotten(self, name: tuple[str, str], done: "asyncio.Future[None]") -> None:
        fault = None if done.cancelled() else done.exception()
        if fault is None:
            self._withheld.discard(name)
        else:  # asked again by another process it is answered without the key, as what was done before
            _LOG.error("an answer that was withheld is kept under its key: %s", described(fault))

    def _kept(self, name: tuple[str, str], kept: _Answered, done: "asyncio.Future[None]") -> None:
        fault = None if done.cancelled() else done.exception()
        if fault is None:
            if self._fresh.get(name) is kept:
                del self._fresh[name]
        else:  # what was done is done: an error would say otherwise
            _LOG.error("an answer could not be kept under its idempotency key: %s", described(fault))


def answers_of(app: FastAPI, service: Service) -> Answers:
    """Return what an application answered that is not on record yet."""
    found = getattr(app.state, "answers", None)
    if not isinstance(found, Answers):
        found = app.state.answers = Answers(service)
    return found


async def _once(
    service: Service, operator: Operator, key: str, request: Request, handle: Handler
) -> Response:
    asked = b"\n".join((request.method.encode(), request.url.path.encode(), await request.body()))
    content = hmac.digest(request.headers.get("authorization", "").encode(), asked, "sha256")
    answers, cuts = answers_of(request.app, service), is_cut(request)
    doubt = request.scope.get(IN_DOUBT, False)
    before = await answers.before(operator.name, key, content, cuts=cuts, doubt=doubt)
    if before is not None and (not cuts or await _is_in_force(service, before)):
        return _replayed(before)
    response = await handle(request)
    if response.status_code >= _REDIRECT:
        return response
    await answers.keep(operator.name, key, content, response, cuts=cuts)
    try:
        return await completed(request, response)
    except Exception:
        await answers.forget(operator.name, key)
        raise


async def _is_in_force(service: Service, before: _Answered) -> bool:
    """Tell whether a cut that was answered is known to hold: not thawed, taken back, or forgotten since."""
    cut = str(json.loads(before.body).get("id"))
    try:
        made = service.cuts.closing.get(cut)  # in this process: it waits for nobody
        if made is not None:
            return made.thawing is None and made.refused is None
        async with asyncio.timeout(_CUT_LOOKS_S):
            return (await run(service.cuts.get, cut)).thawed_at is None
    except Exception as fault:  # noqa: BLE001 - made twice does no harm, whatever keeps us from looking
        if not isinstance(fault, (BrokerError, TimeoutError)):
            _LOG.error("whether a cut still holds could not be looked up: %s", described(fault))
        return False


def _replayed(before: _Answered) -> Response:
    """Give an answer once more, and say that it is old: things may have changed since."""
    when = before.at.isoformat(timespec="seconds")
    document = json.loads(before.body) | {"replayed": True, "first_answered_at": when}
    return JSONResponse(
        document, before.status, {"Idempotency-Replayed": "true", "Idempotency-First-Answered": when}
    )


def _without_secrets(body: bytes) -> str:
    document = json.loads(body)
    for name in SECRETS & document.keys():
        document[name] = None
    return bytes(JSONResponse(document).body).decode()
