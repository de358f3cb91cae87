"""The lease authority: grants and renews leases to gateways, pushes gates and policies, takes their reports.

Rules:
1. Leases are judged by gates in memory, which are as old as the transaction that read them: once a second one
   transaction writes the heartbeat and reads every gate. What was read long ago grants little, then nothing.
2. A change is pushed as one frame per gateway, whatever the number of grants; a `closed` gate needs no walk over
   leases, because gateways judge each request by the gates. Successors follow where something may still be served.
3. The heartbeat, leases and cutovers have a thread of their own, and nothing in it waits for the log or for the secret
   store. Budgets, owners and call-log lines have theirs, so that each waits for its own kind only; the secret store,
   which may be slow, is asked in others. Too many asks at once are refused, and what nobody waits for any more is not
   done: a slice that is lent too late would count as spent.
4. A gateway is told its keys once per version; they are wiped where every lease on them is closed.
5. No frame ends a link. What cannot be answered is logged, and whoever waits is told so; slices that could not be
   taken back are taken back at a later heartbeat, and count as lent until then. Nothing that waits for a store keeps
   the next frame waiting: an acknowledgement may be behind it.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeVar

from broker.authority.ahead import Ahead
from broker.authority.changes import Changes, OnTheirWay
from broker.authority.cutover import Cutovers, Noted
from broker.authority.intake import Intake
from broker.authority.leases import Leases, Opening
from broker.authority.link import Link, slice_part
from broker.background import Background, described
from broker.budget import ZERO, Parts, Slice
from broker.db import Connection, meta
from broker.db import accounts as account_store
from broker.db.fills import Fill
from broker.db.turns import Urgency
from broker.errors import StoreUnavailable
from broker.link import frames
from broker.link.channel import Channel
from broker.link.codec import BadFrame
from broker.service import Service
from clients.venue import Environment

T = TypeVar("T")
HEARTBEAT_SECONDS = 1.0
_STORE_THREADS = 4
_MOST_READING = 64
_JUDGED_ANEW = 3
_MOST_OWED = 10_000
_LOAN_S = 0.9
"""A gateway waits a second for a slice."""

_FIRST_LOAN_S = 0.3
_LOG = logging.getLogger("portcullis.authority")


class LeaseAuthority:
    """Serves every gateway of one broker."""

    def __init__(self, service: Service, paper_upstream: str = "") -> None:
        self._service, self._desk = service, service.desk
        self._paper_upstream = paper_upstream
        self._safety = ThreadPoolExecutor(1, "safety")
        self._log = ThreadPoolExecutor(1, "call-log")
        self._budgets = ThreadPoolExecutor(1, "budgets")
        self._owners = ThreadPoolExecutor(2, "owners")
        self._secrets = ThreadPoolExecutor(_STORE_THREADS, "secrets")
        self._reading = 0
        self._beside = Background(_LOG)
        self._owed: deque[tuple[str, Parts]] = deque(maxlen=_MOST_OWED)
        self._taking_back = False
        self.intake = Intake(service, self._beside, self._in_log)
        self.changes = Changes(service.desk, self.in_safety, self._beside)
        self.changes.note_flights = self._note_flights
        self.cutovers = Cutovers(service, self.changes, self.in_safety, self._in_store)
        self.leases = Leases(service, self.changes, self.cutovers)
        self.ahead = Ahead(service.desk, self.changes, self._beside, self._in_store)

    # --- time and threads -----------------------------------------------------------------

    async def in_safety(self, work: Callable[[], T]) -> T:
        """Do what heartbeat, leases and cutovers do, in their thread: one after the other, in order."""
        return await asyncio.get_running_loop().run_in_executor(self._safety, work)

    async def _in_budgets(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._budgets, work)

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

        gates = await self.in_safety(lambda: self._service.continuity.beat(note))
        self.changes.read(
            gates.values()
        )  # another process may have changed them, or a commit whose answer was lost
        self.cutovers.follow(found[-1])
        self.ahead.look()
        self.leases.began_us = began_us

    async def run(self) -> None:
        """Beat until cancelled; a beat that fails grants nothing new."""
        self.changes.loop = asyncio.get_running_loop()
        while True:
            try:
                await self.beat()
                self._take_back_owed()
            except Exception as fault:  # noqa: BLE001 - whatever it was, the next beat has to come
                _LOG.error("a heartbeat failed: leases end unless this mends: %s", described(fault))
            await asyncio.sleep(HEARTBEAT_SECONDS)

    def close(self) -> None:
        """Let the threads end."""
        self._safety.shutdown(wait=True)
        for pool in (self._log, self._budgets, self._owners):
            pool.shutdown(wait=True)
        self._secrets.shutdown(wait=False, cancel_futures=True)

    async def _note_flights(self, cut: str, found: OnTheirWay) -> None:
        last_ms = None if found.last_us is None else found.last_us // 1000
        note = self._service.cuts.note_flights
        await self._in_log(lambda: note(cut, found.requests, found.unanswered, last_ms))

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
        try:
            hello = await channel.receive()
        except BadFrame:
            hello = None
        if (
            not isinstance(hello, frames.Hello)
            or hello.version != frames.VERSION
            or not allowed(hello.gateway)
        ):
            channel.send(frames.Goodbye("version" if isinstance(hello, frames.Hello) else "no_hello"))
            return None
        link = Link(channel, hello.gateway, hello.boot)
        try:
            await self.in_safety(lambda: self._greet(link))
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
        channel.send(replace(welcome, gates=self.changes.states()))
        self.changes.links[link.gateway] = link
        self.ahead.look()
        return link

    async def _serve(self, link: Link) -> None:
        try:
            while True:
                try:
                    frame = await link.channel.receive()
                except BadFrame as fault:
                    _LOG.error("a frame of gateway %s cannot be read: it %s", link.gateway, fault)
                    continue
                if frame is None:
                    return
                link.heard_s = time.monotonic()
                await self._take(link, frame)
        finally:
            if self.changes.links.get(link.gateway) is link:
                del self.changes.links[link.gateway]

    def _greet(self, link: Link) -> None:
        with self._desk.database.write(Urgency.SAFETY) as connection:
            meta.greet(connection, link.gateway, link.boot, self._desk.clock.now_us())

    def _welcome(self) -> frames.Welcome:
        """Read what a gateway is welcomed with, but for the gates: those are told as of when it is."""
        home = self._desk.home
        upstream = self._paper_upstream
        with self._desk.database.read() as connection:
            found = account_store.accounts(connection, "", 1)
        if home.environment is Environment.PAPER and not upstream and found:
            upstream = found[0].upstream or ""
        mount = frames.Mount("binance", "binance", home.environment.value, upstream)
        return frames.Welcome(
            frames.VERSION,
            home.environment.value,
            home.generation,
            (mount,),
            frames.EgressPart("direct"),
            (),
        )

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
                self._owed.append((link.gateway, frame.parts))
            case frames.Release():
                pass  # it may have been written: given back twice it would be a hole in the limit; it counts as spent
            case _:
                pass

    def _take_back_owed(self) -> None:
        """Close slices that could not be closed when they came; closing them twice changes nothing. No beat waits."""
        if self._owed and not self._taking_back:
            self._taking_back = True
            self._beside.begin(self._taken_back(), "taking budget slices back")

    async def _taken_back(self) -> None:
        try:
            while self._owed:
                gateway, parts = self._owed[0]
                await self._in_budgets(lambda: self._service.calls.close_slices(gateway, parts))  # noqa: B023 - awaited here
                self._owed.popleft()
        finally:
            self._taking_back = False

    def _at_once(self, link: Link, frame: frames.Frame) -> Coroutine[Any, Any, None] | None:
        """Answer what needs no store; return the work of what does."""
        match frame:
            case frames.OpenLease():
                return self._open(link, frame)
            case frames.Renew():
                link.channel.send(self.leases.renew(link, frame))
            case frames.EndLease():
                for lease_id in frame.leases:
                    link.leases.pop(lease_id, None)
            case frames.AskSlice():
                return self._lend(link, frame)
            case frames.CloseSlices():
                return self._in_budgets(lambda: self._service.calls.close_slices(link.gateway, frame.parts))
            case frames.Release():
                return self._in_budgets(lambda: self._service.calls.release(link.gateway, frame.parts))
            case frames.Calls() | frames.SpoolDone():
                self.intake.take(link, frame)
            case frames.OwnerQuery():
                return self._owner(link, frame)
            case frames.StakeQuery():
                return self._stake(link, frame)
            case frames.Ack():
                if frame.in_flight:
                    self.changes.flying(link.gateway, frame.change, frame.in_flight)
                self.changes.acknowledge(link.gateway, frame.change)
            case frames.Landed():
                self.changes.landed(link.gateway, frame.change, frame.after_us, frame.left)
            case frames.AskGates():
                link.channel.send(frames.AllGates(self.changes.states()))
            case frames.CanaryDone():
                self.cutovers.answer(frame)
            case frames.Health():
                return self._fares(link, frame)
            case _:
                _LOG.error(
                    "gateway %s sent a %s frame, which is not its to send", link.gateway, type(frame).__name__
                )
        return None

    async def _open(self, link: Link, frame: frames.OpenLease) -> None:
        answer: frames.LeaseGranted | frames.LeaseRefused | None = None
        for number in range(_JUDGED_ANEW):
            judged = await self.in_safety(lambda: self.leases.judge(link, frame))
            if isinstance(judged, frames.LeaseRefused):
                answer = judged
                break
            # where gates change again and again beside a slow log, a lease goes out without budget, not never
            answer = await self._grant(link, frame, judged, lends=number == 0)
            if answer is not None:
                break
        link.channel.send(answer or frames.LeaseRefused(frame.ask, frame.key_id, "unavailable"))

    async def _grant(
        self, link: Link, frame: frames.OpenLease, opening: Opening, *, lends: bool
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
        loan = await self._first_loan(link, opening, ahead=frame.ahead) if lends else None
        granted = None
        try:
            granted = await self.in_safety(lambda: self.leases.grant(link, frame, opening, secrets, loan))
        finally:
            if loan is not None and not isinstance(granted, frames.LeaseGranted):
                self._owed.append((link.gateway, ((loan.id, loan.amount),)))
                self._take_back_owed()
        return granted

    def _fares(self, link: Link, frame: frames.Health) -> Coroutine[Any, Any, None] | None:
        """Take in how a gateway fares; return the work of writing down what it finds wrong, where that changed."""
        link.health = frame
        said = (frame.keys, frame.troubles)
        if said == link.said:
            return None
        link.said = said
        return self._report(link, frame)

    async def _report(self, link: Link, frame: frames.Health) -> None:
        try:
            await self._in_log(
                lambda: self._service.reports.of_gateway(link.gateway, frame.keys, frame.troubles)
            )
        except Exception:
            link.said = None  # said again with the next beat
            raise

    # --- budgets, owners ------------------------------------------------------------------

    async def _first_loan(self, link: Link, opening: Opening, *, ahead: bool) -> Slice | None:
        """Lend a lease its first slice; None where the log is slow: the lease does not wait for it."""
        if not opening.rules.limits:
            return None
        try:
            return await self._lent(link, opening.grant.id, ZERO, _FIRST_LOAN_S, ahead=ahead)
        except StoreUnavailable as fault:
            _LOG.warning("a lease goes out without budget: %s", fault)
            return None

    async def _lent(
        self, link: Link, grant: str, wanted: Decimal, within_s: float, *, ahead: bool
    ) -> Slice | None:
        """Lend a slice while somebody waits for it, and not after."""
        until = time.monotonic() + within_s

        def work() -> Slice | None:
            left = until - time.monotonic()
            if left <= 0:
                raise StoreUnavailable("log_slow", "budgets wait for the call log: nothing was lent")
            return self._service.calls.lend(grant, link.gateway, link.boot, wanted, left, ahead=ahead)

        lending = asyncio.ensure_future(self._in_budgets(work))
        try:
            async with asyncio.timeout(within_s):
                return await asyncio.shield(lending)
        except (TimeoutError, asyncio.CancelledError) as fault:
            lending.add_done_callback(lambda done: self._lent_too_late(link, done))
            if isinstance(fault, asyncio.CancelledError):
                raise
            raise StoreUnavailable("log_slow", "budgets wait for the call log: nothing was lent") from None

    def _lent_too_late(self, link: Link, lending: "asyncio.Future[Slice | None]") -> None:
        """Take a slice back that was lent when nobody waited for it any more."""
        loan = None if lending.cancelled() or lending.exception() is not None else lending.result()
        if loan is not None:
            self._owed.append((link.gateway, ((loan.id, loan.amount),)))
            self._take_back_owed()

    async def _lend(self, link: Link, frame: frames.AskSlice) -> None:
        held = link.leases.get(frame.lease)
        grant = "" if held is None else held.grant
        loan = (
            None if held is None else await self._lent(link, grant, frame.wanted, _LOAN_S, ahead=frame.ahead)
        )
        part = None if loan is None else slice_part(loan)
        link.channel.send(frames.SliceLent(frame.ask, grant, part))

    async def _owner(self, link: Link, frame: frames.OwnerQuery) -> None:
        name = f"{'@' if frame.is_list else ''}{frame.client_order_id or ''}"
        if frame.order_id is not None:
            name = f"{'%' if frame.is_list else '#'}{frame.order_id}"
        found = await asyncio.get_running_loop().run_in_executor(
            self._owners, lambda: self._service.calls.whose(frame.account, frame.symbol, name)
        )
        claims = tuple(
            frames.ClaimPart(
                one.grant, one.name, one.sent_us, one.until_us, one.side, one.quantity, one.price, one.exact, one.boot
            )
            for one in found.claims
        )  # fmt: skip
        link.channel.send(frames.OwnerAnswer(frame.ask, found.grant, claims))

    async def _stake(self, link: Link, frame: frames.StakeQuery) -> None:
        held = link.leases.get(frame.lease)
        if held is None:
            link.channel.send(frames.AskFailed(frame.ask))
            return
        account, grant = held.key.account, held.grant
        seen = tuple(
            Fill(account, symbol, order, whose, frame.base, side, Decimal(executed), Decimal(left))
            for whose, symbol, order, side, executed, left in frame.recent
        )
        found = await asyncio.get_running_loop().run_in_executor(
            self._owners,
            lambda: self._service.calls.stake(account, grant, frame.symbol, frame.base, seen, frame.replaces),
        )
        link.channel.send(
            frames.StakeAnswer(frame.ask, found.bought_here, found.own, found.others, found.freed)
        )
