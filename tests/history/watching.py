"""Watches a broker and its gateways in this process from outside, and the exchange; makes a history of it.

What leaves is stamped where its bytes are handed to a connection, whatever the gateway thinks of the time; what is in
force where somebody is told so.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from broker.authority import LeaseAuthority
from broker.errors import Malformed, NotFound, StoreUnavailable
from broker.gate import Mode
from broker.gate_document import NotedCut
from broker.gateway.job import Job
from broker.gateway.send import Sender
from broker.service import Service
from clients.paper.exchange import PaperExchange
from tests.history.events import History, InForce, Reopened, Written
from tests.history.record import HARMLESS, of_exchange, of_record

_BEGAN_NS = time.time_ns() - time.monotonic_ns()
_SAME_CLOCK_US = 1_000_000


def now_us() -> int:
    """Return the time of day, by a clock that only goes forward."""
    return (_BEGAN_NS + time.monotonic_ns()) // 1000


@dataclass(eq=False)
class _World:
    """One of those of this process that are watched side by side: names of keys are the same in each, grants are not."""

    history: History
    service: Service
    grants: dict[str, bool] = field(default_factory=dict)

    def has(self, grant: str) -> bool:
        if grant not in self.grants:
            self.grants[grant] = grant in {one.id for one in self.service.grants.list().items}
        return self.grants[grant]


_WATCHED: list[_World] = []
_SENT: list[Any] = [Sender._write]
"""How requests are sent, while the first world is watched."""


@contextmanager
def watching(service: Service, authority: LeaseAuthority) -> Iterator[History]:
    """Watch until the end; keys and versions are read by `look`."""
    world = _World(history := History(), service)
    closing = service.cuts.closing
    was = closing.begin, service.cuts.thaw, authority.changes.acknowledged, closing.look
    cuts: dict[int, NotedCut] = {}

    def begin(**more: Any) -> Any:
        made = was[0](**more)
        cuts[made.change.number] = made.noted
        made.settled.add_done_callback(lambda _: made.refused and taken_back(made.noted.id))
        return made

    def look(made: Any) -> None:
        try:
            was[3](made)
        except (NotFound, Malformed):
            taken_back(made.noted.id)
            raise

    def taken_back(cut: str) -> None:
        """It named what does not exist: nobody was told that it is in force."""
        history.reopened.append(Reopened(0, cut))

    def thaw(cut: str, **more: Any) -> Any:
        history.reopened.append(Reopened(now_us(), cut))
        return was[1](cut, **more)

    async def acknowledged(change: Any, seconds: float) -> Any:
        told, late = await was[2](change, seconds)
        noted = cuts.get(change.number) or change.closing
        if noted is not None and told and not late:
            halt = noted.mode is not Mode.CLOSED
            history.in_force.append(InForce(now_us(), noted.id, frozenset(noted.scopes), halt))
        if (known := change.known) is not None and told and not late:
            scopes = frozenset({f"grant:{known.id}"})
            if known.revoked_at is not None:
                history.in_force.append(InForce(now_us(), f"(the end of {known.id})", scopes, halt=False))
            elif change.void:
                name = f"(the reissue of {known.id})"
                history.in_force.append(InForce(now_us(), name, scopes, halt=False, but=known.key_id))
        return told, late

    _WATCHED.append(world)
    if len(_WATCHED) == 1:
        _SENT[0] = Sender._write
        Sender._write = _write  # type: ignore[method-assign]
    closing.begin, closing.look = begin, look  # type: ignore[method-assign]
    service.cuts.thaw = thaw  # type: ignore[method-assign]
    authority.changes.acknowledged = acknowledged  # type: ignore[method-assign]
    try:
        yield history
    finally:
        _WATCHED.remove(world)
        if not _WATCHED:
            Sender._write = _SENT[0]  # type: ignore[method-assign]


def all_heard(history: History, authority: LeaseAuthority) -> None:
    """Every gateway said that it has every change in force: so all that is closed is, whoever closed it."""
    changes = authority.changes
    if not changes.links or any(one.left for one in changes.followed.values()):
        return
    known = {one.cut for one in history.in_force}
    for gate in list(changes.gates.values()):
        for cut, mode in gate.closers.items():
            if cut not in known:
                scopes = frozenset({gate.scope})
                history.in_force.append(InForce(now_us(), cut, scopes, mode is not Mode.CLOSED))


def _write(sender: Sender, job: Job, *more: Any) -> None:
    for world in _WATCHED:
        if len(_WATCHED) == 1 or (job.held is not None and world.has(job.held.lease.grant)):
            _written(world.history, job)
    _SENT[0](sender, job, *more)


def _written(history: History, job: Job) -> None:
    held, reading, verdict = job.held, job.reading, job.verdict
    if held is None or reading is None:
        return  # public: no key of anybody
    leaves = verdict is not None and (verdict.leaving or verdict.only_sells)
    risk = reading.intent.action not in HARMLESS and not reading.intent.dry_run and not leaves
    names = (*job.client_order_ids, *(sent.name for sent in job.sent))
    chain = frozenset(held.lease.chain)
    history.written.append(
        Written(now_us(), held.lease.grant, chain, risk, names, held.key_text, held.key_id)
    )


def look(
    history: History,
    service: Service,
    exchange: PaperExchange,
    settles_us: int = 0,
    *,
    asks_store: bool = True,
) -> History:
    """Read what is left at the end: orders and keys at the exchange, versions and rotations on record.

    `asks_store`: whether the secrets of keys in use are looked for; a store that a test took away costs its patience.
    """
    broker_us = service.desk.clock.now_us()
    history.one_clock = abs(broker_us - time.time_ns() // 1000) < _SAME_CLOCK_US
    of_exchange(history, exchange, settles_us)
    try:
        of_record(history, service.desk.database, service.desk.secrets if asks_store else None)
    except StoreUnavailable:  # a test took the database away: what was on record cannot be asked
        history.versions, history.executed, history.rotations = [], [], []
        history.became, history.buried = [], []
    history.cuts = None  # a cut that is in force may come on record later
    return history


def of_orders(history: History) -> History:
    """Return what tells of orders and of keys that are called dead alone: here a test makes and kills keys itself."""
    versions = [one for one in history.versions if one.stage == "tombstone"]
    return replace(history, rotations=[], versions=versions, whole=False)
