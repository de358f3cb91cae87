"""Routes of cuts, halts and thaws.

A cut's answer says four things, honestly: its id, where it is durable, which gateways have it in force after how
long, and how many requests were on their way to the exchange by then and when the last of them was answered. It is in
force before anything else is done (`broker.service.closing`), so the answer waits for record and gateways side by side,
for a bounded time, and says what it did not see. Nothing that fails after that makes it a failure (no thread, no file
can be had for a look): only that it names what does not exist, for then it is taken back.
"""

import asyncio
import logging
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from fastapi import APIRouter

from broker.api import schemas
from broker.api.access import Admin, Responder, Viewer
from broker.api.context import Context, Given, heard_by, read_back, run, run_and_tell
from broker.api.free_text import removed
from broker.api.once import OnceRoute
from broker.api.opening import opens
from broker.api.paging import Asked
from broker.api.ports import Acknowledged, Flying
from broker.background import described
from broker.errors import BrokerError, NotFound, StoreUnavailable
from broker.gate import Mode
from broker.model import ScopeKind
from broker.service.cuts import COMMITTED_WITHIN_S, MIRROR_AFTER_S, Cut
from broker.service.making import Made

router = APIRouter(route_class=OnceRoute, tags=["cuts"])

_LOG = logging.getLogger("portcullis.api")
DATABASE, MIRROR = "database", "secret store"
ANSWERED_WITHIN_S = COMMITTED_WITHIN_S
"""How long the answer waits for the record, for gateways and for what had left before: it is in force meanwhile."""

_MIRRORED_WITHIN_S = 1.0
_LOOKED_WITHIN_S = 0.5
_REPLACED_UNSEEN = (
    "Whether another key version is in use by now could not be looked up: bots that use one which had replaced this "
    "before TRADE ON with it. See which are in use: portcullis key list"
)


