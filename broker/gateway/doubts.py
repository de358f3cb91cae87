"""Requests of which nobody knows what became of their orders, on disk beside the spool: for the next start to find out.

Rules:
1. Their lines in the spool go once the broker has them, and the broker asks no venue: without this file such a sale
   would count as made for ever, and a purchase would be nobody's, as soon as the gateway is started anew.
2. So no line goes before what is in doubt of it is on disk here: what has its answer, what is on its way still, and
   what earlier boots left (`recall`). What cannot be written down keeps its lines. What is on its way and whose line
   stays is not written, but at the end: it would be another file each time.
3. It is written where what is in doubt has changed, every few seconds, when lines could go and at the end: whole or not
   at all, and on the disk itself before anything is deleted for it. What was settled since the last time is settled
   once more by the next start: that changes nothing.
4. A file per boot, as with the spool. What earlier boots left is part of ours once all of it was taken in, and then
   goes; a file that could not be read stays for the next start.
5. It only helps: what cannot be read is on record as it was. Never more than `MOST` requests: the latest of each grant
   in turn, so that nobody's push out another's. While more are in doubt lines stay, `MOST_LINES` of them at the most:
   they tell of the rest. Beyond that it is said.
6. What we amended while files of earlier boots cannot be read is told by our lines alone: they stay until those can,
   `MOST_LINES` of them at the most.
7. A list is no order: where its orders are known there is nothing to be found out.
"""

import asyncio
import logging
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import groupby, islice, zip_longest
from pathlib import Path
from typing import NamedTuple

import msgspec

from broker.calllog import Ask, SentLine
from broker.gateway import whole
from broker.gateway.owners import Owners
from broker.gateway.parts import BOOT
from broker.gateway.said import Said
from broker.gateway.sent import Sent
from broker.gateway.spool import Spool

EVERY_S = 5.0
MOST, _MOST_ORDERS = 1_000, 2_000
MOST_LINES = 200_000
_NAME = re.compile(rf"doubts-{BOOT}\.jsonl")
_LONGEST = 2 * 1024 * 1024
_LOG = logging.getLogger("portcullis.gateway")


class Doubt(msgspec.Struct, frozen=True, array_like=True):
    """One request, as its line in the call log of a boot tells it.

    `renamed` are the names of its orders that an amendment may have given another one: these are never absent. `base`
    and `quote` are as `Ask` has them.
    """

    boot: str
    seq: int
    grant: str
    account: str
    symbol: str
    window_us: tuple[int, int]
    sent: tuple[SentLine, ...]
    renamed: tuple[str, ...] = ()
    base: str = ""
    quote: str = ""


class _Look(NamedTuple):
    """What was in doubt at one moment, up to which line of our own and of each earlier boot; `number` counts looks."""

    number: int
    found: tuple[Doubt, ...]
    own: int
    earlier: dict[str, int]
    theirs: frozenset[Path] | None
    """Files of earlier boots that are part of it; None: all of them."""
    more: bool
    """Whether there was more in doubt than it tells."""


class Doubts:
    """The file of this boot."""

    def __init__(
        self, directory: Path, boot: str, owners: Owners, read: set[Path] | None = None,
        *, spool: Spool | None = None, reached: Mapping[str, int] | None = None,
    ) -> None:  # fmt: skip
        """Begin one.

        Args:
            directory: That of the spool.
            boot: This start.
            owners: Know what waits for an answer.
            read: Files of earlier boots that were taken in; None where all of them were.
            spool: Keeps its lines until they are covered.
            reached: Up to which line each earlier boot was taken in.
        """
        self._directory, self._boot, self._owners, self._read = directory, boot, owners, read
        self._spool, self._reached = spool, {} if reached is None else reached
        self._path = directory / f"doubts-{boot}.jsonl"
        self._written: tuple[Doubt, ...] = ()
        self._removed = set[Path]()
        self._looks = self._last = self._covered = 0
        self._writing = threading.Lock()
        self.said = Said(_LOG, logging.WARNING)
        self._soon, self._anew = asyncio.Event(), False
        self._earlier: dict[str, int] = {}
        self.on_cover: Callable[[], None] = lambda: None
        """Called where lines of earlier boots may go that might not before."""
        if spool is not None:
            spool.guard()
            spool.on_spent, spool.on_anew = self.soon, self.anew

    def soon(self) -> None:
        """Something could go: write now."""
        self._soon.set()

    def anew(self) -> None:
        """The directory was taken away, and is back: what was written there may not be."""
        self._anew = True
        self.soon()

    def covers(self, boot: str) -> int:
        """Return up to which line of an earlier boot all that is in doubt is on disk here."""
        return self._earlier.get(boot, 0)

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._soon.wait()
            self._soon.clear()
            look = self._look(ends=False)
            done = await asyncio.to_thread(self._put, look)
            if done:
                self._cover(look)
            if not done or look.more:
                await asyncio.sleep(EVERY_S)  # however often it is asked for

    def write(self, *, ends: bool = False) -> None:
        """Write down what is in doubt, where that is something else than before; `ends`: no answer comes any more."""
        look = self._look(ends=ends)
        if self._put(look):
            self._cover(look)

    def _look(self, *, ends: bool) -> _Look:
        spool, self._looks = self._spool, self._looks + 1
        own = 0 if spool is None else spool.seq if ends else spool.spent
        latest_ones = self._owners.waiting.latest(2 * _MOST_ORDERS)
        ours = (one for one in latest_ones if not one.gateway)  # what was sent elsewhere is on record
        waiting = [*islice(ours, _MOST_ORDERS + 1)][::-1]
        told = (one for one in waiting if ends or not one.flying or (not one.boot and one.asked <= own))
        theirs: frozenset[Path] | None = frozenset()  # until all was taken in theirs is not among it
        if self._owners.recalled:
            theirs = None if self._read is None else frozenset(self._read)
        requests = list(doubts(told, self._boot))
        more = len(waiting) > _MOST_ORDERS or len(requests) > MOST
        if (more or self._owners.waiting.notes_any) and own <= self._covered + MOST_LINES:
            own = 0
        elif more and own:
            words = f"more than {MOST} requests are in doubt: what became of the oldest no later start will find out"
            self.said.say("more", words)
        if not more:
            self.said.well("more")
        reached = {} if more else dict(self._reached)
        return _Look(
            self._looks, tuple(latest(requests, MOST)), own, reached, frozenset() if more else theirs, more
        )

    def _cover(self, look: _Look) -> None:
        """What was seen is on disk: lines it was seen of may go."""
        self._covered = max(self._covered, look.own)
        if self._spool is not None:
            self._spool.covered(look.own)
        news = {boot: line for boot, line in look.earlier.items() if line > self.covers(boot)}
        if news:
            self._earlier.update(news)
            self.on_cover()

    def _put(self, look: _Look) -> bool:
        """Write down what was seen, unless it is there; tell whether it is."""
        with self._writing:
            if look.number < self._last:
                return False  # a later one was written meanwhile
            self._last = look.number
            try:
                if self._anew or look.found != self._written:
                    self._replace(look.found)
                    self._written, self._anew = look.found, False
                self._remove(look.theirs)
            except OSError as fault:
                words = f"what is in doubt could not be kept for the next start: {fault.strerror}"
                self.said.say("file", words)
                return not self._anew and set(look.found) <= set(self._written)
            self.said.well("file")
            return True

    def _remove(self, theirs: frozenset[Path] | None) -> None:
        """Delete what is part of ours."""
        if theirs is None:
            theirs = frozenset(files(self._directory, self._boot))
        for path in theirs - self._removed:
            path.unlink(missing_ok=True)
            self._removed.add(path)

    def _replace(self, found: tuple[Doubt, ...]) -> None:
        if not found:
            self._path.unlink(missing_ok=True)
            return
        whole.replace(self._path, (msgspec.json.encode(one) + b"\n" for one in found))


