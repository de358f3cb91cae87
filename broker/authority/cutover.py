"""Key versions as gateways use them: who may use which until when, moved to the one that is current, tried out before.

Rules:
1. No lease is granted, and none goes on, without a hold on record that outlasts it: gateway, boot, key version, until.
   Who retires a key waits for the last hold, so a partitioned gateway or a dead broker is waited for, never forgotten.
   Holds are counted on the host's boot clock: a wall clock that steps ends no lease and no hold (`broker.steady`).
   A lease that its gateway does not name any more when it asks for all of its own to go on is none: it was given back,
   or never came.
2. A hold that ran out is never prolonged: meanwhile its key may have been retired. The leases on it are void.
3. Once another version is current, every gateway gets its material and one `Cutover` frame; its hold on the old one
   ends when it has acknowledged, which is after its last request in flight. Without the material nothing is moved:
   the old key lives as long as anybody holds it. So ends a hold on it that no lease needs any more, as after a cut:
   the gateway says that it uses it no more, and nothing of it is in flight. One that does not say so is waited for.
4. A canary is one gateway that tries a pending version with a signed read; what it found is written down.
5. No key goes to a gateway that is cut off, nor from a home that does not serve: that is looked at once its sending is
   on record, and judged in the step in which it is sent (`sending`).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from broker import gate, steady
from broker.authority.changes import Changes
from broker.authority.link import Kept, Link
from broker.authority.sending import Sending
from broker.background import Background, described
from broker.db import Connection
from broker.db import accounts as account_store
from broker.db import cutovers as store
from broker.db.turns import Urgency
from broker.errors import BrokerError
from broker.gate import Gate, Mode, Shut
from broker.link import frames
from broker.model import Account, KeyRef, KeyVersion, ScopeKind, Stage, chain, scope, whereabouts
from broker.service import Service

MARGIN_US = 2_000_000
"""Added to every hold: clocks of hosts differ a little, and a heartbeat may be a second old."""

UNNAMED_US = 60_000_000
"""A gateway names its leases every few seconds; one that stood still for so long has none that runs."""

NOT_ASKED = "venue_pause"
CANARY_US = 60_000_000
_FORGET_US = 86_400_000_000
_ACK_SECONDS = 600.0
_LOG = logging.getLogger("portcullis.cutover")

N = TypeVar("N", tuple[Link, str], tuple[str, str])
Run = Callable[[Callable[[], Any]], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Noted:
    """What one heartbeat wrote (holds by gateway and key), lost, and read; `running` are all holds on record."""

    kept: dict[tuple[str, str], Kept]
    lost: frozenset[tuple[str, str]]
    currents: dict[str, KeyVersion]
    canaries: tuple[store.Canary, ...]
    running: tuple[store.Hold, ...] = ()


class Cutovers:
    """Keeps gateways on the current key versions."""

    def __init__(self, service: Service, changes: Changes, in_control: Run, in_store: Run) -> None:
        self._service, self._desk, self._changes = service, service.desk, changes
        self._in_control, self._in_store = in_control, in_store
        self._sending = Sending(service, changes)
        self._moving: set[tuple[Link, str]] = set()
        self._trying: set[tuple[str, str]] = set()
        self._asks: dict[int, asyncio.Future[frames.CanaryDone]] = {}
        self._beside = Background(_LOG)
        self._number = 0

    # --- holds ----------------------------------------------------------------------------

    def note(self, connection: Connection) -> Noted:
        """Prolong the holds of every lease, and read what is current; in the heartbeat's transaction."""
        now, now_us, boot_us = self._desk.spans.now(), self._desk.clock.now_us(), self._desk.clock.boot_us()
        lost: set[tuple[str, str]] = set()
        kept: dict[tuple[str, str], Kept] = {}
        accounts: set[str] = set()
        links = list(self._changes.links.values())
        for link in links:
            lengths: dict[str, int] = {}
            for held in list(link.leases.values()):
                if boot_us - held.named_us > UNNAMED_US:
                    link.leases.pop(held.id, None)
                    continue
                accounts.add(held.key.account)
                name = str(held.key)
                lengths[name] = max(lengths.get(name, 0), held.length_us + held.exits_us)
            for key, length_us in lengths.items():
                one = steady.span(now, length_us + MARGIN_US)
                if store.prolong(connection, store.begun(link.gateway, link.boot, key, one), now):
                    kept[link.gateway, key] = Kept(length_us, one.boot_until_us)
                else:
                    lost.add((link.gateway, key))
        store.forget_holds(connection, now_us - _FORGET_US, self._desk.spans)
        running = store.running(connection, self._desk.spans)
        here = {(link.gateway, link.boot) for link in links}
        accounts |= {KeyRef.parse(one.key).account for one in running if (one.gateway, one.boot) in here}
        return Noted(
            kept,
            frozenset(lost),
            store.currents(connection, accounts),
            store.open_canaries(connection, now_us - CANARY_US),
            running,
        )

    def hold(self, connection: Connection, link: Link, key: KeyRef, length_us: int) -> Kept | None:
        """Put a hold on record for a lease that is about to be granted; None where the key is current no more."""
        if not store.is_current(connection, key):
            return None
        one = self._desk.spans.begin(length_us + MARGIN_US)
        store.hold(connection, store.begun(link.gateway, link.boot, str(key), one))
        return Kept(length_us, one.boot_until_us)

    # --- after a heartbeat ----------------------------------------------------------------

    def follow(self, noted: Noted) -> None:
        """Do what a heartbeat found to be done; in the loop's thread."""
        self._changes.starts.hold(noted.running)
        if not self._desk.guard.serves:
            return  # another host serves: no key goes out from here
        lets_go = self._service.mirror.serves  # before the mirror was read, no lease is there to be moved
        for link in list(self._changes.links.values()):
            for (gateway, key), kept in noted.kept.items():
                if gateway == link.gateway and key in link.holds:
                    link.holds[key] = kept
            for gateway, key in noted.lost:
                if gateway == link.gateway:
                    link.holds.pop(key, None)
                    for name in [name for name, held in list(link.leases.items()) if str(held.key) == key]:
                        link.leases.pop(name, None)
            leased = {str(held.key) for held in list(link.leases.values())}
            held = {one.key for one in noted.running if (one.gateway, one.boot) == (link.gateway, link.boot)}
            for old in leased | held if lets_go else ():
                current = noted.currents.get(KeyRef.parse(old).account)
                if current is not None and str(current.ref) != old:
                    work = self._move if old in leased else self._leave
                    self._begin(self._moving, (link, old), work(link, old, current))
        for canary in noted.canaries if lets_go else ():
            wanted = self._changes.links.get(canary.gateway)
            if wanted is not None:
                self._begin(self._trying, (canary.rotation, canary.gateway), self._try(wanted, canary))

    def _begin(self, running: set[N], name: N, work: Any) -> None:
        """Do something once at a time; a failure is tried again at a later heartbeat."""
        if name in running:
            work.close()
            return
        running.add(name)

        async def doing() -> None:
            try:
                await work
            except BrokerError as fault:
                _LOG.warning("not yet: %s", fault)
            except Exception as fault:  # noqa: BLE001 - the next heartbeat tries again
                _LOG.error("a gateway could not be moved, or try a key: %s", described(fault))
            finally:
                running.discard(name)

        self._beside.begin(doing(), f"moving or trying {name[1]}")

    # --- moving ---------------------------------------------------------------------------

    async def _move(self, link: Link, old: str, current: KeyVersion) -> None:
        """Move one gateway's leases on one version to the current one."""
        new = str(current.ref)
        account, material = await self._prepared(link, current)
        if not await self._in_control(lambda: self._held(link, old, current)):
            return
        if (material is None and new not in link.keys) or not self._sending.goes:
            return  # wiped while we read, or another home serves: begun anew at a later heartbeat
        self._changes.carry(current.ref)
        gates = dict(self._changes.gates)
        moved = []
        for held in [held for held in list(link.leases.values()) if str(held.key) == old]:
            if isinstance(gate.judge(gates, held.chain, held.epochs), Shut):
                continue  # a cut is on its way: it does not go on by being moved
            scopes = chain(account.venue, current.ref, link.gateway, held.consumer, held.grant)
            epochs = _epochs(gates, held.chain, held.epochs, scopes)
            if isinstance(gate.judge(gates, scopes, epochs), Shut):
                continue
            held.key, held.chain, held.epochs = current.ref, scopes, epochs
            moved.append(frames.Moved(held.id, scopes, epochs))
        for name in [name for name, held in list(link.leases.items()) if str(held.key) == old]:
            del link.leases[name]
        if moved and material is not None:
            link.tell(material)
            link.keys.add(new)
        await self._left(link, old, new, tuple(moved))

    async def _leave(self, link: Link, old: str, current: KeyVersion) -> None:
        """End one gateway's hold on a version that none of its leases is on any more: they were cut, or given back."""
        if await self._in_control(lambda: self._unused(link, old)) and old not in link.holds:
            await self._left(link, old, str(current.ref))

    def _unused(self, link: Link, old: str) -> bool:
        """Tell whether nobody is to use a version here; in the thread that grants leases, and none is from here on."""
        with self._desk.database.write(Urgency.SAFETY) as connection:
            if store.is_current(connection, KeyRef.parse(old)):
                return False
        if any(str(held.key) == old for held in list(link.leases.values())):
            return False  # it is moved, at the next heartbeat
        link.holds.pop(old, None)
        return True

    async def _left(self, link: Link, old: str, new: str, moved: tuple[frames.Moved, ...] = ()) -> None:
        """Tell a gateway to use a version no more; once it has, end its hold on it and take the key away."""
        change = self._desk.number()
        left = self._changes.expect(change, link)
        link.tell(frames.Cutover(change.number, old, new, moved, self._changes.history))
        try:
            async with asyncio.timeout(_ACK_SECONDS):
                await left.wait()
            if self._changes.why_not(change):
                return  # it may still have something in flight
            gone = await self._in_control(lambda: self._let_go(link, old))
        except TimeoutError:  # its hold runs out by itself; the key goes all the same
            _LOG.warning("gateway %s did not acknowledge a cutover; its leases are waited for", link.gateway)
            gone = old not in link.holds
        if gone:
            link.keys.discard(old)
            link.tell(frames.Wipe((old,)))

    async def _prepared(self, link: Link, key: KeyVersion) -> tuple[Account, frames.Material | None]:
        """Read what a gateway needs for a key version: its account, and its material where it has none yet."""
        account = await self._in_control(lambda: self._service.accounts.get(key.ref.account))
        if str(key.ref) in link.keys:
            return account, None
        values = await self._in_store(lambda: self._desk.secrets.read(key.path))
        material = frames.Material(
            str(key.ref), key.venue_key_id, key.key_type.value, values["secret"], values.get("passphrase")
        )
        return account, material

    def _held(self, link: Link, old: str, key: KeyVersion) -> bool:
        """Put the hold on the new version on record, with the record that its material goes out.

        In the thread that grants leases: from here on none is granted on the old version because of its hold, and
        those granted before are among the link's leases when these are moved.
        """
        leases = list(link.leases.values())
        length_us = max((one.length_us + one.exits_us for one in leases), default=0)
        sends = str(key.ref) not in link.keys
        with self._desk.database.write(Urgency.SAFETY) as connection:
            kept = self.hold(connection, link, key.ref, length_us)
            if kept is None:
                return False
            if sends:
                self._service.audit.record(
                    connection, "key.send", f"key-version:{key.ref}", {"gateway": link.gateway}
                )
        if sends:
            stands_in = {name for held in leases if str(held.key) == old for name in held.chain}
            self._sending.look({*stands_in, scope(ScopeKind.KEY_VERSION, str(key.ref))})
        link.holds[str(key.ref)] = kept
        link.holds.pop(old, None)
        return True

    def _let_go(self, link: Link, old: str) -> bool:
        """End the hold on a version that was left; False where it was taken back into use meanwhile."""
        if old in link.holds:
            return False
        with self._desk.database.write(Urgency.SAFETY) as connection:
            store.let_go(connection, link.gateway, link.boot, old)
        return True

    # --- canaries -------------------------------------------------------------------------

    async def _try(self, link: Link, canary: store.Canary) -> None:
        """Let one gateway try a key version, and write down what it found."""
        key, in_use = await self._in_control(lambda: self._version(canary.key))
        if key is None:
            return
        account, material = await self._prepared(link, key)
        egress = await self._in_store(lambda: self._service.accounts.egress(account.egress))
        if material is not None:
            await self._in_control(lambda: self._sent(link, account, key, in_use))
        for one in in_use:
            self._changes.carry(one)
        if self._is_cut(link, account, key.ref, *in_use) or not self._sending.goes:
            return  # it is passed over
        if material is None and canary.key not in link.keys:
            return  # wiped while we read: it is asked again
        if material is not None:
            link.tell(material)
            link.keys.add(canary.key)
        self._number += 1
        number = self._number
        waiting: asyncio.Future[frames.CanaryDone] = asyncio.get_running_loop().create_future()
        self._asks[number] = waiting
        part = frames.EgressPart(
            egress.name, egress.addresses, egress.way.value, egress.source, egress.proxy_host, egress.proxy_port,
            egress.proxy_user, egress.proxy_password,
        )  # fmt: skip
        link.tell(
            frames.Canary(number, canary.key, account.name, account.venue, part, account.upstream or "")
        )
        try:
            async with asyncio.timeout(CANARY_US / 1_000_000):
                done = await waiting
        except TimeoutError:
            return
        finally:
            self._asks.pop(number, None)
        if not done.well and done.reason == NOT_ASKED:
            return  # the venue asks everybody to wait: that says nothing of the key, and it is tried again
        answered = store.Canary(
            canary.rotation, canary.gateway, canary.key, canary.asked_us, done.well, done.reason
        )
        await self._in_control(lambda: self._answered(answered))

    def _is_cut(self, link: Link, account: Account, *keys: KeyRef) -> bool:
        """Tell whether a gateway may see no key now; a cut of the version in use covers what is to replace it."""
        return gate.mode_of(self._changes.gates, _stands_in(link, account, *keys)) is Mode.CLOSED

    def answer(self, done: frames.CanaryDone) -> None:
        """A gateway tells what it found."""
        waiting = self._asks.get(done.ask)
        if waiting is not None and not waiting.done():
            waiting.set_result(done)

    def _version(self, key: str) -> tuple[KeyVersion | None, tuple[KeyRef, ...]]:
        """Return a key version, and the one in its place now."""
        ref = KeyRef.parse(key)
        with self._desk.database.read() as connection:
            known = account_store.keys(connection, ref.account)
        in_use = tuple(one.ref for one in known if one.ref.slot is ref.slot and one.stage is Stage.CURRENT)
        return next((one for one in known if one.ref == ref), None), in_use

    def _sent(self, link: Link, account: Account, key: KeyVersion, in_use: tuple[KeyRef, ...]) -> None:
        with self._desk.database.write(Urgency.SAFETY) as connection:
            self._service.audit.record(
                connection, "key.send", f"key-version:{key.ref}", {"gateway": link.gateway, "why": "canary"}
            )
        self._sending.look(_stands_in(link, account, key.ref, *in_use))

    def _answered(self, canary: store.Canary) -> None:
        with self._desk.database.write(Urgency.SAFETY) as connection:
            store.answer_canary(connection, canary, self._desk.clock.now_us())


def _stands_in(link: Link, account: Account, *keys: KeyRef) -> tuple[str, ...]:
    return tuple(one for key in keys for one in whereabouts(account.venue, key, link.gateway))


def _epochs(
    gates: dict[str, Gate], old: tuple[str, ...], epochs: tuple[int, ...], new: tuple[str, ...]
) -> tuple[int, ...]:
    """Return epochs for a chain: as they were for scopes that stay, as they are now for the new key version."""
    known = dict(zip(old, epochs, strict=True))
    now = dict(zip(new, gate.epochs_of(gates, new), strict=True))
    return tuple(known.get(name, now[name]) for name in new)
