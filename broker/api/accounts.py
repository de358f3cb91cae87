"""Routes of accounts, egresses and real keys."""

from fastapi import APIRouter, Request

from broker import model
from broker.api import schemas
from broker.api.access import Admin, Clerk, Viewer
from broker.api.context import Context, Given, run
from broker.api.listing import refuse_unlisted
from broker.api.once import OnceRoute
from broker.api.opening import opens, parsed
from broker.api.paging import Asked, cut_out
from broker.errors import NotFound, NotGranted
from broker.service.accounts import EgressView
from broker.service.operators import Role
from clients.secret import Secret
from clients.venue import Credential, KeyType, Slot

router = APIRouter(route_class=OnceRoute)


@router.post("/accounts", status_code=201, tags=["accounts"])
async def create_account(body: schemas.NewAccount, given: Given, _: Clerk) -> schemas.Account:
    """Name an account at a venue."""
    accounts = given.service.accounts
    made = await run(accounts.create, body.name, venue=body.venue, egress=body.egress, upstream=body.upstream)
    return account_shown(made)


@router.get("/accounts", tags=["accounts"])
async def list_accounts(given: Given, asked: Asked, _: Viewer) -> schemas.Listed[schemas.Account]:
    """List accounts by name."""
    found = await run(given.service.accounts.list, after=asked.cursor, limit=asked.limit)
    return schemas.Listed(items=[account_shown(one) for one in found.items], next=found.next)


@router.get("/accounts/{name}", tags=["accounts"])
async def show_account(name: str, given: Given, _: Viewer) -> schemas.Account:
    """Return one account."""
    return account_shown(await run(given.service.accounts.get, name))


@router.post("/egress", status_code=201, tags=["egress"], dependencies=[opens("egress.create")])
async def create_egress(body: schemas.NewEgress, given: Given, _: Admin) -> schemas.Egress:
    """Name a way to the venues."""
    password = body.proxy_password
    made = await run(
        given.service.accounts.create_egress,
        body.name,
        way=body.way,
        addresses=tuple(body.addresses),
        source=body.source,
        proxy_host=body.proxy_host,
        proxy_port=body.proxy_port,
        proxy_user=body.proxy_user,
        proxy_password=None if password is None else Secret(password.get_secret_value()),
    )
    return _egress(made)


@router.get("/egress", tags=["egress"])
async def list_egress(given: Given, asked: Asked, _: Viewer) -> schemas.Listed[schemas.Egress]:
    """List the ways out by name."""
    rows = sorted(await run(given.service.accounts.egresses), key=lambda one: one.name)
    found = cut_out(rows, asked, lambda one: one.name)
    return schemas.Listed(items=[_egress(one) for one in found.items], next=found.next)


async def _is_unsafe(_: Context, request: Request) -> bool:
    """Tell whether a key is to be taken although it may do too much."""
    body = parsed(schemas.NewKey, await request.body())
    return body.allow_withdraw or body.allow_any_address


@router.post(
    "/keys", status_code=201, tags=["keys"], dependencies=[opens("key.unsafe", Role.OPERATOR, _is_unsafe)]
)
async def import_key(body: schemas.NewKey, given: Given, operator: Clerk) -> schemas.ImportedKey:
    """Ask the venue what a key may do, by the account's own egress, and store it if that is safe."""
    if (body.allow_withdraw or body.allow_any_address) and not operator.may(Role.ADMIN):
        raise NotGranted(
            "scope_missing", f"taking an unsafe key needs the scope admin; {operator.name} does not have it"
        )
    service = given.service
    account = await run(service.accounts.get, body.account)
    egress = await run(service.accounts.egress, account.egress)
    credential = Credential(
        body.key_id,
        Secret(body.secret.get_secret_value()),
        KeyType(body.key_type),
        None if body.passphrase is None else Secret(body.passphrase.get_secret_value()),
    )
    facts = await run(given.inspector.inspect, account, egress, credential)
    await run(refuse_unlisted, given, account, body.key_id)
    made = await run(
        service.keys.import_key,
        body.account,
        slot=Slot(body.slot),
        credential=credential,
        facts=facts,
        allow_withdraw=body.allow_withdraw,
        allow_any_address=body.allow_any_address,
    )
    living = await run(service.keys.replaced, body.account, made.ref.slot)
    return schemas.ImportedKey(**_key(made).model_dump(), replaced=[str(one.ref) for one in living])


@router.get("/keys", tags=["keys"])
async def list_keys(
    given: Given, asked: Asked, _: Viewer, account: str | None = None
) -> schemas.Listed[schemas.Key]:
    """List key versions; no secret is among them."""
    rows = sorted(await run(given.service.keys.list, account), key=_sortable)
    found = cut_out(rows, asked, _sortable)
    return schemas.Listed(items=[_key(one) for one in found.items], next=found.next)


@router.get("/keys/{account}/{slot}/{version}", tags=["keys"])
async def show_key(account: str, slot: str, version: int, given: Given, _: Viewer) -> schemas.Key:
    """Return one key version."""
    for one in await run(given.service.keys.list, account):
        if one.ref.slot.value == slot and one.ref.version == version:
            return _key(one)
    raise NotFound(
        "no_key", f"{account} has no such key; `portcullis key list --account {account}` shows them"
    )


def _sortable(one: model.KeyVersion) -> str:
    return f"{one.ref.account}/{one.ref.slot.value}/{one.ref.version:08d}"


def account_shown(one: model.Account) -> schemas.Account:
    """Show an account."""
    return schemas.Account(
        name=one.name, venue=one.venue, environment=one.environment.value, egress=one.egress,
        venue_uid=one.venue_uid, upstream=one.upstream, created_at=one.created_at,
        manager=one.manager, subaccount=one.subaccount,
    )  # fmt: skip


def _egress(one: EgressView) -> schemas.Egress:
    return schemas.Egress(
        name=one.name, way=one.way, addresses=list(one.addresses), source=one.source, proxy=one.proxy
    )


def _key(one: model.KeyVersion) -> schemas.Key:
    return schemas.Key(
        ref=str(one.ref), account=one.ref.account, slot=one.ref.slot.value, version=one.ref.version,
        stage=one.stage.value, venue_key_id=one.venue_key_id, key_type=one.key_type.value,
        ip_restricted=one.ip_restricted, can_withdraw=one.can_withdraw, created_at=one.created_at,
        death=one.death.value,
    )  # fmt: skip
