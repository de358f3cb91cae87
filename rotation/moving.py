"""Effects that move who uses a key: tried out by one gateway, made current or taken back, and waited for."""

from collections.abc import Sequence

from broker.db import Connection, calls, cutovers
from broker.deeds import Deed
from broker.gate import Mode
from broker.model import Stage, whereabouts
from broker.service.early import Early, mode_of, seen
from broker.steady import Watch
from clients.keys import Standing
from rotation.budget import Haste
from rotation.destinations.delivery import Deliveries
from rotation.journal import microseconds
from rotation.reach import Reach
from rotation.state import IN_USE, KEYS_REFUSED, Answer, Reply, Rotation, State
from rotation.venues import KEY_REFUSALS

_MANY_REFUSALS = 3
"""Of a bot's requests with the new key, and more than half of them: one refusal may be an address in a ban."""

_BEFORE_US = 3_600_000_000
"""How far back the old key's refusals are compared with."""

CANARY_PATIENCE_US = 8_000_000
"""After this a gateway that says nothing is passed over for another."""


class Moving:
    """Moves gateways, and who holds a key outside one."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self.deliveries = Deliveries(reach.service, reach.desk.clock.now_us)

    @property
    def _spans(self) -> Watch:
        return self._reach.desk.spans

    def canary(self, rotation: Rotation, version: int) -> Reply:
        """Have one gateway after the other try the new key, until one served a signed read with it."""
        if rotation.old is None or not rotation.leased:
            return Reply(Answer.OK, "no gateway uses this slot")
        now_us, new = self._reach.desk.clock.now_us(), str(self._reach.ref(rotation, version))
        early = seen(self._reach.desk)
        with self._reach.fence(rotation).writing() as connection:
            old = str(self._reach.ref(rotation, rotation.old))
            holders = {one.gateway for one in cutovers.holders(connection, old, self._spans)}
            gateways = sorted(
                one for one in holders if not self._is_cut(connection, rotation, version, one, early)
            )
            tried = {one.gateway: one for one in cutovers.canaries(connection, rotation.id)}
            if not gateways and not tried:
                return Reply(Answer.OK, "no gateway holds a lease")
            served = [name for name, one in tried.items() if one.well]
            if served:
                return Reply(Answer.OK, f"{served[0]} was served with it")
            refused = [one for one in tried.values() if one.well is False]
            waited_for = [
                one
                for one in tried.values()
                if one.well is None and now_us - one.asked_us < CANARY_PATIENCE_US
            ]
            left = [name for name in gateways if name not in tried]
            if not waited_for and left:
                cutovers.ask_canary(connection, cutovers.Canary(rotation.id, left[0], new, now_us))
                return Reply(Answer.UNKNOWN, f"{left[0]} tries it")
        if not waited_for and refused:
            return Reply(Answer.REFUSED, f"{refused[0].gateway} was told {refused[0].reason}")
        return Reply(Answer.UNKNOWN, "no gateway has tried it yet")

    def _is_cut(
        self, connection: Connection, rotation: Rotation, version: int, gateway: str, early: Sequence[Early]
    ) -> bool:
        """Tell whether a gateway may see no key now; a cut of the old version covers what is to replace it."""
        versions = [version, *([] if rotation.old is None else [rotation.old])]
        scopes = tuple(
            scope
            for number in versions
            for scope in whereabouts(rotation.venue, self._reach.ref(rotation, number), gateway)
        )
        return mode_of(connection, self._reach.desk, early, scopes) is Mode.CLOSED

    def move(self, rotation: Rotation, version: int) -> Reply:
        """Make the new version current in the place of the old one, if both are as they were and its secret is kept."""
        if (lost := self._reach.why_lost(rotation, version)) is not None:
            raise lost
        return self._moved(rotation, version, rotation.old)

    def move_back(self, rotation: Rotation, version: int) -> Reply:
        """Make the old version current again: only if the exchange serves it, and the new one is in use at all."""
        if self._reach.version(rotation, rotation.new).stage is not Stage.CURRENT:
            return Reply(Answer.OK, "the new version is not in use")
        with self._reach.venues.probe(self._reach.account(rotation), haste=Haste.URGENT) as probe:
            key_id = self._reach.version(rotation, version).venue_key_id
            standing, said, _ = probe.standing(self._reach.credential(rotation, version, key_id))
        if standing is Standing.UNDECIDED:
            return Reply(Answer.UNKNOWN, said)
        if standing is not Standing.ALIVE:
            return Reply(Answer.REFUSED, f"the exchange does not serve the old key any more ({said})")
        return self._moved(rotation, version, rotation.new)

    def _moved(self, rotation: Rotation, to: int, away_from: int | None) -> Reply:
        there = self._reach.ref(rotation, to)
        with self._reach.fence(rotation).writing() as connection:
            self._reach.desk.guard.fence(connection, Deed.MOVE)
            away = None if away_from is None else self._reach.ref(rotation, away_from)
            if not cutovers.move_current(connection, there, away):
                return Reply(Answer.REFUSED, "another version is current than this rotation knows of")
            self._reach.service.audit.record(
                connection, "key.current", f"key-version:{there}", {"rotation": rotation.id}
            )
        return Reply(Answer.OK)

    def drain(self, rotation: Rotation, _: int) -> Reply:
        """Look who may still use the version to be left, and bring the other to who holds a key outside a gateway."""
        back = rotation.state is State.DRAINING_NEW
        leaving = rotation.new if back else rotation.old
        now_us, new = self._reach.desk.clock.now_us(), str(self._reach.ref(rotation, rotation.new))
        with self._reach.desk.database.read() as connection:
            held = () if leaving is None else self._held(connection, rotation, leaving)
            used = cutovers.holders(connection, new, self._spans)
        refused = "" if back else self._refusals(rotation)
        if refused:
            return Reply(Answer.REFUSED, f"{KEYS_REFUSED}: {refused}")
        waited = self._brought(rotation, back=back)
        if not held and not waited:
            return Reply(Answer.OK, IN_USE if used and not back and rotation.old is not None else "")
        if held:
            names = ", ".join(sorted({one.gateway for one in held}))
            longest_s = (max(one.until_us for one in held) - now_us) // 1_000_000 + 1
            waited = "; ".join(filter(None, (f"{names} may use it for up to {longest_s} s", waited)))
        return Reply(Answer.REFUSED, waited)

    def _refusals(self, rotation: Rotation) -> str:
        """Say how many requests the exchange refuses the new key; empty where it is not the new key's fault.

        A bot that asks for what its key never was allowed is refused the old one just so.
        """
        if rotation.old is None:
            return ""
        codes, since_us = KEY_REFUSALS[rotation.venue], microseconds(rotation.entered_at)
        new, old = (str(self._reach.ref(rotation, version)) for version in (rotation.new, rotation.old))
        with self._reach.desk.database.log.read() as connection:
            refused, answered = calls.key_answers(connection, new, since_us, codes)
            if refused < _MANY_REFUSALS or refused * 2 <= answered:
                return ""
            before, of = calls.key_answers(connection, old, since_us - _BEFORE_US, codes)
        if before >= _MANY_REFUSALS and before * answered * 2 > refused * of:
            return ""  # at least half as often with the old key
        return f"{refused} of {answered} requests since the cutover"

    def _held(self, connection: Connection, rotation: Rotation, version: int) -> tuple[cutovers.Hold, ...]:
        return cutovers.holders(connection, str(self._reach.ref(rotation, version)), self._spans)

    def _brought(self, rotation: Rotation, *, back: bool) -> str:
        """Bring the key that stays to whoever holds one outside a gateway; return who is waited for."""
        to = rotation.old if back else rotation.new
        if to is None:
            return ""
        only = self.deliveries.holders(rotation.id, rotation.new) if back else None
        return self.deliveries.bring(
            self._reach.fence(rotation), self._reach.version(rotation, to), venue=rotation.venue, only=only
        )
