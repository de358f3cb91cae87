"""The lease authority, as the API asks it: who is connected, and who has a change in force."""

import asyncio
import time
from collections.abc import Sequence

from broker.api.ports import Acknowledged, Connected, Flying
from broker.authority import LeaseAuthority
from broker.lease import LEASE_US, US
from broker.service import Change
from portcullis.gateway_child import GatewayChild

_MS = 1000


class ConnectedGateways:
    """See `broker.api.ports.Gateways`."""

    def __init__(self, authority: LeaseAuthority, child: GatewayChild | None = None) -> None:
        self._authority, self._child = authority, child

    async def acknowledged(self, changes: Sequence[Change], within_s: float) -> Acknowledged:
        """Wait until every connected gateway has the changes in force, or time is up.

        An earlier start of one may hold a lease and be out of reach: stopped, when its broker was started anew.
        """
        began, worst_case_s = time.monotonic(), self._worst_case_s()
        told: set[str] = set()
        missing: set[str] = set()
        why_not: dict[str, str] = {}
        for change in changes:
            left = max(0.0, within_s - (time.monotonic() - began))
            asked, silent = await self._authority.changes.acknowledged(change, left)
            told.update(asked)
            missing.update(silent)
            why_not.update(self._authority.changes.why_not(change))
        after_ms = max((self._authority.changes.took_ms(change) for change in changes), default=0)
        shuts = any(change.gates or change.closing for change in changes)
        beyond = self._authority.changes.starts.out_of_reach() if shuts else ()
        names = sorted({f"{name} (an earlier start)" for name, _ in beyond})
        worst_case_s = max([worst_case_s, *(seconds for _, seconds in beyond)])
        return Acknowledged(
            len(told) + len(names),
            (*(_with_why(name, why_not.get(name)) for name in sorted(missing)), *names),
            after_ms,
            worst_case_s,
            tuple(sorted(told - missing)),
        )

    async def on_their_way(self, cut: str, within_s: float) -> Flying | None:
        """Wait until what was on its way at a cut has its answer, or time is up."""
        changes = self._authority.changes
        await asyncio.sleep(0)  # the push was queued by who closed
        number = changes.followed.cuts.get(cut)
        found = None if number is None else await changes.on_their_way(number, within_s)
        if found is None:
            return None
        last_ms = None if found.last_us is None else round(found.last_us / _MS)
        return Flying(found.requests, found.unanswered, last_ms, found.silent)

    def connected(self) -> tuple[Connected, ...]:
        """Return who is on the link now."""
        found = []
        for link in self._authority.changes.links.values():
            health = link.health
            pid = 0 if self._child is None else self._child.pid
            silent_s = int(max(0.0, self._authority.alive_s - link.heard_s))
            if health is None:
                found.append(Connected(link.gateway, pid, len(link.leases), silent_s=silent_s))
                continue
            found.append(
                Connected(
                    link.gateway,
                    pid,
                    len(link.leases),
                    health.requests,
                    health.refused,
                    health.in_flight,
                    _measured(health.added_p50_us),
                    _measured(health.added_p99_us),
                    health.spool_lines,
                    health.resident_bytes,
                    silent_s,
                )
            )
        return tuple(found)

    def _worst_case_s(self) -> int:
        """Return how long a silent gateway can go on: the longest lease that is out, its time for exits included."""
        lengths = [
            held.length_us + held.exits_us
            for link in self._authority.changes.links.values()
            for held in link.leases.values()
        ]
        return -(-max(lengths, default=LEASE_US) // US)


def _with_why(name: str, why: str | None) -> str:
    return name if why is None else f"{name} (it says: {why})"


def _measured(value: int) -> int | None:
    return None if value < 0 else value
