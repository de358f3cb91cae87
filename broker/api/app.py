"""The control API put together: `/v1/...`, OpenAPI at `/v1/openapi.json`, problems for everything else."""

import copy
import functools
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.datastructures import State

from broker.api import (
    accounts,
    alerts,
    audit,
    calls,
    cuts,
    destinations,
    grants,
    managers,
    operators,
    problems,
    readiness,
    reconcile,
    rotations,
    schedules,
    standing,
    status,
)
from broker.api.context import Context
from broker.api.guard import Guard
from broker.api.lanes import Lanes
from broker.api.schemas import Problem

_FAULTS = (400, 401, 403, 404, 405, 409, 413, 500, 503)


def create_app(context: Context, connections: Mapping[str, int] | None = None) -> FastAPI:
    """Make the application over a service, its gateways and what asks venues about keys.

    Args:
        context: Those.
        connections: How many connections there may be, by where they come from (`lanes`).
    """
    app = copy.copy(_surface())
    app.state, app.user_middleware, app.middleware_stack = State(), [], None
    app.state.context = context
    app.state.service = context.service
    context.listen()
    app.state.lanes = lanes = Lanes(connections)
    app.add_middleware(Guard, lanes=lanes)
    return app


def lanes_of(app: FastAPI) -> Lanes:
    """Return the lanes of an application."""
    found = app.state.lanes
    if not isinstance(found, Lanes):
        raise TypeError("the application was made without lanes")
    return found


@functools.cache
def _surface() -> FastAPI:
    """Put the routes together, which know no context: once for a process, as their hundreds of models take long."""
    app = FastAPI(
        title="Portcullis",
        version="1",
        description="Real exchange keys stay here; bots hold virtual ones; one call cuts them off.",
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
        generate_unique_id_function=_operation,
    )
    problems.install(app)
    said: dict[int | str, dict[str, Any]] = {
        code: {"model": Problem, "content": {problems.MEDIA_TYPE: {}}, "description": "Refused, and why."}
        for code in _FAULTS
    }
    version = APIRouter(prefix="/v1", responses=said)
    for router in (
        status.open_router, status.router, accounts.router, grants.router, cuts.router, calls.router,
        audit.router, operators.open_router, operators.router, reconcile.router, managers.router,
        readiness.router, standing.router, alerts.router, rotations.router, schedules.router, destinations.router,
    ):  # fmt: skip
        version.include_router(router)
    app.include_router(version)
    _prepare(app)
    return app


def _prepare(app: FastAPI) -> None:
    """Let every route be made now: it is done when a request is matched first, and takes a third of a second."""
    nowhere = {"type": "http", "path": "/", "method": "GET", "root_path": "", "headers": [], "app": app}
    for route in app.routes:
        route.matches(nowhere)


def _operation(route: APIRoute) -> str:
    return route.name
