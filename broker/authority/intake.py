"""Call-log lines on their way from gateways into the log.

Rules:
1. The lines of one gateway are taken in one after the other, in order: an answer is worth nothing before its ask.
2. What was committed is acknowledged, by boot and number; what was not is said at once, and what follows it is not
   taken either: the gateway sends it all again from there.
3. A boot is over once every line that came of it was kept, whatever its gateway says of the last one.
4. A line that cannot be read is never passed over in silence: it is in the audit trail, and the gateway is told.
5. No more waits here than `MOST_WAITING` lines a gateway.
6. Where another history of the record begins, lines that were acknowledged may be lost: what the gateway still has on
   disk of them is asked for again. All that was kept in the last `LATELY_SECONDS`, too: later lines may have come in
   there before anybody saw that it is another, and behind them the loss cannot be seen. With them go those of earlier
   boots that it has: where such were taken in it is asked, whatever is there of its own.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from broker.authority.link import Link
from broker.background import Background, described
from broker.errors import StoreUnavailable
from broker.link import frames
from broker.service import Service

MOST_WAITING = 50_000
RECOUNT_SECONDS = 1.0
LATELY_SECONDS, _EACH_S = 600.0, 5.0
_MOST_JOINED = 1_000
"""Lines of one transaction: several frames that wait already are written together."""

_LOG = logging.getLogger("portcullis.calls")
Run = Callable[[Callable[[], Any]], Awaitable[Any]]


class Intake:
    """Takes the lines of every gateway."""

    def __init__(self, service: Service, beside: Background, in_log: Run, in_budgets: Run) -> None:
        self._service, self._beside, self._in_log, self._in_budgets = service, beside, in_log, in_budgets
        self.on_kept: Callable[[Link], None] = lambda _: None
        self.on_over: Callable[[str, str], None] = lambda _gateway, _boot: None
        """Called where all that a boot of a gateway wrote is taken in."""

    def take(self, link: Link, frame: frames.Calls | frames.SpoolDone) -> None:
        """Put lines, or the end of a boot's lines, behind what waits already."""
        incoming = link.incoming
        if isinstance(frame, frames.Calls):
            if incoming.lines >= MOST_WAITING:
                link.tell(frames.CallsNotKept(frame.boot, frame.first))
                return
            incoming.lines += len(frame.lines)
        incoming.queue.append(frame)
        if not incoming.working:
            incoming.working = True
            self._beside.begin(self._work(link), f"taking in the calls of gateway {link.gateway}")

    def recount(self, link: Link) -> None:
        """The record may have lost lines that were acknowledged: look, and ask for them again."""
        self._beside.begin(self._recount(link), f"asking gateway {link.gateway} for lines that were lost")

    async def _recount(self, link: Link) -> None:
        boot, incoming = link.boot, link.incoming
        while not link.over:
            kept = incoming.expected.get(boot, 1) - 1
            try:
                last = await self._in_log(lambda: self._service.calls.last_of(link.gateway, boot))
            except StoreUnavailable as fault:
                _LOG.error("which call-log lines were lost cannot be read yet: %s", fault)
                await asyncio.sleep(RECOUNT_SECONDS)
                continue
            first = min([last + 1, *(number for _, number in list(incoming.lately)[:1])])
            # from the last ask on: answers to it have numbers, and no rows, of their own
            if first <= kept or incoming.earlier:
                _LOG.warning(
                    "gateway %s is asked for its call-log lines from %d on again", link.gateway, first
                )
                if first <= kept:
                    incoming.again, incoming.lost, link.moved_s = first, kept, time.monotonic()
                link.tell(frames.CallsForgotten(boot, first))
            return

    async def _work(self, link: Link) -> None:
        incoming = link.incoming
        try:
            while incoming.queue:
                frame = incoming.queue.popleft()
                if isinstance(frame, frames.SpoolDone):
                    await self._close(link, frame)
                    continue
                incoming.lines -= len(frame.lines)
                await self._keep(link, self._joined(link, frame))
        finally:
            incoming.working = False

    def _joined(self, link: Link, frame: frames.Calls) -> frames.Calls:
        """Return a frame together with those that wait and go on where it ends."""
        incoming, lines = link.incoming, list(frame.lines)
        while incoming.queue and len(lines) < _MOST_JOINED:
            following = incoming.queue[0]
            if (
                not isinstance(following, frames.Calls)
                or following.boot != frame.boot
                or following.first != frame.first + len(lines)
            ):
                break
            incoming.queue.popleft()
            incoming.lines -= len(following.lines)
            lines += following.lines
        return frames.Calls(frame.boot, frame.first, tuple(lines))

    async def _keep(self, link: Link, frame: frames.Calls) -> None:
        incoming, boot = link.incoming, frame.boot
        expected = incoming.expected.setdefault(boot, frame.first)
        incoming.seen[boot] = max(incoming.seen.get(boot, 0), frame.first + len(frame.lines) - 1)
        if frame.first > expected:
            link.tell(frames.CallsNotKept(boot, expected))
            return
        try:
            odd = await self._in_log(
                lambda: self._service.calls.ingest(link.gateway, boot, frame.lines, frame.first)
            )
            unreadable = tuple(frame.first + index for index in odd)
            if unreadable:
                incoming.torn.add(boot)
                await self._report(link, boot, unreadable)
        except Exception as fault:  # noqa: BLE001 - not one line is lost, whatever it was
            _LOG.error("call-log lines could not be kept; the gateway keeps them: %s", described(fault))
            link.tell(frames.CallsNotKept(boot, frame.first))
            return
        last = frame.first + len(frame.lines) - 1
        if boot == link.boot:
            _note(incoming.lately, frame.first, time.monotonic())
            if incoming.again is not None and frame.first <= incoming.lost:
                incoming.again = last + 1 if last < incoming.lost else None
        else:
            incoming.earlier = True
        incoming.expected[boot] = max(expected, last + 1)
        self.on_kept(link)
        link.tell(frames.CallsKept(boot, last, frame.first, unreadable))

    async def _report(self, link: Link, boot: str, numbers: tuple[int, ...]) -> None:
        _LOG.error(
            "gateway %s, boot %s: %d call-log lines cannot be read, from %d on; what they told is lost",
            link.gateway, boot, len(numbers), numbers[0],
        )  # fmt: skip
        await self._in_log(lambda: self._service.calls.unreadable(link.gateway, boot, numbers))

    async def _close(self, link: Link, frame: frames.SpoolDone) -> None:
        """Close an earlier boot's slices, once every line of it is there."""
        incoming, boot = link.incoming, frame.boot
        expected = incoming.expected.get(boot)
        if expected is not None and expected <= max(frame.last, incoming.seen.get(boot, 0)):
            link.tell(frames.CallsNotKept(boot, expected))
            return
        whole = frame.whole and boot not in incoming.torn
        try:
            # behind what the gateway gave back before: what is in its lines too must not come back a second time
            await self._in_budgets(lambda: self._service.calls.close_boot(link.gateway, boot, whole=whole))
        except Exception as fault:  # noqa: BLE001 - the gateway asks again
            _LOG.error("an earlier boot's budget could not be closed yet: %s", described(fault))
            return
        self.on_over(link.gateway, boot)
        incoming.expected.pop(boot, None)
        incoming.seen.pop(boot, None)
        link.tell(frames.SpoolClosed(boot))


def _note(lately: "deque[tuple[float, int]]", first: int, now_s: float) -> None:
    """Note from which line on something is kept now; what was noted long ago goes, but for the last of it."""
    if not lately or now_s - lately[-1][0] >= _EACH_S:
        lately.append((now_s, first))
    while len(lately) > 1 and now_s - lately[1][0] > LATELY_SECONDS:
        lately.popleft()
