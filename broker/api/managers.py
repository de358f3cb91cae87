"""Routes of manager keys, and of which account is a sub-account under which."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field, SecretStr, StringConstraints

from broker import model
from broker.api import schemas
from broker.api.access import Admin, Viewer
from broker.api.accounts import account_shown
from broker.api.context import Context, Given, run
from broker.api.listing import heard, listed
from broker.api.once import OnceRoute
from broker.api.opening import opens
from broker.api.paging import Asked, cut_out
from broker.service.managers import bad_subaccount
from clients.keys import VenueKey
from clients.secret import Secret
from clients.venue import Credential, KeyType

router = APIRouter(route_class=OnceRoute, tags=["managers"])


class NewManager(schemas.Input):
    """A manager key to take in. The venue is asked what it may do before anything is stored."""

    name: schemas.Name
    venue: schemas.Name = "binance"
    egress: schemas.Name = "direct"
    upstream: Annotated[str, StringConstraints(max_length=200)] | None = None
    key_id: Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$")]
    key_type: Literal["hmac", "rsa", "ed25519"] = "hmac"
    secret: Annotated[SecretStr, Field(min_length=1, max_length=8 * 1024)]


class ManagerKey(BaseModel):
    """A manager key. Its secret is read by whoever makes keys, and by nobody else."""

    name: str
    venue: str
    egress: str
    upstream: str | None
    venue_key_id: str
    key_type: str
    created_at: datetime


class Under(schemas.Input):
    """Whose sub-account an account is, and how the venue calls it."""

    manager: schemas.Name
    subaccount: Annotated[str, StringConstraints(min_length=1, max_length=255)]


@router.post("/managers", status_code=201, dependencies=[opens("manager.import")])
async def import_manager(body: NewManager, given: Given, _: Admin) -> ManagerKey:
    """Ask the venue what a manager key may do, and store it if that is safe."""
    return await run(_import, given, body)


def _import(given: Context, body: NewManager) -> ManagerKey:
    service = given.service
    credential = Credential(body.key_id, Secret(body.secret.get_secret_value()), KeyType(body.key_type))
    draft = service.managers.draft(
        body.name, venue=body.venue, egress=body.egress, upstream=body.upstream, key=credential
    )
    facts = given.warden.facts(draft, service.accounts.egress(body.egress), credential)
    return _shown(service.managers.take(draft, credential, facts))


@router.get("/managers")
async def list_managers(given: Given, asked: Asked, _: Viewer) -> schemas.Listed[ManagerKey]:
    """List manager keys by name; no secret is among them."""
    found = cut_out(list(await run(given.service.managers.list)), asked, lambda one: one.name)
    return schemas.Listed(items=[_shown(one) for one in found.items], next=found.next)


@router.put("/accounts/{name}/manager", dependencies=[opens("account.manage")])
async def manage_account(name: str, body: Under, given: Given, _: Admin) -> schemas.Account:
    """Put an account under a manager key, if the venue lists the account's keys there."""
    return account_shown(await run(_assign, given, name, body))


@router.post("/accounts/{name}/release", dependencies=[opens("account.release")])
async def release_account(name: str, given: Given, _: Admin) -> schemas.Account:
    """Take an account off its manager key: its keys are made, and looked up, by hand from then on."""
    return account_shown(await run(given.service.managers.release, name))


def _assign(given: Context, name: str, body: Under) -> model.Account:
    def there() -> tuple[VenueKey, ...]:
        found = listed(given, body.manager, body.subaccount)
        if found is None:
            raise bad_subaccount(body.subaccount, name)
        return found

    return given.service.managers.assign(
        name, body.manager, body.subaccount, there, lambda key: heard(given, key)
    )


def _shown(one: model.Manager) -> ManagerKey:
    return ManagerKey(
        name=one.name, venue=one.venue, egress=one.egress, upstream=one.upstream,
        venue_key_id=one.venue_key_id, key_type=one.key_type.value, created_at=one.created_at,
    )  # fmt: skip
