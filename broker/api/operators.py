"""Routes of operators, their logins, and acts that wait for a second step."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from broker.api import schemas
from broker.api.access import Admin, Responder, Viewer, authenticated
from broker.api.context import Context, Given, run
from broker.api.once import OnceRoute, changes_nothing
from broker.api.opening import opens
from broker.api.paging import Asked, cut_out
from broker.errors import NotGranted
from broker.service.openings import Act
from broker.service.operators import Operator, Role
from broker.service.using import Spared
from clients.secret import Secret

router = APIRouter(route_class=OnceRoute)
open_router = APIRouter(tags=["operators"])

Code = Annotated[str, Field(min_length=6, max_length=10)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Login(_Strict):
    """Who wants in, with a password and a one-time code."""

    name: str = Field(max_length=64)
    password: SecretStr = Field(max_length=200)
    code: Code


class MadeSession(BaseModel):
    """A session: its token, in this answer and no other."""

    operator: str
    token: str
    expires_at: datetime


class Enrolment(_Strict):
    """The password an operator will log in with."""

    password: SecretStr = Field(max_length=200)


class Enrolled(BaseModel):
    """What an authenticator app needs, in this answer and no other. Nothing counts before it is activated."""

    operator: str
    secret: str


class OneCode(_Strict):
    """A one-time code."""

    code: Code


class Confirmation(OneCode):
    """A one-time code; with `content` only what was shown is confirmed."""

    content: str | None = Field(default=None, max_length=64)


class Done(BaseModel):
    """It is done."""

    operator: str


class ShownAct(BaseModel):
    """An act that is announced. `ready_at` null: a second person is awaited. `ready`: it may be sent again now.

    `shows` says in lines what it would do, with everything it names; `content` names exactly that.
    """

    id: str
    action: str
    subject: str
    operator: str
    created_at: datetime
    ready_at: datetime | None
    confirmed_by: str | None
    shows: list[str]
    content: str
    ready: bool


# --- who may --------------------------------------------------------------------------------------


@router.post("/operators", status_code=201, tags=["operators"], dependencies=[opens("operator.create")])
async def create_operator(body: schemas.NewOperator, given: Given, _: Admin) -> schemas.MadeOperator:
    """Make an operator. The token is in this answer and no other."""
    roles = frozenset(Role(name) for name in body.roles)
    made, token = await run(given.service.operators.make, body.name, roles)
    return schemas.MadeOperator(**_operator(made), token=token.reveal())


@router.get("/operators", tags=["operators"])
async def list_operators(given: Given, asked: Asked, _: Viewer) -> schemas.Listed[schemas.Operator]:
    """List operators by name."""
    rows = sorted(await run(given.service.operators.list), key=lambda one: one.name)
    found = cut_out(rows, asked, lambda one: one.name)
    return schemas.Listed(items=[schemas.Operator(**_operator(one)) for one in found.items], next=found.next)


@router.post("/operators/{name}/end", tags=["operators"])
async def end_operator(name: str, given: Given, _: Admin) -> Done:
    """End an operator: tokens and sessions of that name count no more."""
    await run(given.service.operators.end, name)
    return Done(operator=name)


# --- logging in -----------------------------------------------------------------------------------


@open_router.post("/sessions", status_code=201)
async def login(body: Login, given: Given) -> MadeSession:
    """Log in for an hour. What was wrong is not said."""
    made = await run(
        given.service.credentials.login, body.name, Secret(body.password.get_secret_value()), body.code
    )
    return MadeSession(operator=made.operator, token=made.token.reveal(), expires_at=made.expires_at)


@router.post("/sessions/end", tags=["operators"])
@changes_nothing
async def logout(given: Given, operator: Viewer) -> Done:
    """End one's own sessions, everywhere."""
    await run(given.service.credentials.logout, operator.name)
    return Done(operator=operator.name)


async def _is_reset(context: Context, request: Request) -> bool | Spared:
    """Tell whether somebody enrols who has codes already, or enrols another."""
    name = str(request.path_params["name"])
    if name != authenticated(request).name or await run(context.service.credentials.is_enrolled, name):
        return True
    return Spared(None)  # since when somebody has codes


@router.post(
    "/operators/{name}/enrolment", tags=["operators"],
    dependencies=[opens("operator.enrol", Role.VIEWER, _is_reset)],
)  # fmt: skip
async def enrol(name: str, body: Enrolment, given: Given, operator: Viewer) -> Enrolled:
    """Take a password and give a seed for one-time codes. Others may be enrolled by admins only."""
    if name != operator.name and not operator.may(Role.ADMIN):
        raise NotGranted(
            "scope_missing", f"enrolling another needs the scope admin; {operator.name} does not have it"
        )
    uri = await run(given.service.credentials.enrol, name, Secret(body.password.get_secret_value()))
    return Enrolled(operator=name, secret=uri.reveal())


@router.post("/operators/{name}/activation", tags=["operators"])
async def activate(name: str, body: OneCode, given: Given, operator: Viewer) -> Done:
    """Make one's own enrolment count, by its first code."""
    if name != operator.name:
        raise NotGranted("not_yours", "only the person who holds the codes can do that")
    await run(given.service.credentials.activate, name, body.code)
    return Done(operator=name)


# --- acts -----------------------------------------------------------------------------------------


@router.get("/acts", tags=["acts"])
async def list_acts(given: Given, asked: Asked, _: Viewer) -> schemas.Listed[ShownAct]:
    """List what is announced and not over."""
    rows = sorted(await run(given.service.openings.list), key=lambda one: one.id)
    found = cut_out(rows, asked, lambda one: one.id)
    return schemas.Listed(items=[_act(one) for one in found.items], next=found.next)


@router.post("/acts/{act}/confirmation", tags=["acts"])
async def confirm(act: str, body: Confirmation, given: Given, operator: Admin) -> ShownAct:
    """Confirm what another person announced."""
    return _act(await run(given.service.openings.confirm, act, operator.name, body.code, body.content))


@router.post("/acts/{act}/cancel", tags=["acts"])
async def cancel(act: str, given: Given, _: Responder) -> ShownAct:
    """Call an announced act off."""
    return _act(await run(given.service.openings.cancel, act))


def _act(one: Act) -> ShownAct:
    return ShownAct(
        id=one.id, action=one.action, subject=one.subject, operator=one.operator, created_at=one.created_at,
        ready_at=one.ready_at, confirmed_by=one.confirmed_by, shows=list(one.shows), content=one.content,
        ready=one.ready,
    )  # fmt: skip


def _operator(one: Operator) -> dict[str, Any]:
    return {
        "name": one.name, "roles": sorted(role.value for role in one.roles), "created_at": one.created_at,
        "ended_at": one.ended_at,
    }  # fmt: skip