@router.post("/cuts", status_code=201)
async def make_cut(body: schemas.NewCut, given: Given, operator: Responder) -> schemas.MadeCut:
    """Close the gates of some scopes: `closed` lets nothing pass, `halt` reads, cancels and exits."""
    made = given.service.cuts.closing.begin(
        targets=tuple(body.targets), mode=Mode(body.mode), reason=body.reason, actor=operator.name
    )
    until_s = asyncio.get_running_loop().time() + ANSWERED_WITHIN_S
    await settled(made, MIRROR_AFTER_S)  # usually a few milliseconds; gateways acknowledge meanwhile
    mirrored, (heard, flying), _ = await asyncio.gather(
        _mirrored(given, made), _heard(given, made, until_s), _settled_by(made, until_s)
    )
    cut = await _as_made(given, made)
    closing = given.service.cuts.closing
    kept, left = mirrored or closing.is_kept(cut.id), closing.is_left(cut.id)
    notes = [
        *removed(body.reason),
        *_notes(cut, heard, flying, mirrored=mirrored, kept=kept, left=left),
        *await _replaced(given, cut),
    ]
    durable = [
        *([DATABASE] if cut.on_record and not cut.doubt else []),
        *([MIRROR] if mirrored else []),
    ]
    return schemas.MadeCut(
        **shown(cut),
        on_their_way=_said(flying),
        durable=durable,
        in_force_at=list(heard.names),
        gateways=heard_by(heard),
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
    flying = await given.gateways.on_their_way(cut, 0)
    return schemas.ShownCut(**shown(found), on_their_way=_said(flying), notes=_silent(flying))


@router.post("/thaws", dependencies=[opens("cut.thaw")])
async def thaw(body: schemas.NewThaw, given: Given, operator: Admin) -> schemas.Thawed:
    """Undo one cut; what other cuts hold stays closed, and is named."""
    (cut, _), heard = await run_and_tell(
        given, given.service.cuts.thaw, body.cut, reason=body.reason, actor=operator.name
    )
    still: list[schemas.Cut] = []
    notes = [f"Open, but {cut.doubt}; the cut would hold again then: thaw it again."] if cut.doubt else []
    try:
        still += [schemas.Cut(**shown(one)) for one in await read_back(given.service.cuts.still_holding, cut)]
    except StoreUnavailable:
        notes.append(
            "Whether other cuts still hold these bots could not be looked up; to see them all: portcullis cuts"
        )
    if not cut.on_record:
        notes.append(
            "Open, and written down in the secret store, but the database has not taken it yet. If this broker ends "
            "before it does, the cut may hold again: look with portcullis cuts, and thaw it again."
        )
    return schemas.Thawed(
        cut=cut.id, targets=list(cut.scopes), gateways=heard, still_closed=still, notes=notes
    )


async def settled(made: Made, within_s: float) -> bool:
    """Wait until a cut is on record, not for long; tell whether that is known now.

    Raises:
        NotFound: It names what does not exist, and was taken back.
    """
    return await _ends(made.settled, within_s)


async def _ends(work: "Future[Any]", within_s: float) -> bool:
    """Wait for what goes on however long it takes; tell whether it has ended, or raise what it did."""
    known = asyncio.wrap_future(work)
    known.add_done_callback(
        lambda one: one.cancelled() or one.exception()
    )  # it may come when nobody waits any more
    await asyncio.wait({known}, timeout=within_s)
    if not known.done() or known.cancelled():
        return False
    known.result()
    return True


async def _settled_by(made: Made, until_s: float) -> None:
    """Wait for the record no longer than that; one that was taken back meanwhile is seen by who looks next."""
    with suppress(NotFound):
        await settled(made, max(0.0, until_s - asyncio.get_running_loop().time()))


async def _mirrored(context: Context, made: Made) -> bool:
    """Write a cut down in the secret store, once it is on record or that takes long; it is in force without."""
    try:
        return await _ends(context.service.cuts.closing.note(made), _MIRRORED_WITHIN_S)
    except Exception as fault:  # noqa: BLE001 - the cut is in force, and its answer must come
        if not isinstance(fault, BrokerError):
            _LOG.error("a cut could not be written down in the secret store: %s", described(fault))
        return False


async def _heard(context: Context, made: Made, until_s: float) -> tuple[Acknowledged, Flying | None]:
    """Wait for gateways, and for the answers to what they had sent; those that are silent wait for nobody twice."""
    clock = asyncio.get_running_loop().time
    heard = await context.gateways.acknowledged((made.change,), max(0.0, until_s - clock()))
    flying = await context.gateways.on_their_way(made.noted.id, max(0.0, until_s - clock()))
    return heard, flying


async def _as_made(context: Context, made: Made) -> Cut:
    """Return the cut as it is to be answered. Where the database does not even say what exists, it is not checked."""
    cuts = context.service.cuts
    if made.settled.done():
        return cuts.made(made)
    try:
        async with asyncio.timeout(_LOOKED_WITHIN_S):
            return await run(cuts.made, made)
    except NotFound:
        raise
    except Exception as fault:  # noqa: BLE001 - the cut is in force, and its answer must come
        _unseen("whether what a cut names exists", fault)
        return cuts.unchecked(made)


def _said(flying: Flying | None) -> schemas.OnTheirWay | None:
    """Say what had left before the gate closed. That nothing had is said only where every gateway said so."""
    if flying is None or (flying.silent and not flying.requests):
        return None
    return schemas.OnTheirWay(
        requests=flying.requests, unanswered=flying.unanswered, last_answer_after_ms=flying.last_answer_ms
    )


async def _replaced(context: Context, cut: Cut) -> list[str]:
    """Say plainly that a cut of an old version stops nobody who uses the one that had replaced it."""
    if not any(name.startswith(f"{ScopeKind.KEY_VERSION.value}:") for name in cut.scopes):
        return []
    try:
        async with asyncio.timeout(_LOOKED_WITHIN_S):
            found = await run(context.service.cuts.replaced, cut)
    except Exception as fault:  # noqa: BLE001 - the cut is in force, and its answer must come
        _unseen("what had replaced the key versions of a cut", fault)
        return [_REPLACED_UNSEEN]
    return [
        f"{old} is not in use any more, {new} is: bots TRADE ON with it. This cut covers what replaces a key version "
        f"later, not what had replaced it before. To stop them too: portcullis cut --key {new} --reason WHY"
        for old, new in found
    ]


def _unseen(what: str, fault: Exception) -> None:
    """Log what could not be looked up beside a cut, where that is not said by a store that is away."""
    if not isinstance(fault, (BrokerError, TimeoutError)):
        _LOG.error("%s could not be looked up: %s", what, described(fault))


def _notes(
    cut: Cut, heard: Acknowledged, flying: Flying | None, *, mirrored: bool, kept: bool, left: bool
) -> list[str]:
    notes = [] if cut.on_record else _not_on_record(cut, heard, mirrored=mirrored, kept=kept, left=left)
    notes += _silent(flying)
    if cut.doubt:
        notes.append(f"In force, but {cut.doubt}: cut again when the standby is back.")
    if cut.on_record and not mirrored:
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


def _not_on_record(cut: Cut, heard: Acknowledged, *, mirrored: bool, kept: bool, left: bool) -> list[str]:
    """Say what holds while the database does not take a cut, what would end it, and what to do."""
    where = (
        f"in this broker and {'the secret store' if mirrored else 'a file of its home'}: a restart finds it there"
        if kept
        else "in this broker's memory ALONE: a crash forgets it and bots trade again"
    )
    there = " and ".join(heard.names) or "no gateway, because none acknowledged it"
    first = (
        f"In force at {there}, and NOT in the database yet, which takes no writes or is slow. It is held {where}. The "
        "broker goes on trying: do not end it, and see with portcullis status that this cut is on record. If it is not "
        "within a minute, mend the database (RB-11). "
        "Gateways of other brokers hear of it only then."
    )
    notes = [first]
    if not left:
        notes.append(
            "It could not be written down in the home: the rotator, a process of its own, does not know of it before "
            "it is on record, and may bring a key to a destination. Look at the disk of the home."
        )
    if not cut.is_checked:
        notes.append(
            f"Whether {', '.join(cut.scopes)} exists could not be looked up: make sure that the name is right, a cut "
            "of a wrong one stops nobody."
        )
    return notes


def _silent(flying: Flying | None) -> list[str]:
    """Say of which gateways it is not known what had left."""
    if flying is None or not flying.silent:
        return []
    said = (
        f"What had left for the exchange at gateway {' and '.join(flying.silent)} is not known, and not counted: it "
        "has not answered, or was gone just before the cut. Look at the exchange for orders of that moment."
    )
    return [said]


def shown(cut: Cut) -> dict[str, Any]:
    """Return a cut's fields as they are answered."""
    return {
        "id": cut.id, "mode": cut.mode.value, "targets": list(cut.scopes), "reason": cut.reason,
        "operator": cut.actor, "opened_at": cut.opened_at, "thawed_at": cut.thawed_at,
        "thawed_by": cut.thawed_by, "thawed_why": cut.thawed_why, "on_record": cut.on_record,
    }  # fmt: skip
