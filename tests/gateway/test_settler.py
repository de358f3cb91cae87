"""Settling in bounded time and weight: for every grant, however much is held, whatever the venue does not show."""

import time
from collections.abc import Mapping
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from broker.gateway.account_view import MOST_ORDERS, Shown
from broker.gateway.owners import Owners
from broker.gateway.sent import Sent
from broker.gateway.settlement import Reservation, Settlement
from broker.gateway.settler import ASK_AGAIN_US, CALLS_AT_ONCE, EVERY_S, TOGETHER, Settler
from broker.gateway.venue_view import NotKnown
from clients.secret import Secret
from clients.venue import Credential, KeyType, OrderRef
from clients.venues.binance.market import NO_SUCH_ORDER
from clients.wire import OrderState
from tests.pace import slowness

KEY = Credential("k", Secret("s"), KeyType.HMAC)
PARTS = (("s", Decimal(1)),)


class Account:
    """A venue's account: orders by id, all over; some are not shown among others."""

    def __init__(self) -> None:
        self.orders: dict[str, dict[int, OrderState]] = {}
        self.hidden: set[str] = set()
        self.calls: list[str] = []
        self.silent = False
        self.asks_fewest = False

    def may_ask(self, weight: int) -> bool:
        del weight
        return True

    def venue_us(self) -> int:
        return 0

    async def fetch_orders(self, _: Credential, symbol: str, order_id: str) -> Shown:
        self._asked("many")
        found = [
            state
            for number, state in sorted(self.orders.get(symbol, {}).items())
            if number >= int(order_id) and state.order_id not in self.hidden
        ]
        return Shown(tuple(found[:MOST_ORDERS]), len(found) > MOST_ORDERS)

    async def fetch_order(self, _: Credential, ref: OrderRef, *_on_behalf: object) -> OrderState:
        self._asked("one")
        found = self.orders.get(ref.symbol or "", {}).get(int(ref.order_id or 0))
        if found is None:
            raise NotKnown("refused", NO_SUCH_ORDER)
        return found

    def _asked(self, what: str) -> None:
        self.calls.append(what)
        if self.silent:
            raise NotKnown("venue_error")


class Place:
    """A settler over accounts that answer at once, and a clock that is set by hand."""

    def __init__(self) -> None:
        self.now_us, self.number = 0, 0
        self.owners, self.settlement = Owners(), Settlement()
        self.owners.on_confirmed = self.settlement.confirmed
        self.accounts: dict[str, Account] = {}
        self.leases: dict[str, Any] = {}
        self.released: dict[str, int] = {}
        book: Any = SimpleNamespace(
            by_lease=self.leases,
            material={"key": KEY},
            judge=lambda _: None,
            standing=Standings(self.released),
        )
        mounts: Any = SimpleNamespace(account_of=lambda held: self.accounts[held.account])
        clock: Any = SimpleNamespace(boot_us=lambda: self.now_us)
        link: Any = SimpleNamespace(give_back=lambda _: None)
        self.settler = Settler(book, mounts, self.owners, self.settlement, link, clock)

    def account(self, name: str, *, leased: bool = True) -> Account:
        self.accounts[name] = Account()
        if leased:
            self.leases[name] = SimpleNamespace(account=name, key_text="key")
        return self.accounts[name]

    def hold(self, account: str, grant: str, symbol: str = "X") -> str:
        """Hold an order that has an id and is over."""
        self.number += 1
        order_id = str(self.number)
        sent = Sent(self.number, grant, account, symbol, f"n{order_id}", "BUY", Decimal(1), Decimal(1), 0, 1)
        self.settlement.hold(Reservation(self.number, grant, account, symbol, PARTS, Decimal(1), (sent,)))
        self.owners.confirm(sent, order_id)
        state = OrderState(symbol, order_id, sent.name, final=True, executed_base=Decimal(0))
        self.accounts[account].orders.setdefault(symbol, {})[self.number] = state
        return order_id

    async def rounds(self, most: int) -> int:
        """Settle until nothing is held; return after how many rounds."""
        self.now_us += ASK_AGAIN_US
        for number in range(most):
            if not len(self.settlement):
                return number
            await self.settler.settle()
            self.now_us += int(EVERY_S * 1_000_000)
        return most


