"""One gateway put together: listener, forwarder, link and watchman around one book.

`serve` runs until the link ends or `stop` is set. A gateway that may `linger` serves its running leases to
their end after the link is over: a broker that restarts is no reason to stop trading.
"""

import asyncio
import os
import resource
import socket
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from broker.gateway.account_view import AccountView
from broker.gateway.aftermath import Aftermath
from broker.gateway.ahead import Ahead
from broker.gateway.authenticate import Authenticator
from broker.gateway.book import Book, Held
from broker.gateway.clock import SystemClock
from broker.gateway.crowd import Crowd
from broker.gateway.doubts import Doubts
from broker.gateway.elsewhere import Elsewhere
from broker.gateway.fees import Fees, known_to
from broker.gateway.fetch import Fetcher
from broker.gateway.followed import Followed
from broker.gateway.forward import Forwarder
from broker.gateway.found import Found
from broker.gateway.job import Job
from broker.gateway.known_pairs import KnownPairs
from broker.gateway.ledger import Ledger
from broker.gateway.link import LinkClient
from broker.gateway.listener import Listener
from broker.gateway.mounts import Mounts
from broker.gateway.owners import Owners
from broker.gateway.recall import Recall
from broker.gateway.refusals import Refusals
from broker.gateway.replay import ReplayGuard
from broker.gateway.resting import Resting
from broker.gateway.room import limits_of
from broker.gateway.send import Sender
from broker.gateway.sent import Sent
from broker.gateway.settlement import Settlement
from broker.gateway.settler import Settler
from broker.gateway.spool import Spool
from broker.gateway.told import egress_of
from broker.gateway.upstream import Crowded
from broker.gateway.venue_view import NotKnown
from broker.gateway.watchman import Watchman
from broker.gateway.wellbeing import Wellbeing, troubles
from broker.link import frames
from broker.link.channel import Channel
from broker.model import lasting
from clients.venue import Credential
from clients.venues.binance import market
from clients.wire import Wire

DRAIN_SECONDS = 10.0
FIRST_SECONDS = 3.0
SAY_SECONDS = 1.0
CANARY_WEIGHT = 20
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})
_BACKLOG = 128
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Listen:
    """Where bots reach the gateway: a TCP address, and a Unix socket beside it if one is named.

    `allowed_hosts` are the names by which they may call it; over the Unix socket any will do.
    """

    host: str = "127.0.0.1"
    port: int = 0
    unix: Path | None = None
    allowed_hosts: frozenset[str] = LOOPBACK_NAMES


