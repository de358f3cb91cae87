"""The lease authority: grants and renews leases to gateways, pushes gates and policies, takes their reports.

Rules:
1. Leases are judged by gates in memory, which are as old as the transaction that read them: once a second one
   transaction writes the heartbeat and reads every gate. What was read long ago grants little, then nothing.
2. A change is pushed as one frame per gateway, whatever the number of grants; a `closed` gate needs no walk over
   leases, because gateways judge each request by the gates. Successors follow where something may still be served.
   A cut is pushed before its transaction is waited for: see `changes`.
3. The heartbeat, leases and cutovers have a thread of their own, the heartbeat going first (`order`), and nothing in
   it waits for the log or for the secret store. Budgets (`lending`), owners (`owners`) and call-log lines (`intake`)
   have theirs, so that each waits for its own kind only; the secret store, which may be slow, is asked in others. Too
   many asks at once are refused, and what nobody waits for any more is not done: a slice that is lent too late would
   count as spent.
4. A gateway is told its keys once per version; they are wiped where every lease on them is closed.
5. No frame ends a link. What cannot be answered is logged, and whoever waits is told so; slices that could not be
   taken back are taken back at a later heartbeat, and count as lent until then. Nothing that waits for a store keeps
   the next frame waiting: an acknowledgement may be behind it.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from broker.authority.ahead import Ahead
from broker.authority.anew import Anew, unread, with_gates
from broker.authority.behind import Behind
from broker.authority.changes import Changes
from broker.authority.cutover import Cutovers, Noted
from broker.authority.intake import Intake
from broker.authority.leases import Leases, Opening
from broker.authority.lending import Lending
from broker.authority.link import Link, OnTheirWay
from broker.authority.order import InOrder
from broker.authority.owners import Owners
from broker.authority.policies import PolicyMarks
from broker.authority.welcome import welcome_of
from broker.background import Background, described
from broker.db import Connection, meta
from broker.db import cutovers as holds
from broker.db.turns import Urgency, urgency
from broker.errors import BrokerError, StoreUnavailable
from broker.link import frames, parting
from broker.link.channel import Channel
from broker.link.codec import BadFrame
from broker.service import Service
from broker.threads import Threads

T = TypeVar("T")
HEARTBEAT_SECONDS = 1.0
MARK_US = 5_000_000
_LIVE_SECONDS = 0.25
_CLOSES_WITHIN_S, _LAST_NOTE_S = 2.0, 1.0
_STORE_THREADS = 4
_MOST_READING = 64
_JUDGED_ANEW = 3
_LOG = logging.getLogger("portcullis.authority")


class LeaseAuthority:
    """Serves every gateway of one broker."""

    def __init__(self, service: Service, paper_upstream: str = "") -> None:
        self._service, self._desk = service, service.desk
        self._paper_upstream = paper_upstream
        self._safety = InOrder("safety", partial(urgency.set, Urgency.SAFETY))
        self._log = Threads(1, "call-log")
        self._secrets = Threads(_STORE_THREADS, "secrets", partial(urgency.set, Urgency.SAFETY))
        self._reading = 0
        self.alive_s = time.monotonic()  # who is called silent was silent while our loop listened
        self._beside = Background(_LOG)
        self.lending = Lending(service, self._beside)
        self.intake = Intake(service, self._beside, self._in_log, self.lending.run)
        self.policies = PolicyMarks(service.desk)  # hears of a change before those who tell gateways
        self.changes = Changes(service.desk, self.in_safety, self._beside)
        self.changes.note_flights, self.changes.on_begin = self._note_flights, self.intake.recount
        self._behind = Behind(self.changes.starts, self.intake)
        self._owners = Owners(service, self._behind)
        self.cutovers = Cutovers(service, self.changes, self.in_safety, self._in_store)
        self.leases = Leases(service, self.changes, self.cutovers)
        self.ahead = Ahead(service.desk, self.changes, self._beside, self._in_store)
        self._anew = Anew(self.changes, self.ahead, self.intake)

    # --- time and threads -----------------------------------------------------------------

    async def in_safety(self, work: Callable[[], T], *, first: bool = False) -> T:
        """Do what heartbeat, leases and cutovers do, in their thread: in order, but for the heartbeat, `first`."""
        return await asyncio.wrap_future(self._safety.submit(work, first=first))

    async def _in_log(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._log, work)

    async def _in_store(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._secrets, work)

    async def beat(self) -> None:
        """Write the heartbeat, prolong the holds and read the gates, in one transaction."""
        began_us = self._desk.clock.boot_us()
        found: list[Noted] = []

        def note(connection: Connection) -> None:
            found.append(self.cutovers.note(connection))

        self.changes.strange.clear()
        changes = self.changes
        beat = await self.in_safety(
            lambda: self._service.continuity.beat(note, changes.remembered, keeps=changes.told.keeps),
            first=True,
        )
        # another process may have changed them, or a commit whose answer was lost; or the record went back
        self.changes.follow(beat)
        self.cutovers.follow(found[-1])
        self.ahead.look()
        self.leases.began_us = began_us
        self._mark(beat.mark, began_us)

    def _mark(self, mark: str, now_us: int) -> None:
        """Tell gateways how far the record has come, now and then: their next start says it again."""
        for link in list(self.changes.links.values()):
            if link.marked != mark and now_us - link.marked_us >= MARK_US:
                link.marked, link.marked_us = mark, now_us
                link.tell(frames.Marked(self._desk.home.instance, mark))

    async def run(self) -> None:
        """Beat until cancelled; a beat that fails grants nothing new."""
        self.changes.loop = asyncio.get_running_loop()
        living = asyncio.create_task(self._live(), name="live")
        try:
            await self._beat_on()
        finally:
            living.cancel()

    async def _live(self) -> None:
        while True:
            self.alive_s = time.monotonic()
            await asyncio.sleep(_LIVE_SECONDS)

    async def _beat_on(self) -> None:
        while True:
            try:
                await self.beat()
                self.lending.take_back()
            except Exception as fault:  # noqa: BLE001 - whatever it was, the next beat has to come
                _LOG.error("a heartbeat failed: leases end unless this mends: %s", described(fault))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await self.changes.strange.wait()

    def close(self, within_s: float = _CLOSES_WITHIN_S) -> None:
        """Let the threads end, not for long, and put on record what was on its way at cuts, as far as it is known."""
        until_s = time.monotonic() + within_s
        for end in (self._safety.end, self.lending.close, self._owners.close, self._log.end):
            end(until_s)
        with contextlib.suppress(BrokerError):  # a database that is away is not waited for again
            for cut, found in self.changes.followed.unnoted():
                self._noted(cut, found, _LAST_NOTE_S)
        self._secrets.shutdown(wait=False, cancel_futures=True)

    async def _note_flights(self, cut: str, found: OnTheirWay) -> None:
        await self._in_log(lambda: self._noted(cut, found))

    def _noted(self, cut: str, found: OnTheirWay, patience_s: float | None = None) -> None:
        last_ms = None if found.last_us is None else found.last_us // 1000
        self._service.cuts.note_flights(
            cut, found.requests, found.unanswered, last_ms, found.silent, patience_s
        )

    # --- one gateway ----------------------------------------------------------------------

    async def serve(self, channel: Channel, allowed: Callable[[str], bool] = lambda _: True) -> None:
        """Serve one gateway until its link is over."""
        self.changes.loop = asyncio.get_running_loop()
        try:
            link = await self._let_in(channel, allowed)
            if link is not None:
                await self._serve(link)
        finally:
            channel.close()

    async def _let_in(self, channel: Channel, allowed: Callable[[str], bool]) -> Link | None:
        """Greet a gateway; None where it is not let in, which it is told."""
        hello, why = None, parting.NO_HELLO
        try:
            hello = await channel.receive()
        except BadFrame as fault:  # another version may say more in it
            why = parting.why_unread(fault, frames.Hello)
        if isinstance(hello, frames.Hello):
            why = parting.why_not(hello.version, ours=allowed(hello.gateway))
        if why or not isinstance(hello, frames.Hello):
            _LOG.error("a gateway is not let in: %s", parting.words(why))
            channel.send(frames.Goodbye(why))
            return None
        link = Link(channel, hello.gateway, hello.boot)
        try:
            await self.in_safety(lambda: self._greet(link))
            told = self._service.continuity.is_told
            if await self.in_safety(lambda: told(hello.instance, hello.mark, f"gateway {hello.gateway}")):
                await self.beat()
            welcome = await self.in_safety(self._welcome)
        except Exception as fault:  # noqa: BLE001 - it comes again
            _LOG.error("gateway %s could not be greeted: %s", link.gateway, described(fault))
            channel.send(frames.Goodbye("unavailable"))
            return None
        old = self.changes.links.get(link.gateway)
        if old is not None:
            old.channel.close()
        # welcome first, then broadcasts, without a wait between: a change committed before this line is among these
        # gates, and one after it is pushed once the loop goes on
        channel.send(with_gates(welcome, self.changes.states()))
        self.changes.links[link.gateway] = link
        self._behind.begin(link)
        self.ahead.look()
        return link

    async def _serve(self, link: Link) -> None:
        try:
            while True:
                try:
                    frame = await link.channel.receive()
                except BadFrame as fault:
                    unread(link, fault)
                    continue
                if frame is None:
                    return
                link.heard_s = time.monotonic()
                await self._take(link, frame)
        finally:
            link.over = True
            self._behind.end(link)
            self.changes.starts.gone(link.gateway, link.boot)
            if self.changes.links.get(link.gateway) is link:
                del self.changes.links[link.gateway]
            if link.parted:
                await self._parted(link)

    async def _parted(self, link: Link) -> None:
        """A gateway said that it serves nothing more before it went: no cut and no rotation waits for it."""
        self.changes.starts.over(link.gateway, link.boot)

        def let_go() -> None:
            with self._desk.database.write(Urgency.SAFETY) as connection:
                holds.let_all_go(connection, link.gateway, link.boot)

        try:
            await self.in_safety(let_go)
        except Exception as fault:  # noqa: BLE001 - its holds run out
            _LOG.warning("the holds of gateway %s run out by themselves: %s", link.gateway, described(fault))

    def _greet(self, link: Link) -> None:
        with self._desk.database.write(Urgency.SAFETY) as connection:
            meta.greet(connection, link.gateway, link.boot, self._desk.clock.now_us())

    def _welcome(self) -> frames.Welcome:
        return welcome_of(self._desk, self._paper_upstream)

    async def _take(self, link: Link, frame: frames.Frame) -> None:
        """Answer one frame; what has to wait for a store is answered beside the next ones."""
        try:
            later = self._at_once(link, frame)
        except Exception as fault:  # noqa: BLE001 - no frame ends a link
            self._failed(link, frame, fault)
            return
        if later is not None:
            self._beside.begin(self._guarded(link, frame, later), f"a {type(frame).__name__} frame")

    async def _guarded(self, link: Link, frame: frames.Frame, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as fault:  # noqa: BLE001 - no frame ends a link
            self._failed(link, frame, fault)

    def _failed(self, link: Link, frame: frames.Frame, fault: Exception) -> None:
        """Log it, and tell whoever waits. What a gateway gave back is not forgotten."""
        _LOG.error(
            "a %s frame of gateway %s could not be answered: %s",
            type(frame).__name__, link.gateway, described(fault),
        )  # fmt: skip
        match frame:
            case frames.OpenLease():
                link.tell(frames.LeaseRefused(frame.ask, frame.key_id, "unavailable"))
            case frames.AskSlice() | frames.OwnerQuery() | frames.StakeQuery():
                link.tell(frames.AskFailed(frame.ask))
            case frames.CloseSlices():
                self.lending.owe(link.gateway, frame.parts)
            case _:  # a Release may have been written: given back twice it would be a hole in the limit
                pass

    def _at_once(self, link: Link, frame: frames.Frame) -> Coroutine[Any, Any, None] | None:
        """Answer what needs no store; return the work of what does."""
        self._behind.heard(link, frame)
        match frame:
            case frames.OpenLease():
                return self._open(link, frame)
            case frames.Renew():
                link.channel.send(self.leases.renew(link, frame))
            case frames.EndLease():
                for lease_id in frame.leases:
                    link.leases.pop(lease_id, None)
                link.parted |= frame.last  # of leases that we ended ourselves it may not know yet
            case frames.AskSlice():
                return self.lending.lend(link, frame)
            case frames.CloseSlices():
                return self.lending.close_slices(link, frame)
            case frames.Release():
                return self.lending.release(link, frame)
            case frames.Calls() | frames.SpoolDone():
                link.over = link.over or (isinstance(frame, frames.SpoolDone) and frame.boot == link.boot)
                self.intake.take(link, frame)
            case frames.OwnerQuery():
                return self._owners.owner(link, frame)
            case frames.StakeQuery():
                return self._owners.stake(link, frame)
            case frames.Ack():
                if frame.in_flight:
                    self.changes.flying(link.gateway, frame.change, frame.in_flight)
                self.changes.acknowledge(link.gateway, frame.change)
            case frames.NotInForce():
                self.changes.refused(link.gateway, frame.change, frame.reason)
            case frames.Landed():
                self.changes.landed(link.gateway, frame.change, frame.after_us, frame.left)
            case frames.AskGates():
                self._anew.tell(link, frame)
            case frames.CanaryDone():
                self.cutovers.answer(frame)
            case frames.Health():
                return self._fares(link, frame)
            case frames.Acted() | frames.Uses():
                pass  # heard
            case _:
                _LOG.error(
                    "gateway %s sent a %s frame, which is not its to send", link.gateway, type(frame).__name__
                )
        return None

    async def _open(self, link: Link, frame: frames.OpenLease) -> None:
        answer: frames.LeaseGranted | frames.LeaseRefused | None = None
        for number in range(_JUDGED_ANEW):
            mark = self.policies.now()
            judged = await self.in_safety(lambda: self.leases.judge(link, frame))
            if isinstance(judged, frames.LeaseRefused):
                answer = judged
                break
            # where gates change again and again beside a slow log, a lease goes out without budget, not never
            answer = await self._grant(link, frame, judged, mark, lends=number == 0)
            if answer is not None:
                break
        link.channel.send(answer or frames.LeaseRefused(frame.ask, frame.key_id, "unavailable"))

    async def _grant(
        self, link: Link, frame: frames.OpenLease, opening: Opening, mark: int, *, lends: bool
    ) -> frames.LeaseGranted | frames.LeaseRefused | None:
        if self._reading >= _MOST_READING:
            raise StoreUnavailable("store_slow", "too many leases wait for the secret store already")
        self._reading += 1
        try:
            secrets = await asyncio.get_running_loop().run_in_executor(
                self._secrets, self.leases.secrets, link, opening
            )
        finally:
            self._reading -= 1
        loan = await self.lending.first(link, opening, ahead=frame.ahead) if lends else None
        granted = None
        try:
            granted = await self.in_safety(lambda: self.leases.grant(link, frame, opening, secrets, loan))
            if isinstance(granted, frames.LeaseGranted) and (
                self.policies.changed_since(mark, granted.grant, granted.account, granted.consumer)
                or not self.leases.stands(link, opening)
            ):
                link.leases.pop(granted.lease, None)
                granted = None
        finally:
            if loan is not None and (link.over or not isinstance(granted, frames.LeaseGranted)):
                self.lending.undelivered(link, loan)
        return granted

    def _fares(self, link: Link, frame: frames.Health) -> Coroutine[Any, Any, None] | None:
        """Take in how a gateway fares; return the work of writing down what it finds wrong, where that changed."""
        return self._report(link, frame) if link.says(frame) else None

    async def _report(self, link: Link, frame: frames.Health) -> None:
        try:
            await self._in_log(
                lambda: self._service.reports.of_gateway(link.gateway, frame.keys, frame.troubles)
            )
        except Exception:
            link.said = None  # said again with the next beat
            raise
