"""Budget reservations until the final state of their orders. Pure, in memory.

Rules:
1. A definite no releases all. An unknown outcome releases nothing until the venue says what became of it.
2. A single order in its final state releases the share that was not executed.
3. Orders of one list hold their reservation together: it goes back once all are final and none executed;
   otherwise it stays taken for the window. That errs on the side of the limit.
"""

from decimal import Decimal

from broker.budget import Parts, portion
from broker.gateway.job import Reservation
from clients.venue import OrderState

Key = tuple[str, str, str]
MOST_KEPT = 20_000


class Settlement:
    """Reservations by the names of their orders: `#` and the venue's id, or the client order id."""

    def __init__(self) -> None:
        self._by_order: dict[Key, Reservation] = {}

    def hold(self, reservation: Reservation, names: tuple[str, ...]) -> None:
        """Keep a reservation under every name its orders go by."""
        if len(self._by_order) < MOST_KEPT:
            for name in names:
                self._name(reservation, (reservation.account, reservation.symbol, name))

    def settle(self, account: str, state: OrderState) -> tuple[str, Parts]:
        """Take in the state of one order.

        Returns:
            The grant and what to release to it; nothing where the order holds no reservation, or may go on.
        """
        venue_name = None if state.order_id is None else f"#{state.order_id}"
        names = [name for name in (venue_name, state.client_order_id) if name]
        keys = [(account, state.symbol, name) for name in names]
        held = next((self._by_order[key] for key in keys if key in self._by_order), None)
        if held is None:
            return "", ()
        if state.order_id is not None:
            self._name(held, keys[0])
        if not state.final:
            return held.grant, ()
        done = state.executed_base
        if held.orders is None:
            self._forget(held)
            if held.quantity is None or done is None or held.quantity <= 0:
                return held.grant, held.parts if done == 0 else ()
            share = max(Decimal(0), 1 - done / held.quantity)
            return held.grant, portion(held.parts, sum((part for _, part in held.parts), Decimal(0)) * share)
        held.orders -= set(names)
        held.executed = held.executed or done is None or done > 0
        if held.orders:
            return held.grant, ()
        self._forget(held)
        return held.grant, () if held.executed else held.parts

    def open(self, now_us: int, after_us: int) -> list[tuple[str, Reservation]]:
        """Return reservations that were not asked about for a while, each with one name, oldest first."""
        found: dict[int, tuple[str, Reservation]] = {}
        for (_, _, name), held in self._by_order.items():
            if now_us - held.asked_us >= after_us:
                found.setdefault(id(held), (name, held))
        return list(found.values())

    def drop(self, account: str, symbol: str, names: tuple[str, ...]) -> Parts:
        """The venue refused the orders: everything goes back."""
        for name in names:
            held = self._by_order.get((account, symbol, name))
            if held is not None:
                self._forget(held)
                return held.parts
        return ()

    def absent(self, reservation: Reservation) -> Parts:
        """The venue never heard of the order: everything goes back."""
        self._forget(reservation)
        return reservation.parts

    def _name(self, reservation: Reservation, key: Key) -> None:
        self._by_order[key] = reservation
        reservation.keys.add(key)

    def _forget(self, reservation: Reservation) -> None:
        for key in reservation.keys:
            self._by_order.pop(key, None)
