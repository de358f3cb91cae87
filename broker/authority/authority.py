"""The lease authority: grants and renews leases to gateways, pushes gates and policies, takes their reports.

Rules:
1. Leases are judged by gates in memory, which are as old as the transaction that read them: once a second one
   transaction writes the heartbeat and reads every gate. What was read long ago grants little, then nothing.
2. A change is pushed as one frame per gateway, whatever the number of grants; a `closed` gate needs no walk over
   leases, because gateways judge each request by the gates. Successors follow where something may still be served.
3. Database work is done in two threads: one for control, one for the call log, so that no cut waits behind a log.
   The secret store, which may be slow, is asked in threads of its own; too many asks at once are refused.
4. A gateway is told its keys once per version; they are wiped where every lease on them is closed.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from broker.authority.changes import Changes
from broker.authority.cutover import Cutovers, Noted
from broker.authority.leases import Leases, Opening
from broker.authority.link import Link, state_of
from broker.db import Connection, meta
from broker.db import accounts as account_store
from broker.errors import BrokerError, StoreUnavailable
from broker.link import frames
from broker.link.channel import Channel
from broker.service import Service
from clients.venue import Environment

T = TypeVar("T")
HEARTBEAT_SECONDS = 1.0
_STORE_THREADS = 4
_MOST_READING = 64
_JUDGED_ANEW = 3
_LOG = logging.getLogger("portcullis.authority")


class LeaseAuthority:
    """Serves every gateway of one broker."""

    def __init__(self, service: Service, paper_upstream: str = "") -> None:
        self._service, self._desk = service, service.desk
        self._paper_upstream = paper_upstream
        self._control = ThreadPoolExecutor(1, "control")
        self._log = ThreadPoolExecutor(1, "call-log")
        self._secrets = ThreadPoolExecutor(_STORE_THREADS, "secrets")
        self._reading = 0
        self.changes = Changes(service.desk, self.in_control)
        self.cutovers = Cutovers(service, self.changes, self.in_control, self._in_store)
        self.leases = Leases(service, self.changes, self.cutovers)

    # --- time and threads -----------------------------------------------------------------

    async def in_control(self, work: Callable[[], T]) -> T:
        """Do control work in its thread."""
        return await asyncio.get_running_loop().run_in_executor(self._control, work)

    async def _in_log(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._log, work)

    async def _in_store(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._secrets, work)

    async def beat(self) -> None:
        """Write the heartbeat, prolong the holds and read the gates, in one transaction."""
        began_us = self._desk.clock.boot_us()
        found: list[Noted] = []

        def note(connection: Connection) -> None:
            found.append(self.cutovers.note(connection))

        gates = await self.in_control(lambda: self._service.continuity.beat(note))
        self.changes.merge(gates.values())
        self.cutovers.follow(found[-1])
        self.leases.began_us = began_us

    async def run(self) -> None:
        """Beat until cancelled; a beat that fails grants nothing new."""
        self.changes.loop = asyncio.get_running_loop()
        while True:
            try:
                await self.beat()
            except BrokerError as fault:
                _LOG.error("the gates cannot be read: leases end unless this mends: %s", fault)
            await asyncio.sleep(HEARTBEAT_SECONDS)

    def close(self) -> None:
        """Let the threads end."""
        self._control.shutdown(wait=True)
        self._log.shutdown(wait=True)
        self._secrets.shutdown(wait=False, cancel_futures=True)

    # --- one gateway ----------------------------------------------------------------------

    async def serve(self, channel: Channel, allowed: Callable[[str], bool] = lambda _: True) -> None:
        """Serve one gateway until its link is over."""
        self.changes.loop = asyncio.get_running_loop()
        hello = await channel.receive()
        if (
            not isinstance(hello, frames.Hello)
            or hello.version != frames.VERSION
            or not allowed(hello.gateway)
        ):
            channel.send(frames.Goodbye("version" if isinstance(hello, frames.Hello) else "no_hello"))
            channel.close()
            return
        link = Link(channel, hello.gateway, hello.boot)
        await self.in_control(lambda: self._greet(link))
        old = self.changes.links.get(link.gateway)
        if old is not None:
            old.channel.close()
        self.changes.links[link.gateway] = link
        channel.send(await self.in_control(self._welcome))
        try:
            while (frame := await channel.receive()) is not None:
                await self._take(link, frame)
        finally:
            if self.changes.links.get(link.gateway) is link:
                del self.changes.links[link.gateway]
            channel.close()

    def _greet(self, link: Link) -> None:
        with self._desk.database.write() as connection:
            meta.greet(connection, link.gateway, link.boot, self._desk.clock.now_us())

    def _welcome(self) -> frames.Welcome:
        home = self._desk.home
        upstream = self._paper_upstream
        with self._desk.database.read() as connection:
            found = account_store.accounts(connection, "", 1)
        if home.environment is Environment.PAPER and not upstream and found:
            upstream = found[0].upstream or ""
        mount = frames.Mount("binance", "binance", home.environment.value, upstream)
        states = tuple(state_of(one) for one in self.changes.gates.values())
        return frames.Welcome(
            frames.VERSION,
            home.environment.value,
            home.generation,
            (mount,),
            frames.EgressPart("direct"),
            states,
        )

    async def _take(self, link: Link, frame: frames.Frame) -> None:
        match frame:
            case frames.OpenLease():
                asyncio.ensure_future(self._open(link, frame))  # noqa: RUF006 - kept by the loop until done
            case frames.Renew():
                link.channel.send(self.leases.renew(link, frame))
            case frames.EndLease():
                for lease_id in frame.leases:
                    link.leases.pop(lease_id, None)
            case frames.AskSlice():
                await self._lend(link, frame)
            case frames.CloseSlices():
                await self.in_control(lambda: self._service.calls.close_slices(link.gateway, frame.parts))
            case frames.Release():
                await self.in_control(lambda: self._service.calls.release(link.gateway, frame.parts))
            case frames.Calls():
                asyncio.ensure_future(self._ingest(link, frame))  # noqa: RUF006 - kept by the loop until done
            case frames.SpoolDone():
                await self._in_log(lambda: self._service.calls.close_boot(link.gateway, frame.boot))
            case frames.OwnerQuery():
                await self._owner(link, frame)
            case frames.Ack():
                self.changes.acknowledge(link.gateway, frame.change)
            case frames.CanaryDone():
                self.cutovers.answer(frame)
            case frames.Health():
                link.health = frame
            case _:
                link.channel.close()

    async def _open(self, link: Link, frame: frames.OpenLease) -> None:
        answer: frames.LeaseGranted | frames.LeaseRefused | None = None
        try:
            for _ in range(_JUDGED_ANEW):
                judged = await self.in_control(lambda: self.leases.judge(link, frame))
                if isinstance(judged, frames.LeaseRefused):
                    answer = judged
                    break
                answer = await self._grant(link, frame, judged)
                if answer is not None:
                    break
        except BrokerError as fault:
            _LOG.error("no lease could be granted: %s", fault)
        link.channel.send(answer or frames.LeaseRefused(frame.ask, frame.key_id, "unavailable"))

    async def _grant(
        self, link: Link, frame: frames.OpenLease, opening: Opening
    ) -> frames.LeaseGranted | frames.LeaseRefused | None:
        if self._reading >= _MOST_READING:
            raise StoreUnavailable("store_slow", "too many leases wait for the secret store already")
        self._reading += 1
        try:
            secrets = await asyncio.get_running_loop().run_in_executor(
                self._secrets, self.leases.secrets, link, opening
            )
        finally:
            self._reading -= 1
        return await self.in_control(lambda: self.leases.grant(link, frame, opening, secrets))

    # --- budgets, owners, the log ---------------------------------------------------------

    async def _lend(self, link: Link, frame: frames.AskSlice) -> None:
        held = link.leases.get(frame.lease)
        grant = "" if held is None else held.grant
        try:
            loan = None
            if held is not None:
                loan = await self.in_control(
                    lambda: self._service.calls.lend(grant, link.gateway, link.boot, frame.wanted)
                )
        except BrokerError as fault:
            _LOG.error("no budget could be lent: %s", fault)
            return
        part = None if loan is None else frames.SlicePart(loan.id, loan.amount)
        link.channel.send(frames.SliceLent(frame.ask, grant, part))

    async def _owner(self, link: Link, frame: frames.OwnerQuery) -> None:
        name = frame.client_order_id or ""
        if frame.order_id is not None:
            name = f"{'%' if frame.is_list else '#'}{frame.order_id}"
        try:
            found = await self.in_control(
                lambda: self._service.calls.owner(frame.account, frame.symbol, name)
            )
        except BrokerError as fault:
            _LOG.error("an order's owner could not be read: %s", fault)
            return
        link.channel.send(frames.OwnerAnswer(frame.ask, found))

    async def _ingest(self, link: Link, frame: frames.Calls) -> None:
        try:
            await self._in_log(lambda: self._service.calls.ingest(link.gateway, frame.boot, frame.lines))
        except BrokerError as fault:
            _LOG.error("call-log lines could not be kept; the gateway keeps them: %s", fault)
            return
        link.channel.send(frames.CallsKept(frame.boot, frame.first + len(frame.lines) - 1))
