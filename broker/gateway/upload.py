"""The spool on its way to the broker: this boot's lines as they come, earlier boots' beside them.

Rules:
1. A line counts as kept when the broker has acknowledged that line, by boot and number, and not before.
2. An earlier boot is over when every line of it was acknowledged and the broker has answered that nothing more is
   wanted: only then its last file goes. Where lines are torn or gone, that is said. A gateway that still ran when we
   began (it was stopped, or ended slowly) is an earlier boot as soon as it is over. One that stops in order says so
   itself, where its last lines have left. One whose files cannot be read, or which the broker does not take, keeps no
   other from being sent, and is tried again.
3. Lines of an earlier boot leave at once, and stay until they were taken in here and what is in doubt of them is on
   disk elsewhere (`recall`, `doubts`). What cannot be deleted is tried again, and not sent again.
4. Requests come first: lines leave in batches, with pauses between.
5. Where the record lost lines of this boot it may have lost those of earlier boots that it took in since: what is still
   on disk of these goes again, too. The broker passes over what it has.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from broker.background import described
from broker.gateway.clock import SystemClock
from broker.gateway.delivery import Delivery
from broker.gateway.fills import RecentFills
from broker.gateway.others import Earlier
from broker.gateway.said import Said
from broker.gateway.spool import Spool
from broker.link import frames
from broker.link.frames import Frame

BATCH_LINES = 100
"""Lines a frame: writing one must not keep requests waiting."""

BATCH_CHARACTERS = 1024 * 1024
"""Of all lines of a frame but its first: a frame that is too large is not read, and would be sent again for ever."""

MOST_UNKEPT = 20_000
_MOST_UNKEPT_EARLIER = 2_000
_FLUSH_SECONDS = 0.05
_MORE_SECONDS = 0.002
_LOOK_SECONDS = 0.25
_DONE_AGAIN_SECONDS = 5.0
LOOK_AGAIN_SECONDS = 5.0
"""For what a gateway that ran beside us left behind when it ended, and for what could not be deleted yet."""

_PATIENCE_US = 60_000_000
"""For how long one boot may come no further before it is the next one's turn."""

_ALL_OF_IT = 1 << 62

_LOG = logging.getLogger("portcullis.spool")


