"""Where requests come in and where they go: mounts, and the venue and account views behind them.

Rules:
1. The first path segment names the mount; the rest is the venue's own path. A base URL that ends in `/` makes
   `//` of its beginning: that is collapsed here, once, before anything looks at it.
2. Live and testnet hosts are compiled in. Another upstream exists in a paper home only, and on loopback only.
3. A view is made once per upstream and egress, and once per account. What is sent takes from one book, whatever way
   out it takes: that is kept once per upstream.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from broker.gateway.account_view import AccountView
from broker.gateway.book import Held
from broker.gateway.clock import SystemClock
from broker.gateway.job import Job
from broker.gateway.known_pairs import KnownPairs
from broker.gateway.lately import Lately
from broker.gateway.room import Limits
from broker.gateway.told import egress_of
from broker.gateway.upstream import Pool
from broker.gateway.venue_line import Intake
from broker.gateway.venue_view import Heard, Sent, VenueView, sent_to_one
from broker.link import frames
from clients.egress import Egress
from clients.venue import Environment
from clients.wire import Wire

# Source: Binance spot REST docs, "General API Information" and the testnet's; state of 2026-07-21.
HOSTS = {
    ("binance", Environment.LIVE): "https://api.binance.com",
    ("binance", Environment.TESTNET): "https://testnet.binance.vision",
}
# Listings of other products, public only: client libraries ask for them when they start.
OTHER_HOSTS = {
    ("binance", Environment.LIVE, "fapi"): "https://fapi.binance.com",
    ("binance", Environment.LIVE, "dapi"): "https://dapi.binance.com",
    ("binance", Environment.LIVE, "eapi"): "https://eapi.binance.com",
    ("binance", Environment.TESTNET, "fapi"): "https://testnet.binancefuture.com",
    ("binance", Environment.TESTNET, "dapi"): "https://testnet.binancefuture.com",
}
KEY_HEADERS = {"binance": b"x-mbx-apikey"}


@dataclass(frozen=True, slots=True)
class Place:
    """One mount, ready to use."""

    wire: Wire
    key_header: bytes
    upstream: str


def upstream_of(venue: str, environment: Environment, override: str) -> str:
    """Return the base URL to forward to.

    Raises:
        ValueError: There is none: an override outside a paper home, or no host compiled in.
    """
    if environment is Environment.PAPER:
        if not override:
            raise ValueError("a paper home names its upstream")
        return override
    if override:
        raise ValueError("only a paper home may name an upstream")
    return HOSTS[(venue, environment)]


class Mounts:
    """Mounts and views of one gateway."""

    def __init__(self, wires: dict[str, Wire], clock: SystemClock, known: KnownPairs, limits: Limits) -> None:
        self._wires, self._clock, self._known, self._limits = wires, clock, known, limits
        self._intake = Intake()
        self._places: dict[str, Place] = {}
        self._egress: Egress | None = None
        self._environment = Environment.PAPER
        self.views: dict[tuple[str, str], VenueView] = {}
        self._sent: dict[str, Sent] = {}
        self.heard: Heard = lambda _key_id, _status, _code: None
        self.on_change: Callable[[], None] = lambda: None
        self._accounts: dict[str, AccountView] = {}
        self.lately = Lately()

    def open(self, welcome: frames.Welcome) -> None:
        """Take in where this gateway stands.

        Raises:
            ValueError: A mount leads nowhere.
        """
        self._environment = Environment(welcome.environment)
        self._egress = egress_of(welcome.egress)
        for mount in welcome.mounts:
            wire = self._wires.get(mount.venue)
            if wire is None:
                raise ValueError(f"this gateway does not speak {mount.venue}")
            environment, upstream = Environment(mount.environment), ""
            if environment is not Environment.PAPER or mount.upstream:
                upstream = upstream_of(mount.venue, environment, mount.upstream)
            self._places[mount.name] = Place(wire, KEY_HEADERS[mount.venue], upstream)

    def find(self, path: str) -> tuple[Place, str] | None:
        """Return the mount of a path and the venue's own path, in its one spelling; None where there is none."""
        end = path.find("/", 1)
        if end < 0:
            return None
        place = self._places.get(path[1:end])
        return (
            None if place is None else (place, path[end + 1 :] if path[end : end + 2] == "//" else path[end:])
        )

    def equip(self, job: Job, held: Held) -> None:
        """Give a job its lease, with the venue and account behind it."""
        view = self._view(upstream_of(held.venue, self._environment, held.upstream), held.egress)
        if job.view is not None and job.view is not view:
            if job.line is not None:  # it leads out another way
                job.view.pool.give_back(job.line)
                job.line = None
            job.asked.difference_update(("line", "clock"))
        job.held, job.view = held, view
        job.account = self.account_of(held)

    def account_of(self, held: Held) -> AccountView:
        """Return the view of a lease's account."""
        account = self._accounts.get(held.account)
        if account is None:
            upstream = upstream_of(held.venue, self._environment, held.upstream)
            account = AccountView(self._view(upstream, held.egress), self._clock, self.lately, held.account)
            self._accounts[held.account] = account
        return account

    def blocked(self) -> tuple[str, ...]:
        """Return the accounts of which the venue said last that they may not trade."""
        return tuple(name for name, account in self._accounts.items() if not account.may_trade)

    def view_of(self, venue: str, upstream: str, egress: Egress) -> VenueView:
        """Return a venue as it is seen by one way out."""
        return self._view(upstream_of(venue, self._environment, upstream), egress)

    def equip_public(self, job: Job, held: Held | None) -> None:
        """Give a public call its venue: that of its key, if it has one, or the mount's."""
        product = job.request.path.lstrip("/").partition("/")[0]
        other = OTHER_HOSTS.get((job.wire.name, self._environment, product))
        if held is not None:
            self.equip(job, held)
            if other is not None:
                job.view = self._view(other, held.egress)
            return
        found = self.find(job.inbound.path)
        upstream = other or ("" if found is None else found[0].upstream)
        if upstream and self._egress is not None:
            job.view = self._view(upstream, self._egress)

    def _view(self, upstream: str, egress: Egress) -> VenueView:
        key = (upstream, egress.name)
        view = self.views.get(key)
        if view is None:
            pool = Pool(upstream, egress, limits=self._limits, intake=self._intake)
            sent = self._sent.setdefault(upstream, sent_to_one(self._clock))
            view = self.views[key] = VenueView(pool, self._clock, sent)
            view.pairs.update(self._known.of(upstream))
            view.on_pair = partial(self._known.learn, upstream)
            view.heard, view.paused, pool.silence.on_change = self.heard, self.on_change, self.on_change
        return view
