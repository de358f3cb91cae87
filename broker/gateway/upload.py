"""The spool on its way to the broker: this boot's lines as they come, earlier boots' beside them.

Rules:
1. A line counts as kept when the broker has acknowledged that line, by boot and number, and not before.
2. An earlier boot is over when every line of it was acknowledged and the broker has answered that nothing more is
   wanted: only then its last file goes. Where lines are torn or gone, that is said. A gateway that still ran when we
   began (it was stopped, or ended slowly) is an earlier boot as soon as it is over. One that stops in order says so
   itself, where its last lines have left.
3. Requests come first: lines leave in batches, with pauses between.
"""

import asyncio
import logging
from collections.abc import Callable

from broker.background import described
from broker.gateway.clock import SystemClock
from broker.gateway.delivery import Delivery
from broker.gateway.spool import Earlier, Spool
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
"""For what a gateway that ran beside us left behind when it ended."""

_LOG = logging.getLogger("portcullis.spool")


class Upload:
    """Sends lines, and takes in what became of them."""

    def __init__(self, spool: Spool, clock: SystemClock, send: Callable[[Frame], None]) -> None:
        self._spool, self._clock, self._send = spool, clock, send
        self._own = Delivery(0, MOST_UNKEPT)
        self._earlier: dict[str, tuple[Earlier, Delivery, asyncio.Event]] = {}
        self._closed: set[str] = set()
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
            self._send(frames.SpoolDone(self._spool.boot, self._spool.seq))
        for earlier, _, _ in self._earlier.values():
            earlier.let_go()

    def _soon(self, seconds: float) -> None:
        self._flushing = asyncio.get_running_loop().call_later(seconds, self.flush)

    # --- what the broker says -------------------------------------------------------------

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
                self._spool.kept(self._own.kept, frame.unreadable)
        elif frame.boot in self._earlier:
            earlier, delivery, heard = self._earlier[frame.boot]
            if delivery.took(frame.first, frame.seq, now_us):
                earlier.kept(delivery.kept, frame.unreadable)
                heard.set()

    def not_kept(self, frame: frames.CallsNotKept) -> None:
        """Lines were not taken: they go again, in order."""
        now_us = self._clock.boot_us()
        if frame.boot == self._spool.boot:
            self._own.lost(frame.first, now_us)
            self.written()
        elif frame.boot in self._earlier:
            self._earlier[frame.boot][1].lost(frame.first, now_us)

    def closed(self, frame: frames.SpoolClosed) -> None:
        """The broker wants nothing more of an earlier boot."""
        if frame.boot in self._earlier:
            self._closed.add(frame.boot)
            self._earlier[frame.boot][2].set()

    # --- earlier boots --------------------------------------------------------------------

    async def send_earlier(self) -> None:
        """Send what earlier boots left behind, one after the other; those that still run are waited for."""
        others_run = True
        while others_run:
            for known, _, _ in self._earlier.values():
                known.let_go()  # of a try that failed
            self._earlier.clear()
            found, others_run = await asyncio.to_thread(self._spool.earlier)
            for earlier in found:
                delivery = Delivery(earlier.before, _MOST_UNKEPT_EARLIER)
                self._earlier[earlier.boot] = (earlier, delivery, asyncio.Event())
            for boot in list(self._earlier):
                await self._send_one(boot)
                del self._earlier[boot]
            if others_run:
                await asyncio.sleep(LOOK_AGAIN_SECONDS)

    async def _send_one(self, boot: str) -> None:
        earlier, delivery, heard = self._earlier[boot]
        while boot not in self._closed:
            now_us = self._clock.boot_us()
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
        earlier.done()


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
