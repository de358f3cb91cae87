"""The gateway's end of the link: asks, renewals, the spool upwards; gates, policies and keys downwards.

Rules:
1. A change is in force before it is acknowledged; what was judged before it has already left, because
   verdict and first byte happen in one step.
2. Leases are renewed in batches every third of the shortest lease. Those of virtual keys that this gateway serves are
   kept, used or not; others are given back when they are idle.
3. When the link ends nothing is forgotten: leases run out by themselves, and `run` returns.
4. Who stood still asks the broker something before anything is served: what it had said comes first (`pulse`).
5. No frame ends the link. One that cannot be read or applied is logged and not acknowledged; what it may have
   closed is shut here until the broker has told every gate anew.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Coroutine

from broker.background import Background, described
from broker.budget import Parts
from broker.errors import LinkDown
from broker.gateway.asking import ANSWERS, Asking
from broker.gateway.book import Book
from broker.gateway.clock import SystemClock
from broker.gateway.pulse import CATCH_UP_SECONDS, Pulse
from broker.gateway.returns import Returns
from broker.gateway.spool import Spool
from broker.gateway.upload import Upload
from broker.link import frames
from broker.link.channel import Channel
from broker.link.codec import BadFrame
from broker.link.frames import Frame

RENEW_SECONDS = 4.0
_RENEWED_AT_ONCE = 1_000
"""Leases a frame: judging them must not hold the broker's loop."""

_TELL_SECONDS = 0.05
_CLOSES_NOTHING = frozenset(
    kind.__name__
    for kind in (
        *ANSWERS, frames.Material, frames.Renewed, frames.Canary, frames.CallsKept, frames.CallsNotKept,
        frames.SpoolClosed, frames.Serves,
    )
)  # fmt: skip
"""Frames whose loss leaves nothing open: whoever waits for them fails, or asks again."""

_NEWS = (
    frames.GateChanged,
    frames.CloseNow,
    frames.AllGates,
    frames.PolicyChanged,
    frames.Cutover,
    frames.Wipe,
)
"""After these a lease may be missing, or be there to be had."""

_LOG = logging.getLogger("portcullis.link")


