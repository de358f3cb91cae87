"""Calls to a venue under one manager key, kept within what the venue allows; a reserve is left for incidents.

Rules:
1. Each kind of call has its own minute, as the venue counts them (`Capabilities.calls_per_minute`). Binance says "per
   endpoint"; whether two methods of one path are one endpoint it does not say, so they are one here: list and delete.
2. Ordinary work stops short of the whole, and what can wait (sweeps) at half of that; an incident may use all of it.
3. What the venue charges an address is shared with the bots behind it: the rotator takes what they leave (`weight`).
4. What the venue itself asks to wait for (429, 418) is known to every client (`pauses`); only what is urgent is tried.
5. What would be too much is refused before anything is sent: nothing was done, and it is asked again later.

Counted in this process alone. Several rotators under one manager key share the venue's budget unawares; the venue's own
429 then says the same.
"""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from enum import Enum

from clients.errors import VenueUnavailable
from clients.keys import Capabilities, KeyAdmin, KeyOrder, MadeKey, VenueKey
from clients.pauses import Pauses, steady_us
from rotation.state import OUT_OF_BUDGET
from rotation.weight import Weight

MINUTE_S = 60.0
_POOL = {"list": "keys", "delete": "keys"}
"""Kinds that are counted together: one path."""


class Haste(Enum):
    """How much of a minute's calls something may use."""

    AT_LEISURE = 0.4
    ORDINARY = 0.8
    URGENT = 1.0


class Budgets:
    """Counts calls by manager key and kind, and weight by egress.

    `clock_us` is wall time that nobody sets: minutes are the venue's.
    """

    def __init__(
        self,
        now_s: Callable[[], float] = time.monotonic,
        clock_us: Callable[[], int] = steady_us,
    ) -> None:
        self._now_s, self._clock_us, self._lock = now_s, clock_us, threading.Lock()
        self.pauses = Pauses(clock_us)
        self._weights: dict[tuple[str, str], Weight] = {}
        self._spent: dict[tuple[str, str], deque[float]] = defaultdict(deque)

    def spend(self, manager: str, kind: str, most: int, venue: str) -> None:
        """Count one call.

        Raises:
            VenueUnavailable: It would be one too many in this minute; nothing was done.
        """
        now_s = self._now_s()
        with self._lock:
            spent = self._spent[manager, _POOL.get(kind, kind)]
            while spent and spent[0] <= now_s - MINUTE_S:
                spent.popleft()
            if len(spent) >= most:
                text = f"{most} of these calls a minute under {manager} are spent"
                raise VenueUnavailable(venue, f"key.{kind}", OUT_OF_BUDGET, text=text)
            spent.append(now_s)

    def weigh(self, egress: str, venue: str, weight: int, whole: int, *, haste: Haste) -> None:
        """Count weight that the venue charges the address of an egress, of the whole it grants one in a minute.

        Raises:
            VenueUnavailable: The bots behind it need what is left; nothing was done. Never where it is urgent.
        """
        now_us = self._clock_us()
        with self._lock:
            known = self._weights.setdefault((egress, venue), Weight(whole))
            if haste is not Haste.URGENT and known.left(now_us) < weight:
                text = f"the rotator's share of this minute's weight behind {egress} is spent"
                raise VenueUnavailable(venue, "weight", OUT_OF_BUDGET, text=text)
            known.spend(weight, now_us)

    def told(self, egress: str, venue: str, used: int, whole: int) -> None:
        """Take in what the venue says is used of this minute, by everybody behind an egress."""
        with self._lock:
            self._weights.setdefault((egress, venue), Weight(whole)).told(used, self._clock_us())

    def ensure(self, manager: str, kinds: Iterable[str], whole: int, venue: str, *, haste: Haste) -> None:
        """Make sure that calls of these kinds are left in this minute.

        Raises:
            VenueUnavailable: They are not; nothing was done.
        """
        most = share(whole, haste)
        for kind in kinds:
            if self.left(manager, kind, most) <= 0:
                text = f"{most} of these calls a minute under {manager} are spent"
                raise VenueUnavailable(venue, f"key.{kind}", OUT_OF_BUDGET, text=text)

    def left(self, manager: str, kind: str, most: int) -> int:
        """Return how many calls are left in this minute."""
        now_s = self._now_s()
        with self._lock:
            return most - sum(at > now_s - MINUTE_S for at in self._spent[manager, _POOL.get(kind, kind)])


class Metered:
    """A manager key's calls, counted. See `KeyAdmin`."""

    def __init__(self, admin: KeyAdmin, budgets: Budgets, manager: str, venue: str, haste: Haste) -> None:
        self._admin, self._budgets, self._manager, self._venue = admin, budgets, manager, venue
        self.capabilities: Capabilities = admin.capabilities
        self._most = share(self.capabilities.calls_per_minute, haste)

    def _spend(self, kind: str) -> None:
        self._budgets.spend(self._manager, kind, self._most, self._venue)

    def create(self, order: KeyOrder, *, stamp: Callable[[], int]) -> MadeKey:
        """See `KeyAdmin`."""
        self._spend("create")
        return self._admin.create(order, stamp=stamp)

    def list(self, subaccount: str) -> tuple[VenueKey, ...]:
        """See `KeyAdmin`."""
        self._spend("list")
        return self._admin.list(subaccount)

    def find(self, subaccount: str, key_id: str) -> VenueKey | None:
        """See `KeyAdmin`."""
        self._spend("list")
        return self._admin.find(subaccount, key_id)

    def addresses(self, subaccount: str, key_id: str) -> tuple[str, ...] | None:
        """See `KeyAdmin`."""
        self._spend("addresses")
        return self._admin.addresses(subaccount, key_id)

    def delete(self, subaccount: str, key_id: str, *, stamp: Callable[[], int]) -> None:
        """See `KeyAdmin`."""
        self._spend("delete")
        self._admin.delete(subaccount, key_id, stamp=stamp)

    def subaccounts(self) -> tuple[str, ...]:
        """See `KeyAdmin`."""
        return self._admin.subaccounts()


def share(whole: int, haste: Haste) -> int:
    """Return how much of a minute's calls may be used."""
    return int(whole * haste.value)
