"""What this broker knows without the database: what is cut, and who is linked. For the time in which that is away."""

from dataclasses import asdict
from datetime import datetime
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from broker.api import schemas
from broker.api.access import Viewer
from broker.api.context import Given
from broker.api.cuts import shown
from broker.api.once import OnceRoute
from broker.api.status import GatewayState

router = APIRouter(route_class=OnceRoute, tags=["status"])


class Standing(BaseModel):
    """What is in force here, as memory has it: `cuts` that are not `on_record` are in no database yet.

    `away_since` null: the database answers. Cuts that are on record are those of a few seconds before it went away,
    less what was thawed here since; beyond two hundred they are not listed, and hold all the same.
    """

    environment: Literal["paper", "testnet", "live"]
    away_since: datetime | None
    why: str
    cuts: list[schemas.Cut]
    gateways: list[GatewayState]


@router.get("/standing")
async def standing(given: Given, _: Viewer) -> Standing:
    """Tell what is in force and who is linked, without asking the database. Needs no thread."""
    service = given.service
    since, why = service.operators.away or (None, "")
    return Standing(
        environment=service.desk.home.environment.value,
        away_since=since,
        why=why,
        cuts=[schemas.Cut(**shown(one)) for one in service.cuts.known()],
        gateways=[GatewayState(**asdict(one)) for one in given.gateways.connected()],
    )