def doubts(waiting: Iterable[Sent], boot: str) -> Iterator[Doubt]:
    """Return the requests that orders without an id are of, as far as a line tells of them."""

    def request(one: Sent) -> tuple[str, int]:
        return one.boot or boot, one.asked

    for (of, seq), group in groupby(sorted((one for one in waiting if one.asked), key=request), request):
        orders = list(group)
        if all(one.is_list for one in orders):
            continue
        first = orders[0]
        yield Doubt(
            of, seq, first.grant, first.account, first.symbol, (first.sent_us, first.until_us),
            tuple(line_of(one) for one in orders), tuple(one.name for one in orders if one.renamed),
            first.base, first.quote,
        )  # fmt: skip


def latest(found: Iterable[Doubt], most: int) -> list[Doubt]:
    """Return the latest of each grant in turn, so many in all, in the order they were sent in."""
    ordered = sorted(found, key=lambda one: one.window_us)
    lanes: dict[str, list[int]] = {}
    for place in range(len(ordered) - 1, -1, -1):
        lanes.setdefault(ordered[place].grant, []).append(place)
    turns = (place for turn in zip_longest(*lanes.values()) for place in turn if place is not None)
    return [ordered[place] for place in sorted(islice(turns, most))]


def line_of(one: Sent) -> SentLine:
    """Write an order as the call log has it."""
    size = "" if one.quantity is None else str(one.quantity)
    return one.name, one.side, size, str(one.price) if one.price else "", one.exact


def of_ask(boot: str, ask: Ask, renamed: tuple[str, ...] = ()) -> Doubt:
    """Return the request that a line tells of."""
    return Doubt(
        boot,
        ask.seq,
        ask.grant,
        ask.account,
        ask.symbol or "",
        ask.window_us,
        ask.sent,
        renamed,
        ask.base,
        ask.quote,
    )


def left(directory: Path, boot: str, read: set[Path] | None = None) -> Iterator[Doubt]:
    """Read what earlier boots were in doubt about; `read` are the files that were read before, and then these too."""
    read = set() if read is None else read
    for path in files(directory, boot):
        if path in read:
            continue
        with suppress(OSError):
            _, found = read_file(path)
            read.add(path)
            yield from found


def read_file(
    path: Path, known: tuple[int, int, int] | None = None
) -> tuple[tuple[int, int, int], list[Doubt]]:
    """Read one file; nothing where it is the one that is known.

    Returns:
        By what that file is known again, and what it tells.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        stat = os.fstat(file.fileno())
        stamp = stat.st_ino, stat.st_mtime_ns, stat.st_size
        text = b"" if stamp == known else file.read(_LONGEST)
    found = []
    for line in text.splitlines():
        with suppress(msgspec.DecodeError):
            found.append(msgspec.json.decode(line, type=Doubt))
    return stamp, found


def files(directory: Path, boot: str) -> list[Path]:
    """Return the files of other boots."""
    found = directory.iterdir() if directory.exists() else ()
    named = [path for path in found if (match := _NAME.fullmatch(path.name)) and match[1] != boot]
    return sorted(named, key=lambda path: path.name)
