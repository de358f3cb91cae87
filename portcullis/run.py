"""Composition root of `portcullis run`: every part under one command, over one home.

Started in this order, ended in the reverse (`ending`), but for gateway and rotator, which end at once:
1. The home's lock; the stores, migrated; the home's seat (`seating`); service and lease authority.
2. In a paper home its paper exchange, as a child, unless another is named.
3. The authority's heartbeat; the gateway, as a child on a socketpair.
4. The API on loopback and on a socket in the home, in the same event loop; the rotator, as a child on the stores;
   `run.json` tells where.

`python -m portcullis.run --home DIR` runs until SIGTERM or SIGINT, then ends gracefully with code 0.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import uvloop

from broker.api.app import create_app
from broker.api.context import Context, Hazard
from broker.authority import LeaseAuthority
from broker.background import Background, described
from broker.errors import BrokerError
from broker.service import Service
from broker.threads import Threads
from clients.pauses import Pauses
from clients.venue import Environment
from portcullis import ending, logs, paper_process, running, seating
from portcullis.addresses import bindable
from portcullis.api_server import ApiServer, places
from portcullis.children import Child, ChildFailed
from portcullis.connected import ConnectedGateways
from portcullis.foundation import opened
from portcullis.gateway import harden
from portcullis.gateway_child import Doorway, GatewayChild
from portcullis.key_inspector import VenueInspector
from portcullis.key_warden import VenueWarden
from portcullis.notify import READY, STOPPING, Notifier
from portcullis.peers import Peers
from portcullis.rehearsal import rehearse, settle
from portcullis.reporting import Reporting
from portcullis.rotator_child import RotatorChild
from portcullis.running import Running
from portcullis.settings import Home, SettingsError, locate, open_home, write_private
from portcullis.standing_in import StandIn
from portcullis.upkeep import Upkeep
from portcullis.witness import Witness

_SWITCH_S = 0.0005
"""How long one thread may keep the interpreter while others wait for it. Python's 5 ms are paid at every statement of
a cut's transaction beside a thread that takes in a log: sixty of them are a third of a second."""

_LOG = logging.getLogger("portcullis.run")
_THREADS = 8
_LOOK_S = 0.25
"""Bots' connections are short; a look costs a tenth of a millisecond."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to run a home. Ports left out are the home's; `paper_upstream` names a paper exchange of its own."""

    api_port: int | None = None
    gateway_port: int | None = None
    gateway_host: str = "127.0.0.1"
    allowed_hosts: tuple[str, ...] = ()
    paper_upstream: str | None = None
    gateway_socket: Path | None = None
    restored: bool = False
    """Whoever starts it says that the home was put back from a copy."""


@dataclass(slots=True)
class Broker:
    """A home at work."""

    home: Home
    service: Service
    inspector: VenueInspector
    warden: VenueWarden
    authority: LeaseAuthority
    gateway: GatewayChild
    api: ApiServer
    upkeep: Upkeep
    paper: Child | None
    paper_base: str
    fallen: "asyncio.Future[str]" = field(repr=False)

    @property
    def running(self) -> Running:
        """Where everything listens."""
        local = "" if self.api.socket is None else str(self.api.socket)
        return Running(
            os.getpid(),
            self.api.port,
            self.gateway.port,
            self.gateway.pid,
            self.paper_base,
            local,
            self.gateway.host,
            self.gateway.names,
        )


