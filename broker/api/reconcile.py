"""The route of reconciling: is what the record says still so at the venues."""

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from broker.api.access import Admin
from broker.api.context import Context, Given, run
from broker.api.once import OnceRoute
from broker.model import Account, KeyVersion
from clients.venue import Credential, KeyFacts

router = APIRouter(route_class=OnceRoute, tags=["reconcile"])


class Asked(BaseModel):
    """What an operator has looked up and declares."""

    model_config = ConfigDict(extra="forbid")

    confirmed: list[str] = Field(default=[], max_length=1000)
    old_host_off: bool = False


class LookedAt(BaseModel):
    """One key on record: alive, changed, dead or undecided."""

    key: str
    stage: str
    finding: str
    note: str


class Reconciled(BaseModel):
    """What was found. `missing` says what still stands in the way of a thaw."""

    well: bool
    keys: list[LookedAt]
    missing: list[str]


@router.post("/reconciliations")
async def reconcile(body: Asked, given: Given, _: Admin) -> Reconciled:
    """Ask every venue about every key on record; a thaw of what we closed by ourselves needs all of it well."""
    found = await run(
        given.service.reconciliation.look,
        lambda account, credential: _ask(given, account, credential),
        lambda account, keys: _survey(given, account, keys),
        confirmed=tuple(body.confirmed),
        old_host_off=body.old_host_off,
    )
    keys = [
        LookedAt(key=one.key, stage=one.stage, finding=one.finding.value, note=one.note) for one in found.keys
    ]
    return Reconciled(well=found.well, keys=keys, missing=list(found.missing))


def _ask(given: Context, name: str, credential: Credential) -> KeyFacts:
    account = given.service.accounts.get(name)
    return given.inspector.inspect(account, given.service.accounts.egress(account.egress), credential)


def _survey(given: Context, account: Account, keys: tuple[KeyVersion, ...]) -> tuple[str, ...]:
    managers = given.service.managers
    if account.manager is None or account.subaccount is None:
        raise TypeError("an account that nobody manages has no list")
    manager = managers.get(account.manager)
    egress = given.service.accounts.egress(manager.egress)
    listed = given.warden.listed(manager, egress, managers.credential(manager), account.subaccount)
    if listed is None:
        return (f"the exchange lists no sub-account {account.subaccount} under {manager.name} any more",)
    return given.warden.odd(keys, listed)
