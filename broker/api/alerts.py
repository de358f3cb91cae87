"""Routes of alerts: what is wrong now, and who is told."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field, SecretStr, StringConstraints

from broker.api import schemas
from broker.api.access import Clerk, Viewer
from broker.api.context import Context, Given, read_back, run
from broker.api.once import OnceRoute
from broker.api.paging import Asked, cut_out
from broker.api.rotations import outcome_of
from broker.api.wrong import wrong
from broker.db.alerts import Channel
from broker.errors import BrokerError, Conflict, StoreUnavailable
from broker.model import moment
from broker.service.conditions import QUIET
from clients.secret import Secret

router = APIRouter(route_class=OnceRoute, tags=["alerts"])
_SENDING_S = 15.0


class NewChannel(schemas.Input):
    """A place that alerts go to. The address is an Apprise URL; it is stored as a secret."""

    name: schemas.Name
    kind: Annotated[str, StringConstraints(max_length=32)]
    address: Annotated[SecretStr, Field(min_length=1, max_length=2000)]


class ChannelShown(BaseModel):
    """A channel. `failed` is empty where its last message went."""

    name: str
    kind: str
    created_at: datetime
    failed: str


class AlertShown(BaseModel):
    """Something that is wrong. `sent_at` null: nobody was told yet; `quiet`: nobody is told of this kind.

    `place`: where it stands in the list of everything that is wrong, which `status` shows.
    """

    id: str
    kind: str
    subject: str
    says: str
    step: str
    opened_at: datetime
    sent_at: datetime | None
    quiet: bool = False
    place: int = 0


@router.get("/alerts")
async def list_alerts(given: Given, asked: Asked, _: Viewer) -> schemas.Listed[AlertShown]:
    """List what is wrong now."""
    rows = await run(_rows, given)
    found = cut_out(sorted(rows, key=lambda row: row.id), asked, lambda row: row.id)
    return schemas.Listed(items=list(found.items), next=found.next)


@router.get("/alert-channels")
async def list_channels(given: Given, asked: Asked, _: Viewer) -> schemas.Listed[ChannelShown]:
    """List who is told."""
    found = cut_out(list(await run(given.service.alerts.channels)), asked, lambda one: one.name)
    return schemas.Listed(items=[_shown(one) for one in found.items], next=found.next)


@router.post("/alert-channels", status_code=201)
async def add_channel(body: NewChannel, given: Given, _: Clerk) -> ChannelShown:
    """Name a place that alerts go to, and send it a test; one that does not take it is not kept."""
    made = await run(given.service.alerts.add, body.name, body.kind, Secret(body.address.get_secret_value()))
    try:
        await outcome_of(given, await run(given.service.alerts.test, made.name), _SENDING_S)
    except Conflict as fault:
        await _not_kept(given, made.name)
        raise Conflict(
            fault.reason, f"{fault}. The channel is not kept: mend what is wrong, and add it again"
        ) from None
    except StoreUnavailable as fault:
        await _not_kept(given, made.name)
        raise StoreUnavailable(
            "no_rotator" if fault.reason == "not_yet" else fault.reason,
            f"no rotator sent a test to {made.name}, and it is not kept. Look whether one runs: portcullis status; "
            "then add it again",
        ) from None
    return _shown(made)


async def _not_kept(given: Context, name: str) -> None:
    """Take a channel back whose test did not come.

    Raises:
        StoreUnavailable: It is kept, and the reason says so.
    """
    try:
        await run(given.service.alerts.remove, name)
    except BrokerError as fault:
        if fault.reason == "not_destroyed":
            return  # the channel is gone
        raise StoreUnavailable(
            "kept_untested",
            f"no test came to {name}, and it could not be taken back ({fault}): it is on record, and told of what is "
            f"wrong. portcullis alerts test {name}, or portcullis alerts remove {name}",
        ) from None


@router.post("/alert-channels/{name}/test")
async def send_test(name: str, given: Given, _: Clerk) -> schemas.Listed[ChannelShown]:
    """Send a test."""
    await outcome_of(given, await run(given.service.alerts.test, name), _SENDING_S)
    return schemas.Listed(
        items=[_shown(one) for one in await read_back(given.service.alerts.channels) if one.name == name]
    )


@router.post("/alert-channels/{name}/remove")
async def remove_channel(name: str, given: Given, _: Clerk) -> ChannelShown:
    """Tell it nothing any more."""
    return _shown(await run(given.service.alerts.remove, name))


def _rows(context: Context) -> list[AlertShown]:
    """Return what is wrong; since when, and who was told, is what the rotator wrote down."""
    told = {(one.kind, one.subject): one for one in context.service.alerts.standing()}
    now = context.service.desk.clock.now()
    rows: list[AlertShown] = []
    for one in wrong(context):
        known = told.get(one.name)
        rows.append(
            AlertShown(
                id=f"{one.kind}/{one.subject}",
                kind=one.kind,
                subject=one.subject,
                says=one.says,
                step=one.step,
                opened_at=now if known is None else moment(known.opened_us),
                sent_at=None if known is None or known.sent_us is None else moment(known.sent_us),
                quiet=one.kind in QUIET,
                place=len(rows),
            )
        )
    return rows


def _shown(one: Channel) -> ChannelShown:
    return ChannelShown(name=one.name, kind=one.kind, created_at=moment(one.created_us), failed=one.failed)
