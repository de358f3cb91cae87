"""Keys taken away from gateways where every lease on them is closed: after a cut is in force and answered."""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping

from broker.authority.link import Link, Waiting
from broker.gate import Gate, Mode
from broker.link import frames

WIPE_SECONDS = 2.0
_ANSWER_SECONDS = 0.05


async def wipe(gates: Mapping[str, Gate], links: Iterable[Link], waiting: Waiting) -> None:
    """Take keys away; this walks leases, and whoever cut must not wait for that."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(WIPE_SECONDS):
            await waiting.done.wait()
    await asyncio.sleep(_ANSWER_SECONDS)
    shut = {scope for scope, one in list(gates.items()) if one.mode is Mode.CLOSED}
    for link in links:
        alive = {str(held.key) for held in list(link.leases.values()) if shut.isdisjoint(held.chain)}
        gone = tuple(sorted(link.keys - alive))
        if gone:
            link.keys.difference_update(gone)
            for lease_id in [name for name, held in list(link.leases.items()) if str(held.key) in gone]:
                del link.leases[lease_id]
            link.tell(frames.Wipe(gone))
