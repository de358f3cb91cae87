"""Routes of rotations: what they do, and what operators ask of them.

Rules:
1. The broker writes an ask down; a rotator carries it out. An answer waits for that a few seconds, and says so where
   none took it: the ask stays, and is carried out later.
2. What cannot be done is a conflict with the rotator's reason; nothing was changed then.
"""

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, SecretStr, StringConstraints

from broker.api import schemas
from broker.api.access import Clerk, Viewer
from broker.api.context import Context, Given, read_back, run
from broker.api.destinations import DeliveryShown, delivery_shown
from broker.api.once import OnceRoute
from broker.api.paging import Asked, cut_out
from broker.db.asks import Ask
from broker.db.findings import Finding
from broker.deeds import Deed, No
from broker.errors import Conflict, NotFound, StoreUnavailable
from broker.model import KeyRef, moment
from broker.service.rotations import Rotation, Transition, Wish
from clients.secret import Secret
from clients.venue import Credential, KeyType, Slot

router = APIRouter(route_class=OnceRoute, tags=["rotations"])

_PATIENCE_S = 6.0
_SWEEP_S = 15.0
_LOOK_S = 0.05
_KeyId = Annotated[str, StringConstraints(max_length=128, pattern=r"^[\x21-\x7e]*$")]


class RotationShown(BaseModel):
    """One rotation. `todo` is what a person has to do now: null where nothing.

    `held`: it was open at a restore or a failover, and nobody carries it on before a person lets it; empty else.
    """

    id: str
    account: str
    slot: str
    state: str
    why: str
    old_version: int | None
    new_version: int
    reason: str
    runbook: str
    paused: bool
    created_at: datetime
    entered_at: datetime
    due_at: datetime
    ended_at: datetime | None
    todo: dict[str, Any] | None
    held: str = ""


class TransitionShown(BaseModel):
    """One line of a rotation's history."""

    at: datetime
    event: str
    was: str
    state: str
    effect: str
    note: str


class AskShown(BaseModel):
    """What an operator asked; `outcome` null: not carried out yet, empty: done."""

    id: str
    what: str
    operator: str
    at: datetime
    outcome: str | None


class RotationWhole(RotationShown):
    """A rotation with its history. `beside`: what else is open of this account, to be done in the same sitting."""

    beside: list[RotationShown]
    history: list[TransitionShown]
    deliveries: list[DeliveryShown]
    asks: list[AskShown]


class FindingShown(BaseModel):
    """A key that is not as it is on record: unknown, orphan, undead, missing, replaced, permissions, addresses."""

    id: str
    account: str
    key_id: str
    what: str
    key: str | None
    says: str
    first_at: datetime | None
    last_at: datetime | None


class NewRotation(schemas.Input):
    """A rotation to start now. `hmac`: where a person makes the key, one whose secret the exchange makes."""

    account: schemas.Name
    slot: Slot = Slot.TRADE
    hmac: bool = False


class Resumed(schemas.Input):
    """How a stalled or paused rotation goes on. `key_id` answers whether a key was made: its id, or empty for none."""

    key_id: _KeyId | None = None
    discard: bool = False
    onward: bool = False
    leave: bool = False


class RolledBack(schemas.Input):
    """Why the old key is wanted back."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Dropped(schemas.Input):
    """Why a rotation that a restore found open is not carried on."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Answer(schemas.Input):
    """What a person did at the exchange: the new key's id, and its secret where the exchange made it; or `deleted`."""

    key_id: _KeyId = ""
    secret: Annotated[SecretStr | None, Field(max_length=8 * 1024)] = None
    deleted: bool = False


class Waiver(schemas.Input):
    """A destination that is not waited for, and why."""

    destination: schemas.Name
    reason: Annotated[str, StringConstraints(min_length=1, max_length=200)]


@router.get("/rotations")
async def list_rotations(
    given: Given,
    asked: Asked,
    _: Viewer,
    account: Annotated[str | None, Query(max_length=64)] = None,
    only_open: Annotated[bool, Query(alias="open")] = False,
) -> schemas.Listed[RotationShown]:
    """List rotations, newest first."""
    found = await run(
        given.service.rotations.list,
        after=asked.cursor,
        limit=asked.limit,
        account=account,
        only_open=only_open,
    )
    return schemas.Listed(items=[RotationShown(**_shown(one)) for one in found.items], next=found.next)