class Standings(Mapping[str, Any]):
    """Purses that count what came back."""

    def __init__(self, released: dict[str, int]) -> None:
        self._released = released

    def __getitem__(self, grant: str) -> Any:
        def release(parts: object) -> object:
            self._released[grant] = self._released.get(grant, 0) + 1
            return parts

        return SimpleNamespace(purse=SimpleNamespace(release=release))

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return 0


async def test_twenty_thousand_orders_that_are_over_are_released_within_minutes() -> None:
    place = Place()
    account = place.account("main")
    for number in range(20_000):
        place.hold("main", f"g{number % 3}", f"S{number % 4}")
    assert await place.rounds(60) * EVERY_S <= 180
    assert sum(place.released.values()) == 20_000
    assert len(account.calls) <= 20_000 // MOST_ORDERS + 10


async def test_more_grants_than_one_round_has_calls_for_get_their_turn_in_the_next() -> None:
    """Each has many orders, every one in a pair of its own: those that were asked about come last the next time."""
    place, grants = Place(), 2 * CALLS_AT_ONCE + 1
    place.account("main")
    for number in range(20 * grants):
        place.hold("main", f"g{number % grants}", f"S{number}")
    await place.rounds(3)
    assert place.released.keys() == {f"g{number}" for number in range(grants)}


async def test_one_round_costs_little_however_much_is_held() -> None:
    place = Place()
    place.account("main")
    for number in range(20_000):
        place.hold("main", "g", f"S{number}")
    place.now_us += ASK_AGAIN_US
    best = 1.0
    for _ in range(5):
        began = time.thread_time()
        await place.settler.settle()
        best = min(best, (time.thread_time() - began) / slowness())
    assert best < 0.05
    assert len(place.accounts["main"].calls) == 5 * CALLS_AT_ONCE


async def test_a_grant_with_one_order_waits_for_no_grant_with_many() -> None:
    place = Place()
    place.account("main")
    place.account("gone", leased=False)
    for number in range(300):
        place.hold("gone", "gone")
        place.hold("main", "busy", f"S{number}")
    place.hold("main", "small", "one")
    place.now_us += ASK_AGAIN_US
    await place.settler.settle()
    assert place.released.get("small") == 1
    assert "gone" not in place.released
    assert not place.accounts["gone"].calls


async def test_what_the_venue_does_not_show_among_others_is_asked_for_alone() -> None:
    place = Place()
    account = place.account("main")
    hidden = [place.hold("main", "g") for _ in range(10)][4]
    account.hidden.add(hidden)
    await place.rounds(3)
    assert len(place.settlement) == 1
    await place.rounds(3)
    assert (len(place.settlement), account.calls) == (0, ["many", "one"])


async def test_nor_are_many_that_it_does_not_show_asked_for_together_again() -> None:
    """There are enough of them for one call, which would never show them."""
    place = Place()
    account = place.account("main")
    account.hidden.update(place.hold("main", "g") for _ in range(2 * TOGETHER))
    for _ in range(6):
        await place.rounds(3)
    assert len(place.settlement) == 0
    assert account.calls.count("many") == 1


async def test_a_silent_venue_releases_nothing_and_is_asked_little() -> None:
    place = Place()
    account = place.account("main")
    for _ in range(50):
        place.hold("main", "g")
    account.silent = True
    await place.rounds(4)
    assert (len(place.settlement), place.released) == (50, {})
    assert len(account.calls) <= 4 * CALLS_AT_ONCE
    account.silent = False
    await place.rounds(4)
    assert len(place.settlement) == 0