@asynccontextmanager
async def running_broker(home: Home, options: Options) -> AsyncIterator[Broker]:
    """Run a home for as long as the context lasts.

    Raises:
        SettingsError: Another broker runs on the home, a store or a port cannot be had.
        ChildFailed: A child did not get ready.
    """
    sys.setswitchinterval(_SWITCH_S)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(running.held(home))
        service = stack.enter_context(_warm(home))
        witness = await _seated(stack, home, service, restored=options.restored)
        paper, base = None, options.paper_upstream or ""
        if home.environment is Environment.PAPER and not base:
            paper = await paper_process.start(home)
            stack.push_async_callback(ending.within, ending.PAPER_S, "the paper exchange", paper.end)
            base = f"http://127.0.0.1:{paper.port}"
            _follow(service, home, base)
        upkeep = Upkeep(service)
        await asyncio.to_thread(upkeep.once)
        stack.push_async_callback(ending.beside, ending.TRAIL_S, "the audit trail", upkeep.end)
        _background(stack, upkeep.run, "upkeep")
        authority = LeaseAuthority(service, base)
        stack.push_async_callback(ending.beside, ending.AUTHORITY_S, "the lease authority", authority.close)
        await authority.beat()
        _background(stack, authority.run, "heartbeat")
        doorway = Doorway(
            _listening(options.gateway_host),
            home.gateway_port if options.gateway_port is None else options.gateway_port,
            options.allowed_hosts,
            options.gateway_socket,
        )
        gateway = GatewayChild(home, authority, doorway, lambda: running.tell(home, broker.running))
        peers = Peers(lambda: gateway.port)
        pauses = Pauses()
        inspector, warden, rotator = VenueInspector(pauses), VenueWarden(pauses), RotatorChild(home, service)
        context = Context(
            service,
            ConnectedGateways(authority, gateway),
            inspector,
            warden,
            lambda: (
                *upkeep.hazards(),
                *peers.hazards(),
                *rotator.hazards(),
                *api.hazards(),
                *_unwitnessed(witness),
            ),
        )
        port = home.api_port if options.api_port is None else options.api_port
        app = create_app(context, places())
        await rehearse(app, service)
        api = ApiServer(app, port, home.root)
        stack.push_async_callback(ending.within, ending.API_S, "the API", api.end)
        stack.push_async_callback(
            ending.within,
            ending.CHILDREN_S,
            "gateway or rotator",
            partial(_together, rotator.end, gateway.end),
        )
        await gateway.start()
        await api.start()
        await rotator.start()
        fallen: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        broker = Broker(
            home, service, inspector, warden, authority, gateway, api, upkeep, paper, base, fallen
        )
        if paper is not None:
            _background(stack, partial(_mourn, paper, fallen), "watch the paper exchange")
        _background(stack, partial(_unseated, service, fallen), "watch the home's seat")
        _background(stack, StandIn(service, lambda: rotator.is_missed).run, "tell in the rotator's place")
        _background(stack, partial(_look, peers), "watch who connects")
        _background(stack, Reporting(context, f"{os.uname().nodename}").run, "report what is wrong here")
        try:
            running.tell(home, broker.running)
        except OSError as fault:  # bots are served all the same, and by its address the API, too
            _LOG.error("where this broker listens could not be written down: %s", fault.strerror)
        stack.callback(service.cuts.closing.hurry)
        yield broker


async def _seated(
    stack: contextlib.AsyncExitStack, home: Home, service: Service, *, restored: bool
) -> Witness:
    """Take the home's seat, and keep from then on how far the home has come, until the stack unwinds to here."""
    await asyncio.to_thread(partial(seating.take, home, service, restored=restored))
    stack.push_async_callback(
        ending.beside, ending.SEAT_S, "the home's seat", partial(seating.leave, service)
    )
    witness = Witness(home, service, seating.place_of(home))
    stack.push_async_callback(ending.beside, ending.WITNESS_S, "what keeps how far it came", witness.end)
    witness.start()
    return witness


def _unwitnessed(witness: Witness) -> Iterator[Hazard]:
    """Say that nothing tells whether the home went back."""
    if witness.lacks:
        yield Hazard(
            f"nothing outside of this home keeps how far it has come: {witness.lacks}. Put back from a copy it would "
            "start as if nothing had been cut since",
            "start it with XDG_STATE_HOME set to a directory outside of it: RB-13",
            "witness",
        )


@contextlib.contextmanager
def _warm(home: Home) -> Iterator[Service]:
    """Open a home, with the connections that its cuts and heartbeats need."""
    with opened(home) as service:
        try:
            service.desk.database.warm()
        except BrokerError as fault:
            raise SettingsError("database", str(fault)) from None
        yield service


def _listening(host: str) -> str:
    try:
        return bindable(host)
    except ValueError:
        raise SettingsError(
            "--gateway-host", f"{host[:60]!r} is no address of this host; write one as 127.0.0.1 or ::1"
        ) from None


def _background(
    stack: contextlib.AsyncExitStack, work: Callable[[], Coroutine[Any, Any, None]], name: str
) -> None:
    """Run something beside everything else, whatever fails in it, until the stack unwinds to here."""
    task = Background(_LOG).keep(work, name)

    async def end() -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    stack.push_async_callback(end)


