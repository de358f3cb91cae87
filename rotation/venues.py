"""Ways to a venue for one account: with its manager key, by the manager's egress; with its own keys, by its own.

One client per use: rotations are rare, and a connection that was opened by one egress never serves another.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from broker import spelled
from broker.deeds import Deed
from broker.errors import BrokerError, Conflict
from broker.gateway.mounts import upstream_of
from broker.model import Account, Manager
from broker.service import Service, lost
from broker.service.host_guard import HostGuard
from broker.stores.held import is_lost
from clients.egress import Egress
from clients.errors import VENUE_PAUSE, VenueUnavailable
from clients.http import open_client
from clients.keys import Capabilities, KeyAdmin, KeyOrder, KeyProbe, MadeKey
from clients.venue import Credential
from clients.venues.binance import admin, weights
from clients.venues.binance.account import BinanceAccount
from clients.venues.binance.admin import BinanceAdmin, BinanceProbe
from clients.venues.binance.asker import clock_of
from rotation.budget import Budgets, Haste, Metered
from rotation.stamp import late
from rotation.state import MANAGER_LOST

CALLS_PER_MINUTE: dict[str, int] = {"binance": admin.CAPABILITIES.calls_per_minute}
WEIGHT: dict[str, int] = {"binance": weights.A_MINUTE}
USED: dict[str, str] = {"binance": weights.USED}

_CLOCK, _WHO = 1, 21
"""What it costs to read a clock, and to ask a key who it is: `GET /api/v3/account` is 20 of it."""

GUARDED_US = 10_000_000
"""How long the guard's word holds for what makes or deletes, counted from the question: both questions to Vault within
their time. With the receive window it ends before another host takes the home of one that is silent
(`broker.seat.DEAD_S`)."""

KEY_REFUSALS: dict[str, tuple[str, ...]] = {"binance": admin.KEY_REFUSALS}
"""By which codes each venue refuses a key to who uses it."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What a manager key can do for one sub-account. `lacks` says in words what the manager key may not do."""

    admin: KeyAdmin
    subaccount: str
    now_us: Callable[[], int]
    lacks: Callable[[], str]


class Guarded:
    """A manager key's calls: before one that makes or deletes the guard is asked, whoever calls. See `KeyAdmin`.

    What would be signed long after the guard was asked is not sent: it may have stood still meanwhile.
    """

    def __init__(self, admin: KeyAdmin, guard: HostGuard, now_us: Callable[[], int], venue: str) -> None:
        self._admin, self._guard, self._now_us, self._venue = admin, guard, now_us, venue
        self.capabilities: Capabilities = admin.capabilities
        self.list, self.find = admin.list, admin.find
        self.addresses, self.subaccounts = admin.addresses, admin.subaccounts

    def create(self, order: KeyOrder, *, stamp: Callable[[], int]) -> MadeKey:
        """See `KeyAdmin`."""
        return self._admin.create(order, stamp=self._asked(Deed.MAKE, stamp))

    def delete(self, subaccount: str, key_id: str, *, stamp: Callable[[], int]) -> None:
        """See `KeyAdmin`."""
        self._admin.delete(subaccount, key_id, stamp=self._asked(Deed.DELETE, stamp))

    def _asked(self, deed: Deed, stamp: Callable[[], int]) -> Callable[[], int]:
        asked_us = self._now_us()
        self._guard.ensure(deed)

        def stamped() -> int:
            at_us = stamp()
            if at_us - asked_us > GUARDED_US:
                raise late(self._venue)
            return at_us

        return stamped


