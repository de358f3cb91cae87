"""The route of reconciling: is what the record says still so at the venues."""

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from broker.api.access import Admin
from broker.api.context import Context, Given, run
from broker.api.listing import listed
from broker.api.once import OnceRoute
from broker.model import Account, KeyVersion
from broker.service.reconcile_facts import Surveyed
from broker.service.reconcile_lists import surveyed
from clients.venue import Credential, KeyFacts

router = APIRouter(route_class=OnceRoute, tags=["reconcile"])


class Asked(BaseModel):
    """What an operator has looked up and declares."""

    model_config = ConfigDict(extra="forbid")

    confirmed: list[str] = Field(default=[], max_length=1000)
    deleted: list[str] = Field(default=[], max_length=1000)
    old_host_off: bool = False


class LookedAt(BaseModel):
    """One key on record: alive, changed, dead, undecided, or pending (not made yet)."""

    key: str
    stage: str
    finding: str
    note: str


class StepShown(BaseModel):
    """Something to do, with the commands for it. `blocks`: before it is done nothing is thawed."""

    what: str
    do: str
    commands: list[str]
    blocks: bool


class Reconciled(BaseModel):
    """What was found. `missing` says what still stands in the way of a thaw; `steps`, in order, what leads out.

    `waits` says what waits until then; it means nothing where all is well.
    """

    well: bool
    keys: list[LookedAt]
    missing: list[str]
    steps: list[StepShown]
    environment: str
    waits: str


@router.post("/reconciliations")
async def reconcile(body: Asked, given: Given, _: Admin) -> Reconciled:
    """Ask every venue about every key on record; a thaw of what we closed by ourselves needs all of it well."""
    found = await run(
        given.service.reconciliation.look,
        lambda account, credential: _ask(given, account, credential),
        lambda account, keys: _survey(given, account, keys),
        confirmed=tuple(body.confirmed),
        deleted=tuple(body.deleted),
        old_host_off=body.old_host_off,
    )
    keys = [
        LookedAt(key=one.key, stage=one.stage.value, finding=one.finding.value, note=one.note)
        for one in found.keys
    ]
    steps = [
        StepShown(what=one.what, do=one.do, commands=list(one.commands), blocks=blocks)
        for some, blocks in ((found.blocking, True), (found.opening, False), (found.held, False))
        for one in some
    ]
    return Reconciled(
        well=found.well, keys=keys, missing=list(found.missing), steps=steps,
        environment=given.service.desk.home.environment.value, waits=found.waits,
    )  # fmt: skip


def _ask(given: Context, name: str, credential: Credential) -> KeyFacts:
    account = given.service.accounts.get(name)
    return given.inspector.inspect(account, given.service.accounts.egress(account.egress), credential)


def _survey(given: Context, account: Account, keys: tuple[KeyVersion, ...]) -> Surveyed:
    if account.manager is None or account.subaccount is None:
        raise TypeError("an account that nobody manages has no list")
    return surveyed(account, keys, listed(given, account.manager, account.subaccount), given.warden.odd)
