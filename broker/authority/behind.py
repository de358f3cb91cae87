"""What other gateways of an account have done that the record does not have yet: then nobody knows what is nobody's.

Rules:
1. A gateway writes each line before its request leaves, and says how many there are: as it acknowledges a change, and
   every second. As long as one that was written by then is not taken in, the record is behind. So it is as long as
   another gateway may act on what it was told before (`given`): what it sells by that is in no line yet.
2. Who asks whose an asset is waits for that, not for long (`WAIT_S`). Then what others have is unknown. So is what is
   one's own, for consumers whose orders may be among those lines: they may have sold it. Of all others it passes.
3. So it is where the link of a gateway has ended that had not said that this was all, where it says nothing
   (`SILENT_S`), and where one that we never met may serve on by a lease of before we began. Orders may be missing there
   of who sent anything in its last minute, or, where it was never met, of who used it in the last day.
4. It is over once the next start of that gateway has sent all that was left. Where nothing comes for `PATIENCE_S` the
   record alone counts, but for lines that a gateway says it cannot write (its disk is full): as long as it says so. A
   gateway that does nothing holds up nobody.
5. What earlier starts of the asking gateway have written that one reads itself, and waits for (`gateway.recall`).
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple

from broker.authority.given import Answer, Given
from broker.authority.intake import Intake
from broker.authority.link import Link, Open
from broker.authority.starts import Start, Starts
from broker.link import frames
from broker.link.frames import Frame

WAIT_S, SILENT_S, PATIENCE_S = 0.3, 3.0, 60.0
_MOST_OVER = 1_000


class Lacking(NamedTuple):
    """What the record may lack: anything, what these consumers did, and what went through these unmet gateways."""

    some: bool = False
    consumers: frozenset[str] = frozenset()
    gateways: frozenset[str] = frozenset()


class Behind:
    """The gateways that are connected, and those that were lately."""

    def __init__(self, starts: Starts, intake: Intake, now_s: Callable[[], float] = time.monotonic) -> None:
        self._starts, self._now_s = starts, now_s
        intake.on_kept, intake.on_over = self._took, self._closed
        self._began_s = now_s()
        self._links: dict[Start, Link] = {}
        self._over: deque[Start] = deque(maxlen=_MOST_OVER)
        self._news = asyncio.Event()
        self._given = Given()

    def begin(self, link: Link) -> None:
        """A gateway is connected."""
        now_s = self._now_s()
        self._links = {
            start: one
            for start, one in self._links.items()
            if one.ended_s is None or now_s - one.ended_s < PATIENCE_S
        }
        before = self._links.get((link.gateway, link.boot))
        if before is not None:
            link.users |= before.users
        self._links[link.gateway, link.boot] = link

    def end(self, link: Link) -> None:
        """Its link has ended."""
        link.ended_s = self._now_s()
        self._given.gone(link)
        self._news.set()

    def heard(self, link: Link, frame: Frame) -> None:
        """It says something, perhaps how much it has written by now."""
        match frame:
            case frames.Ack() | frames.Health():
                self._wrote(link, frame.lines)
                link.users |= dict.fromkeys(frame.users, (frame.lines, self._now_s()))
                link.named_to = max(link.named_to, frame.lines)
                link.owes = frame.owes if isinstance(frame, frames.Health) else link.owes
            case frames.Uses():
                self._wrote(link, frame.lines)
                link.users |= dict.fromkeys(frame.users, (frame.lines + 1, self._now_s()))
            case frames.Acted():
                self._wrote(link, frame.lines)
                users = self._given.end(link, frame.asks)
                link.users |= dict.fromkeys(users, (frame.lines, self._now_s()))
            case frames.Calls() if frame.boot == link.boot:
                self._wrote(link, frame.first + len(frame.lines) - 1)
            case frames.SpoolDone() if frame.boot == link.boot:
                self._wrote(link, frame.last)
                link.said_all = True
            case _:
                pass
        self._news.set()

    def _wrote(self, link: Link, line: int) -> None:
        if _taken(link) >= link.wrote < line:
            link.moved_s = self._now_s()
        link.wrote = max(link.wrote, line)

    def _took(self, link: Link) -> None:
        """Lines of it were taken in."""
        link.moved_s = self._now_s()
        self._news.set()

    def _closed(self, gateway: str, boot: str) -> None:
        """All that a start has written is taken in."""
        self._links.pop((gateway, boot), None)
        self._over.append((gateway, boot))
        self._news.set()

    def asks(self, link: Link, frame: frames.StakeQuery, held: Open) -> tuple[Answer, ...]:
        """A gateway asks whose an asset is; return the answers that others got before and may act on still."""
        link.users[held.key.account, held.consumer] = (link.wrote + 1, self._now_s())
        asked = Answer(link, frame.ask, held.consumer, self._now_s())
        return self._given.begin(held.key.account, frame.base, asked)

    async def lacking(self, account: str, asking: Link, given: tuple[Answer, ...] = ()) -> Lacking:
        """Wait until the record has all that is known to have been written, not for long; tell what it lacks.

        `given`: what others were told before, and may act on still.
        """
        marks = {link: link.wrote for link in self._of(account, asking)}
        waits = list(given)
        until_s = self._now_s() + WAIT_S
        while True:
            for one in [one for one in waits if not self._given.is_open(one, self._now_s())]:
                waits.remove(one)
                if one.link in marks:
                    marks[one.link] = one.link.wrote
            if not waits and not any(self._is_late(link, line) for link, line in marks.items()):
                break
            left_s = until_s - self._now_s()
            if left_s <= 0:
                break
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._news.wait()
        behind = [link for link, line in marks.items() if self._is_late(link, line) or self._broke_off(link)]
        strangers = self._strangers(account, asking)
        return Lacking(
            bool(behind or strangers or waits),
            frozenset(name for link in behind for name in self._users(link, account))
            | {one.consumer for one in waits},
            frozenset(gateway for gateway, _ in strangers),
        )

    def _is_late(self, link: Link, line: int) -> bool:
        """Tell whether what a gateway wrote may come any moment."""
        return self._lacks(link, line) or self._is_silent(link)

    def _users(self, link: Link, account: str) -> Iterator[str]:
        """Yield the consumers of whom orders may be among what is missing of a gateway."""
        taken, last_s = _taken(link), None
        # nobody knows what else they did there, or whose the lines are that came since users were named
        if self._broke_off(link) or self._is_silent(link) or link.wrote > link.named_to:
            last_s = link.heard_s - PATIENCE_S
        for (of, consumer), (line, at_s) in link.users.items():
            if of == account and (line > taken or (last_s is not None and at_s >= last_s)):
                yield consumer

    def _of(self, account: str, asking: Link) -> Iterator[Link]:
        for link in self._links.values():
            if account in link.accounts and link.gateway != asking.gateway:
                yield link

    def _strangers(self, account: str, asking: Link) -> list[Start]:
        """Return the starts that may serve on by leases of before we began, and that we never met."""
        if self._now_s() - self._began_s >= PATIENCE_S:
            return []
        found = self._starts.strangers(account)
        return [one for one in found if one not in self._over and one[0] != asking.gateway]

    def _lacks(self, link: Link, line: int) -> bool:
        """Tell whether a line of a gateway is not taken in, and may be still."""
        known = self._links.get((link.gateway, link.boot)) is link
        waits = self._now_s() - link.moved_s < PATIENCE_S or (link.owes > 0 and link.ended_s is None)
        return known and _taken(link) < line and waits

    def _broke_off(self, link: Link) -> bool:
        """Tell whether a link has ended, and nobody knows how much its gateway had written."""
        known = self._links.get((link.gateway, link.boot)) is link
        ended = link.ended_s is not None and self._now_s() - link.ended_s < PATIENCE_S
        return known and ended and not link.said_all

    def _is_silent(self, link: Link) -> bool:
        """Tell whether a gateway that is connected says nothing for a while."""
        return link.ended_s is None and SILENT_S <= self._now_s() - link.heard_s < PATIENCE_S


def _taken(link: Link) -> int:
    """Return up to which line the record has what a start wrote, as its own link told it."""
    upto = link.incoming.expected.get(link.boot, 1) - 1
    return upto if link.incoming.again is None else min(upto, link.incoming.again - 1)