class Venues:
    """The venues this program speaks, by the home's records."""

    def __init__(self, service: Service, budgets: Budgets | None = None) -> None:
        self._service, self._budgets = service, budgets or Budgets()

    @contextmanager
    def desk(
        self, account: Account, *, haste: Haste = Haste.ORDINARY, needs: tuple[str, ...] = ()
    ) -> Iterator[Desk]:
        """Open the way of an account's manager key; `haste` says how much of the venue's budget may be used.

        `needs` names kinds of calls that must be left in this minute; where they are not, nothing at all is asked:
        waiting costs the venue nothing.

        Raises:
            Conflict: The account is under no manager key, or that one's secret is lost (`MANAGER_LOST`).
        """
        if account.manager is None or account.subaccount is None:
            raise Conflict("by_hand", f"{account.name} is under no manager key: its keys are made by hand")
        managers = self._service.managers
        manager = managers.get(account.manager)
        egress = self._service.accounts.egress(manager.egress)
        self._budgets.ensure(manager.name, needs, CALLS_PER_MINUTE[account.venue], account.venue, haste=haste)
        self._budgets.weigh(manager.egress, account.venue, _CLOCK, WEIGHT[account.venue], haste=haste)
        base = upstream_of(manager.venue, manager.environment, manager.upstream or "")
        credential = self._credential(account, manager)
        with self._client(manager.venue, base, egress, haste) as http:
            self._listen(http, manager.egress, account.venue)
            now_us = clock_of(http, self._service.desk.spans.sure_us)
            owner = BinanceAccount(http, credential, now_us)

            def lacks() -> str:
                facts = owner.key_facts(whose=False)
                if facts.can_withdraw:
                    return "it can withdraw, and a manager key never may"
                return "" if facts.can_trade else "it needs spot and margin trading to make keys"

            key_admin = BinanceAdmin(http, credential, now_us)
            metered = Metered(key_admin, self._budgets, manager.name, account.venue, haste)
            guarded = Guarded(metered, self._service.desk.guard, now_us, account.venue)
            yield Desk(guarded, account.subaccount, now_us, lacks)

    def _credential(self, account: Account, manager: Manager) -> Credential:
        """Return a manager key. That its secret is lost says nothing of the key that it is asked about."""
        try:
            return self._service.managers.credential(manager)
        except BrokerError as fault:
            if not is_lost(fault):
                raise
            fresh = lost.free_name(manager.name, {one.name for one in self._service.managers.list()})
            raise Conflict(
                MANAGER_LOST,
                f"the secret of the manager key {manager.name}, which {account.name} is under, is lost "
                f"({fault.reason}). No key of {account.name} is made or deleted before another takes its place: "
                f"portcullis manager import --name {fresh} --egress {manager.egress}, then portcullis account manage "
                f"{account.name} --manager {fresh} --subaccount {spelled.word(account.subaccount or '')}",
            ) from None

    @contextmanager
    def probe(self, account: Account, *, haste: Haste = Haste.ORDINARY) -> Iterator[KeyProbe]:
        """Open the account's own way; what is urgent is not held up for the sake of bots behind the same address."""
        self._budgets.weigh(account.egress, account.venue, _WHO, WEIGHT[account.venue], haste=haste)
        egress = self._service.accounts.egress(account.egress)
        base = upstream_of(account.venue, account.environment, account.upstream or "")
        with self._client(account.venue, base, egress, haste) as http:
            self._listen(http, account.egress, account.venue)
            yield BinanceProbe(http, self._service.desk.spans.sure_us)

    def _client(self, venue: str, base: str, egress: Egress, haste: Haste) -> httpx.Client:
        """Open a client that waits where the venue asks to, unless it is urgent: it may have asked a gateway's bots.

        Raises:
            VenueUnavailable: The venue asks everybody behind this egress to wait; nothing was sent.
        """
        urgent = haste is Haste.URGENT
        left_us = self._service.reports.pause_left_us(egress.name)
        if left_us > 0 and not urgent:
            text = f"the exchange asks everybody behind {egress.name} to wait {left_us // 1_000_000 + 1} s"
            raise VenueUnavailable(venue, "weight", VENUE_PAUSE, text=text)
        return open_client(venue, base, egress=egress, pauses=self._budgets.pauses, urgent=urgent)

    def _listen(self, http: httpx.Client, egress: str, venue: str) -> None:
        """Have every answer's word of what is used of this minute counted."""

        def heard(response: httpx.Response) -> None:
            used = response.headers.get(USED[venue], "")
            if used.isdecimal():
                self._budgets.told(egress, venue, int(used), WEIGHT[venue])

        http.event_hooks = {"response": [heard]}
