"""The second step of whatever opens something, as a route declares it: `dependencies=[opens("grant.create")]`.

Rules:
1. The role is looked at first: who may not do it at all announces nothing.
2. `Portcullis-Code` carries a one-time code, `Portcullis-Act` the act that was announced for this very request.
3. What is announced is this request with all that it names, as it stands now (`broker.api.showing`).
4. A test goes through all routes: each that changes something declares `opens`, or stands in its list of those
   that only close or prepare.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from broker.api.access import authenticated
from broker.api.context import Context, context_of, run
from broker.api.showing import lines_of
from broker.errors import Malformed, NotGranted, Problem
from broker.service.openings import Wanted
from broker.service.operators import Role
from broker.service.using import Premise, Spared, using

CODE, ACT = "Portcullis-Code", "Portcullis-Act"
_LONGEST_SUBJECT = 200
_CALLED = ("name", "cut", "consumer", "grant")
M = TypeVar("M", bound=BaseModel)
When = Callable[[Context, Request], Awaitable[bool | Spared]]
"""Whether a request opens something; where the record says that it does not, by which fact: its deed looks again."""


class Opens:
    """What a route opens, and when it does."""

    def __init__(self, action: str, role: Role, when: When | None) -> None:
        self.action, self.role, self._when = action, role, when

    async def __call__(self, request: Request) -> AsyncIterator[None]:
        """Let a request pass to its route, with the act that its deed uses up; or announce it."""
        using.set(await self._judged(request))
        try:
            yield
        finally:
            using.set(None)

    async def _judged(self, request: Request) -> Premise | None:
        operator, context = authenticated(request), context_of(request)
        if not operator.may(self.role):
            raise NotGranted(
                "scope_missing", f"this needs the scope {self.role.value}; {operator.name} does not have it"
            )
        opens = True if self._when is None else await self._when(context, request)
        if opens is not True:
            return opens or None
        path = request.url.path
        shows = await lines_of(context, request, self.action)
        asked = b"\n".join(
            (request.method.encode(), path.encode(), await request.body(), "\n".join(shows).encode())
        )
        wanted = Wanted(
            self.action, _subject(path, await request.body()), hashlib.sha256(asked).hexdigest(),
            operator.name, request.headers.get(CODE, ""), request.headers.get(ACT, ""), shows,
        )  # fmt: skip
        return await run(context.service.openings.judge, wanted)


def _subject(path: str, body: bytes) -> str:
    """Return what an act is listed as: the path, and by which name the body calls what it is about."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    names = document if isinstance(document, dict) else {}
    called = next((one for key in _CALLED if isinstance(one := names.get(key), str)), "")
    return f"{path.removeprefix('/v1/')} {called}".strip()[:_LONGEST_SUBJECT]


def parsed(model: type[M], body: bytes) -> M:
    """Read a body for a judgement, as the route reads it; what cannot be read goes no further.

    By another parser it would be another body: a mark before it, or half a character in what is overwritten later, was
    an error to one and nothing to the other, and the request passed without its second step.

    Raises:
        RequestValidationError: It is none of that kind; answered as where the route finds it.
        Malformed: It is no JSON.
    """
    try:
        return model.model_validate(json.loads(body))
    except ValidationError as fault:
        found = fault.errors(include_input=False, include_context=False, include_url=False)
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in found]) from None
    except (ValueError, RecursionError):
        raise Malformed("malformed", (Problem("body", "is not JSON"),)) from None


def opens(action: str, role: Role = Role.ADMIN, when: When | None = None) -> Any:
    """Declare that a route opens something; `when` says whether this request does."""
    return Depends(Opens(action, role, when))
