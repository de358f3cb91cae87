"""The gateway's end of the link: asks, renewals, the spool upwards; gates, policies and keys downwards.

Rules:
1. A change is in force before it is acknowledged; what was judged before it has already left, because
   verdict and first byte happen in one step.
2. Leases are renewed in batches every third of the shortest lease. Those of virtual keys that this gateway serves are
   kept, used or not; others are given back when they are idle. An answer counts from when it was asked for, also where
   it comes after the next ask.
3. When the link ends nothing is forgotten: leases run out by themselves, and `run` returns.
4. Who stood still asks the broker something before anything is served: what it had said comes first (`pulse`).
5. No frame ends the link. One that cannot be read or applied is logged, and the broker is told that it is not in
   force, and why; what it may have closed is shut here until the broker has told every gate anew, and what else may
   be missed is asked for (`missed`). So is news of another history of the record than ours, until all of it is told.
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
from broker.gateway.book import Book, Standing
from broker.gateway.clock import SystemClock
from broker.gateway.missed import EVERYTHING, Missed
from broker.gateway.pulse import CATCH_UP_SECONDS, Pulse
from broker.gateway.record_mark import RecordMark
from broker.gateway.returns import Returns
from broker.gateway.spool import Spool
from broker.gateway.told import NEWS
from broker.gateway.upload import Upload
from broker.link import frames, parting
from broker.link.channel import Channel
from broker.link.codec import BadFrame
from broker.link.frames import Frame

RENEW_SECONDS = 4.0
_RENEWED_AT_ONCE = 1_000
"""Leases a frame: judging them must not hold the broker's loop."""

_ANSWERS = frozenset(kind.__name__ for kind in ANSWERS)
_TELL_SECONDS = 0.05
_LOG = logging.getLogger("portcullis.link")


