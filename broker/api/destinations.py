"""Routes of destinations and checkouts: real keys outside gateways."""

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, SecretStr, StringConstraints

from broker.api import schemas
from broker.api.access import Admin, Clerk, Responder, Viewer
from broker.api.context import Given, run
from broker.api.leaves import leaves
from broker.api.once import OnceRoute
from broker.api.opening import opens
from broker.api.paging import Asked, cut_out
from broker.db.checkouts import Checkout
from broker.db.destinations import Delivery
from broker.destination import Destination
from broker.model import moment
from broker.service.checkouts import HandedOut
from broker.service.destinations import PATIENCE_S
from clients.secret import Secret
from clients.venue import Slot

router = APIRouter(route_class=OnceRoute, tags=["destinations"])
_Why = Annotated[str, StringConstraints(min_length=1, max_length=500)]


class NewDestination(schemas.Input):
    """A place that gets every new key of an account's slot; the guide has the settings of each kind."""

    name: schemas.Name
    account: schemas.Name
    slot: Slot = Slot.TRADE
    kind: Annotated[str, StringConstraints(max_length=16)]
    settings: dict[str, Any]
    secret: Annotated[SecretStr | None, Field(max_length=8 * 1024)] = None
    patience_s: int = PATIENCE_S


class DestinationShown(BaseModel):
    """A destination. `patience_s`: how long an old key is kept alive for it before a person is paged."""

    name: str
    account: str
    slot: str
    kind: str
    where: str
    patience_s: int
    created_at: datetime


class DeliveryShown(BaseModel):
    """How far a destination is with a key version."""

    destination: str
    version: int
    delivered_at: datetime | None
    confirmed_at: datetime | None
    waived_by: str | None
    tries: int
    says: str


class ConfirmedDelivery(DeliveryShown):
    """A delivery that a person gave their word for: which key, and where it is."""

    key: str
    where: str


class Confirmation(schemas.Input):
    """In which rotation a person gave a tool its new key."""

    rotation: Annotated[str, StringConstraints(max_length=40)]


class Pasting(schemas.Input):
    """Why a key is shown."""

    reason: _Why


class NewCheckout(schemas.Input):
    """A real key to hand out."""

    grant: Annotated[str, StringConstraints(max_length=40)]
    ttl_s: Annotated[int, Field(gt=0, le=30 * 24 * 3600)]
    holder: Annotated[str, StringConstraints(min_length=1, max_length=120)]
    reason: _Why


class CheckoutShown(BaseModel):
    """A key that was handed out. It works until the rotation that ends it is done, whatever the times say."""

    id: str
    grant: str
    key: str
    operator: str
    holder: str
    reason: str
    opened_at: datetime
    ends_at: datetime
    closed_at: datetime | None
    rotation: str | None
    dead_at: datetime | None
    death: str | None
    """What says that the key is dead: as of a key version; null: it is not on record."""


class KeyShown(BaseModel):
    """A real key, this once. `secret` null: a replayed idempotency key."""

    key: str
    venue_key_id: str
    key_type: str
    secret: str | None
    checkout: CheckoutShown | None = None


@router.post("/destinations", status_code=201, dependencies=[opens("destination.create")])
async def create_destination(body: NewDestination, given: Given, _: Admin) -> DestinationShown:
    """Name a place that gets every new key of an account's slot."""
    made = await run(
        given.service.destinations.create, body.name, account=body.account, slot=body.slot, kind=body.kind,
        settings=body.settings, patience_s=body.patience_s,
        secret=None if body.secret is None else Secret(body.secret.get_secret_value()),
    )  # fmt: skip
    return _shown(made)


@router.get("/destinations")
async def list_destinations(given: Given, asked: Asked, _: Viewer) -> schemas.Listed[DestinationShown]:
    """List them by name."""
    found = cut_out(list(await run(given.service.destinations.list)), asked, lambda one: one.name)
    return schemas.Listed(items=[_shown(one) for one in found.items], next=found.next)


@router.post("/destinations/{name}/remove")
async def remove_destination(name: str, given: Given, _: Clerk) -> DestinationShown:
    """Send it no keys any more."""
    return _shown(await run(given.service.destinations.remove, name))


@router.post("/destinations/{name}/confirm")
async def confirm_destination(name: str, body: Confirmation, given: Given, _: Clerk) -> ConfirmedDelivery:
    """Say that a tool has the new key. It is refused while that key was shown to nobody."""
    place, done = await run(given.service.destinations.confirm, name, body.rotation)
    key = f"{place.account}/{place.slot.value}/{done.version}"
    return ConfirmedDelivery(**delivery_shown(done).model_dump(), key=key, where=place.where)


@router.post("/destinations/{name}/key", dependencies=[opens("destination.key")])
async def show_destination_key(
    name: str, body: Pasting, given: Given, request: Request, _: Admin
) -> KeyShown:
    """Show the key that a person pastes into a tool, this once."""
    return _key(request, await run(given.service.checkouts.paste, name, body.reason))


@router.post("/checkouts", status_code=201, dependencies=[opens("checkout.open")], tags=["checkouts"])
async def open_checkout(body: NewCheckout, given: Given, request: Request, _: Admin) -> KeyShown:
    """Hand out the real key behind a grant, this once. Its end is a rotation."""
    handed = await run(
        given.service.checkouts.open, body.grant, ttl=timedelta(seconds=body.ttl_s), holder=body.holder,
        reason=body.reason,
    )  # fmt: skip
    return _key(request, handed)


@router.get("/checkouts", tags=["checkouts"])
async def list_checkouts(given: Given, asked: Asked, _: Viewer) -> schemas.Listed[CheckoutShown]:
    """List keys that were handed out."""
    rows = sorted(await run(given.service.checkouts.list), key=lambda one: one.id)
    found = cut_out(rows, asked, lambda one: one.id)
    return schemas.Listed(items=[_out(one) for one in found.items], next=found.next)


@router.post("/checkouts/{checkout}/close", tags=["checkouts"])
async def close_checkout(checkout: str, given: Given, _: Responder) -> CheckoutShown:
    """End one now: its key is rotated."""
    return _out(await run(given.service.checkouts.close, checkout))


def delivery_shown(one: Delivery) -> DeliveryShown:
    """Return a delivery as it is shown."""
    return DeliveryShown(
        destination=one.destination,
        version=one.version,
        delivered_at=None if one.delivered_us is None else moment(one.delivered_us),
        confirmed_at=None if one.confirmed_us is None else moment(one.confirmed_us),
        waived_by=one.waived_by,
        tries=one.tries,
        says=one.says,
    )


def _shown(one: Destination) -> DestinationShown:
    return DestinationShown(
        name=one.name, account=one.account, slot=one.slot.value, kind=one.kind.value, where=one.where,
        patience_s=one.patience_s, created_at=moment(one.created_us),
    )  # fmt: skip


def _key(request: Request, one: HandedOut) -> KeyShown:
    leaves(request, one)  # its secret comes into the answer as that goes
    return KeyShown(
        key=str(one.key.ref), venue_key_id=one.key.venue_key_id, key_type=one.key.key_type.value,
        secret=None, checkout=None if one.checkout is None else _out(one.checkout),
    )  # fmt: skip


def _out(one: Checkout) -> CheckoutShown:
    return CheckoutShown(
        id=one.id, grant=one.grant, key=str(one.ref), operator=one.operator, holder=one.holder,
        reason=one.reason, opened_at=one.opened_at, ends_at=one.ends_at, closed_at=one.closed_at,
        rotation=one.rotation, dead_at=one.dead_at, death=None if one.death is None else one.death.value,
    )  # fmt: skip
