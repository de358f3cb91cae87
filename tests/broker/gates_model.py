"""A model of gates: what a gateway has closed, what the broker has in force, and what is on record.

The broker's `Changes` and a gateway's end of the link are the real ones; the record is played. Cuts are closed before
they are committed, committed, taken back, thawed; what was committed is told at once, late, or never (another process
did it). The record goes back to what it was before, under another history. Frames are lost, come twice and late, or
cannot be applied; the gateway starts anew.

What must hold after each step (`Model.broken`):
1. Whatever the broker has closed, and nobody opened, the gateway has closed; but for what another history has only
   news of.
2. What either had closed for a cut stays closed until a person opened that cut, over every change of history.
And once nothing is lost any more (`Model.healed`): record, broker and gateway have the same closed, each by its name,
and when all is thawed everything is open. A cut whose thaw the record forgot may hold more of what it held, until it is
thawed anew.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from broker import gate
from broker import gates as gate_rules
from broker.authority.anew import Anew, with_gates
from broker.authority.changes import Changes
from broker.authority.link import Link
from broker.gate import Gate, Mode
from broker.gate_document import NotedCut
from broker.gateway.book import Book
from broker.gateway.link import LinkClient
from broker.gateway.spool import Spool
from broker.history import History
from broker.link import frames
from broker.link.channel import memory_pair
from broker.service.continuity import Beat
from broker.service.desk import Change

SCOPES = ("everything", "account:main", "consumer:a", "consumer:b", "grant:g")
ACTS = (
    "cut", "cut", "cut", "commit", "commit", "commit", "take back", "thaw", "thaw", "thaw", "tell", "tell", "beat",
    "beat", "read beat", "follow beat", "read some", "remember", "fail over", "lose", "lose", "break", "repeat", "ask",
    "restart",
)  # fmt: skip


@dataclass
class Record:
    """The database: one history at a time."""

    history: History = field(default_factory=lambda: History(1, 0, "", "w0"))
    gates: dict[str, Gate] = field(default_factory=dict)
    cuts: dict[str, set[str]] = field(default_factory=dict)
    thawed: list[str] = field(default_factory=list)

    def copy(self) -> "Record":
        cuts = {cut: set(scopes) for cut, scopes in self.cuts.items()}
        return Record(self.history, dict(self.gates), cuts, list(self.thawed))

    def gate(self, scope: str) -> Gate:
        return self.gates.get(scope, Gate(scope))

    def every(self, names: Iterable[str] | None = None) -> list[Gate]:
        """Return gates as they are read: as of this history."""
        found = self.gates if names is None else [name for name in names if name in self.gates]
        return [replace(self.gates[name], history=str(self.history)) for name in found]

    def add(self, noted: NotedCut) -> None:
        """Put a cut on record, or some more of it."""
        self.cuts.setdefault(noted.id, set()).update(noted.scopes)
        for scope in sorted(noted.scopes):
            self.gates[scope] = gate.close(self.gate(scope), noted.id, noted.mode)

    def thaw(self, cut: str) -> list[str]:
        """Thaw a cut; return what that opened."""
        self.thawed.append(cut)
        opened = []
        for scope in sorted(self.cuts[cut]):
            one = gate.thaw(self.gate(scope), cut)
            if one is not None:
                self.gates[scope] = one
                opened.append(scope)
        return opened

    def open_cuts(self) -> list[str]:
        return sorted(self.cuts.keys() - set(self.thawed))


class FaultyBook(Book):
    """One that cannot take in what it is told next."""

    fails = False

    def _maybe(self) -> None:
        if self.fails:
            self.fails = False
            raise RuntimeError("planted: a fault that nobody expected")

    def set_gates(self, *given: Any, **more: Any) -> bool:
        self._maybe()
        return super().set_gates(*given, **more)

    def set_all_gates(self, *given: Any, **more: Any) -> bool:
        self._maybe()
        return super().set_all_gates(*given, **more)

    def close_now(self, part: frames.ClosingPart) -> None:
        self._maybe()
        super().close_now(part)


class Model:
    """Record, broker and gateway; `drawn` acts are done one after the other."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.draw = random.Random(seed)  # noqa: S311 - a history of a test
        self.folder = folder
        self.record = Record()
        self.kept: list[Record] = []
        self.making: dict[str, NotedCut] = {}
        self.changes_of: dict[str, int] = {}
        self.waiting: list[Change] = []
        self.beats: list[Beat] = []
        self.opened: set[str] = set()
        self.held: dict[tuple[str, str], Mode] = {}
        self.events: list[str] = []
        self.known = ""
        self._number = self._cuts = self._boots = 0
        clock = SimpleNamespace(now_us=lambda: 1, boot_us=lambda: 1)
        self.desk: Any = SimpleNamespace(listeners=[], number=self._next, clock=clock, in_use={})
        beside: Any = SimpleNamespace(begin=lambda work, _: work.close())
        self.changes = Changes(self.desk, self._nothing, beside)
        self.changes.loop = asyncio.get_running_loop()
        quiet: Any = SimpleNamespace(forget=lambda _: None, recount=lambda _: None)
        self.anew = Anew(self.changes, quiet, quiet)
        self.book = FaultyBook({})
        self.link: LinkClient | None = None
        self.loses = 0
        self.sent: list[bytes] = []
        self._tasks: list[asyncio.Task[None]] = []

    def _next(self) -> Change:
        self._number += 1
        return Change(self._number)

    async def _nothing(self, _: Callable[[], Any]) -> None:
        return None

    # --- the link -------------------------------------------------------------------------

    async def start(self) -> None:
        """Start a gateway, in the place of the last one."""
        await self.end()
        self._boots += 1
        here, there = memory_pair()
        real = here._outbox.put_nowait

        def passing(data: bytes | None) -> None:
            if data is not None and self.loses > 0 and self.sent:
                self.loses -= 1
                name = data[2 : data.index(b'"', 2)]
                data = self.draw.choice([b"", b'["' + name + b'",{"odd":1}]'])
            elif data is not None:
                self.sent.append(data)
            real(data)

        here._outbox.put_nowait = passing  # type: ignore[method-assign]
        link = Link(here, "local", str(self._boots))
        self.book, spool = FaultyBook({}), Spool(self.folder / str(self._boots))
        self.sent = []
        clock: Any = self.desk.clock
        self.link = LinkClient(there, "local", self.book, spool, clock)
        welcome = frames.Welcome(frames.VERSION, "paper", 1, (), frames.EgressPart("direct"), ())
        here.send(with_gates(welcome, self.changes.states()))
        await self.link.greet()
        self.changes.links["local"] = link
        self._tasks = [asyncio.create_task(self.link.run()), asyncio.create_task(self._serve(link))]

    async def end(self) -> None:
        link = self.changes.links.pop("local", None)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if link is not None and self.link is not None:
            self.link._spool.close()

    async def _serve(self, link: Link) -> None:
        while (frame := await link.channel.receive()) is not None:
            if isinstance(frame, frames.AskGates):
                self.anew.tell(link, frame)
            elif isinstance(frame, frames.Ack):
                self.changes.acknowledge("local", frame.change)

    async def settled(self) -> None:
        """Let everything arrive that is on its way."""
        link: Any = self.changes.links["local"].channel
        quiet = 0
        while quiet < 5:
            await asyncio.sleep(0)
            quiet = quiet + 1 if link._outbox.empty() and link._inbox.empty() else 0

    # --- acts -----------------------------------------------------------------------------

    async def step(self) -> list[str]:
        """Do something; return what does not hold after it."""
        act = self.draw.choice(ACTS)
        self.events.append(act)
        await getattr(self, "do_" + act.replace(" ", "_"))()
        await self.settled()
        return self.broken()

    def _tell(self, change: Change) -> None:
        for listener in self.desk.listeners:
            listener(change)

    def _told(self, change: Change, *, never: bool) -> None:
        """Tell of a change now, later, or never: another process made it."""
        how = self.draw.random()
        if how < 0.5:
            self._tell(change)
        elif how < 0.8 or not never:
            self.waiting.append(change)
        self.events.append(f"  {how:.1f} {change}")

    async def do_cut(self) -> None:
        self._cuts += 1
        mode = self.draw.choice((Mode.CLOSED, Mode.CLOSED, Mode.HALT))
        scopes = tuple(self.draw.sample(SCOPES, self.draw.randint(1, 3)))
        noted = NotedCut(f"cut_{self._cuts}", mode, scopes, "", "", 0)
        self.making[noted.id] = noted
        change = replace(self._next(), closing=noted)
        self.changes_of[noted.id] = change.number
        self.events.append(f"  {noted}")
        self._tell(change)

    async def do_commit(self) -> None:
        if not self.making:
            return
        noted = self.making.pop(self.draw.choice(sorted(self.making)))
        if noted.id not in self.record.cuts:
            self.record.add(noted)
        gates = tuple(self.record.every(sorted(self.record.cuts[noted.id])))
        number = self.changes_of[noted.id]
        self._told(Change(number, gates, cut=noted.id, over=(noted.id,)), never=False)

    async def do_take_back(self) -> None:
        if not self.making:
            return
        noted = self.making.pop(self.draw.choice(sorted(self.making)))
        self.opened.add(noted.id)
        self.events.append(f"  {noted.id}")
        self._tell(replace(self._next(), over=(noted.id,)))

    async def do_thaw(self) -> None:
        found = [one for one in self.record.open_cuts() if one not in self.making]
        if not found:
            return
        cut = self.draw.choice(found)
        self.opened.add(cut)
        opened = self.record.thaw(cut)
        self.events.append(f"  {cut}")
        self._told(replace(self._next(), gates=tuple(self.record.every(opened))), never=True)

    async def do_tell(self) -> None:
        if self.waiting:
            self._tell(self.waiting.pop(self.draw.randrange(len(self.waiting))))

    async def do_beat(self) -> None:
        await self.do_read_beat()
        await self.do_follow_beat()

    async def do_read_beat(self) -> None:
        if self.beats:
            return
        here, thawed = str(self.record.history), list[str]()
        begins = here != self.known
        if self.changes.told.keeps or (self.known and begins):
            for noted in self.changes.remembered().values():
                if noted.id in self.record.thawed:
                    thawed.append(noted.id)
                elif not set(noted.scopes) <= self.record.cuts.get(noted.id, set()):
                    self.record.add(noted)
        opened = tuple(self.record.thawed) if begins else ()
        gates = {one.scope: one for one in self.record.every()}
        self.beats.append(Beat(here, gates, tuple(thawed), "", opened))
        self.known = here

    async def do_follow_beat(self) -> None:
        if self.beats:
            self.changes.follow(self.beats.pop())

    async def do_read_some(self) -> None:
        self.changes.read(self.record.every(self.draw.sample(SCOPES, 2)))

    async def do_remember(self) -> None:
        self.kept.append(self.record.copy())

    async def do_fail_over(self) -> None:
        if self.beats:
            return
        number = self.record.history.number + 1
        self.record = self.draw.choice([*self.kept[-3:], self.record]).copy()
        self.record.history = History(1, number, "", f"w{number}")
        if self.draw.random() < 0.5:
            self.record.add(NotedCut(f"itself_{number}", Mode.CLOSED, ("everything",), "", "", 0))
        self.events.append(f"  {self.record}")

    async def do_lose(self) -> None:
        self.loses = self.draw.randint(1, 3)

    async def do_break(self) -> None:
        self.book.fails = True

    async def do_repeat(self) -> None:
        """Some frame of before comes a second time; not a whole word, which says what is not there any more, too."""
        again = [one for one in self.sent[-20:] if not one.startswith((b'["AllGates"', b'["Welcome"'))]
        if again:
            channel: Any = self.changes.links["local"].channel
            channel._outbox._put(self.draw.choice(again))
            channel._outbox._wakeup_next(channel._outbox._getters)

    async def do_ask(self) -> None:
        assert self.link is not None
        self.link.missed.ask_again()

    async def do_restart(self) -> None:
        self.loses = 0
        await self.start()

    # --- what must hold -------------------------------------------------------------------

    def broken(self) -> list[str]:
        """Return what does not hold."""
        there, here = self.changes.gates, self.book.gates
        found = []
        for scope in SCOPES:
            closers = there[scope].closers if scope in there else {}
            mode = gate.strictest(
                mode
                for name, mode in closers.items()
                if name != gate_rules.FOREIGN and name not in self.opened
            )
            if not _holds(here, scope, mode):
                found.append(f"{scope} is {mode} at the broker, not at the gateway")
            for gates in there, here:
                for name, mode in gates[scope].closers.items() if scope in gates else ():
                    if name.startswith(("cut_", "itself_")):
                        self.held[scope, name] = mode
        for (scope, name), mode in self.held.items():
            for who, gates in ("broker", there), ("gateway", here):
                if name not in self.opened and not _holds(gates, scope, mode):
                    found.append(
                        f"{scope} is not {mode} at the {who}, {name} had it so, and nobody opened it"
                    )
        return found

    async def healed(self) -> list[str]:
        """Let nothing be lost any more, and return what is not as it is on record."""
        self.loses, self.book.fails = 0, False
        while self.making:
            await self.do_commit()
        while self.waiting:
            await self.do_tell()
        await self._come_round()
        found = self._unlike()
        for cut in self.record.open_cuts():
            self.opened.add(cut)
            self.record.thaw(cut)
        await self._come_round()
        return [*found, *self._unlike()]

    async def _come_round(self) -> None:
        for _ in range(3):
            await self.settled()
            await self.do_beat()
            await self.settled()
            await self.do_ask()
        await self.settled()

    def _unlike(self) -> list[str]:
        """Return where not the same is closed. Where the record forgot a thaw, more may be of a cut that stands."""
        found = []
        standing = set(self.record.open_cuts())
        for scope in SCOPES:
            on_record = dict(self.record.gate(scope).closers)
            for who, gates in ("broker", self.changes.gates), ("gateway", self.book.gates):
                closed = dict(gates[scope].closers) if scope in gates else {}
                more = closed.keys() - on_record.keys()
                if on_record.items() - closed.items() or more - (standing & self.opened):
                    found.append(f"{scope} at the {who}: {closed}; on record: {on_record}")
        return found


def _holds(gates: Mapping[str, Gate], scope: str, mode: Mode) -> bool:
    """Tell whether a scope is closed as strictly, by itself or by everything."""
    now = gate.strictest(gates[name].mode for name in (scope, "everything") if name in gates)
    return gate.strictest((now, mode)) is now
