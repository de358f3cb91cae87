"""Budget on its way from the broker: one ask for a grant at a time, whoever waits for it.

Rules:
1. Who comes while an ask is under way is part of the next one: it asks for what all of them need together, and not at
   all where what came meanwhile covers it. So a thousand requests cost the broker two asks, not a thousand.
2. An ask that fails, fails for those who were part of it. Each waits no longer than its own request does. A grant may
   have several leases, of which one has ended: another one's word is asked for once before it fails.
3. Where the broker said that nothing is left, that is the answer for `USED_UP_US`: a bot at its limit costs the broker
   a few asks a second. What comes back here, and a change of the rules, end that at once. While what an earlier start
   had lent is on its way back it is no answer: what is left cannot be told yet. What grants hold here that trade no
   more goes back before others ask: under the limits that they share nothing else may be left.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from decimal import Decimal

from broker.background import Background
from broker.budget import ZERO
from broker.errors import LinkDown
from broker.gateway.book import Book, Held
from broker.gateway.clock import SystemClock
from broker.link import frames

USED_UP_US = 100_000

Ask = Callable[[Held, Decimal, bool], Coroutine[None, None, frames.SliceLent]]
"""Asks the broker for a slice: on which lease, what is needed, and whether nobody needs it yet."""


@dataclass(slots=True)
class _Need:
    """One request that waits for budget."""

    held: Held
    amount: Decimal
    came: "asyncio.Future[bool]"


@dataclass(slots=True)
class _UsedUp:
    """That nothing was left, as of which state of rules and returns, and until when that is the answer."""

    as_of: tuple[int, int, int]
    until_us: int


@dataclass(slots=True)
class _Grant:
    """What is under way for one grant."""

    waiting: list[_Need] = field(default_factory=list)
    used_up: _UsedUp | None = None
    working: bool = False


class Borrowing:
    """Asks for budget slices, and takes them in."""

    def __init__(
        self, book: Book, clock: SystemClock, ask: Ask, beside: Background, give_back_void: Callable[[], None],
        comes_back: Callable[[], bool] = lambda: False, give_back_due: Callable[[], Awaitable[None]] | None = None,
    ) -> None:  # fmt: skip
        self._book, self._clock, self._ask, self._beside = book, clock, ask, beside
        self._give_back_void, self._comes_back = give_back_void, comes_back
        self._give_back_due = give_back_due
        self._grants: dict[str, _Grant] = {}
        self._returns = 0

    @property
    def idle(self) -> bool:
        """Whether no ask is under way."""
        return not any(one.working for one in self._grants.values())

    async def need(self, held: Held, wanted: Decimal) -> bool:
        """Wait for budget for one request.

        Args:
            held: The lease that it runs on.
            wanted: What it needs more than there is here.

        Returns:
            Whether any came: where another request took it first it is worth asking again.

        Raises:
            LinkDown: The broker did not answer in time, or could not.
        """
        now_us, one = self._clock.boot_us(), self._grants.setdefault(held.lease.grant, _Grant())
        if self._is_used_up(one, held, now_us):
            return False
        came: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        one.waiting.append(_Need(held, wanted + held.standing.purse.spendable(now_us), came))
        self._begin(one, held, ahead=False)
        return await came

    def refill(self, held: Held, *, ahead: bool = False) -> None:
        """Ask for the next slice ahead of need, unless one is on its way."""
        one = self._grants.setdefault(held.lease.grant, _Grant())
        if not one.working and not self._is_used_up(one, held, self._clock.boot_us()):
            self._begin(one, held, ahead=ahead)

    def came_back(self) -> None:
        """Something goes back to the broker: more may be left than was."""
        self._returns += 1

    # --- one after the other ----------------------------------------------------------------

    def _begin(self, one: _Grant, held: Held, *, ahead: bool) -> None:
        if not one.working:
            one.working = True
            self._beside.begin(self._work(one, held, ahead=ahead), "asking for budget")

    async def _work(self, one: _Grant, held: Held, *, ahead: bool) -> None:
        """Ask until nobody waits; the first time even if nobody does, ahead of need."""
        needs: list[_Need] = []
        try:
            first = True
            while first or one.waiting:
                needs, one.waiting = [need for need in one.waiting if not need.came.done()], []
                if needs or first:
                    await self._serve(one, needs, held, ahead=ahead and not needs)
                first = False
        finally:
            one.working = False
            for need in (*needs, *one.waiting):
                if not need.came.done():  # the link is over, or a bug of ours
                    need.came.set_exception(LinkDown("no_answer", "the broker could not be asked"))
            one.waiting.clear()

    async def _serve(self, one: _Grant, needs: list[_Need], held: Held, *, ahead: bool) -> None:
        """Ask for what these need, unless it is there; tell them what came of it."""
        sent_us = self._clock.boot_us()
        wanted = sum((need.amount for need in needs), ZERO) - held.standing.purse.spendable(sent_us)
        if needs and wanted <= ZERO:
            self._tell(needs, came=True)
            return
        if self._give_back_due is not None:
            await self._give_back_due()
        as_of, comes_back = self._as_of(held), self._comes_back()
        try:
            lent = await self._lent(needs, held, max(ZERO, wanted) if needs else ZERO, ahead=ahead)
        except LinkDown as fault:
            for need in needs:
                if not need.came.done():
                    need.came.set_exception(fault)
            return
        if lent.slice is not None:
            self._book.take_slice(held.standing, lent.slice, sent_us)
            self._give_back_void()
        elif comes_back:
            for need in needs:
                if not need.came.done():
                    need.came.set_exception(
                        LinkDown("no_answer", "what an earlier start had lent comes back yet")
                    )
            return
        elif lent.grant == held.lease.grant and not ahead:
            one.used_up = _UsedUp(as_of, self._clock.boot_us() + USED_UP_US)
        self._tell(needs, came=lent.slice is not None)

    async def _lent(
        self, needs: list[_Need], held: Held, wanted: Decimal, *, ahead: bool
    ) -> frames.SliceLent:
        """Ask on one lease, and on another one where that gets no word of the grant; not while nobody waits any more.

        Raises:
            LinkDown: The broker did not answer in time, or could not.
        """
        first, *others = _askers(needs, held)
        try:
            lent = await self._ask(first, wanted, ahead)
        except LinkDown:
            if not others or all(need.came.done() for need in needs):
                raise
        else:
            if not others or lent.slice is not None or lent.grant == held.lease.grant:
                return lent
        return await self._ask(others[0], wanted, ahead)

    @staticmethod
    def _tell(needs: list[_Need], *, came: bool) -> None:
        for need in needs:
            if not need.came.done():
                need.came.set_result(came)

    def _is_used_up(self, one: _Grant, held: Held, now_us: int) -> bool:
        known = one.used_up
        return known is not None and known.as_of == self._as_of(held) and now_us < known.until_us

    def _as_of(self, held: Held) -> tuple[int, int, int]:
        return held.standing.rules, held.standing.policy_version, self._returns


def _askers(needs: list[_Need], held: Held) -> list[Held]:
    """Return the leases to ask on, each once: those that still stand first, and of these who came last."""
    found = {one.lease.id: one for one in (*(need.held for need in reversed(needs)), held)}
    standing = held.standing.leases
    found |= {name: one for name, one in standing.items() if name not in found}
    return sorted(found.values(), key=lambda one: one.lease.id not in standing)
