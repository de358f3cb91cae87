"""Routes of consumers, grants and policies. A virtual secret is in one answer: that of create or reissue."""

from typing import Any

from fastapi import APIRouter, Request

from broker import model, policy_document
from broker.api import policy_words, schemas
from broker.api.access import Admin, Clerk, Responder, Viewer
from broker.api.context import Context, Given, read_back, run, run_and_tell
from broker.api.free_text import removed
from broker.api.once import OnceRoute, changes_nothing
from broker.api.opening import opens, parsed
from broker.api.paging import Asked
from broker.errors import Malformed, Problem, StoreUnavailable
from broker.service.grants import Issued, only_widens
from broker.service.using import Spared

router = APIRouter(route_class=OnceRoute)


@router.post("/consumers", status_code=201, tags=["consumers"])
async def create_consumer(body: schemas.NewConsumer, given: Given, _: Clerk) -> schemas.Consumer:
    """Name a bot or a tool; it may do nothing until it has a grant."""
    return _consumer(await run(given.service.grants.create_consumer, body.name, body.note))


@router.get("/consumers", tags=["consumers"])
async def list_consumers(given: Given, asked: Asked, _: Viewer) -> schemas.Listed[schemas.Consumer]:
    """List consumers by name."""
    found = await run(given.service.grants.consumers, after=asked.cursor, limit=asked.limit)
    return schemas.Listed(items=[_consumer(one) for one in found.items], next=found.next)


@router.get("/consumers/{name}", tags=["consumers"])
async def show_consumer(name: str, given: Given, _: Viewer) -> schemas.Consumer:
    """Return one consumer."""
    return _consumer(await run(given.service.grants.consumer, name))


@router.post("/grants", status_code=201, tags=["grants"], dependencies=[opens("grant.create")])
async def create_grant(body: schemas.NewGrant, given: Given, _: Admin) -> schemas.Issued:
    """Let a consumer trade on an account within a policy. The secret is in this answer and no other."""
    made, heard = await run_and_tell(
        given,
        given.service.grants.create,
        consumer=body.consumer,
        account=body.account,
        policy=body.policy,
        like=body.like,
        public_key=body.public_key,
    )
    return _issued(made, heard)


@router.get("/grants", tags=["grants"])
async def list_grants(
    given: Given, asked: Asked, _: Viewer, consumer: str | None = None, account: str | None = None
) -> schemas.Listed[schemas.Grant]:
    """List grants by id, revoked ones included."""
    grants = given.service.grants
    found = await run(grants.list, consumer=consumer, account=account, after=asked.cursor, limit=asked.limit)
    return schemas.Listed(items=[schemas.Grant(**_grant(one)) for one in found.items], next=found.next)


@router.get("/grants/{grant}", tags=["grants"])
async def show_grant(grant: str, given: Given, _: Viewer) -> schemas.Grant:
    """Return one grant."""
    return schemas.Grant(**_grant(await run(given.service.grants.get, grant)))


@router.post("/grants/{grant}/revoke", tags=["grants"])
async def revoke(grant: str, body: schemas.Why, given: Given, _: Responder) -> schemas.ChangedGrant:
    """End a grant for good."""
    done, heard = await run_and_tell(given, given.service.grants.revoke, grant, body.reason)
    return schemas.ChangedGrant(**_grant(done), gateways=heard, warnings=removed(body.reason))


@router.post("/grants/{grant}/reissue", tags=["grants"], dependencies=[opens("grant.reissue")])
async def reissue(grant: str, given: Given, _: Admin, body: schemas.Reissue | None = None) -> schemas.Issued:
    """Give a grant a fresh virtual key; the old one is refused from now on."""
    public_key = None if body is None else body.public_key
    made, heard = await run_and_tell(given, given.service.grants.reissue, grant, public_key)
    return _issued(made, heard)


async def _permits_more(context: Context, request: Request) -> bool | Spared:
    """Tell whether a policy permits anything that the one in force does not. In doubt it does."""
    body = parsed(schemas.NewPolicy, await request.body())
    known = await run(context.service.grants.get, request.path_params["grant"])
    wanted = await run(policy_document.load, body.policy)
    if not only_widens(wanted, await run(policy_document.load, known.policy)):
        return True
    return Spared(known.policy_version)


@router.put(
    "/grants/{grant}/policy", tags=["grants"], dependencies=[opens("grant.policy", when=_permits_more)]
)
async def set_policy(grant: str, body: schemas.NewPolicy, given: Given, _: Admin) -> schemas.ChangedGrant:
    """Put another policy in force."""
    done, heard = await run_and_tell(given, given.service.grants.set_policy, grant, body.policy)
    try:
        warnings = await read_back(given.service.grants.warnings, done)
    except StoreUnavailable:
        warnings = ("In force, but what it is at odds with beside it could not be looked up.",)
    return schemas.ChangedGrant(**_grant(done), gateways=heard, warnings=list(warnings))


@router.post("/policies/check", tags=["policies"])
@changes_nothing
async def check_policy(body: schemas.NewPolicy, _: Viewer) -> schemas.CheckedPolicy:
    """Say whether a policy can be used, and what it means; changes nothing."""
    policy = await run(policy_document.load, body.policy)
    return schemas.CheckedPolicy(meaning=policy_words.meaning(policy), normalised=policy.text)


@router.post("/policies/diff", tags=["policies"])
@changes_nothing
async def diff_policies(body: schemas.Comparison, given: Given, _: Viewer) -> schemas.PolicyDifference:
    """Say what a new policy would change; changes nothing."""
    if (body.old is None) == (body.grant is None):
        message = "give the old policy's text, or the grant whose policy it is, one of them"
        raise Malformed("malformed", (Problem("old", message),))
    old_text = body.old
    if body.grant is not None:
        old_text = (await run(given.service.grants.get, body.grant)).policy
    old, new = await run(policy_document.load, old_text or ""), await run(policy_document.load, body.new)
    changes = [
        schemas.PolicyChange(field=field, old=before, new=after, effect=effect)
        for field, before, after, effect in policy_words.differences(old, new)
    ]
    return schemas.PolicyDifference(changes=changes, only_widens=only_widens(old, new))


def _consumer(one: model.Consumer) -> schemas.Consumer:
    return schemas.Consumer(name=one.name, note=one.note, created_at=one.created_at)


def _grant(one: model.Grant) -> dict[str, Any]:
    return {
        "id": one.id, "consumer": one.consumer, "account": one.account, "key_id": one.key_id,
        "key_type": one.key_type.value, "public_key": one.public_key, "policy": one.policy,
        "policy_version": one.policy_version, "created_at": one.created_at, "revoked_at": one.revoked_at,
    }  # fmt: skip


def _issued(made: Issued, heard: schemas.Heard) -> schemas.Issued:
    secret = None if made.secret is None else made.secret.reveal()
    return schemas.Issued(**_grant(made.grant), gateways=heard, secret=secret, warnings=list(made.warnings))