class LinkClient:
    """Speaks to the broker on behalf of one gateway."""

    def __init__(self, channel: Channel, name: str, book: Book, spool: Spool, clock: SystemClock) -> None:
        self._channel, self._name = channel, name
        self._book, self._spool, self._clock = book, spool, clock
        self._renewed_us: dict[int, int] = {}
        self._beside = Background(_LOG)
        self._returns = Returns(book, clock, self._send, self._beside)
        self.missed = Missed(book, self._send)
        self.upload = Upload(spool, clock, channel.send, book.recent)
        self._asking = Asking(
            book, clock, self._send, self._beside, self._returns.void, self.missed.lacks,
            lambda: not self.upload.sent_once, self._returns.due,
            lambda asks: self._send(frames.Acted(asks, spool.told_by)),
        )  # fmt: skip
        self.open_lease, self.ask_owner = self._asking.open_lease, self._asking.ask_owner
        self.need_budget, self.refill = self._asking.budget.need, self._asking.budget.refill
        self.ask_stake, self.acting = self._asking.ask_stake, self._asking.acting
        self.written = self.upload.written
        self._mark = RecordMark(spool.directory)
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
        known = self._mark.read()
        self._send(frames.Hello(frames.VERSION, self._name, self._spool.boot, os.getpid(), *known))
        try:
            frame = await self._channel.receive()
        except BadFrame as fault:
            reason = parting.why_unread(fault, frames.Welcome)
            said = f"the broker's welcome cannot be read ({fault}): {parting.words(reason)}"
            raise LinkDown(reason, said) from None
        if not isinstance(frame, frames.Welcome):
            reason = frame.reason if isinstance(frame, frames.Goodbye) else parting.NO_WELCOME
            raise LinkDown(reason, f"the broker did not let this gateway in: {parting.words(reason)}")
        if frame.version != frames.VERSION:
            raise LinkDown(parting.VERSION, f"the broker is another one: {parting.words(parting.VERSION)}")
        if not self._book.set_all_gates(frame.gates, frame.closings, frame.history, frame.over, frame.kept):
            raise LinkDown(
                "older_history", "the broker's database is of an older history than this gateway knows"
            )
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
        """Give everything back that can be given back, tell what has landed, and hang up.

        Whoever waits for a fact still, and whose client has gone, is not served on what was given back.
        """
        if self._telling is not None:
            self._telling.cancel()
            self._tell_landed()
        self._returns.everything()
        self._send(frames.EndLease(tuple(self._book.by_lease), last=True))
        self._book.drop_all()
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

    def give_back_all(self, standing: Standing) -> None:
        """Give back what is left of a grant's slices, so that what was spent of them is known now."""
        self._returns.of(standing)

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
        if isinstance(frame, frames.CloseSlices | frames.Release):
            self._asking.budget.came_back()

    # --- what comes down ------------------------------------------------------------------

    def _take(self, frame: Frame) -> None:
        """Take one frame in; a failure leaves nothing open, and does not end the link."""
        try:
            self._apply(frame)
            if isinstance(frame, NEWS):
                if not isinstance(frame, frames.AllGates):
                    self.missed.news()
                self.on_news()
                self._returns.soon()
        except Exception as fault:  # noqa: BLE001 - whatever it is, the bots' link has to live
            name = type(frame).__name__
            _LOG.error("a %s frame could not be applied: %s", name, described(fault))
            self._not_applied(frame)
            self._returns.soon()

    def _not_applied(self, frame: Frame) -> None:
        """Shut what a frame may have closed, and say that it is not in force."""
        self.missed.not_applied(frame)
        if isinstance(frame, ANSWERS):
            self._asking.answer(frames.AskFailed(frame.ask))
        change = getattr(frame, "change", 0)
        if change:
            self._send(frames.NotInForce(change, "not_applied"))

    def _unreadable(self, fault: BadFrame) -> None:
        """Shut everything where a frame that cannot be read may have closed something."""
        _LOG.error("a frame of the broker cannot be read: it %s", fault)
        self.missed.unreadable(fault)
        if fault.name in _ANSWERS:
            self._asking.answer(frames.AskFailed(fault.ask))  # who waits for it need not wait longer
        self._returns.soon()

    def _apply(self, frame: Frame) -> None:
        book = self._book
        match frame:
            case frames.GateChanged() | frames.PolicyChanged() | frames.Cutover() if not book.is_of(
                frame.history
            ):
                self._refuse(frame)
            case frames.GateChanged():
                book.set_gates(frame.gates, frame.over, frame.history)
                book.succeed(frame.successors)
                # what had left before a closing was counted when it came in force
                shut = () if frame.over else tuple(state.scope for state in frame.gates if state.closers)
                self._acknowledge(frame.change, self._in_flight(frame.change, shut))
            case frames.CloseNow():
                book.close_now(frame.closing)
                self._acknowledge(frame.change, self._in_flight(frame.change, frame.closing.scopes))
            case frames.AllGates():
                self._take_all(frame)
            case frames.PolicyChanged():
                book.change_policy(frame)
                self._returns.void()
                self._acknowledge(frame.change)
            case frames.Material():
                book.learn(frame)
            case frames.Cutover():
                self._cut_over(frame)
            case frames.Canary() if self.on_canary is not None:
                self.background(self._try_out(self.on_canary(frame)))
            case frames.Wipe():
                self._wipe(book.wipe(frame.keys))
            case frames.Renewed():
                book.renew(frame, self._renewed_us.pop(frame.ask, None))
                self._heard_echo(frame.ask)
                if frame.voided:
                    self.on_news()
                    self._returns.soon()
            case frames.Serves():
                self.on_serves(frame)
            case frames.CallsKept() | frames.CallsNotKept() | frames.CallsForgotten() | frames.SpoolClosed():
                self.upload.take(frame)
            case frames.Marked():
                self.background(asyncio.to_thread(self._mark.taken(frame)))
            case frames.Goodbye():
                _LOG.warning("the broker ends the link: %s", frame.reason)
                self._channel.close()
            case _ if isinstance(frame, ANSWERS):
                self._asking.answer(frame)
            case _:
                _LOG.error("a %s frame was not expected; it is passed over", type(frame).__name__)

    def _take_all(self, frame: frames.AllGates) -> None:
        """Take every gate in; where another history of the record begins, nothing of the last one is used any more."""
        book, before = self._book, self._book.history
        if not book.set_all_gates(frame.gates, frame.closings, frame.history, frame.over, frame.kept):
            self.missed.shut(EVERYTHING)
            self._send(frames.NotInForce(frame.change, "older_history"))
            return
        self.missed.heard()
        if before not in {"", frame.history}:
            _LOG.warning("the broker's database went from history %s to %s", before, frame.history)
            self._wipe(book.wipe(tuple(book.material)))
            self._returns.void()
        if frame.change:
            self._acknowledge(frame.change)

    def _refuse(self, frame: frames.GateChanged | frames.PolicyChanged | frames.Cutover) -> None:
        """Say that what another history counts is not in force here. What it is about is closed, and nothing opened."""
        match frame:
            case frames.GateChanged():
                self._book.set_gates(frame.gates, frame.over, frame.history)
            case frames.PolicyChanged():
                self._book.set_gates(frame.gates, (), frame.history)
                self.missed.end(self._book.drop_grant(frame.grant))
            case frames.Cutover():
                self.missed.end(self._book.drop_key(frame.old))
        self._send(frames.NotInForce(frame.change, "other_history"))

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
        self.missed.end(self._book.cut_over(frame))
        if self._book.flights.on(frame.old) == 0:
            self._acknowledge(frame.change)
        else:
            self._landing.setdefault(frame.old, []).append(frame.change)

    def _acknowledge(self, change: int, in_flight: int = 0) -> None:
        """Say that a change is in force, and how much was written before it was, and by whom: all that had left."""
        self._send(frames.Ack(change, in_flight, self._spool.told_by, self._book.users.tell()))

    def tell_users(self) -> None:
        """Say who sends by this gateway."""
        self._send(frames.Uses(self._spool.told_by, self._book.users.tell()))

    def _in_flight(self, change: int, scopes: tuple[str, ...]) -> int:
        """Count what left before these scopes were shut, and tell once all of it has landed."""
        return self._book.flights.watch(change, scopes, self._clock.boot_us()) if scopes else 0

    def landed(self, flight: int) -> None:
        """A request has its answer, or never will."""
        key, news = self._book.flights.lands(flight, self._clock.boot_us())
        if news and self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(_TELL_SECONDS, self._tell_landed)
        for change in self._landing.pop(key, ()) if key else ():
            self._acknowledge(change)

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
                self.missed.ask_again,
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
        leases, now_us = tuple(self._book.by_lease), self._clock.boot_us()
        longest_us = max((held.policy.lease_us for held in self._book.by_lease.values()), default=0)
        # a broker that takes longer than we wait with the next one prolongs a lease all the same
        self._renewed_us = {
            ask: at_us for ask, at_us in self._renewed_us.items() if now_us - at_us < longest_us
        }
        for start in range(0, len(leases), _RENEWED_AT_ONCE):
            number = self._asking.next()
            self._renewed_us[number] = now_us
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
