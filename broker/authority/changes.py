"""Changes on their way to gateways: gates and policies pushed, acknowledgements awaited, keys wiped.

Rules:
1. A change counts here before anybody is told of it: no lease is granted on older gates. A cut closes here and at
   every gateway at once, before its transaction is waited for; the committed change takes its place (`broker.gates`).
2. What another process changed is found by reading, at each heartbeat and for each lease, and pushed like that.
3. One frame per gateway, whatever the number of grants; a `closed` gate needs no walk over leases, because
   gateways judge each request by the gates. Successors follow where something may still be served.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from broker import gate, policy_document
from broker.authority.link import Link, Terms, Waiting, closing_of, has_beside, has_grant, state_of, terms_of
from broker.background import Background
from broker.db import coverage
from broker.db import grants as grant_store
from broker.db.cutovers import Hold
from broker.errors import StoreUnavailable
from broker.gate import Gate, Mode
from broker.gate_document import NotedCut
from broker.gates import Gates
from broker.link import frames
from broker.model import KeyRef, ScopeKind, scope
from broker.service import Change, Desk

_KEPT_CHANGES = 200
_WIPE_SECONDS = 2.0
_ANSWER_SECONDS = 0.05
_LANDED_SECONDS = 20.0
"""A gateway gives up on an answer of the venue after 12 s: then its outcome is unknown, and the flight over."""
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
_LOG = logging.getLogger("portcullis.authority")


@dataclass(frozen=True, slots=True)
class OnTheirWay:
    """Requests that had left for the venue, unanswered, when a change came in force: nothing calls them back.

    `unanswered` are those without answer yet; `last_us` is when the last answer of the others came, after the change
    was in force at their gateway. Of `silent` gateways nothing is known: they have not answered, or their link had
    ended so shortly before that what they had sent may still have been on its way.
    """

    requests: int
    unanswered: int
    last_us: int | None
    silent: tuple[str, ...]


class Changes:
    """The gates as the broker knows them, and who has heard of their changes."""

    def __init__(
        self, desk: Desk, in_control: Callable[[Callable[[], Any]], Awaitable[Any]], beside: Background
    ) -> None:
        self._desk, self._in_control, self._beside = desk, in_control, beside
        self._gates = Gates()
        self.gates = self._gates.now
        self.links: dict[str, Link] = {}
        self.cuts: dict[str, int] = {}
        """The changes that recent cuts made, by the cut's id."""
        self.note_flights: Callable[[str, OnTheirWay], Awaitable[None]] | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self._waiting: dict[int, Waiting] = {}
        self._gone: dict[str, int] = {}
        self._holds: dict[tuple[str, str], int] = {}
        self._over: set[tuple[str, str]] = set()
        self._met: dict[str, str] = {}
        self._starts: set[tuple[str, str]] = set()
        desk.listeners.append(self._changed)

    def acknowledge(self, gateway: str, change: int) -> None:
        """A gateway has a change in force."""
        waiting = self._waiting.get(change)
        if waiting is not None:
            waiting.acknowledge(gateway)

    def flying(self, gateway: str, change: int, requests: int) -> None:
        """So many requests had left a gateway, unanswered, when a change came in force there."""
        waiting = self._waiting.get(change)
        if waiting is not None:
            waiting.fly(gateway, requests)

    def landed(self, gateway: str, change: int, after_us: int, left: int) -> None:
        """Some of those requests have their answer."""
        waiting = self._waiting.get(change)
        if waiting is not None:
            waiting.land(gateway, after_us, left)

    def gone(self, gateway: str, boot: str) -> None:
        """A gateway's link has ended: what it had sent to the venue nobody will tell us."""
        self._met[gateway] = boot
        self._starts.add((gateway, boot))
        self._gone[gateway] = self._desk.clock.boot_us()

    def _lately_gone(self) -> tuple[str, ...]:
        """Return the gateways whose last requests the venue may still be answering."""
        since_us = self._desk.clock.boot_us() - round(_LANDED_SECONDS * 1_000_000)
        self._gone = {name: at_us for name, at_us in self._gone.items() if at_us > since_us}
        return tuple(self._gone)

    # --- starts of gateways that nobody can tell --------------------------------------------

    def hold(self, holds: Iterable[Hold]) -> None:
        """Take in who may use a key until when, as it is on record: starts of gateways that we never met, too."""
        self._holds = {}
        for one in holds:
            start = (one.gateway, one.boot)
            self._holds[start] = max(self._holds.get(start, 0), one.until_us)
        self._over &= self._holds.keys()

    def over(self, gateway: str, boot: str) -> None:
        """One start of a gateway serves nothing any more: it said so, or its process is dead."""
        self._over.add((gateway, boot))
        self._holds.setdefault((gateway, boot), 0)

    def dead(self, gateway: str) -> None:
        """The process of a gateway that we met last is dead."""
        boot = self._met.get(gateway)
        if boot is not None:
            self.over(gateway, boot)

    def out_of_reach(self) -> tuple[tuple[str, int], ...]:
        """Return the starts of gateways that may serve on and cannot be told, each with for how many seconds."""
        return tuple((gateway, seconds) for gateway, _, seconds in self._out_of_reach())

    def _out_of_reach(self) -> list[tuple[str, str, int]]:
        now_us = self._desk.clock.now_us()
        met = self._over | {(link.gateway, link.boot) for link in self.links.values()}
        return [
            (gateway, boot, -(-(until_us - now_us) // 1_000_000))
            for (gateway, boot), until_us in self._holds.items()
            if (gateway, boot) not in met and until_us > now_us
        ]

    def _unheard(self) -> tuple[str, ...]:
        """Return the gateways of whose last requests nothing is known: gone lately, or never met since we began."""
        strangers = {name for name, boot, _ in self._out_of_reach() if (name, boot) not in self._starts}
        return tuple(sorted({*self._lately_gone(), *strangers}))

    def expect(self, change: Change, link: Link) -> asyncio.Event:
        """Await one gateway's acknowledgement of a change that only it is told of."""
        self._waiting[change.number] = waiting = Waiting((link.gateway,), {link.gateway})
        return waiting.done

    def merge(self, gates: Iterable[Gate], over: Iterable[str] = ()) -> tuple[Gate, ...]:
        """Take gates in, in whatever thread; one that is older than ours is passed over. Return those that rose."""
        return tuple(self._gates.take(gates, over, same=True))

    def with_closings(self, gates: Mapping[str, Gate]) -> dict[str, Gate]:
        """Return gates as they were read just now, with what is closed above them and not on record yet."""
        return self._gates.with_closings(gates)

    def carry(self, key: KeyRef) -> None:
        """Close a key version that is in use by cuts that are not on record yet and of what it has replaced since.

        As their commit will do. In whatever thread; gateways are told before whatever is told them after this.
        """
        here, place = scope(ScopeKind.KEY_VERSION, str(key)), (key.account, key.slot.value)
        for closing in self._gates.early():
            if here in closing.scopes or here not in coverage.added(
                closing.scopes, self._desk.in_use.get(closing.id, {}), {place: key.version}
            ):
                continue
            more = self._gates.widen(closing.id, here)
            if more is None or self.loop is None:
                continue
            if _running() is self.loop:
                self._push_more(more)
            else:
                self.loop.call_soon_threadsafe(self._push_more, more)

    def _push_more(self, closing: NotedCut) -> None:
        number = self._desk.number().number
        for link in list(self.links.values()):
            link.tell(frames.CloseNow(number, closing_of(closing)))

    def read(self, gates: Iterable[Gate]) -> None:
        """Take in gates as the database has them, in whatever thread.

        What rose there without our hearing of it was changed by another process: gateways are told, and no lease goes
        on under it.
        """
        risen = self.merge(gates)
        if risen and self.loop is not None:
            self.loop.call_soon_threadsafe(self._push, Change(self._desk.number().number, risen, void=True))

    def states(self) -> tuple[tuple[frames.GateState, ...], tuple[frames.ClosingPart, ...]]:
        """Return every gate and every closing as of now, as frames have them."""
        gates, closings = self._gates.states()
        return tuple(map(state_of, gates)), tuple(map(closing_of, closings))

    def _changed(self, change: Change) -> None:
        """Hear of a change, in whatever thread made it."""
        if change.closing is not None:
            self._gates.close(change.closing)
        self.merge(change.gates, change.over)
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self._push, change)

    def _push(self, change: Change) -> None:
        """Tell every gateway, and remember who has to acknowledge."""
        if change.closing is not None:
            self._push_closing(change, change.closing)
            return
        links = [
            link
            for link in self.links.values()
            if change.gates or change.over or has_grant(link, change.grant) or has_beside(link, change)
        ]
        known = self._waiting.get(change.number)  # of a cut: who had to acknowledge when it came in force
        waiting = known if known is not None else self._wait_for(change.number, links)
        states = tuple(state_of(one) for one in change.gates)
        if change.grant is not None:
            if states:  # void the leases at once; what may go on is told together with the policy
                for link in links:
                    link.tell(frames.GateChanged(change.number, states))
            self._beside.begin(self._push_policy(change, links), f"pushing the policy of {change.grant}")
            return
        closed = all(one.mode is Mode.CLOSED for one in change.gates)
        for link in links:
            successors = () if closed or change.void else self._successors(link, change.gates)
            link.tell(frames.GateChanged(change.number, states, successors, change.over))
        if closed and states:
            self._beside.begin(self._wipe(links, waiting), "wiping keys after a cut")
        if change.cut:
            self.cuts[change.cut] = change.number
            self._beside.begin(self._note_flights(change), "noting what was on its way at a cut")

    def _push_closing(self, change: Change, closing: NotedCut) -> None:
        """Tell every gateway what is closed and not on record yet."""
        links = list(self.links.values())
        waiting = self._wait_for(change.number, links)
        self.cuts[closing.id] = change.number
        for link in links:
            link.tell(frames.CloseNow(change.number, closing_of(closing)))
        if closing.mode is Mode.CLOSED:
            self._beside.begin(self._wipe_later(closing.id, links, waiting), "wiping keys after a cut")

    def _wait_for(self, number: int, links: list[Link]) -> Waiting:
        names = tuple(link.gateway for link in links)
        self._waiting[number] = waiting = Waiting(names, set(names), self._unheard())
        if not links:
            waiting.took_s = 0.0
            waiting.done.set()
            waiting.over.set()
        for old in [known for known in self._waiting if known <= number - _KEPT_CHANGES]:
            del self._waiting[old]
            self.cuts = {cut: known for cut, known in self.cuts.items() if known != old}
        return waiting

    def _successors(self, link: Link, raised: tuple[Gate, ...]) -> tuple[frames.Successor, ...]:
        """Let leases go on under the epochs that one change raised, where it found them live.

        By the change's own epochs, not by those of now: another change may be on its way that ends a lease.
        """
        risen = {one.scope: one.epoch for one in raised}
        found = []
        for held in list(link.leases.values()):
            if risen.keys().isdisjoint(held.chain) or gate.mode_of(self.gates, held.chain) is Mode.CLOSED:
                continue
            pairs = list(zip(held.chain, held.epochs, strict=True))
            if all(risen.get(scope, epoch + 1) == epoch + 1 for scope, epoch in pairs):
                held.epochs = tuple(risen.get(scope, epoch) for scope, epoch in pairs)
                found.append(frames.Successor(held.id, held.epochs))
        return tuple(found)

    async def _wipe_later(self, closing: str, links: list[Link], waiting: Waiting) -> None:
        """Take keys away where a cut is in force and is not on record after a while: its commit would have done it."""
        await asyncio.sleep(_WIPE_SECONDS)
        if closing in self._gates.closing():
            await self._wipe(links, waiting)

    async def _wipe(self, links: list[Link], waiting: Waiting) -> None:
        """Take keys away from gateways where every lease on them is closed.

        After the cut is in force and answered: this walks leases, and whoever cut must not wait for that.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WIPE_SECONDS):
                await waiting.done.wait()
        await asyncio.sleep(_ANSWER_SECONDS)
        shut = {scope for scope, one in list(self.gates.items()) if one.mode is Mode.CLOSED}
        for link in links:
            alive = {str(held.key) for held in list(link.leases.values()) if shut.isdisjoint(held.chain)}
            gone = tuple(sorted(link.keys - alive))
            if gone:
                link.keys.difference_update(gone)
                for lease_id in [name for name, held in list(link.leases.items()) if str(held.key) in gone]:
                    del link.leases[lease_id]
                link.tell(frames.Wipe(gone))

    async def _note_flights(self, change: Change) -> None:
        """Put on record what was on its way, once it is known how it ended, or that it did not."""
        found = await self.on_their_way(change.number, _LANDED_SECONDS)
        note = self.note_flights
        if found is not None and (found.requests or found.silent) and note is not None:
            await note(change.cut, found)

    async def _push_policy(self, change: Change, links: list[Link]) -> None:
        def work() -> tuple[list[Terms], Terms] | None:
            with self._desk.database.read() as connection:
                found = grant_store.grant(connection, change.grant or "")
                if found is None:
                    return None
                concerned = grant_store.beside(connection, found)
                return [terms_of(connection, one) for one in concerned], terms_of(connection, found)

        found = await self._again(work)
        if found is None:
            return
        concerned, terms = found
        grant = terms.grant
        policy = policy_document.load(grant.policy)
        for link in links:
            for one in concerned:  # limits of an account or a consumer bind every grant of it
                if has_grant(link, one.grant.id):
                    link.tell(one.frame(0))
            # a revoked grant has no successor: its leases are void for good
            successors = self._successors(link, change.gates) if grant.revoked_at is None else ()
            for held in list(link.leases.values()):
                if held.grant == grant.id:
                    held.length_us, held.exits_us = policy.lease_us, policy.exits_after_end_us
            link.tell(terms.frame(change.number, tuple(state_of(one) for one in change.gates), successors))

    async def _again(self, work: Callable[[], Any]) -> Any:
        """Read; while the database cannot answer, again: narrowed leases are void already, and wait for it."""
        for pause in _PAUSES:
            try:
                return await self._in_control(work)
            except StoreUnavailable as fault:
                _LOG.error("a policy could not be read to be pushed; again soon: %s", fault)
                await asyncio.sleep(pause)
        return await self._in_control(work)

    async def acknowledged(self, change: Change, seconds: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Wait until every gateway has acknowledged a change.

        Returns:
            The names of those that were told, and of those that have not answered in time.
        """
        await asyncio.sleep(0)  # the push was queued by the thread that committed
        waiting = self._waiting.get(change.number)
        if waiting is None:
            return (), ()
        try:
            async with asyncio.timeout(seconds):
                await waiting.done.wait()
        except TimeoutError:
            pass
        return waiting.told, tuple(sorted(waiting.left))

    def took_ms(self, change: Change) -> int:
        """Return after how long every gateway had acknowledged a change; as of now where one has not."""
        waiting = self._waiting.get(change.number)
        if waiting is None:
            return 0
        return round(
            1000 * (time.monotonic() - waiting.began_s if waiting.took_s is None else waiting.took_s)
        )

    async def on_their_way(self, change: int, seconds: float) -> OnTheirWay | None:
        """Wait until everything that was on its way when a change came in force has its answer, not for long.

        Returns:
            What was on its way, and what of it is still unanswered; None where the change is too old to be known.
        """
        await asyncio.sleep(0)
        waiting = self._waiting.get(change)
        if waiting is None:
            return None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await waiting.over.wait()
        return OnTheirWay(
            sum(waiting.flying.values()),
            sum(waiting.out.values()),
            max(waiting.landed.values(), default=None),
            tuple(sorted({*waiting.left, *waiting.gone})),
        )


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
