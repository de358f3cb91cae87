"""What the files of earlier starts of this gateway tell of orders, read as they grow.

Rules:
1. Each line is read once. What a gateway that ends slowly adds is read with the next look, its file of doubts too: that
   one is read for good once its gateway is over.
2. What tells of a request is told of it whatever was read first: an answer may be in a later boot's files, an amendment
   too.
3. Requests of a boot that could not be read to its end wait: an answer may be behind it. So do the files of doubts
   that tell of them.
4. No more than `MOST_TOLD` requests are told: the latest of each grant in turn. The rest waits for a later start, with
   all files, and that is said.
5. What was told is told again where less of it is in doubt, or more of it may have another name: with no orders left
   where nothing is.
"""

import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from broker.calllog import Answered, Ask, parse
from broker.gateway import doubts
from broker.gateway.doubts import Doubt
from broker.gateway.others import Others
from broker.gateway.parts import NEW, Part, Parts, boot_of, part_of
from broker.gateway.renames import Renames
from broker.gateway.said import Said
from clients.venue import Action

_AT_ONCE, MOST_TOLD = 1_000, 10_000
_LOG = logging.getLogger("portcullis.spool")

Key = tuple[str, int]
"""The boot and the line of a request."""


class _Reading:
    """How far one boot was read."""

    def __init__(self, first: int) -> None:
        self.parts, self._known = Parts(), set[Path]()
        self.after = first - 1

    def add(self, parts: list[Part]) -> None:
        for part in parts:
            if part.path not in self._known:
                self._known.add(part.path)
                self.parts.add(part)


