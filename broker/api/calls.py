"""Routes of the call log."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query

from broker.api import schemas
from broker.api.access import Viewer
from broker.api.context import Given, run
from broker.api.once import OnceRoute
from broker.api.paging import Asked

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
