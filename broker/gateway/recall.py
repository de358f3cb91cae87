"""What earlier starts of this gateway did, read from their spool: the broker may not have it yet.

Rules:
1. Whose an order is and what it executed is taken in as it was written down. Nobody's order, or another's, is said of
   none before that is done: a log that was locked as the gateway died has never heard of it.
2. What was sent and has no answer, or one that names no order, may be its sender's (`sent`), as at the broker. The
   venue is asked what became of it (`settlement`), and that is written down: on record it would count as made for ever.
   Where the line is gone already the start before wrote down that it is in doubt (`doubts`). One that was amended
   since may go by another name: it is never absent (`renames`).
3. A boot whose files cannot be read keeps no other from being taken in. It is tried again: until then whose an order is
   that nobody knows stays open.
4. What they sold, offer and bought is in no count before it was read: until then no exit of a shared account is judged
   (`waits`). Where nothing comes for `PATIENCE_US` (a file that cannot be read, a disk that hangs) those lines are as
   lost ones: the record counts. It is said all the while (`said`).
5. A gateway that ends slowly beside us is followed until it is over (`bygone`). Who finds files that were not taken in
   yet has us look again: nothing of a boot is deleted before (`reached`).
6. It only reads, and what is gone the broker has. Requests come first: lines are taken in a few at a time.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from itertools import count, islice
from pathlib import Path

from broker.background import described
from broker.calllog import Answered
from broker.gateway.bygone import Bygone, Key
from broker.gateway.clock import SystemClock
from broker.gateway.doubts import Doubt
from broker.gateway.fills import RecentFills
from broker.gateway.others import Others
from broker.gateway.owners import Owners
from broker.gateway.said import Said
from broker.gateway.sent import Sent
from broker.gateway.settlement import Reservation, Settlement
from broker.listed import NOT_SAID
from broker.paid import pair_of

_AT_ONCE = 1_000
_PIECE = 100
AGAIN_S = 5.0
PATIENCE_US = 60_000_000
_FIRST_NUMBER = 1 << 40
"""Below those of `resting`: numbers of reservations are never used twice."""

_LOG = logging.getLogger("portcullis.spool")


class Recall:
    """Takes in what earlier starts wrote."""

    def __init__(
        self, directory: Path, boot: str, owners: Owners, recent: RecentFills, settlement: Settlement,
        clock: SystemClock, others: Others | None = None,
    ) -> None:  # fmt: skip
        self._owners, self._recent, self._settlement, self._clock = owners, recent, settlement, clock
        self._bygone = Bygone(directory, boot, others or Others(directory, boot))
        self._numbers = count(_FIRST_NUMBER)
        self._held: dict[Key, tuple[Reservation, list[Sent]]] = {}
        self._again = asyncio.Event()
        self.read = set[Path]()
        """Files of doubts that were taken in."""
        self.reached: dict[str, int] = {}
        """Up to which line each boot was taken in."""
        self.on_read: Callable[[], None] = lambda: None
        """Called where more was taken in."""
        self.done = asyncio.Event()
        self._came_us, self._looked = clock.boot_us(), False
        owners.waits_for_earlier = self.waits
        owners.waiting.note_amendments(on=True)

    async def stay(self) -> None:
        """Read everything, and again where somebody asks for it; until cancelled."""
        self._came_us = self._clock.boot_us()
        while True:
            await self.run()
            with suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_S if self._bygone.closed else None):
                    await self._again.wait()
            self._again.clear()

    def waits(self) -> bool:
        """Tell whether what earlier starts did may still come, and was not read yet (rule 4)."""
        return not self.done.is_set() and self._clock.boot_us() - self._came_us < PATIENCE_US

    @property
    def said(self) -> Said:
        """What cannot be read."""
        return self._bygone.said

    def again(self) -> None:
        """There are files that were not taken in."""
        self._again.set()

    async def run(self) -> None:
        """Read everything, oldest first, until nobody writes any more."""
        while not await self.look():  # noqa: ASYNC110 - who writes there is another process
            await asyncio.sleep(AGAIN_S)

    async def look(self) -> bool:
        """Take in what came since the last look; tell whether that was all that ever will."""
        lines = self._bygone.look()
        while piece := await asyncio.to_thread(lambda: list(islice(lines, _AT_ONCE))):
            if not self._looked:  # later ones read what those add who run still
                self._came_us = self._clock.boot_us()
            for number, line in enumerate(piece):
                if number % _PIECE == _PIECE - 1:
                    await asyncio.sleep(0)
                try:
                    self._take(line)
                except Exception as fault:  # noqa: BLE001 - a line that is none of ours keeps no other from being read
                    _LOG.error("a line of an earlier start cannot be taken in: %s", described(fault))
        self._looked = True
        self.read |= self._bygone.read
        self.reached.update(self._bygone.reached)
        if not self._bygone.unread:
            self._owners.recalled = True
            self.done.set()
        self.on_read()
        if self._bygone.all_told:  # not before: a file that cannot be read yet may tell of what was amended
            self._bygone.forget()
            self._held.clear()
            self._owners.waiting.note_amendments(on=False)
        return self._bygone.ended

    def _take(self, line: Answered | Doubt) -> None:
        if isinstance(line, Answered):
            self._answered(line)
        elif (line.boot, line.seq) in self._held:
            self._changed(line)
        elif line.sent:
            self._unanswered(line)

    def _answered(self, line: Answered) -> None:
        for symbol, known_as, name in line.own:
            self._owners.record(line.account, symbol, known_as, line.grant)
            if name:
                self._owners.bear(line.account, symbol, name, known_as, line.grant)
        placed = {(symbol, known_as) for symbol, known_as, _ in line.own}
        listed = {(symbol, order_id): one for symbol, order_id, one in line.lists or ()}
        of_none = NOT_SAID if line.lists is None else ""
        for account, symbol, order_id, base, side, executed, left in line.fills:
            pair = pair_of(symbol)
            whose = self._owners.find(account, pair, f"#{order_id}")
            if whose is not None:
                self._recent.keep(
                    (account, symbol, order_id), whose, base, side, Decimal(executed), Decimal(left),
                    placed=(pair, f"#{order_id}") in placed, earlier=True,
                    listed=listed.get((symbol, order_id), of_none),
                )  # fmt: skip

    def _unanswered(self, line: Doubt) -> None:
        first_us, last_us = line.window_us
        number, now_us, sent = -next(self._numbers), self._clock.boot_us(), list[Sent]()
        for name, side, quantity, price, exact in line.sent:
            size = Decimal(quantity) if quantity else None
            sent.append(
                Sent(
                    number, line.grant, line.account, line.symbol, name, side, size, Decimal(price or "0"),
                    first_us, last_us, exact=exact, asked=line.seq, boot=line.boot, base=line.base, quote=line.quote,
                )
            )  # fmt: skip
        for one in sent:
            self._owners.waiting.add(one)
            if one.name in line.renamed or self._owners.waiting.was_amended(one):
                self._owners.waiting.rename(one)
        held = Reservation(
            number, line.grant, line.account, line.symbol, (), None,
            tuple(one for one in sent if not one.is_list), held_us=now_us, asked_us=now_us,
        )  # fmt: skip
        self._held[line.boot, line.seq] = held, sent
        self._settlement.hold(held)

    def _changed(self, line: Doubt) -> None:
        """A gateway that ended slowly has written more of a request that was taken in."""
        held, sent = self._held[line.boot, line.seq]
        left = {name for name, *_ in line.sent}
        for one in sent:
            if one.name not in left:
                self._owners.waiting.remove(one)
            elif one.name in line.renamed:
                self._owners.waiting.rename(one)
        self._settlement.refused(held.number)
        if left:
            held.orders = tuple(one for one in held.orders if one.name in left)
            self._settlement.hold(held)
        else:
            del self._held[line.boot, line.seq]