class Bygone:
    """What earlier starts left, as far as it was read."""

    def __init__(self, directory: Path, boot: str, others: Others) -> None:
        self._directory, self._boot, self._others = directory, boot, others
        self._boots: dict[str, _Reading] = {}
        self._files: dict[Path, tuple[int, int, int]] = {}
        self._asks: dict[Key, Doubt] = {}
        self._told: dict[Key, Doubt] = {}
        self._over = set[Key]()
        self._early: dict[Key, list[Answered]] = {}
        self._renames = Renames()
        self._of_others = set[str]()
        """Boots that tell of requests of others: as long as one, or what is in doubt of it, cannot be read, what they
        tell is nowhere else."""
        self.said = Said(_LOG)
        self._fresh = self._held_back = False
        self._left = 0
        """How many requests there was no room for."""
        self.closed = set[str]()
        """Files of doubts that could not be read the last time."""
        self.reached: dict[str, int] = {}
        """Up to which line each boot was read, and told."""
        self.read = set[Path]()
        """Files of doubts of which all was told, and nothing will be added."""
        self.unread = set[str]()
        """Boots that could not be read the last time, and whatever else could not."""
        self.running = set[str]()
        """Boots that may still write."""

    def look(self) -> Iterator[Answered | Doubt]:
        """Yield what came since the last look: answers that tell of orders first, then the latest requests in doubt."""
        self.unread.clear()
        self.closed.clear()
        try:
            listed, self.running = self._others.look()
            for path in self._directory.glob(f"*{NEW}") if self._directory.exists() else ():
                self._tidy(path)
            self._boots = {name: reading for name, reading in self._boots.items() if name in listed}
            whole = self._doubts()
        except OSError as fault:
            self.said.say("", f"{self._directory} cannot be read: {fault.strerror}")
            self.unread.add("")
            return
        ends: dict[str, int] = {}
        for name, parts in listed.items():
            try:
                yield from self._of_boot(name, parts)
            except OSError as fault:
                self.said.say(name, f"what boot {name} of this gateway did cannot be read: {fault.strerror}")
                self.unread.add(name)
            else:
                ends[name] = self._boots[name].after
        if self._fresh or self._held_back:
            yield from self._news()
        self.said.only({*self.unread, *self.closed, *(("more",) if self._left else ())})
        if self._left:
            words = (
                f"{self._left} requests of earlier starts beyond {MOST_TOLD} are in doubt; a later one asks"
            )
            self.said.say("more", words)
        self._fresh, self._held_back = False, any(boot in self.unread for boot, _ in self._asks)
        whole_told = not self.unread and not self.closed and not self._left
        self.reached.update(
            (name, line)
            for name, line in ends.items()
            if whole_told or not (self._left or name in self._of_others)
        )
        if not self._held_back and not self._left:
            self.read |= whole

    @property
    def ended(self) -> bool:
        """Whether nothing is left to be read, and nobody writes any more; files of doubts may be closed still."""
        return not self.unread and not self.running

    @property
    def all_told(self) -> bool:
        """Whether nothing is left that what was read may be of."""
        return self.ended and not self.closed

    def forget(self) -> None:
        """All was read: what is found from now on is of later starts."""
        self._renames.forget()
        self._early.clear()
        self._of_others.clear()

    def _doubts(self) -> set[Path]:
        """Take in files of doubts that are new; return those that will not change any more."""
        whole = set()
        for path in doubts.files(self._directory, self._boot):
            if path in self.read:
                continue
            try:
                stamp, found = doubts.read_file(path, self._files.get(path))
            except FileNotFoundError:
                continue  # its gateway is in doubt no more
            except OSError as fault:
                words = f"{path} cannot be read; what it is in doubt about waits: {fault.strerror}"
                self.said.say(str(path), words)
                self.closed.add(str(path))
                continue
            self._files[path] = stamp
            for one in found:
                self._doubt(one)
            if boot_of(path) not in self.running:
                whole.add(path)
        return whole

    def _doubt(self, one: Doubt) -> None:
        key = one.boot, one.seq
        if key in self._over:
            return
        self._fresh = True
        known = self._asks.get(key, one)  # two files may tell of it: the later one of fewer
        fewer = min(known, one, key=lambda doubt: len(doubt.sent))
        self._asks[key] = replace(fewer, renamed=tuple(dict.fromkeys((*known.renamed, *one.renamed))))
        for line in self._early.get(key, ()):
            self._hear(key, line)

    def _of_boot(self, name: str, parts: list[Part]) -> Iterator[Answered]:
        """Yield the answers of a boot that tell of orders, and put its asks among those without an answer."""
        reading = self._boots.setdefault(name, _Reading(parts[0].first))
        reading.add(parts)
        while batch := reading.parts.read(reading.after, _AT_ONCE):
            self._fresh = True
            for number, text in batch:
                line = _parsed(text)
                if isinstance(line, Ask) and line.decision != "deny":
                    self._asked(name, number, line)
                elif isinstance(line, Answered):
                    self._answered(name, line)
                    if line.outcome != "refused" and (line.own or line.fills):
                        yield line
            reading.after = batch[-1][0]

    def _asked(self, name: str, number: int, line: Ask) -> None:
        if line.sent:
            if (name, number) not in self._asks:
                self._doubt(doubts.of_ask(name, line))
        elif line.action == Action.AMEND.value:
            self._of_others.add(name)
            self._renames.amended(name, line)

    def _answered(self, name: str, line: Answered) -> None:
        self._renames.answered(name, line)
        key = line.boot or name, line.of
        if line.boot:  # that boot's lines may be read later
            self._of_others.add(name)
            self._early.setdefault(key, []).append(line)
        self._hear(key, line)

    def _hear(self, key: Key, line: Answered) -> None:
        """Take in what an answer tells of an ask: which orders have an id, or that the venue has none of them."""
        ask = self._asks.get(key)
        if ask is None or line.outcome == "unknown":
            return
        named = {name for _, _, name in line.own} | {name for _, _, name, _ in line.orders}
        left = tuple(one for one in ask.sent if one[0] not in named)
        if line.outcome == "refused" or line.none_placed or all(one[0].startswith("@") for one in left):
            left = ()
        if left:
            self._asks[key] = replace(ask, sent=left)
        else:
            del self._asks[key]
            self._over.add(key)

    def _news(self) -> Iterator[Doubt]:
        for key, told in list(self._told.items()):
            if key not in self._asks:
                del self._told[key]
                yield replace(told, sent=())
        now = {}
        for key, ask in self._asks.items():
            if key[0] not in self.unread:
                now[key] = replace(ask, renamed=self._renames.of(ask))
        kept = {(one.boot, one.seq) for one in doubts.latest(now.values(), MOST_TOLD)}
        self._left = sum(key not in kept and key not in self._told for key in now)
        for key, ask in now.items():
            if key not in kept and key not in self._told:
                continue
            if self._told.get(key) != ask:
                self._told[key] = self._asks[key] = ask
                yield ask

    def _tidy(self, path: Path) -> None:
        """Delete what a gateway that was killed had not written whole.

        Where the machine died lines may be there, and not the name that their part had: then it gets that.
        """
        boot, named = boot_of(path), path.with_name(path.name.removesuffix(NEW))
        if not boot or boot == self._boot or boot in self.running:
            return
        with suppress(OSError):
            if part_of(named) is not None and path.stat().st_size and not named.exists():
                path.rename(named)
            else:
                path.unlink()


def _parsed(text: str) -> Ask | Answered | None:
    """Read a line; None where it is none."""
    try:
        return parse(text)
    except RecursionError:
        return None