@router.get("/rotations/{rotation}")
async def show_rotation(rotation: str, given: Given, _: Viewer) -> RotationWhole:
    """Return one with its history."""
    return await run(_whole, given, rotation)


@router.post("/rotations", status_code=201)
async def start_rotation(body: NewRotation, given: Given, _: Clerk) -> RotationWhole:
    """Rotate an account's slot now."""
    await run(given.service.accounts.get, body.account)
    ask = await run(given.service.rotations.start, body.account, body.slot, hmac=body.hmac)
    return await _carried_out(given, ask)


@router.post("/rotations/{rotation}/pause")
async def pause_rotation(rotation: str, given: Given, _: Clerk) -> RotationWhole:
    """Let it stand still, where it may."""
    return await _asked(given, rotation, Wish.PAUSE, {})


@router.post("/rotations/{rotation}/resume")
async def resume_rotation(rotation: str, body: Resumed, given: Given, _: Clerk) -> RotationWhole:
    """Let it go on, with a fresh budget."""
    return await _asked(given, rotation, Wish.RESUME, body.model_dump(exclude_none=True))


@router.post("/rotations/{rotation}/rollback")
async def roll_back_rotation(rotation: str, body: RolledBack, given: Given, _: Clerk) -> RotationWhole:
    """Give the new key up: before it is made, or by taking the old one back, which lives until the drain is over."""
    return await _asked(given, rotation, Wish.ROLL_BACK, {"reason": body.reason})


@router.post("/rotations/{rotation}/drop")
async def drop_rotation(rotation: str, body: Dropped, given: Given, _: Clerk) -> RotationWhole:
    """End one that is held since a restore or a failover on record alone: nothing is asked of the exchange."""
    return await _asked(given, rotation, Wish.DROP, {"reason": body.reason})


@router.post("/rotations/{rotation}/answer")
async def answer_rotation(rotation: str, body: Answer, given: Given, _: Clerk) -> RotationWhole:
    """Say what was done at the exchange's own pages.

    A secret that is given comes with the id of its key. The exchange is asked with both, before either is on record:
    whoever swaps them types the secret where an id belongs.
    """
    if body.deleted is bool(body.key_id):
        raise Conflict("bad_answer", "say either the new key's id, or that the old key is deleted")
    secret = None if body.secret is None else Secret(body.secret.get_secret_value())
    told = {"deleted": True} if body.deleted else {"key_id": body.key_id}
    if secret is not None and body.key_id:
        await run(_inspect, given, rotation, Credential(body.key_id, secret, KeyType.HMAC))
    return await _asked(given, rotation, Wish.ANSWER, told, secret)


@router.post("/rotations/{rotation}/waive")
async def waive_destination(rotation: str, body: Waiver, given: Given, _: Clerk) -> RotationWhole:
    """Do not wait for a destination any more: what it holds stops working."""
    return await _asked(given, rotation, Wish.WAIVE, body.model_dump())


@router.get("/findings")
async def list_findings(given: Given, asked: Asked, _: Viewer) -> schemas.Listed[FindingShown]:
    """List what the exchanges list otherwise than the record has it."""
    return _findings(await run(given.service.rotations.findings), asked)


def _findings(every: Iterable[Finding], asked: Asked) -> schemas.Listed[FindingShown]:
    rows = [
        FindingShown(
            id=f"{one.account}/{one.key_id}/{one.what}", account=one.account, key_id=one.key_id, what=one.what,
            key=one.ref, says=one.says, first_at=one.first_at, last_at=one.last_at,
        )
        for one in every
    ]  # fmt: skip
    found = cut_out(sorted(rows, key=lambda row: row.id), asked, lambda row: row.id)
    return schemas.Listed(items=list(found.items), next=found.next)


@router.post("/sweeps")
async def sweep(given: Given, asked: Asked, _: Clerk) -> schemas.Listed[FindingShown]:
    """Compare what the exchanges list with the record, now."""
    await outcome_of(given, await run(given.service.rotations.sweep), _SWEEP_S)
    return _findings(await read_back(given.service.rotations.findings), asked)


