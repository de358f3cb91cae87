"""Budget reservations until the final state of their orders. Pure, in memory.

Rules:
1. A reservation is its request, by our own number; its orders are known by the venue's ids. A state that is not of
   one of these ids releases nothing, whatever its client order id.
2. A definite no releases all. An unknown outcome releases nothing until the venue says what became of it.
3. A single order in its final state releases the share that was not executed.
4. Orders of one list hold their reservation together: it goes back once all are final and none executed; otherwise
   it stays taken for the window. That errs on the side of the limit.
5. An order is absent when the venue said twice, a settling time apart and after it could no longer arrive, that it
   does not know the name it was sent with; a list, when that is so of each of its orders. An order that has an id, or
   may have another name by now, is never absent.
6. Grants are asked about in turn, whatever each of them holds. Beyond `MOST_KEPT`, and for good after `KEPT_US`,
   budget stays spent: it is counted, and the limit errs on the safe side. Beyond it who holds most makes room: one
   grant with twenty thousand open orders does not keep the others' from being settled.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from broker.budget import SLICE_LIFE_US, WINDOW_US, Parts, portion
from broker.gateway.sales import Sale
from broker.gateway.sent import Sent
from clients.wire import OrderState

MOST_KEPT = 20_000
KEPT_US = WINDOW_US + 2 * SLICE_LIFE_US
"""Nothing that is released later than this counts for anything."""

SETTLING_US = 30_000_000
"""How far an exchange may be behind with what it shows of orders: more than 20 s were seen."""

_ZERO = Decimal(0)
_Key = tuple[str, str, str]


@dataclass(slots=True, eq=False)
class Reservation:
    """Budget that a request holds, if any. `quantity` is that of its only order; times are of our boot clock.

    `sale` is what it sells, and `pays` what a purchase pays, as long as that may not be known.
    `consumer`: whose bot sent it, where that is known.
    `alone`: the venue did not show its orders among others, so they are asked for one by one.
    """

    number: int
    grant: str
    account: str
    symbol: str
    parts: Parts
    quantity: Decimal | None
    orders: tuple[Sent, ...]
    held_us: int = 0
    asked_us: int = 0
    executed: bool = False
    alone: bool = False
    sale: Sale | None = None
    pays: Sale | None = None
    consumer: str = ""

    @property
    def given(self) -> tuple[Sale, ...]:
        """What it gives."""
        return tuple(one for one in (self.sale, self.pays) if one is not None)


@dataclass(slots=True, eq=False)
class _Pair:
    """Reservations of a pair by number, and what it trades and is quoted in, once that is known, and counts."""

    held: dict[int, Reservation] = field(default_factory=dict)
    base: str = ""
    quote: str = ""

    def trades(self, base: str) -> bool:
        """Tell whether that is what it trades, as far as is known."""
        if not self.base:
            known = (sent.base for held in self.held.values() for sent in held.orders if sent.base)
            self.base = next(known, "")
        return self.base == base


class Settlement:
    """Reservations by number, by the venue's order ids, and by grant in the order they are asked about."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self._most = most
        self._held: OrderedDict[int, Reservation] = OrderedDict()
        self._by_id: dict[_Key, tuple[Reservation, Sent]] = {}
        self._queues: OrderedDict[str, OrderedDict[int, Reservation]] = OrderedDict()
        self._pairs: dict[str, dict[str, _Pair]] = {}
        self.unkept = 0

    def __len__(self) -> int:
        return len(self._held)

    def holds(self, number: int) -> bool:
        """Tell whether the orders of a request are asked about until they are final."""
        return number in self._held

    def hold(self, reservation: Reservation) -> None:
        """Keep a reservation until its orders are final."""
        while self._held:
            oldest = next(iter(self._held.values()))
            if reservation.held_us - oldest.held_us < KEPT_US:
                break
            self._forget(oldest)
        if len(self._held) >= self._most:
            self.unkept += 1
            largest = max(self._queues.values(), key=len)
            if len(self._queues.get(reservation.grant, ())) >= len(largest):
                return
            self._forget(next(iter(largest.values())))
        self._held[reservation.number] = reservation
        self._queues.setdefault(reservation.grant, OrderedDict())[reservation.number] = reservation
        pairs = self._pairs.setdefault(reservation.account, {})
        pairs.setdefault(reservation.symbol, _Pair()).held[reservation.number] = reservation
        for sent in reservation.orders:
            self.pays(sent)
            if sent.order_id is not None:
                self.confirmed(sent, reservation.held_us)

    def confirmed(self, sent: Sent, now_us: int = 0) -> None:
        """An order has its id: states of that id are its states from now on; `now_us` is our boot clock."""
        held = self._held.get(sent.number)
        if held is not None and sent in held.orders and sent.order_id is not None:
            self._by_id[(sent.account, sent.symbol, sent.order_id)] = (held, sent)
            if held.given and all(one.order_id is not None for one in held.orders):
                for one in held.given:
                    one.found(now_us)

    def sent_as(self, account: str, state: OrderState) -> Sent | None:
        """Return the order of ours that a state is of, if it holds a reservation."""
        found = self._by_id.get((account, state.symbol, state.order_id or ""))
        return None if found is None else found[1]

    def follows(self, account: str, symbol: str, order_id: str) -> bool:
        """Tell whether an order is asked about until it is final."""
        return (account, symbol, order_id) in self._by_id

    def pays(self, sent: Sent) -> None:
        """What a pair is quoted in counts for one of its orders."""
        pair = self._pairs.get(sent.account, {}).get(sent.symbol)
        if pair is not None and sent.quote:
            pair.quote = sent.quote

    def by_id(self, account: str, symbol: str, order_id: str) -> Sent | None:
        """Return the order of an id that is asked about until it is final."""
        found = self._by_id.get((account, symbol, order_id))
        return None if found is None else found[1]

    def of_asset(self, account: str, base: str, symbol: str = "") -> Iterator[tuple[Reservation, Sent]]:
        """Yield the orders of an asset that are asked about and may go on, as far as is known.

        Of an order of an earlier start it may not be known what it trades; those of `symbol` do.
        """
        for name, pair in self._pairs.get(account, {}).items():
            trades = name == symbol or pair.trades(base)
            if not trades and pair.quote != base:
                continue
            for held in pair.held.values():
                for sent in held.orders:
                    if not sent.done and (trades or sent.quote == base):
                        yield held, sent

    def pairs_of(self, account: str) -> tuple[str, ...]:
        """Return in which pairs of an account orders are asked about."""
        return tuple(self._pairs.get(account, ()))

    def of_pairs(self, account: str, symbols: Iterable[str]) -> Iterator[tuple[Reservation, Sent]]:
        """Yield the orders in these pairs that are asked about and may go on."""
        pairs = self._pairs.get(account, {})
        for symbol in symbols:
            for held in pairs[symbol].held.values() if symbol in pairs else ():
                yield from ((held, sent) for sent in held.orders if not sent.done)

    def settle(self, account: str, state: OrderState) -> tuple[str, Parts]:
        """Take in the state of one order.

        Returns:
            The grant and what to release to it; nothing where the order holds no reservation, or may go on.
        """
        found = None
        if state.order_id is not None:
            found = self._by_id.get((account, state.symbol, state.order_id))
        if found is None:
            return "", ()
        held, sent = found
        self.pays(sent)
        if not state.final or sent.done:
            return held.grant, ()
        sent.done = True
        done = state.executed_base
        held.executed = held.executed or done is None or done > 0
        if len(held.orders) == 1:
            self._forget(held)
            if held.quantity is None or done is None or held.quantity <= 0:
                return held.grant, held.parts if done == 0 else ()
            share = max(_ZERO, 1 - done / held.quantity)
            return held.grant, portion(held.parts, sum((part for _, part in held.parts), _ZERO) * share)
        if not all(one.done for one in held.orders):
            return held.grant, ()
        self._forget(held)
        return held.grant, () if held.executed else held.parts

    def refused(self, number: int) -> Parts:
        """The venue refused the request: everything goes back."""
        held = self._held.get(number)
        if held is None:
            return ()
        self._forget(held)
        return held.parts

    def absent(self, reservation: Reservation, sent: Sent, now_us: int) -> Parts | None:
        """The venue does not know the name of an order (rule 5); `now_us` is venue time when it was asked.

        Returns:
            What to release, once none of the reservation's orders is there; None until then.
        """
        if sent.order_id is not None or sent.renamed or now_us < sent.until_us + SETTLING_US:
            return None
        if sent.absent_us is None:
            sent.absent_us = now_us
            return None
        if now_us - sent.absent_us >= SETTLING_US:
            sent.gone = True
        if not all(one.gone for one in reservation.orders) or reservation.number not in self._held:
            return None
        self._forget(reservation)
        for one in reservation.given:
            one.never()
        return reservation.parts

    def due(
        self, now_us: int, after_us: int, most: int, may: Callable[[Reservation], bool]
    ) -> list[Reservation]:
        """Return reservations that were not asked about for a while: one of each grant in turn, oldest first.

        Args:
            now_us: Our boot clock.
            after_us: How long ago they must have been asked about.
            most: How many at most.
            may: Whether the grant of a reservation can be asked about now; looked at once for each grant.
        """
        lanes = [queue for queue in self._queues.values() if may(next(iter(queue.values())))]
        walks: list[Iterator[Reservation]] = [iter(queue.values()) for queue in lanes]
        found: list[Reservation] = []
        while walks and len(found) < most:
            going = []
            for walk in walks:
                held = next(walk, None)
                if held is None or now_us - held.asked_us < after_us:
                    continue
                going.append(walk)
                if len(found) < most:
                    found.append(held)
            walks = going
        return found

    def asked(self, reservation: Reservation, now_us: int) -> None:
        """It is being asked about: it, and its grant, come last the next time."""
        reservation.asked_us = now_us
        queue = self._queues.get(reservation.grant)
        if queue is not None and reservation.number in queue:
            queue.move_to_end(reservation.number)
            self._queues.move_to_end(reservation.grant)

    def _forget(self, held: Reservation) -> None:
        self._held.pop(held.number, None)
        queue = self._queues.get(held.grant)
        if queue is not None:
            queue.pop(held.number, None)
            if not queue:
                del self._queues[held.grant]
        pairs = self._pairs.get(held.account, {})
        pair = pairs.get(held.symbol, _Pair())
        pair.held.pop(held.number, None)
        if not pair.held:
            pairs.pop(held.symbol, None)
        if not pairs:
            self._pairs.pop(held.account, None)
        for sent in held.orders:
            if sent.order_id is not None:
                self._by_id.pop((sent.account, sent.symbol, sent.order_id), None)
