"""The gateway's end of the link: asks, renewals, the spool upwards; gates, policies and keys downwards.

Rules:
1. A change is in force before it is acknowledged; what was judged before it has already left, because
   verdict and first byte happen in one step.
2. Leases in use are renewed in one batch every third of the shortest lease; idle ones are given back.
3. An unanswered ask fails after a second: the bot is waiting.
4. When the link ends nothing is forgotten: leases run out by themselves, and `run` returns.
5. No frame ends the link. One that cannot be read or applied is logged and not acknowledged; what it may have
   closed is shut here until the broker has told every gate anew.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from dataclasses import replace
from decimal import Decimal

from broker.background import Background, described
from broker.errors import LinkDown
from broker.gateway.book import Book, Held
from broker.gateway.clock import SystemClock
from broker.gateway.spool import Spool
from broker.gateway.upload import Upload
from broker.link import frames
from broker.link.channel import Channel
from broker.link.codec import BadFrame
from broker.link.frames import Down, Frame, Up
from broker.policy_facts import Stake

ASK_SECONDS = 1.0
RENEW_SECONDS = 4.0
_TELL_SECONDS = 0.05
_ANSWERS = (
    frames.LeaseGranted, frames.LeaseRefused, frames.SliceLent, frames.OwnerAnswer, frames.AskFailed,
    frames.StakeAnswer,
)  # fmt: skip
_CLOSES_NOTHING = frozenset(
    kind.__name__
    for kind in (
        *_ANSWERS, frames.Material, frames.Renewed, frames.Canary, frames.CallsKept, frames.CallsNotKept,
        frames.SpoolClosed,
    )
)  # fmt: skip
"""Frames whose loss leaves nothing open: whoever waits for them fails, or asks again."""

_LOG = logging.getLogger("portcullis.link")


class LinkClient:
    """Speaks to the broker on behalf of one gateway."""

    def __init__(self, channel: Channel, name: str, book: Book, spool: Spool, clock: SystemClock) -> None:
        self._channel, self._name = channel, name
        self._book, self._spool, self._clock = book, spool, clock
        self._asks: dict[int, asyncio.Future[Down]] = {}
        self._sent_us: dict[int, int] = {}
        self._number = 0
        self._opening: dict[str, asyncio.Future[Held | str]] = {}
        self._asked_slice: set[str] = set()
        self._beside = Background(_LOG)
        self.upload = Upload(spool, clock, channel.send)
        self._landing: dict[str, list[int]] = {}
        self._telling: asyncio.TimerHandle | None = None
        self.welcome: frames.Welcome | None = None
        self.on_canary: Callable[[frames.Canary], Coroutine[None, None, frames.CanaryDone]] | None = None
        self.on_wipe: Callable[[str], None] = lambda _: None
        self.health: Callable[[], frames.Health] | None = None

    async def greet(self) -> frames.Welcome:
        """Say hello and wait to be let in.

        Raises:
            LinkDown: The broker went away, or will not serve this gateway.
        """
        self._send(frames.Hello(frames.VERSION, self._name, self._spool.boot, os.getpid()))
        try:
            frame = await self._channel.receive()
        except BadFrame as fault:
            raise LinkDown("no_welcome", f"the broker's welcome cannot be read: it {fault}") from None
        if not isinstance(frame, frames.Welcome):
            reason = frame.reason if isinstance(frame, frames.Goodbye) else "no_welcome"
            raise LinkDown(reason, f"the broker did not let this gateway in: {reason}")
        self._book.set_gates(frame.gates)
        self.welcome = frame
        return frame

    async def run(self) -> None:
        """Serve the link until it ends."""
        tasks = [
            self._beside.keep(self._beat, "the beat of the link"),
            self._beside.keep(self.upload.send_earlier, "sending what earlier boots wrote"),
        ]
        try:
            while True:
                try:
                    frame = await self._channel.receive()
                except BadFrame as fault:
                    self._unreadable(fault)
                    continue
                if frame is None:
                    return
                self._take(frame)
        finally:
            for task in tasks:
                task.cancel()
            for ask in list(self._asks.values()):
                ask.cancel()

    def close(self) -> None:
        """Give everything back that can be given back, and hang up."""
        parts = tuple(
            part
            for standing in self._book.standing.values()
            for part in standing.purse.close(self._clock.boot_us(), everything=True)
        )
        if parts:
            self._send(frames.CloseSlices(parts))
        if self._book.by_lease:
            self._send(frames.EndLease(tuple(self._book.by_lease)))
        self.upload.end()
        self._channel.close()

    # --- asking ---------------------------------------------------------------------------

    async def open_lease(self, key_id: str) -> Held | str:
        """Ask for a lease; several requests that need the same one share the ask.

        Returns:
            The lease, or the short reason why there is none.
        """
        running = self._opening.get(key_id)
        if running is None:
            running = self._beside.begin(self._open(key_id), "opening a lease")
            self._opening[key_id] = running
            running.add_done_callback(lambda _: self._opening.pop(key_id, None))
        return await asyncio.shield(running)

    async def _open(self, key_id: str) -> Held | str:
        number = self._next()
        try:
            frame = await self._ask(number, frames.OpenLease(number, key_id))
        except LinkDown:
            return "unavailable"
        sent_us = self._sent_us.pop(number)
        if isinstance(frame, frames.LeaseGranted):
            held = self._book.grant(frame, sent_us)
            self._give_back_void()
            return held or "unavailable"
        if not isinstance(frame, frames.LeaseRefused):
            return "unavailable"
        self._book.refuse(frame, self._clock.boot_us())
        return frame.reason

    @property
    def boot(self) -> str:
        """Which start of the gateway this is."""
        return self._spool.boot

    async def ask_owner(self, query: frames.OwnerQuery) -> frames.OwnerAnswer:
        """Ask whose order it is, by its id or by a name.

        Raises:
            LinkDown: The broker did not answer in time.
        """
        number = self._next()
        asked = frames.OwnerQuery(
            number, query.account, query.symbol, query.order_id, query.client_order_id, query.is_list
        )
        frame = await self._ask(number, asked)
        self._sent_us.pop(number, None)
        if not isinstance(frame, frames.OwnerAnswer):
            raise LinkDown("no_answer", "the broker answered something else")
        return frame

    async def ask_slice(self, held: Held, wanted: Decimal) -> None:
        """Ask for the next budget slice and take it in, if there is one.

        Raises:
            LinkDown: The broker did not answer in time.
        """
        number = self._next()
        frame = await self._ask(number, frames.AskSlice(number, held.lease.id, wanted))
        sent_us = self._sent_us.pop(number, self._clock.boot_us())
        if not isinstance(frame, frames.SliceLent):
            raise LinkDown("no_answer", "the broker could not lend now")
        if frame.slice is not None:
            self._book.take_slice(held.standing, frame.slice, sent_us)
            self._give_back_void()

    async def ask_stake(self, query: frames.StakeQuery) -> Stake:
        """Ask whose a base asset is.

        Raises:
            LinkDown: The broker did not answer in time, or could not.
        """
        number = self._next()
        frame = await self._ask(number, replace(query, ask=number))
        self._sent_us.pop(number, None)
        if not isinstance(frame, frames.StakeAnswer):
            raise LinkDown("no_answer", "the broker could not say whose it is")
        return Stake(frame.bought_here, frame.own, frame.others)

    def _give_back_void(self) -> None:
        """Return slices that were lent under rules that are no more, before any are asked for under new ones."""
        parts = self._book.voided()
        if parts:
            self._send(frames.CloseSlices(parts))

    def refill(self, held: Held) -> None:
        """Ask for the next slice ahead of need, once at a time."""
        grant = held.lease.grant
        if grant in self._asked_slice:
            return
        self._asked_slice.add(grant)

        async def refilling() -> None:
            try:
                await self.ask_slice(held, Decimal(0))
            except LinkDown:
                pass
            finally:
                self._asked_slice.discard(grant)

        self.background(refilling())

    def give_back(self, parts: tuple[tuple[str, Decimal], ...]) -> None:
        """Release reservations whose slices this gateway no longer holds."""
        if parts:
            self._send(frames.Release(parts))

    def kept_up(self, work: Callable[[], Coroutine[None, None, None]], what: str) -> "asyncio.Task[None]":
        """Run something until it is cancelled, whatever fails in it."""
        return self._beside.keep(work, what)

    def tell_health(self) -> None:
        """Tell how we fare now, not at the next beat: something changed."""
        if self.health is not None and self.welcome is not None:
            self._send(self.health())

    def background(self, work: Coroutine[None, None, None]) -> None:
        """Run something beside the requests, and keep it alive until it ends."""
        self._beside.begin(work, "work beside the requests")

    def _next(self) -> int:
        self._number += 1
        return self._number

    async def _ask(self, number: int, frame: Up) -> Down:
        future: asyncio.Future[Down] = asyncio.get_running_loop().create_future()
        self._asks[number] = future
        self._sent_us[number] = self._clock.boot_us()
        self._send(frame)
        try:
            async with asyncio.timeout(ASK_SECONDS):
                return await future
        except (TimeoutError, asyncio.CancelledError) as fault:
            self._sent_us.pop(number, None)
            if isinstance(fault, asyncio.CancelledError) and not future.cancelled():
                raise  # the asking task was cancelled, not the ask
            raise LinkDown("no_answer", "the broker did not answer in time") from None
        finally:
            self._asks.pop(number, None)

    def _send(self, frame: Frame) -> None:
        self._channel.send(frame)

    # --- what comes down ------------------------------------------------------------------

    def _take(self, frame: Frame) -> None:
        """Take one frame in; a failure leaves nothing open, and does not end the link."""
        try:
            self._apply(frame)
        except Exception as fault:  # noqa: BLE001 - whatever it is, the bots' link has to live
            name = type(frame).__name__
            _LOG.error("a %s frame could not be applied: %s", name, described(fault))
            self._not_applied(frame)

    def _not_applied(self, frame: Frame) -> None:
        """Shut what a frame may have closed."""
        match frame:
            case frames.GateChanged():
                self._shut(tuple(state.scope for state in frame.gates))
            case frames.PolicyChanged():
                self._shut(tuple(state.scope for state in frame.gates))
                gone = self._book.drop_grant(frame.grant)
                if gone:
                    self._send(frames.EndLease(gone))
            case frames.Cutover():
                self._book.drop_key(frame.old)
            case frames.Wipe():
                for key in frame.keys:
                    self._book.forget_key(key)
            case frames.AllGates():
                pass  # what was shut stays shut; the beat asks again
            case _ if isinstance(frame, _ANSWERS):
                self._answer(frames.AskFailed(frame.ask))

    def _unreadable(self, fault: BadFrame) -> None:
        """Shut everything where a frame that cannot be read may have closed something."""
        _LOG.error("a frame of the broker cannot be read: it %s", fault)
        if fault.name not in _CLOSES_NOTHING:
            self._shut(("everything",))

    def _shut(self, scopes: tuple[str, ...]) -> None:
        if scopes:
            self._book.shut(scopes)
            self._send(frames.AskGates())

    def _answer(self, frame: Down) -> None:
        if isinstance(frame, _ANSWERS):
            future = self._asks.get(frame.ask)
            if future is not None and not future.done():
                future.set_result(frame)

    def _apply(self, frame: Frame) -> None:
        book = self._book
        match frame:
            case frames.GateChanged():
                book.set_gates(frame.gates)
                book.succeed(frame.successors)
                shut = tuple(state.scope for state in frame.gates if state.closers)
                self._send(frames.Ack(frame.change, self._in_flight(frame.change, shut)))
            case frames.AllGates():
                book.set_all_gates(frame.gates)
            case frames.PolicyChanged():
                book.change_policy(frame)
                self._give_back_void()
                self._send(frames.Ack(frame.change))
            case frames.Material():
                book.learn(frame)
            case frames.Cutover():
                self._cut_over(frame)
            case frames.Canary() if self.on_canary is not None:
                self.background(self._try_out(self.on_canary(frame)))
            case frames.Wipe():
                self._wipe(book.wipe(frame.keys))
            case frames.Renewed():
                book.renew(frame, self._sent_us.pop(frame.ask, 0))
            case frames.CallsKept():
                self.upload.kept(frame)
            case frames.CallsNotKept():
                self.upload.not_kept(frame)
            case frames.SpoolClosed():
                self.upload.closed(frame)
            case frames.Goodbye():
                _LOG.warning("the broker ends the link: %s", frame.reason)
                self._channel.close()
            case _ if isinstance(frame, _ANSWERS):
                self._answer(frame)
            case _:
                _LOG.error("a %s frame was not expected; it is passed over", type(frame).__name__)

    def _wipe(self, key_ids: tuple[str, ...]) -> None:
        """Let parsed copies of wiped keys go too: each of them, whatever becomes of the one before."""
        faults = []
        for key_id in key_ids:
            try:
                self.on_wipe(key_id)
            except Exception as fault:  # noqa: BLE001 - told below
                faults.append(fault)
        if faults:
            raise faults[0]

    def _cut_over(self, frame: frames.Cutover) -> None:
        """Change over at once; acknowledge when the last request signed with the old key has its answer."""
        gone = self._book.cut_over(frame)
        if gone:
            self._send(frames.EndLease(gone))
        if self._book.flights.on(frame.old) == 0:
            self._send(frames.Ack(frame.change))
        else:
            self._landing.setdefault(frame.old, []).append(frame.change)

    def _in_flight(self, change: int, scopes: tuple[str, ...]) -> int:
        """Count what left before these scopes were shut, and tell once all of it has landed."""
        return self._book.flights.watch(change, scopes, self._clock.boot_us()) if scopes else 0

    def landed(self, flight: int) -> None:
        """A request has its answer, or never will."""
        key, news = self._book.flights.lands(flight, self._clock.boot_us())
        if news and self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(_TELL_SECONDS, self._tell_landed)
        for change in self._landing.pop(key, ()) if key else ():
            self._send(frames.Ack(change))

    def _tell_landed(self) -> None:
        """Tell how many of the flights that a change found are still out."""
        self._telling = None
        for one in self._book.flights.progress():
            self._send(frames.Landed(one.change, one.after_us, one.left))

    async def _try_out(self, trying: Coroutine[None, None, frames.CanaryDone]) -> None:
        self._send(await trying)

    # --- beats ----------------------------------------------------------------------------

    async def _beat(self) -> None:
        """Renew leases, give back idle ones and old slices, tell how we fare; again and again."""
        while True:
            for what in (self._give_back_old, self._renew, self._tell_health, self._ask_gates):
                try:
                    what()
                except Exception as fault:  # noqa: BLE001 - one part that fails must not stop the renewals
                    _LOG.error("a part of the link's beat failed: %s", described(fault))
            shortest = min((held.policy.lease_us for held in self._book.by_lease.values()), default=0)
            await asyncio.sleep(min(RENEW_SECONDS, shortest / 3_000_000) if shortest else 1.0)

    def _give_back_old(self) -> None:
        now_us = self._clock.boot_us()
        idle = self._book.idle(now_us)
        if idle:
            for lease_id in idle:
                self._book.drop(lease_id)
            self._send(frames.EndLease(idle))
            self._return_unused(now_us)
        parts = tuple(
            part for standing in self._book.standing.values() for part in standing.purse.close(now_us)
        )
        if parts:
            self._send(frames.CloseSlices(parts))

    def _renew(self) -> None:
        if self._book.by_lease:
            number = self._next()
            self._sent_us[number] = self._clock.boot_us()
            self._send(frames.Renew(number, tuple(self._book.by_lease)))

    def _tell_health(self) -> None:
        if self.health is not None:
            self._send(self.health())

    def _ask_gates(self) -> None:
        if self._book.unsure:
            self._send(frames.AskGates())

    def _return_unused(self, now_us: int) -> None:
        """Give back the slices of grants that hold no lease any more."""
        used = {held.lease.grant for held in self._book.by_lease.values()}
        for grant, standing in self._book.standing.items():
            parts = () if grant in used else standing.purse.close(now_us, everything=True)
            if parts:
                self._send(frames.CloseSlices(parts))

    def written(self) -> None:
        """A line was written to the spool."""
        self.upload.written()
