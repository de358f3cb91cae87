"""Whose an order or an asset is, told to gateways.

It is read in threads of its own: who asks waits for the log store, and nobody waits for who asks.
"""

import asyncio
from collections.abc import Coroutine
from decimal import Decimal
from typing import Any

from broker.authority.link import Link
from broker.db.fills import Fill, Rest
from broker.link import frames
from broker.service import Service
from broker.threads import Threads


class Owners:
    """Answers every gateway's questions."""

    def __init__(self, service: Service) -> None:
        self._calls = service.calls
        self._threads = Threads(2, "owners")

    def close(self, until_s: float) -> None:
        """Let the threads end."""
        self._threads.end(until_s)

    async def owner(self, link: Link, frame: frames.OwnerQuery) -> None:
        """Tell whose an order is."""
        name = f"{'@' if frame.is_list else ''}{frame.client_order_id or ''}"
        if frame.order_id is not None:
            name = f"{'%' if frame.is_list else '#'}{frame.order_id}"
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: self._calls.whose(frame.account, frame.symbol, name)
        )
        claims = tuple(
            frames.ClaimPart(
                one.grant, one.name, one.sent_us, one.until_us, one.side, one.quantity, one.price, one.exact, one.boot
            )
            for one in found.claims
        )  # fmt: skip
        link.channel.send(frames.OwnerAnswer(frame.ask, found.grant, claims, found.gone))

    def stake(self, link: Link, frame: frames.StakeQuery) -> Coroutine[Any, Any, None] | None:
        """Tell whose a base asset is, by a lease that is held as the question comes."""
        held = link.leases.get(frame.lease)
        if held is None:
            link.knows_not(frame.lease, frame.ask)
            return None
        return self._stake(link, frame, held.key.account, held.grant)

    async def _stake(self, link: Link, frame: frames.StakeQuery, account: str, grant: str) -> None:
        seen = tuple(
            Fill(account, symbol, order, whose, frame.base, side, Decimal(executed), Decimal(left))
            for whose, symbol, order, side, executed, left in frame.recent
        )
        rest = tuple(
            Rest(whose, symbol, side, Decimal(executed), Decimal(offered), Decimal(bound))
            for whose, symbol, side, executed, offered, bound in frame.rest
        )
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads,
            lambda: self._calls.stake(
                account, grant, frame.symbol, frame.base, seen, frame.replaces, link.boot, frame.resting_after,
                link.gateway, rest, frame.as_of,
            ),
        )  # fmt: skip
        link.channel.send(
            frames.StakeAnswer(
                frame.ask,
                found.bought_here,
                found.own,
                found.others,
                found.freed,
                found.coming,
                found.resting,
                found.more,
                found.upto,
            )
        )