class Upload:
    """Sends lines, and takes in what became of them."""

    def __init__(
        self, spool: Spool, clock: SystemClock, send: Callable[[Frame], None], recent: RecentFills
    ) -> None:
        self._spool, self._clock, self._send, self._recent = spool, clock, send, recent
        self._earlier_whole = True
        self.sent_once = False
        """Whether each earlier boot is over, or had its time: until then budget that is lent to it may come back."""
        self._own = Delivery(0, MOST_UNKEPT)
        self._earlier: dict[str, tuple[Earlier, Delivery, asyncio.Event]] = {}
        self._earlier_as_of = -1
        """The last line of this boot that the broker had as it took lines of an earlier one in last; -1: never."""
        self._told = self._deleted = False
        """Whether it was said that the broker has all of earlier boots; whether files of one were deleted."""
        self._closed: set[str] = set()
        self._sent: dict[str, tuple[Earlier, int]] = {}
        """What the broker has wholly, and up to which line that is; it could not be deleted yet."""
        self.said = Said(_LOG)
        self._again = asyncio.Event()
        self.covers: Callable[[str], int] = lambda _: _ALL_OF_IT
        """Up to which line of an earlier boot all that is in doubt is on disk elsewhere."""
        self.on_uncovered: Callable[[], None] = lambda: None
        """Called where lines could go but for that."""
        self._flushing: asyncio.TimerHandle | None = None

    # --- this boot ------------------------------------------------------------------------

    def written(self) -> None:
        """A line was written: send it soon, together with those that follow."""
        if self._flushing is None:
            self._soon(_FLUSH_SECONDS)

    def flush(self) -> None:
        """Send the next batch, and come again for what is left."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        try:
            self._send_batch()
        except OSError as fault:  # they stay on disk, and come again
            _LOG.error("the spool cannot be read; its lines wait: %s", described(fault))
            self._soon(_LOOK_SECONDS)

    def _send_batch(self) -> None:
        own, now_us = self._own, self._clock.boot_us()
        if own.overdue(now_us):
            _LOG.warning("the broker said nothing of lines from %d on: they are sent again", own.kept + 1)
        if own.may_send(now_us):
            batch = _as_much_as_fits(self._spool.batch(own.sent, BATCH_LINES))
            if batch:
                self._send(frames.Calls(self._spool.boot, batch[0][0], tuple(line for _, line in batch)))
                own.went(batch[-1][0], now_us)
        if own.sent < self._spool.seq:
            # soon, not at once: requests come first. Not in 50 ms either: above 5,000 requests a second lines
            # would be written faster than they go
            self._soon(_MORE_SECONDS if own.may_send(now_us) else _FLUSH_SECONDS)
        elif own.kept < own.sent:
            self._soon(_LOOK_SECONDS)

    def end(self) -> None:
        """Send what still goes in one batch; what is not acknowledged stays in the spool for the next boot.

        Where that was all of it this boot is over, as an earlier one would be: slices that are lent to it now, or came
        when nobody read any more, it can never spend.
        """
        self.flush()
        if self._flushing is not None:
            self._flushing.cancel()
        if self._own.sent == self._spool.seq:
            self._send(frames.SpoolDone(self._spool.boot, self._spool.seq, self._spool.whole))
        for earlier, _, _ in self._earlier.values():
            earlier.let_go()

    def _soon(self, seconds: float) -> None:
        self._flushing = asyncio.get_running_loop().call_later(seconds, self.flush)

    # --- what the broker says -------------------------------------------------------------

    def take(
        self, frame: frames.CallsKept | frames.CallsNotKept | frames.CallsForgotten | frames.SpoolClosed
    ) -> None:
        """Take in what became of lines."""
        match frame:
            case frames.CallsKept():
                self.kept(frame)
            case frames.CallsNotKept():
                self.not_kept(frame)
            case frames.CallsForgotten():
                self.forgotten(frame)
            case frames.SpoolClosed():
                self.closed(frame)

    def kept(self, frame: frames.CallsKept) -> None:
        """Lines are in the call log."""
        if frame.unreadable:
            _LOG.error(
                "the broker cannot read %d lines of boot %s, from %d on: their file is set aside in the spool",
                len(frame.unreadable), frame.boot, frame.unreadable[0],
            )  # fmt: skip
        now_us = self._clock.boot_us()
        if frame.boot == self._spool.boot:
            if self._own.took(frame.first, frame.seq, now_us):
                self._recent.kept(self._own.kept, frame.unreadable)
                self._spool.kept(self._own.kept, frame.unreadable)
        elif frame.boot in self._earlier:
            earlier, delivery, heard = self._earlier[frame.boot]
            self._earlier_whole = self._earlier_whole and not frame.unreadable
            self._earlier_as_of = self._own.kept
            if delivery.took(frame.first, frame.seq, now_us):
                heard.set()
                with suppress(OSError):  # it is tried again once all of it is kept
                    earlier.kept(min(delivery.kept, self.covers(frame.boot)), frame.unreadable)

    def not_kept(self, frame: frames.CallsNotKept) -> None:
        """Lines were not taken: they go again, in order."""
        now_us = self._clock.boot_us()
        if frame.boot == self._spool.boot:
            self._own.lost(frame.first, now_us)
            self.written()
        elif frame.boot in self._earlier:
            self._earlier[frame.boot][1].lost(frame.first, now_us)

    def forgotten(self, frame: frames.CallsForgotten) -> None:
        """The broker's record lost lines that it had: those still on disk go again."""
        if frame.boot == self._spool.boot:
            first = self._spool.forgotten(frame.first)
            if first > frame.first:
                _LOG.error("the broker lost call-log lines %d to %d; they are gone", frame.first, first - 1)
            self._own.forgotten(first)
            self._recent.forgotten(frame.first, first)
            if frame.first <= self._earlier_as_of + 1:
                self._earlier_again()
            self.written()
        else:
            self._recent.earlier_forgotten()

    def _earlier_again(self) -> None:
        """Send what is still on disk of earlier boots once more, also of those that are over."""
        if not self._earlier and not self._sent:
            self._recent.earlier_forgotten()
            return
        self._told = False
        self._earlier_whole = self._earlier_whole and not self._deleted
        self._recent.earlier_again()
        for boot, (earlier, delivery, heard) in self._earlier.items():
            delivery.forgotten(earlier.first)
            self._closed.discard(boot)
            heard.set()
        self._sent.clear()
        self._again.set()

    def closed(self, frame: frames.SpoolClosed) -> None:
        """The broker wants nothing more of an earlier boot."""
        if frame.boot in self._earlier:
            self._closed.add(frame.boot)
            self._earlier[frame.boot][2].set()

    # --- earlier boots --------------------------------------------------------------------

    async def send_earlier(self) -> None:
        """Send what earlier boots left behind, one after the other; those that still run are waited for."""
        while True:
            for known, _, _ in self._earlier.values():
                known.let_go()  # of a try that failed
            self._earlier.clear()
            others_run = not await self._send_found()
            self.sent_once = True
            if not others_run and not self._told:
                self._told = True
                if self._earlier_whole:
                    self._recent.earlier_kept()
            for boot in list(self._sent):
                await self._delete(boot)
            if not others_run and not self._sent and not self._again.is_set():
                return
            await _heard(self._again, LOOK_AGAIN_SECONDS)

    def covered(self) -> None:
        """More may be deleted."""
        self._again.set()

    async def _send_found(self) -> bool:
        """Send what is there now; tell whether that was all, and nothing will come."""
        try:
            found, others_run = await asyncio.to_thread(self._spool.earlier)
        except OSError as fault:
            self.said.say("", f"the spool cannot be read; earlier boots' lines wait: {fault.strerror}")
            return False
        left = {earlier.boot for earlier in found}
        self.said.only(left | {f"{boot} delete" for boot in left})
        for earlier in found:
            if earlier.boot in self._sent:
                continue
            delivery = Delivery(earlier.before, _MOST_UNKEPT_EARLIER)
            self._earlier[earlier.boot] = (earlier, delivery, asyncio.Event())
            try:
                await self._send_one(earlier.boot)
            except BlockingIOError:  # another gateway that began has them
                others_run = True
            except TimeoutError:
                words = (
                    f"the broker takes no lines of boot {earlier.boot}, or does not call it over; they wait"
                )
                self.said.say(earlier.boot, words)
                others_run = True
            except OSError as fault:
                self._earlier_whole = self._earlier_whole and self._spool.directory.is_dir()
                words = f"the spool of boot {earlier.boot} cannot be read; its lines wait: {fault.strerror}"
                self.said.say(earlier.boot, words)
                others_run = True
            else:
                self.said.well(earlier.boot)
                # where nothing is left of it nothing is to be taken in
                last = delivery.kept if delivery.kept > earlier.before else 0
                self._sent[earlier.boot] = earlier, last
                await self._delete(earlier.boot)
            finally:
                earlier.let_go()
                del self._earlier[earlier.boot]
        return not others_run

    async def _delete(self, boot: str) -> None:
        """Delete what the broker has, once all that is in doubt of it is on disk elsewhere."""
        if boot not in self._sent:
            return  # it goes again
        earlier, last = self._sent[boot]
        if last and self.covers(boot) < last:
            if await asyncio.to_thread(earlier.gone):
                self._sent.pop(boot, None)
            self.on_uncovered()
            return
        try:
            await asyncio.to_thread(earlier.done)
        except BlockingIOError:
            pass  # another gateway that began has them, and deletes them
        except OSError as fault:
            words = f"the files of boot {boot}, which the broker has, cannot be deleted: {fault.strerror}"
            self.said.say(f"{boot} delete", words)
            return
        self.said.well(f"{boot} delete")
        self._deleted = True
        self._sent.pop(boot, None)

    async def _send_one(self, boot: str) -> None:
        earlier, delivery, heard = self._earlier[boot]
        self._closed.discard(boot)
        kept, came_us = delivery.kept, self._clock.boot_us()
        while boot not in self._closed:
            now_us = self._clock.boot_us()
            if delivery.kept != kept:
                kept, came_us = delivery.kept, now_us
            elif now_us - came_us > _PATIENCE_US:
                raise TimeoutError
            delivery.overdue(now_us)
            if delivery.may_send(now_us):
                sent = delivery.sent
                batch = _as_much_as_fits(await asyncio.to_thread(earlier.batch, sent, BATCH_LINES))
                if delivery.sent != sent:
                    continue  # the broker did not take them meanwhile: what was read is not what comes next
                if batch:
                    self._send(frames.Calls(boot, batch[0][0], tuple(line for _, line in batch)))
                    delivery.went(batch[-1][0], now_us)
                    continue
                if delivery.kept == delivery.sent:
                    self._send(frames.SpoolDone(boot, delivery.kept, earlier.whole))
                    await _heard(heard, _DONE_AGAIN_SECONDS)
                    continue
            await _heard(heard, _LOOK_SECONDS)


def _as_much_as_fits(batch: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Return the first lines of a batch, as many as a frame holds with ease; one at least."""
    characters = 0
    for count, (_, line) in enumerate(batch):
        characters += len(line)
        if count and characters > BATCH_CHARACTERS:
            return batch[:count]
    return batch


async def _heard(event: asyncio.Event, seconds: float) -> None:
    """Wait until something was heard, not for long."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
    finally:
        event.clear()
