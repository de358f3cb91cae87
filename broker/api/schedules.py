"""Routes of schedules: when keys are rotated next, and why then."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, StringConstraints

from broker.api import schemas
from broker.api.access import Clerk, Viewer
from broker.api.context import Given, run
from broker.api.once import OnceRoute
from broker.api.paging import Asked, cut_out
from broker.model import Schedule
from broker.service.schedules import interval
from clients.venue import Slot

router = APIRouter(route_class=OnceRoute, tags=["schedules"])


class ScheduleShown(BaseModel):
    """When a slot's key is rotated. `next_at` null: there is nothing to rotate, or it is paused; `why` says."""

    account: str
    slot: str
    interval_days: float
    windows: str
    zone: str
    paused: bool
    next_at: datetime | None
    why: str


class ScheduleChange(schemas.Input):
    """What to change; what is left out stays. Empty `windows`: at any time."""

    interval_days: float | None = None
    windows: Annotated[str | None, StringConstraints(max_length=400)] = None
    zone: Annotated[str | None, StringConstraints(max_length=64)] = None
    paused: bool | None = None


@router.get("/schedules")
async def list_schedules(given: Given, asked: Asked, _: Viewer) -> schemas.Listed[ScheduleShown]:
    """List schedules by account and slot."""
    rows = sorted(await run(given.service.schedules.list), key=_name)
    found = cut_out(rows, asked, _name)
    return schemas.Listed(items=[_shown(one) for one in found.items], next=found.next)


@router.put("/schedules/{account}/{slot}")
async def change_schedule(
    account: str, slot: Slot, body: ScheduleChange, given: Given, _: Clerk
) -> ScheduleShown:
    """Change when a slot's key is rotated."""
    days = body.interval_days
    return _shown(
        await run(
            given.service.schedules.change, account, slot, windows=body.windows, zone=body.zone,
            paused=body.paused, interval_for=None if days is None else interval(days),
        )
    )  # fmt: skip


def _name(one: Schedule) -> str:
    return f"{one.account}/{one.slot.value}"


def _shown(one: Schedule) -> ScheduleShown:
    return ScheduleShown(
        account=one.account, slot=one.slot.value, interval_days=one.interval_for / timedelta(days=1),
        windows=one.windows, zone=one.zone, paused=one.paused, next_at=one.next_at, why=one.why,
    )  # fmt: skip
