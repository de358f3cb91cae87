"""Who asks: bearer tokens of operators, and the scopes that routes need.

Rules:
1. Every route but health and logging in needs a token; it is looked up once a request, by its hash.
2. viewer reads. responder also closes: cuts, halts, revokes. operator also makes consumers and accounts and
   imports keys. admin also opens: thaw, grant, reissue, policy, egress, operators.
3. A cut is made by who was known a few seconds ago, where the database does not answer soon, or could not be asked for
   whatever reason: only its own no is one. So is the question what is in force without it.
4. A missing scope is 403 and names the scope; a bad token is 401 and says nothing more.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from broker.api.lanes import run
from broker.background import described
from broker.errors import BrokerError, NotGranted, StoreUnavailable, Unauthenticated
from broker.service import Service
from broker.service.audit import acting
from broker.service.operators import Operator, Role
from clients.secret import Secret

_BEARER = HTTPBearer(auto_error=False, description="Operator token, as made by `portcullis operator create`.")
_LONGEST_TOKEN = 200
_CUT_WAITS_S = 0.5
_LOG = logging.getLogger("portcullis.api")
IN_DOUBT = "portcullis.in_doubt"
"""Where a request keeps that the database did not say who asks."""


async def authenticate(service: Service, request: Request) -> Operator:
    """Return who asks; the answer is kept with the request.

    Raises:
        Unauthenticated: No token, or nobody's.
    """
    known = request.scope.get("portcullis.operator")
    if isinstance(known, Operator):
        return known
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token or len(token) > _LONGEST_TOKEN:
        raise Unauthenticated("unauthenticated", "send an operator token: Authorization: Bearer TOKEN")
    operator = await _looked_up(service, request, Secret(token.strip()))
    if operator is None:
        raise Unauthenticated("unauthenticated", "this token is not known here, or was ended")
    request.scope["portcullis.operator"] = operator
    acting.set(operator.name)
    return operator


async def _looked_up(service: Service, request: Request, token: Secret) -> Operator | None:
    """Look up whose token this is.

    A cut does not wait for a database that does not answer, nor does who asks what is known without it: see
    `Operators.learn`. Who is not remembered may have come since then, or nothing was learned yet: only the database
    can say no. A look that failed, of which there may be no more than that no thread could be had, says nothing.

    Raises:
        StoreUnavailable: Nobody knows; nothing was done.
    """
    if not is_cut(request) and not is_standing(request):
        return await run(service.operators.by_token, token)
    looking = asyncio.ensure_future(run(service.operators.by_token, token))
    try:
        await asyncio.wait({looking}, timeout=_CUT_WAITS_S)
        if looking.done() and looking.exception() is None:
            return looking.result()
        try:
            known = service.operators.by_memory(token)
        except StoreUnavailable:
            return await _in_the_end(looking)
        request.scope[IN_DOUBT] = True
        return known
    finally:
        looking.cancel()


async def _in_the_end(looking: "asyncio.Future[Operator | None]") -> Operator | None:
    """Wait for what nobody else knows; a fault of it is no word that something was done."""
    try:
        return await looking
    except BrokerError:
        raise
    except Exception as fault:  # noqa: BLE001 - whatever it is, nothing was done
        _LOG.error("who asks could not be looked up: %s", described(fault))
        raise StoreUnavailable(
            "database", "whose token this is could not be looked up, and is not remembered: nothing was done"
        ) from None


def is_cut(request: Request) -> bool:
    """Tell whether a request makes a cut or a halt."""
    return request.method == "POST" and request.url.path == "/v1/cuts"


def is_standing(request: Request) -> bool:
    """Tell whether a request asks what is known without the database."""
    return request.method == "GET" and request.url.path == "/v1/standing"


def authenticated(request: Request) -> Operator:
    """Return who asks, once `authenticate` has looked.

    Raises:
        Unauthenticated: Nobody.
    """
    operator = request.scope.get("portcullis.operator")
    if not isinstance(operator, Operator):
        raise Unauthenticated("unauthenticated", "send an operator token: Authorization: Bearer TOKEN")
    return operator


def needs(role: Role) -> Callable[..., Awaitable[Operator]]:
    """Return a dependency that lets only operators with a role pass."""

    async def judge(
        request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]
    ) -> Operator:
        operator = authenticated(request)
        if not operator.may(role):
            raise NotGranted(
                "scope_missing", f"this needs the scope {role.value}; {operator.name} does not have it"
            )
        return operator

    return judge


Viewer = Annotated[Operator, Depends(needs(Role.VIEWER))]
Responder = Annotated[Operator, Depends(needs(Role.RESPONDER))]
Clerk = Annotated[Operator, Depends(needs(Role.OPERATOR))]
Admin = Annotated[Operator, Depends(needs(Role.ADMIN))]