class LinkClient:
    """Speaks to the broker on behalf of one gateway."""

    def __init__(self, channel: Channel, name: str, book: Book, spool: Spool, clock: SystemClock) -> None:
        self._channel, self._name = channel, name
        self._book, self._spool, self._clock = book, spool, clock
        self._renewed_us: dict[int, int] = {}
        self._beside = Background(_LOG)
        self._returns = Returns(book, clock, self._send, self._beside)
        self._asking = Asking(book, clock, self._send, self._beside, self._returns.void)
        self.open_lease, self.ask_owner = self._asking.open_lease, self._asking.ask_owner
        self.ask_slice, self.refill = self._asking.ask_slice, self._asking.refill
        self.ask_stake = self._asking.ask_stake
        self.upload = Upload(spool, clock, channel.send)
        self.pulse = Pulse(clock, self._catch_up)
        self._over = False
        self._echo: tuple[int, asyncio.Event] | None = None
        self._landing: dict[str, list[int]] = {}
        self._telling: asyncio.TimerHandle | None = None
        self.welcome: frames.Welcome | None = None
        self.on_canary: Callable[[frames.Canary], Coroutine[None, None, frames.CanaryDone]] | None = None
        self.on_wipe: Callable[[str], None] = lambda _: None
        self.on_serves: Callable[[frames.Serves], None] = lambda _: None
        self.on_news: Callable[[], None] = lambda: None
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
        self._book.set_all_gates(frame.gates, frame.closings)
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
            self._over = True
            self._heard_echo(None)
            for task in tasks:
                task.cancel()
            self._asking.end()

    def close(self) -> None:
        """Give everything back that can be given back, and hang up."""
        self._returns.everything()
        if self._book.by_lease:
            self._send(frames.EndLease(tuple(self._book.by_lease)))
        self.upload.end()
        self._channel.close()

    # --- beside the requests ----------------------------------------------------------------

    @property
    def boot(self) -> str:
        """Which start of the gateway this is."""
        return self._spool.boot

    def give_back(self, parts: Parts) -> None:
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

    def _send(self, frame: Frame) -> None:
        self._channel.send(frame)

    # --- what comes down ------------------------------------------------------------------

    def _take(self, frame: Frame) -> None:
        """Take one frame in; a failure leaves nothing open, and does not end the link."""
        try:
            self._apply(frame)
            if isinstance(frame, _NEWS):
                self.on_news()
                self._returns.soon()
        except Exception as fault:  # noqa: BLE001 - whatever it is, the bots' link has to live
            name = type(frame).__name__
            _LOG.error("a %s frame could not be applied: %s", name, described(fault))
            self._not_applied(frame)
            self._returns.soon()

    def _not_applied(self, frame: Frame) -> None:
        """Shut what a frame may have closed."""
        match frame:
            case frames.GateChanged():
                self._shut(tuple(state.scope for state in frame.gates))
            case frames.CloseNow():
                self._shut(frame.closing.scopes)
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
            case _ if isinstance(frame, ANSWERS):
                self._asking.answer(frames.AskFailed(frame.ask))

    def _unreadable(self, fault: BadFrame) -> None:
        """Shut everything where a frame that cannot be read may have closed something."""
        _LOG.error("a frame of the broker cannot be read: it %s", fault)
        if fault.name not in _CLOSES_NOTHING:
            self._shut(("everything",))

    def _shut(self, scopes: tuple[str, ...]) -> None:
        if scopes:
            self._book.shut(scopes)
            self._send(frames.AskGates())

    def _apply(self, frame: Frame) -> None:
        book = self._book
        match frame:
            case frames.GateChanged():
                book.set_gates(frame.gates, frame.over)
                book.succeed(frame.successors)
                # what had left before a closing was counted when it came in force
                shut = () if frame.over else tuple(state.scope for state in frame.gates if state.closers)
                self._send(frames.Ack(frame.change, self._in_flight(frame.change, shut)))
            case frames.CloseNow():
                book.close_now(frame.closing)
                self._send(frames.Ack(frame.change, self._in_flight(frame.change, frame.closing.scopes)))
            case frames.AllGates():
                book.set_all_gates(frame.gates, frame.closings)
            case frames.PolicyChanged():
                book.change_policy(frame)
                self._returns.void()
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
                book.renew(frame, self._renewed_us.pop(frame.ask, 0))
                self._heard_echo(frame.ask)
                if frame.voided:
                    self.on_news()
                    self._returns.soon()
            case frames.Serves():
                self.on_serves(frame)
            case frames.CallsKept():
                self.upload.kept(frame)
            case frames.CallsNotKept():
                self.upload.not_kept(frame)
            case frames.SpoolClosed():
                self.upload.closed(frame)
            case frames.Goodbye():
                _LOG.warning("the broker ends the link: %s", frame.reason)
                self._channel.close()
            case _ if isinstance(frame, ANSWERS):
                self._asking.answer(frame)
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
            for what in (
                self._give_back_old,
                self._renew,
                self._tell_health,
                self._ask_gates,
                self._returns.soon,
            ):
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
        if self._returns.old():
            for held in list(self._book.by_lease.values()):
                if held.standing.slice_usual and not held.standing.purse.left:
                    self.refill(held, ahead=True)

    def _renew(self) -> None:
        leases = tuple(self._book.by_lease)
        self._renewed_us.clear()  # an answer that is older than the next renewal is worth less than that
        for start in range(0, len(leases), _RENEWED_AT_ONCE):
            number = self._asking.next()
            self._renewed_us[number] = self._clock.boot_us()
            self._send(frames.Renew(number, leases[start : start + _RENEWED_AT_ONCE]))

    async def _catch_up(self) -> bool:
        """Wait until what the broker said before now is in force, for a moment; tell whether the link still stands."""
        number, heard = self._asking.next(), asyncio.Event()
        self._echo = (number, heard)
        self._send(frames.Renew(number, ()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CATCH_UP_SECONDS):
                await heard.wait()
        return not self._over

    def _heard_echo(self, ask: int | None) -> None:
        """The broker answered what was asked then, or later, or the link is over."""
        if self._echo is not None and (ask is None or ask >= self._echo[0]):
            self._echo[1].set()

    def _tell_health(self) -> None:
        if self.health is not None:
            self._send(self.health())

    def _ask_gates(self) -> None:
        if self._book.unsure:
            self._send(frames.AskGates())

    def written(self) -> None:
        """A line was written to the spool."""
        self.upload.written()
