"""Changes on their way to gateways: gates and policies pushed, acknowledgements awaited, keys wiped.

Rules:
1. A change counts here before anybody is told of it: no lease is granted on older gates. A cut closes here and at
   every gateway at once, before its transaction is waited for; the committed change takes its place (`broker.gates`).
2. What another process changed is found by reading, at each heartbeat and for each lease, and pushed like that.
3. Epochs are compared within one history of the record. Where another begins, all of it is told to every gateway in
   one frame, and every lease of the last one ends; until then its news close, and open nothing.
4. One frame per gateway, whatever the number of grants; a `closed` gate needs no walk over leases, because
   gateways judge each request by the gates. Successors follow where something may still be served.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from broker import gate, policy_document
from broker.authority.followed import Followed
from broker.authority.link import (
    Link,
    OnTheirWay,
    Terms,
    Waiting,
    closing_of,
    has_beside,
    has_grant,
    state_of,
    terms_of,
)
from broker.authority.starts import LANDED_SECONDS, Starts
from broker.authority.wiping import WIPE_SECONDS, wipe
from broker.background import Background
from broker.db import coverage
from broker.db import grants as grant_store
from broker.errors import StoreUnavailable
from broker.gate import Gate, Mode, strictest
from broker.gate_document import NotedCut
from broker.gates import Gates
from broker.link import frames
from broker.model import KeyRef, ScopeKind, scope
from broker.service import Change, Desk
from broker.service.adoption import FORGOTTEN
from broker.service.continuity import Beat

_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
_LOG = logging.getLogger("portcullis.authority")


class Changes:
    """The gates as the broker knows them, and who has heard of their changes."""

    def __init__(
        self, desk: Desk, in_control: Callable[[Callable[[], Any]], Awaitable[Any]], beside: Background
    ) -> None:
        self._desk, self._in_control, self._beside = desk, in_control, beside
        self._gates = self.told = Gates()
        self.gates = self._gates.now
        self.links: dict[str, Link] = {}
        self.note_flights: Callable[[str, OnTheirWay], Awaitable[None]] | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.on_begin: Callable[[Link], None] = lambda _: None
        self.strange = asyncio.Event()
        """News of another history came than the one that is told: the next beat is wanted at once."""
        self.followed = self._waiting = Followed()
        self.starts = Starts(desk, self.links)
        desk.listeners.append(self._changed)

    def refused(self, gateway: str, change: int, reason: str) -> None:
        """A gateway has a change not in force, and says why."""
        _LOG.error("gateway %s does not have change %d in force: %s", gateway, change, reason)
        waiting = self._waiting.get(change)
        if waiting is not None:
            waiting.refuse(gateway, reason)

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

    def expect(self, change: Change, link: Link) -> asyncio.Event:
        """Await one gateway's acknowledgement of a change that only it is told of."""
        self._waiting[change.number] = waiting = Waiting((link.gateway,), {link.gateway})
        return waiting.done

    @property
    def history(self) -> str:
        """The history that is told."""
        return self._gates.history

    def is_of(self, history: str) -> bool:
        """Tell whether what was read in a history can be compared with what is told; where not, a beat is wanted."""
        if self._gates.history not in {"", history}:
            self._look_soon()
            return False
        return True

    def _look_soon(self) -> None:
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self.strange.set)

    def merge(self, gates: Iterable[Gate], over: Iterable[str] = ()) -> tuple[Gate, ...]:
        """Take gates in, in whatever thread; one that is older than ours is passed over. Return those that rose."""
        taken = self._gates.take(gates, over, same=True)
        if taken.foreign:
            self._look_soon()
        return taken.risen

    def _closes(self, one: Gate) -> bool:
        """Tell whether a gate has something closed that is not closed here."""
        known = self.gates.get(one.scope)
        return bool(one.closers.keys() - (known.closers.keys() if known is not None else ()))

    def remembered(self) -> dict[str, NotedCut]:
        """Return the cuts that are known to be on record and in force, as far as their gates tell."""
        now_us = self._desk.clock.now_us()
        return {
            name: NotedCut(name, strictest(held.values()), tuple(sorted(held)), FORGOTTEN, "unknown", now_us)
            for name, held in self._gates.closers().items()
        }

    def with_closings(self, gates: Mapping[str, Gate]) -> dict[str, Gate]:
        """Return gates as they were read just now, with what is closed above them and not on record yet."""
        return self._gates.with_closings(gates)

    def carry(self, key: KeyRef) -> None:
        """Close a key version that is in use by cuts that are not on record yet and of what it has replaced since.

        As their commit will do. In whatever thread; gateways are told before whatever is told them after this.
        """
        here = scope(ScopeKind.KEY_VERSION, str(key))
        for closing in self._gates.early():
            before = self._desk.in_use.get(closing.id, {})
            if here in closing.scopes or not coverage.covers(closing.scopes, before, here):
                continue
            more = self._gates.widen(closing.id, here)
            if more is None or self.loop is None:
                continue
            if _running() is self.loop:
                self._push_more(more)
            else:
                self.loop.call_soon_threadsafe(self._push_more, more)

    def _push_more(self, closing: NotedCut) -> None:
        if closing.id not in self._gates.closing():
            return  # over meanwhile: gateways were told, or are told next, and nothing would end it there once more
        number = self._desk.number().number
        for link in list(self.links.values()):
            link.tell(frames.CloseNow(number, closing_of(closing)))

    def read(self, gates: Iterable[Gate]) -> None:
        """Take in gates as the database has them, in whatever thread.

        What rose there without our hearing of it was changed by another process: gateways are told, and no lease goes
        on under it. So are they of what another history has closed: that it begins is told at the next heartbeat.
        """
        gates = tuple(gates)
        strange = tuple(one for one in gates if self.history not in {"", one.history} and self._closes(one))
        for news in self.merge(gates), strange:
            if news and self.loop is not None:
                self.loop.call_soon_threadsafe(
                    self._push, Change(self._desk.number().number, news, void=True)
                )

    def follow(self, beat: Beat) -> None:
        """Take in what a heartbeat read, in the loop's thread; where another history began, begin it everywhere."""
        before = self._gates.history
        if beat.history == before:
            self.read(beat.gates.values())
            self._open_thawed(beat.thawed)
            return
        self._gates.were_opened(beat.opened)
        if not self._gates.begin(beat.history, beat.gates.values(), beat.thawed):
            raise StoreUnavailable(
                "older_history", "the database is of an older history than it was: nothing is served"
            )
        if before:
            _LOG.error(
                "the record went from history %s to %s: every lease ends, and all of it is told anew",
                before, beat.history,
            )  # fmt: skip
        self.starts.remember()
        for link in self.links.values():
            link.leases.clear()
            link.holds.clear()
            link.keys.clear()
        change = self._desk.number().number
        self._wait_for(change, list(self.links.values()))
        frame = replace(self.states(), change=change)
        for link in list(self.links.values()):
            link.tell(frame)
            self.on_begin(link)

    def _open_thawed(self, cuts: tuple[str, ...]) -> None:
        """End what only another history has closed where a person opened it in ours, here and at every gateway."""
        if cuts:
            self._gates.take((), cuts)
            self._push(replace(self._desk.number(), over=cuts))

    def states(self) -> frames.AllGates:
        """Return all that is known of gates as of now, as a frame has it."""
        whole = self._gates.whole()
        return frames.AllGates(
            tuple(map(state_of, whole.gates)), tuple(map(closing_of, whole.closings)), whole.history,
            over=whole.opened, kept=tuple(map(closing_of, whole.kept)),
        )  # fmt: skip

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
        history = next((one.history for one in change.gates), self._gates.history)
        if change.grant is not None:
            if states:  # void the leases at once; what may go on is told together with the policy
                for link in links:
                    link.tell(frames.GateChanged(change.number, states, history=history))
            self._beside.begin(self._push_policy(change, links), f"pushing the policy of {change.grant}")
            return
        closed = all(one.mode is Mode.CLOSED for one in change.gates)
        for link in links:
            successors = () if closed or change.void else self._successors(link, change.gates)
            link.tell(frames.GateChanged(change.number, states, successors, change.over, history))
        if closed and states:
            self._beside.begin(wipe(self.gates, links, waiting), "wiping keys after a cut")
        if change.cut:
            self.followed.cuts[change.cut] = change.number
            self._beside.begin(self._note_flights(change), "noting what was on its way at a cut")

    def _push_closing(self, change: Change, closing: NotedCut) -> None:
        """Tell every gateway what is closed and not on record yet."""
        links = list(self.links.values())
        waiting = self._wait_for(change.number, links)
        self.followed.cuts[closing.id] = change.number
        for link in links:
            link.tell(frames.CloseNow(change.number, closing_of(closing)))
        if closing.mode is Mode.CLOSED:
            self._beside.begin(self._wipe_later(closing.id, links, waiting), "wiping keys after a cut")

    def _wait_for(self, number: int, links: list[Link]) -> Waiting:
        names = tuple(link.gateway for link in links)
        self._waiting[number] = waiting = Waiting(names, set(names), self.starts.unheard())
        if not links:
            waiting.took_s = 0.0
            waiting.done.set()
            waiting.over.set()
        self._waiting.forget_old(number)
        return waiting

    def _successors(self, link: Link, raised: tuple[Gate, ...]) -> tuple[frames.Successor, ...]:
        """Let leases go on under the epochs that one change raised, where it found them live.

        By the change's own epochs, not by those of now: another change may be on its way that ends a lease.
        """
        risen = {one.scope: one.epoch for one in raised if one.history == self._gates.history}
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
        await asyncio.sleep(WIPE_SECONDS)
        if closing in self._gates.closing():
            await wipe(self.gates, links, waiting)

    async def _note_flights(self, change: Change) -> None:
        """Put on record what was on its way, once it is known how it ended, or that it did not."""
        self._waiting.to_note(change.cut, change.number)
        found = await self.on_their_way(change.number, LANDED_SECONDS)
        if self.note_flights is not None:
            await self._waiting.note(change.cut, change.number, found, self.note_flights, _PAUSES)

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
        # where the record went over to another history meanwhile, these gates are none of it: they were told before
        raised = tuple(one for one in change.gates if one.history == terms.history)
        for link in links:
            for one in concerned:  # limits of an account or a consumer bind every grant of it
                if has_grant(link, one.grant.id):
                    link.tell(one.frame(0))
            # a revoked grant has no successor: its leases are void for good
            successors = self._successors(link, raised) if grant.revoked_at is None else ()
            for held in list(link.leases.values()):
                if held.grant == grant.id:
                    held.length_us, held.exits_us = policy.lease_us, policy.exits_after_end_us
            link.tell(terms.frame(change.number, tuple(map(state_of, raised)), successors))

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

    def why_not(self, change: Change) -> Mapping[str, str]:
        """Return which gateways said that a change is not in force there, and why."""
        waiting = self._waiting.get(change.number)
        return {} if waiting is None else waiting.why_not()

    def took_ms(self, change: Change) -> int:
        """Return after how long every gateway had acknowledged a change; as of now where one has not."""
        waiting = self._waiting.get(change.number)
        return 0 if waiting is None else waiting.took_ms()

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
        return waiting.on_their_way()


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