async def _together(*ends: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """End parts at once: each may take its patience, and what comes after them puts cuts on record."""
    for fault in await asyncio.gather(*(end() for end in ends), return_exceptions=True):
        if isinstance(fault, Exception):
            _LOG.error("a part did not end in order: %s", described(fault))


async def _mourn(paper: Child, fallen: "asyncio.Future[str]") -> None:
    """Say that the paper exchange is gone: nothing is left to trade on."""
    code = await paper.ended()
    if not fallen.done():
        fallen.set_result(f"the paper exchange ended by itself (code {code})")


async def _unseated(service: Service, fallen: "asyncio.Future[str]") -> None:
    """Say that another host runs this home: two would rotate the same keys."""
    while not service.desk.guard.seating.lives:  # noqa: ASYNC110 - the heartbeat finds it out
        await asyncio.sleep(_LOOK_S)
    if not fallen.done():
        fallen.set_result(service.desk.guard.superseded)


async def _look(peers: Peers) -> None:
    while True:
        await asyncio.to_thread(peers.look)
        await asyncio.sleep(_LOOK_S)


def _follow(service: Service, home: Home, base: str) -> None:
    """Let accounts that traded on our paper exchange find it where it listens now."""
    path = home.paper / "base"
    before = path.read_text(encoding="ascii").strip() if path.exists() else ""
    after = ""
    while before != base:
        page = service.accounts.list(after=after)
        for account in page.items:
            if account.upstream == before:
                service.accounts.move_upstream(account.name, base)
        if page.next is None:
            break
        after = page.next
    service.managers.follow(before, base)
    write_private(path, base + "\n")


async def run(home: Home, options: Options, ready: Callable[[Broker], None], stop: asyncio.Event) -> int:
    """Run a home until `stop` is set, or a part of it falls.

    Returns:
        The exit code: 0 after a stop, 1 where a part fell.
    """
    log = structlog.get_logger("portcullis")
    notifier = Notifier(os.environ)
    async with running_broker(home, options) as broker:
        settle()
        ready(broker)
        notifier.tell(READY)
        living = asyncio.create_task(notifier.live())
        waiting = asyncio.create_task(stop.wait())
        ends: list[asyncio.Future[Any]] = [waiting, broker.fallen]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        living.cancel()
        notifier.tell(STOPPING)
        if broker.fallen.done():
            log.error("everything ends", why=broker.fallen.result())
            return 1
    return 0


def stop_on_signals(stop: asyncio.Event) -> None:
    """Set an event at SIGTERM and SIGINT."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


def run_process(home: Home, options: Options, ready: Callable[[Broker], None]) -> int:
    """Run a home as this process; end gracefully at SIGTERM or SIGINT.

    Raises:
        SettingsError: It cannot be run, with the field and what to do.
    """
    harden()
    os.umask(0o077)

    async def running_here() -> int:
        stop = asyncio.Event()
        stop_on_signals(stop)
        asyncio.get_running_loop().set_default_executor(Threads(_THREADS, "work"))
        code = await run(home, options, ready, stop)
        ending.leave_soon(code)
        return code

    try:
        return uvloop.run(running_here())
    except ChildFailed as fault:
        raise SettingsError("--home", str(fault)) from None


def _announce(broker: Broker) -> None:
    structlog.get_logger("portcullis").info(
        "ready",
        environment=broker.home.environment.value,
        api=broker.running.api,
        gateway=broker.running.gateway,
        home=str(broker.home.root),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a home, with nothing but logs."""
    parser = argparse.ArgumentParser(prog="python -m portcullis.run")
    parser.add_argument("--home", type=Path)
    parser.add_argument("--api-port", type=int)
    parser.add_argument("--gateway-port", type=int)
    parser.add_argument("--gateway-host", default="127.0.0.1")
    parser.add_argument("--allowed-host", action="append", default=[])
    parser.add_argument("--paper-upstream")
    parser.add_argument("--gateway-socket", type=Path)
    parser.add_argument("--restored", action="store_true")
    given = parser.parse_args(arguments)
    logs.configure()
    options = Options(
        given.api_port,
        given.gateway_port,
        given.gateway_host,
        tuple(given.allowed_host),
        given.paper_upstream,
        given.gateway_socket,
        given.restored,
    )
    try:
        return run_process(open_home(locate(given.home)), options, _announce)
    except SettingsError as fault:
        sys.stderr.write(f"{fault}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