class Gateway:
    """One gateway process' worth of parts."""

    def __init__(self, channel: Channel, name: str, spool_directory: Path, wires: dict[str, Wire]) -> None:
        self.clock = SystemClock()
        self.spool = Spool(spool_directory)
        self.book = Book(wires)
        self.link = LinkClient(channel, name, self.book, self.spool, self.clock)
        self.limits = limits_of(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self.mounts = Mounts(wires, self.clock, KnownPairs(spool_directory), self.limits)
        self.mounts.lately = self.book.recent.lately
        owners, settlement = Owners(), Settlement()
        self._settlement = settlement
        owners.on_confirmed = self._confirmed
        owners.recalled = False
        self.recall = Recall(
            spool_directory, self.spool.boot, owners, self.book.recent, settlement, self.clock,
            self.spool.others,
        )  # fmt: skip
        self.doubts = Doubts(
            spool_directory, self.spool.boot, owners, self.recall.read,
            spool=self.spool, reached=self.recall.reached,
        )  # fmt: skip
        self._keep_until_covered()
        self.ledger = Ledger(self.spool, self.clock, self.link.written)
        owners.on_owned = self.ledger.owned
        found = Found(self.book, self.mounts, self.ledger, self.clock, self.link.background)
        owners.on_found, owners.is_known = found.found, found.is_known
        self.ledger.tell_late(self.book.recent.written_late)
        self.wellbeing = Wellbeing()
        self.wellbeing.on_change = self.link.tell_health
        self.mounts.heard, self.mounts.on_change = self.wellbeing.heard, self.link.tell_health
        resting = Resting(settlement, self.clock.boot_us)
        self.settler = Settler(self.book, self.mounts, owners, settlement, self.link, self.clock)
        self.settler.on_state, self.settler.on_absent = found.shown, self.ledger.absent
        followed = Followed(settlement, self.settler, self.book.recent, self.clock.boot_us)
        followed.consumer_of = self.book.consumer_of
        self.fees = fees = Fees(self.book.recent)
        fees.on_state = found.shown
        elsewhere = Elsewhere(owners, settlement, self.clock)
        self.fetcher = Fetcher(self.book, self.link, owners, resting, followed, self.clock, fees, elsewhere)
        self.aftermath = Aftermath(
            self.book, owners, settlement, self.ledger, self.link, self._measure, self.wellbeing
        )
        self.aftermath.on_landed = followed.landed
        self.forwarder = self._forwarder(owners)
        self.listener: Listener | None = None
        self._wires = wires
        self._warmed: set[int] = set()
        self.link.health = self.health
        self.link.on_wipe = self._wiped
        self.link.on_canary = self._canary
        self.ahead = Ahead(self.book, self.clock, partial(self.link.open_lease, ahead=True), self._warm)
        self.link.on_serves = partial(self._serves, name)
        self.link.on_news = self.ahead.look

    def _keep_until_covered(self) -> None:
        """Have lines of earlier starts deleted once they were taken in, and what is in doubt of them is on disk."""
        upload, recall, doubts = self.link.upload, self.recall, self.doubts
        upload.covers, recall.on_read, doubts.on_cover = doubts.covers, doubts.soon, upload.covered
        upload.on_uncovered = recall.again

    def _forwarder(self, owners: Owners) -> Forwarder:
        """Put together what answers requests."""
        book, clock, replays = self.book, self.clock, ReplayGuard(self.clock.wall_us(), self.clock.boot_us())
        self.aftermath.on_cancelled = replays.cancelled
        refusals = Refusals(book, self.ledger, clock)
        return Forwarder(
            book, self.mounts, owners, self.fetcher, self.ledger, clock, Crowd(self.limits), refusals,
            Authenticator(book, self.mounts, replays, clock, refusals),
            Sender(book, self.fetcher, self.ledger, self.aftermath, replays, clock, refusals),
        )  # fmt: skip

    def _serves(self, name: str, frame: frames.Serves) -> None:
        """The broker says which virtual keys are ours, and whose they are."""
        scopes = (
            lasting(venue, account, name, consumer, grant) for venue, account, consumer, grant in frame.whose
        )
        self.ahead.serves(frame.key_ids, more=frame.more, scopes=scopes)

    def _confirmed(self, sent: Sent) -> None:
        """An order has its id."""
        self._settlement.confirmed(sent, self.clock.boot_us())

    async def serve(
        self, listen: Listen, ready: "asyncio.Future[int]", stop: asyncio.Event, *, linger: bool = False
    ) -> None:
        """Serve until stopped, or until the link and every lease are over.

        Args:
            listen: Where to listen.
            ready: Set to the port once bots can connect.
            stop: Ends the gateway after the requests in flight.
            linger: Stay after the link is over until every lease is.
        """
        self.mounts.open(await self.link.greet())
        listener = Listener(self.forwarder, listen.allowed_hosts, self.limits.connections)
        self.listener = listener
        watchman = Watchman(self.book, self.mounts, self.link, listener, self.settler)
        link = asyncio.ensure_future(self.link.run())
        pulse = self.link.kept_up(self.link.pulse.run, "the pulse")
        saying = self.link.kept_up(self._say, "saying that we live")
        watch = self.link.kept_up(watchman.run, "the watchman")
        ahead = self.link.kept_up(self.ahead.run, "opening leases ahead")
        recall = self.link.kept_up(self.recall.stay, "reading what earlier starts wrote")
        doubts = self.link.kept_up(self.doubts.run, "writing down what is in doubt")
        fees = self.link.kept_up(partial(self.fees.run, self.shared), "asking what purchases cost")
        stopping = asyncio.ensure_future(stop.wait())
        servers: list[asyncio.Server] = []
        try:
            await self._first_leases(link)
            servers += await _listen(listener, listen)
            ready.set_result(servers[0].sockets[0].getsockname()[1])
            await asyncio.wait({link, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if linger and not stop.is_set():
                await self._last_leases(stop)
        finally:
            for server in servers:
                server.close()
            await listener.drain(DRAIN_SECONDS)
            self.ledger.catch_up()
            self.link.close()
            for task in (link, pulse, saying, watch, ahead, recall, doubts, fees, stopping):
                task.cancel()
            await asyncio.gather(link, pulse, saying, watch, ahead, stopping, return_exceptions=True)
            for view in self.mounts.views.values():
                view.pool.close()
            self.ledger.end()
            self.doubts.write(ends=True)
            self.spool.close()
            if listen.unix is not None:
                listen.unix.unlink(missing_ok=True)

    def shared(self) -> dict[str, tuple[AccountView, Credential]]:
        """Return who can be asked about each account of several grants."""
        accounts = {held.account for held in self.book.by_lease.values() if not held.sole}
        return known_to(self.settler.askers(), accounts)

    async def _say(self) -> None:
        """Tell how we fare, so often that silence means something: a gateway that was stopped is missed in seconds."""
        while True:
            await asyncio.sleep(SAY_SECONDS)
            self.spool.look()
            self.ledger.catch_up()
            self.link.tell_health()

    def health(self) -> frames.Health:
        """Tell how this gateway fares."""
        ledger = self.ledger
        middle, late = ledger.latency_us()
        return frames.Health(
            ledger.requests,
            ledger.refusals,
            ledger.in_flight,
            middle,
            late,
            self.spool.waiting,
            _resident_bytes(),
            self.wellbeing.words((key, one.key_id) for key, one in self.book.material.items()),
            self._troubles(),
            self.spool.told_by,
            self.book.users.tell(),
            self.spool.owes(),
        )

    def _troubles(self) -> tuple[frames.Trouble, ...]:
        """Tell what is wrong with each way to a venue and with our files, and which accounts may not trade."""
        blocked = tuple(frames.Trouble("account-blocked", account) for account in self.mounts.blocked())
        parts = {
            "lines": self.ledger.said, "upload": self.link.upload.said, "earlier": self.recall.said,
            "doubts": self.doubts.said, "files": self.spool.said, "starts": self.spool.others.said,
        }  # fmt: skip
        files = tuple(
            frames.Trouble("spool", name, said.in_short()) for name, said in parts.items() if said.standing
        )
        return (
            blocked
            + files
            + tuple(
                trouble
                for (_, egress), view in self.mounts.views.items()
                for trouble in troubles(
                    egress,
                    view.meter.left_us(view.now_us()),
                    self.clock.wall_us(),
                    view.meter.banned(view.now_us()) is not None,
                    view.off_us(),
                    view.pool.silence.now(asyncio.get_running_loop().time()),
                    view.pool.silence.seen,
                )
            )
        )

    async def _first_leases(self, link: "asyncio.Future[None]") -> None:
        """Wait for the leases of our virtual keys, and for what we did before, until bots can connect; not for long."""
        first: asyncio.Future[Any] = asyncio.gather(self.ahead.first.wait(), self.recall.done.wait())
        ends: set[asyncio.Future[Any]] = {first, link}
        await asyncio.wait(ends, timeout=FIRST_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        first.cancel()

    async def _last_leases(self, stop: asyncio.Event) -> None:
        """Wait until no lease can serve any more: without a broker none is renewed."""
        while not stop.is_set():
            ends = [
                held.lease.expires_us + held.lease.exits_after_end_us for held in self.book.by_lease.values()
            ]
            left = max(ends, default=0) - self.clock.boot_us()
            if left <= 0:
                return
            try:
                async with asyncio.timeout(left / 1_000_000):
                    await stop.wait()
            except TimeoutError:
                continue

    def _measure(self, job: Job) -> None:
        """Measure the venue's clock again, beside the requests."""

        async def measuring() -> None:
            try:
                if job.view is not None:
                    await job.view.fetch_time()
            except (NotKnown, OSError, ValueError):
                return  # the next request measures

        self.link.background(measuring())

    async def _canary(self, frame: frames.Canary) -> frames.CanaryDone:
        """Try a key version with one signed read, by the account's own way out."""
        credential = self.book.material.get(frame.key)
        if credential is None:
            self.link.missed.lacks(frame.key)
            return frames.CanaryDone(frame.ask, well=False, reason="no_material")
        try:
            view = self.mounts.view_of(frame.venue, frame.upstream, egress_of(frame.egress))
            if not view.is_timed():
                await view.fetch_time()
            await view.signed(credential, market.holdings(), CANARY_WEIGHT)
        except NotKnown as fault:
            return frames.CanaryDone(frame.ask, well=False, reason=fault.reason)
        except (OSError, ValueError) as fault:
            reason = "busy" if isinstance(fault, Crowded) else "unreachable"
            return frames.CanaryDone(frame.ask, well=False, reason=reason)
        return frames.CanaryDone(frame.ask, well=True)

    def _warm(self, held: Held) -> None:
        """Measure the venue's clock and open a connection by a lease's way out, once and beside everything else."""
        view = self.mounts.view_of(held.venue, held.upstream, held.egress)
        if view.clock.known or id(view) in self._warmed:
            return
        self._warmed.add(id(view))

        async def warming() -> None:
            try:
                await view.fetch_time()
            except (NotKnown, OSError, ValueError):
                return  # the first request measures

        self.link.background(warming())

    def _wiped(self, key_id: str) -> None:
        self.wellbeing.forget(key_id)
        for wire in self._wires.values():
            wire.forget(key_id)


async def _listen(listener: Listener, listen: Listen) -> list[asyncio.Server]:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(listener, listen.host, listen.port, backlog=_BACKLOG)]
    if listen.unix is not None:
        listen.unix.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(str(listen.unix))
        listen.unix.chmod(0o660)  # who may connect is a matter of the directory and the group
        servers.append(await loop.create_unix_server(listener, sock=sock, backlog=_BACKLOG))
    return servers


def _resident_bytes() -> int:
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0