@router.post("/keys/{account}/{slot}/{version}/retire")
async def retire_key(account: str, slot: Slot, version: int, given: Given, _: Clerk) -> RotationWhole:
    """Delete a key version that was replaced and still lives, and prove it dead."""
    return await _carried_out(
        given, await run(given.service.rotations.retire, KeyRef(account, slot, version))
    )


def _inspect(given: Context, rotation: str, credential: Credential) -> None:
    """Ask the exchange whether it knows a key, by the account's own way out.

    Raises:
        VenueError: It does not, or does not answer; nothing was kept.
    """
    account = given.service.accounts.get(given.service.rotations.get(rotation).account)
    given.inspector.inspect(account, given.service.accounts.egress(account.egress), credential)


async def _asked(
    given: Context, rotation: str, wish: Wish, body: Mapping[str, object], secret: Secret | None = None
) -> RotationWhole:
    return await _carried_out(
        given, await run(given.service.rotations.ask, rotation, wish, body, secret=secret)
    )


async def _carried_out(given: Context, ask: Ask) -> RotationWhole:
    """Wait for a rotator to carry an ask out, and return the rotation as it is then."""
    await outcome_of(given, ask, _PATIENCE_S)
    try:
        return await read_back(_whole, given, ask.rotation)
    except NotFound:
        raise Conflict("not_planned", "the rotator planned nothing") from None


async def _in_the_way(given: Context) -> No | None:
    """Tell why what was asked for waits, where that is known."""
    try:
        return await run(given.service.desk.guard.allows, Deed.ASKED)
    except StoreUnavailable:  # it is asked for all the same
        return None


async def outcome_of(given: Context, ask: Ask, patience_s: float) -> None:
    """Wait for a rotator to carry an ask out.

    Raises:
        Conflict: It said no.
        StoreUnavailable: None did it in time.
    """
    loop = asyncio.get_running_loop()
    until, unread = loop.time() + patience_s, False
    while ask.outcome is None and loop.time() < until:
        await asyncio.sleep(_LOOK_S)
        try:
            ask, unread = await run(given.service.rotations.outcome, ask.id), False
        except (StoreUnavailable, RuntimeError):  # it is asked for; the last: no thread can be had to look
            unread = True
    if ask.outcome is None:
        no = None if unread else await _in_the_way(given)
        if no is not None:  # why it waits is known: nobody has to look for it
            raise StoreUnavailable(
                "not_yet",
                f"{no.message}. It is on record as {ask.rotation or ask.id}, and is carried out once that is over"
                f"{': RB-03' if no.reason == 'guard_away' else ''}",
            )
        raise StoreUnavailable(
            "not_yet",
            f"{'whether a rotator has done this cannot be read' if unread else 'no rotator has done this yet'}; it is "
            f"on record as {ask.rotation or ask.id}, and carried out once one does. Look whether one runs: portcullis "
            "status",
        )
    if ask.outcome:
        reason, _, message = ask.outcome.partition(": ")
        raise Conflict(reason, message or ask.outcome)


def _whole(given: Context, rotation: str) -> RotationWhole:
    rotations = given.service.rotations
    found = rotations.get(rotation)
    every = rotations.list(account=found.account, only_open=True).items
    return RotationWhole(
        **_shown(found),
        beside=[RotationShown(**_shown(one)) for one in every if one.id != rotation],
        history=[_line(one) for one in rotations.history(rotation)],
        deliveries=[delivery_shown(one) for one in given.service.destinations.deliveries(rotation)],
        asks=[
            AskShown(
                id=one.id,
                what=one.what,
                operator=one.operator,
                at=moment(one.created_us),
                outcome=one.outcome,
            )
            for one in rotations.asked(rotation)
        ],
    )


def _shown(one: Rotation) -> dict[str, Any]:
    return {
        "id": one.id, "account": one.account, "slot": one.slot.value, "state": one.state, "why": one.why,
        "old_version": one.old_version, "new_version": one.new_version, "reason": one.reason,
        "runbook": one.runbook, "paused": one.paused, "created_at": one.created_at, "entered_at": one.entered_at,
        "due_at": one.due_at, "ended_at": one.ended_at, "todo": dict(one.todo) or None,
        "held": one.held,
    }  # fmt: skip


def _line(one: Transition) -> TransitionShown:
    return TransitionShown(
        at=one.at, event=one.event, was=one.was, state=one.state, effect=one.effect, note=one.note
    )
