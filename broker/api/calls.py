"""Routes of the call log and of operators."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query

from broker.api import schemas
from broker.api.access import Admin, Viewer
from broker.api.context import Given, run
from broker.api.once import OnceRoute
from broker.api.paging import Asked, cut_out
from broker.service.operators import Operator, Role

router = APIRouter(route_class=OnceRoute)

Filter = Annotated[str | None, Query(max_length=80)]


@router.get("/calls", tags=["calls"])
async def list_calls(
    given: Given,
    asked: Asked,
    _: Viewer,
    grant: Filter = None,
    consumer: Filter = None,
    account: Filter = None,
    decision: Filter = None,
    endpoint: Filter = None,
    outcome: Filter = None,
) -> schemas.ListedCalls:
    """List calls, newest first. Calls made outside the gateway are not in it."""
    wanted = {
        "grant": grant, "consumer": consumer, "account": account, "decision": decision, "endpoint": endpoint,
        "outcome": outcome,
    }  # fmt: skip
    filters = {name: value for name, value in wanted.items() if value is not None}
    found = await run(given.service.calls.list, after=asked.cursor, limit=asked.limit, **filters)
    return schemas.ListedCalls(items=[schemas.Call(**asdict(one)) for one in found.items], next=found.next)


@router.post("/operators", status_code=201, tags=["operators"])
async def create_operator(body: schemas.NewOperator, given: Given, _: Admin) -> schemas.MadeOperator:
    """Make an operator. The token is in this answer and no other."""
    roles = frozenset(Role(name) for name in body.roles)
    token = await run(given.service.operators.create, body.name, roles)
    made = next(one for one in await run(given.service.operators.list) if one.name == body.name)
    return schemas.MadeOperator(**_operator(made), token=token.reveal())


@router.get("/operators", tags=["operators"])
async def list_operators(given: Given, asked: Asked, _: Viewer) -> schemas.Listed[schemas.Operator]:
    """List operators by name."""
    rows = sorted(await run(given.service.operators.list), key=lambda one: one.name)
    found = cut_out(rows, asked, lambda one: one.name)
    return schemas.Listed(items=[schemas.Operator(**_operator(one)) for one in found.items], next=found.next)


def _operator(one: Operator) -> dict[str, Any]:
    return {
        "name": one.name, "roles": sorted(role.value for role in one.roles), "created_at": one.created_at,
        "ended_at": one.ended_at,
    }  # fmt: skip
