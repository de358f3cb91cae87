"""Routes of the audit trail."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from broker.api import schemas
from broker.api.access import Viewer
from broker.api.context import Given, run
from broker.api.once import OnceRoute
from broker.api.paging import Asked
from broker.audit.chain import Record
from broker.model import moment


class AuditRecord(BaseModel):
    """One record of a chain; its digest covers the one before."""

    writer: str
    seq: int
    at: datetime
    actor: str
    action: str
    subject: str
    details: str
    digest: str


router = APIRouter(route_class=OnceRoute, tags=["audit"])

Writer = Annotated[str | None, Query(max_length=64)]


@router.get("/audit")
async def list_records(
    given: Given, asked: Asked, _: Viewer, writer: Writer = None
) -> schemas.Listed[AuditRecord]:
    """List what happened, newest first: who did what to what. `details` is JSON."""
    found = await run(given.service.audit.list, after=asked.cursor, limit=asked.limit, writer=writer)
    return schemas.Listed(items=[_shown(one) for one in found.items], next=found.next)


def _shown(one: Record) -> AuditRecord:
    return AuditRecord(
        writer=one.writer, seq=one.seq, at=moment(one.entry.at_us), actor=one.entry.actor,
        action=one.entry.action, subject=one.entry.subject, details=one.entry.details, digest=one.digest,
    )  # fmt: skip
