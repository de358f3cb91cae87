"""Routes of cuts, halts and thaws.

A cut's answer says four things, honestly: its id, where it is durable, which gateways have it in force after how
long, and how many requests were on their way to the exchange by then and when the last of them was answered. It is
durable before gateways are asked; a silent gateway changes nothing about that.
"""

import asyncio
from typing import Any

from fastapi import APIRouter

from broker.api import schemas
from broker.api.access import Admin, Responder, Viewer
from broker.api.context import Context, Given, run, run_and_tell
from broker.api.once import OnceRoute
from broker.api.opening import opens
from broker.api.paging import Asked
from broker.api.ports import Flying
from broker.errors import BrokerError
from broker.gate import Mode
from broker.service.cuts import Cut, noted

router = APIRouter(route_class=OnceRoute, tags=["cuts"])

DURABLE = ["database"]
MIRROR = "secret store"
_MIRRORED_WITHIN_S = 1.0
_ANSWERED_WITHIN_S = 2.0
"""How long the answer waits for what had left before: it is in force, whoever cut must not wait for a slow venue."""


@router.post("/cuts", status_code=201)
async def make_cut(body: schemas.NewCut, given: Given, operator: Responder) -> schemas.MadeCut:
    """Close the gates of some scopes: `closed` lets nothing pass, `halt` reads, cancels and exits."""
    (cut, _), heard = await run_and_tell(
        given,
        given.service.cuts.close,
        targets=tuple(body.targets),
        mode=Mode(body.mode),
        reason=body.reason,
        actor=operator.name,
    )
    mirrored, flying = await asyncio.gather(
        _mirrored(given, cut), given.gateways.on_their_way(cut.id, _ANSWERED_WITHIN_S)
    )
    durable = [*([] if cut.doubt else DURABLE), *([MIRROR] if mirrored else [])]
    notes = [*_notes(cut, flying, mirrored=mirrored), *await _replaced(given, cut)]
    return schemas.MadeCut(
        **shown(cut),
        on_their_way=_said(flying),
        durable=durable,
        gateways=heard,
        notes=notes,
    )


@router.get("/cuts")
async def list_cuts(
    given: Given,
    asked: Asked,
    _: Viewer,
    *,
    open: bool = False,  # noqa: A002 - the word of the API
) -> schemas.Listed[schemas.Cut]:
    """List cuts, newest first; with `open` only those in force."""
    found = await run(given.service.cuts.list, open_only=open, after=asked.cursor, limit=asked.limit)
    return schemas.Listed(items=[schemas.Cut(**shown(one)) for one in found.items], next=found.next)


@router.get("/cuts/{cut}")
async def show_cut(cut: str, given: Given, _: Viewer) -> schemas.ShownCut:
    """Return one cut, and what was on its way to the exchange when it came in force."""
    found = await run(given.service.cuts.get, cut)
    return schemas.ShownCut(**shown(found), on_their_way=_said(await given.gateways.on_their_way(cut, 0)))


@router.post("/thaws", dependencies=[opens("cut.thaw")])
async def thaw(body: schemas.NewThaw, given: Given, operator: Admin) -> schemas.Thawed:
    """Undo one cut; what other cuts hold stays closed, and is named."""
    (cut, _), heard = await run_and_tell(
        given, given.service.cuts.thaw, body.cut, reason=body.reason, actor=operator.name
    )
    still = [schemas.Cut(**shown(one)) for one in await run(given.service.cuts.still_holding, cut)]
    return schemas.Thawed(cut=cut.id, targets=list(cut.scopes), gateways=heard, still_closed=still)


async def _mirrored(context: Context, cut: Cut) -> bool:
    """Write the cut down in the secret store, too; not for long, because it is in force without."""
    try:
        async with asyncio.timeout(_MIRRORED_WITHIN_S):
            await asyncio.wrap_future(context.service.mirror.note_soon(noted(cut)))
    except (TimeoutError, BrokerError):
        return False
    return True


def _said(flying: Flying | None) -> schemas.OnTheirWay | None:
    """Say what had left before the gate closed. That nothing had is said only where every gateway said so."""
    if flying is None or (flying.silent and not flying.requests):
        return None
    return schemas.OnTheirWay(
        requests=flying.requests, unanswered=flying.unanswered, last_answer_after_ms=flying.last_answer_ms
    )


async def _replaced(context: Context, cut: Cut) -> list[str]:
    """Say plainly that a cut of an old version stops nobody who uses the one that had replaced it."""
    try:
        found = await run(context.service.cuts.replaced, cut)
    except BrokerError:
        return []  # the cut is in force, and its answer must come
    return [
        f"{old} is not in use any more, {new} is: bots TRADE ON with it. This cut covers what replaces a key version "
        f"later, not what had replaced it before. To stop them too: portcullis cut --key {new} --reason WHY"
        for old, new in found
    ]


def _notes(cut: Cut, flying: Flying | None, *, mirrored: bool) -> list[str]:
    notes = []
    if flying is not None and flying.silent:
        names = " and ".join(flying.silent)
        notes.append(
            f"What had left for the exchange at gateway {names} is not known: it has not answered, or was gone just "
            "before the cut. Look at the exchange for orders of that moment."
        )
    if cut.doubt:
        notes.append(f"In force, but {cut.doubt}: cut again when the standby is back.")
    if not mirrored:
        notes.append(
            "The secret store does not answer: the cut is in force and in the database, its mirror is written as "
            "soon as the store is back (RB-03)."
        )
    if cut.mode is Mode.CLOSED:
        notes.append(
            "This stops what passes our gateways. Orders that rest at the exchange go on resting, and a real key "
            "that leaked works until it is deleted there."
        )
    return notes


def shown(cut: Cut) -> dict[str, Any]:
    """Return a cut's fields as they are answered."""
    return {
        "id": cut.id, "mode": cut.mode.value, "targets": list(cut.scopes), "reason": cut.reason,
        "operator": cut.actor, "opened_at": cut.opened_at, "thawed_at": cut.thawed_at,
        "thawed_by": cut.thawed_by, "thawed_why": cut.thawed_why,
    }  # fmt: skip
