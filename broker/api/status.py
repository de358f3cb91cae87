"""Routes that tell how everything fares, and in particular what is not safe."""

from dataclasses import asdict
from datetime import datetime
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from broker import policy_document
from broker.api import schemas
from broker.api.access import Viewer
from broker.api.context import Context, Given, run
from broker.api.cuts import shown
from broker.api.once import OnceRoute
from broker.api.wrong import WrongShown, wrong_shown
from broker.gate import Mode, strictest
from broker.model import EVERYTHING, Account, Grant
from broker.service.cuts import Cut


class GatewayState(BaseModel):
    """A connected gateway. Added latency in microseconds; null where nothing was measured.

    `silent_s`: for how long it has said nothing at all.
    """

    name: str
    pid: int
    leases: int
    requests: int
    refused: int
    in_flight: int
    added_p50_us: int | None
    added_p99_us: int | None
    spool_lines: int
    resident_bytes: int
    silent_s: int


GateMode = Literal["open", "halt", "closed"]


class SharedUse(BaseModel):
    """What all grants of an account or a consumer used of the limit that a policy of one of them sets.

    Where they count in different assets nothing can be compared: then all of it is used.
    """

    scope: Literal["account", "consumer"]
    name: str
    day_used: str
    day_max: str
    asset: str


class GrantUse(BaseModel):
    """A standing grant and what it used of its rolling day, in its reference asset.

    `shared`: the limits of its account and consumer, which bind it too; under `observe` what they would refuse is only
    written down, as its own.
    """

    grant: str
    consumer: str
    account: str
    mode: GateMode
    policy_mode: str
    day_used: str
    day_max: str | None
    asset: str
    shared: list[SharedUse]


class Unsafe(BaseModel):
    """Something that is not as safe as it could be, and what to do."""

    what: str
    step: str


class Announced(BaseModel):
    """Something that opens, announced and not done. `ready_at` null: a second person is awaited."""

    act: str
    operator: str
    action: str
    subject: str
    ready_at: datetime | None


class Status(BaseModel):
    """How everything fares. `wrong` is everything that is wrong, `unsafe` the part of it that is not safe."""

    environment: Literal["paper", "testnet", "live"]
    mode: str
    generation: int
    accounts: int
    gateways: list[GatewayState]
    grants: list[GrantUse]
    cuts: list[schemas.Cut]
    announced: list[Announced]
    unsafe: list[Unsafe]
    wrong: list[WrongShown]


class Health(BaseModel):
    """Whether the broker answers."""

    status: Literal["ok"]


router = APIRouter(route_class=OnceRoute, tags=["status"])
open_router = APIRouter(tags=["status"])

_MOST = 200


@open_router.get("/health")
async def health() -> Health:
    """Say that the broker answers. Needs no token, tells nothing else."""
    return Health(status="ok")


@router.get("/status")
async def status(given: Given, _: Viewer) -> Status:
    """Tell how everything fares."""
    return await run(_status, given)


def _status(context: Context) -> Status:
    service = context.service
    found = wrong_shown(context)
    accounts = {one.name: one for one in service.accounts.list(limit=_MOST).items}
    cuts = service.cuts.list(open_only=True, limit=_MOST).items
    grants = [one for one in service.grants.list(limit=_MOST).items if one.revoked_at is None]
    home = service.desk.home
    return Status(
        environment=home.environment.value,
        mode=home.mode,
        generation=home.generation,
        accounts=len(accounts),
        gateways=[GatewayState(**asdict(one)) for one in context.gateways.connected()],
        grants=[_use(context, one, accounts.get(one.account), cuts) for one in grants],
        cuts=[schemas.Cut(**shown(one)) for one in cuts],
        announced=[
            Announced(
                act=one.id,
                operator=one.operator,
                action=one.action,
                subject=one.subject,
                ready_at=one.ready_at,
            )
            for one in service.openings.list()
        ],
        unsafe=[Unsafe(what=one.what, step=one.step) for one in found if one.kind in _UNSAFE],
        wrong=found,
    )


def _use(context: Context, grant: Grant, account: Account | None, cuts: tuple[Cut, ...]) -> GrantUse:
    policy = policy_document.load(grant.policy)
    chain = {EVERYTHING, f"account:{grant.account}", f"consumer:{grant.consumer}", f"grant:{grant.id}"}
    if account is not None:
        chain.add(f"venue:{account.venue}")
    mode = strictest(cut.mode for cut in cuts if chain & set(cut.scopes))
    return GrantUse(
        grant=grant.id,
        consumer=grant.consumer,
        account=grant.account,
        mode=_MODES[mode],
        policy_mode=policy.mode.value,
        day_used=f"{context.service.calls.used(grant.id):f}",
        day_max=None if policy.day_max is None else f"{policy.day_max:f}",
        asset=policy.reference_asset,
        shared=[
            SharedUse(
                scope="consumer" if limit.account is None else "account",
                name=limit.account or limit.consumer or "",
                day_used=f"{taken:f}",
                day_max=f"{limit.amount:f}",
                asset=limit.asset,
            )
            for limit, taken in context.service.calls.shared_limits(grant)
        ],
    )


_UNSAFE = frozenset({"unsafe", "withdraws", "any-address", "no-codes", "no-admin"})
_MODES: dict[Mode, GateMode] = {Mode.OPEN: "open", Mode.HALT: "halt", Mode.CLOSED: "closed"}
