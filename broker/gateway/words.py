"""What the broker says of orders, by id and by name: asked once for all who need it, and not lost when it comes late.

Rules:
1. Who comes while a question is under way shares the next one (`sharing`): what was asked before may be too old.
2. A word that took longer than `SLOW_US` also answers who comes within `LATE_US`: beside a broker that takes longer
   than a bot waits, no try would get one. Who asks says how old the question may be at the most.
3. Nobody waits longer than his `Patience`, also where he was told to stop and goes on by what is known: `LinkDown`.
4. On behalf of one grant `MOST_AT_ONCE` questions are under way. Its others wait for their turn, and are not asked
   where nobody waits for them any more: whoever names a thousand orders costs the broker no more than that, and
   nobody else's question waits for it.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple
from weakref import WeakValueDictionary

from broker.errors import LinkDown
from broker.gateway.fair import Fair
from broker.gateway.sharing import Sharing
from broker.gateway.waits import Wait
from broker.link.frames import OwnerAnswer, OwnerQuery

SLOW_US, LATE_US, MOST_LATE, MOST_AT_ONCE = 200_000, 5_000_000, 2_000, 32

What = tuple[str, str, str]
"""Account, symbol, and an id or a name as `owners.id_of` and `name_of` write them."""


@dataclass(slots=True)
class Patience:
    """How long somebody waits, for one word after the other."""

    wait: Wait

    @classmethod
    def of(cls, seconds: float) -> "Patience":
        """Begin to wait."""
        return cls(Wait(seconds))


class _Late(NamedTuple):
    answer: OwnerAnswer
    asked_us: int
    came_us: int


class Words:
    """Questions on orders, and what came of them late."""

    def __init__(
        self, ask: Callable[[OwnerQuery], Awaitable[OwnerAnswer]], now_us: Callable[[], int],
        heard: Callable[[What, OwnerAnswer], None],
    ) -> None:  # fmt: skip
        self._ask, self._now_us, self._heard = ask, now_us, heard
        self._shared: Sharing[OwnerAnswer] = Sharing()
        self._waiting: Counter[What] = Counter()
        self._late: Fair[What, _Late] = Fair(MOST_LATE)
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def of(self, what: What, whose: str, patience: Patience, within_us: int | None = 0) -> OwnerAnswer:
        """Return what the broker says.

        Args:
            what: The order, or the name.
            whose: The grant that asks.
            patience: How long it waits.
            within_us: How long ago it may have been asked where the word came late; None: as long as it is kept.

        Raises:
            LinkDown: It did not say it in time.
        """
        late = self._late.get(what)
        if late is not None and self._serves(late, within_us):
            return late.answer
        self._waiting[what] += 1
        try:
            async with patience.wait.runs():
                return await self._shared.ask((whose, what), partial(self._asked, what, whose))
        except (TimeoutError, asyncio.CancelledError):
            # whose time is up goes by what is known, as if the broker could not be asked
            patience.wait = Wait(0.0)
            raise LinkDown("no_answer", "the broker did not answer in time") from None
        finally:
            self._waiting[what] -= 1
            if not self._waiting[what]:
                del self._waiting[what]

    def _serves(self, late: _Late, within_us: int | None) -> bool:
        now_us = self._now_us()
        if now_us - late.came_us > LATE_US:
            return False
        return within_us is None or now_us - late.asked_us <= within_us

    def _keep(self, what: What, whose: str, word: _Late) -> None:
        known = self._late.get(what)
        if word.came_us - word.asked_us > SLOW_US:
            if known is None or known.asked_us <= word.asked_us:
                self._late.put(what, word, whose)
        elif known is not None:
            self._late.drop(what)

    def _asked(self, what: What, whose: str) -> Coroutine[None, None, OwnerAnswer]:
        async def asked() -> OwnerAnswer:
            turns = self._turns.setdefault(whose, asyncio.Semaphore(MOST_AT_ONCE))  # lives while one has it
            async with turns:
                if not self._waiting[what]:
                    raise LinkDown("no_answer", "nobody waits for the broker's answer any more")
                asked_us = self._now_us()
                answer = await self._ask(_query(what))
            self._heard(what, answer)
            self._keep(what, whose, _Late(answer, asked_us, self._now_us()))
            return answer

        return asked()


def _query(what: What) -> OwnerQuery:
    account, symbol, name = what
    if name.startswith(("#", "%")):
        return OwnerQuery(0, account, symbol, name[1:], None, name.startswith("%"))
    return OwnerQuery(0, account, symbol, None, name.removeprefix("@"), name.startswith("@"))
