"""Whose an order or an asset is, told to gateways.

It is read in threads of its own: who asks waits for the log store, and nobody waits for who asks.
"""

import asyncio
from collections.abc import Coroutine
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from broker.authority.behind import Behind, Lacking
from broker.authority.given import Answer
from broker.authority.link import Link, Open
from broker.db.lately import HeldAsOf
from broker.db.weighing import Fill, Rest
from broker.link import frames
from broker.listed import NOT_SAID
from broker.policy_facts import UNKNOWN, ZERO
from broker.service import Service
from broker.threads import Threads


class Owners:
    """Answers every gateway's questions."""

    def __init__(self, service: Service, behind: Behind) -> None:
        self._calls, self._behind = service.calls, behind
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
        asked = self._behind.asks(link, frame, held)
        return self._stake(link, frame, held, asked)

    async def _stake(
        self, link: Link, frame: frames.StakeQuery, held: Open, before: tuple[Answer, ...]
    ) -> None:
        account, grant = held.key.account, held.grant
        listed = {} if frame.lists is None else {(symbol, order): one for symbol, order, one in frame.lists}
        of_none = NOT_SAID if frame.lists is None else ""
        seen = tuple(
            Fill(
                account, symbol, order, whose, frame.base, side, Decimal(executed), Decimal(left),
                listed=listed.get((symbol, order), of_none),
            )
            for whose, symbol, order, side, executed, left in frame.recent
        )  # fmt: skip
        rest = tuple(
            Rest(whose, symbol, side, Decimal(executed), Decimal(offered), Decimal(bound))
            for whose, symbol, side, executed, offered, bound in frame.rest
        )
        lacking = await self._behind.lacking(account, link, before)
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads,
            lambda: self._calls.stake(
                account, grant, frame.symbol, frame.base, seen, frame.replaces, link.boot, frame.resting_after,
                link.gateway, rest, frame.as_of, HeldAsOf(*frame.held),
            ),
        )  # fmt: skip
        if lacking.some:
            found = replace(found, others=UNKNOWN, sure=False)
        if await self._may_have_sold(held, lacking):
            found = replace(found, own=ZERO)
        link.channel.send(
            frames.StakeAnswer(
                frame.ask,
                found.bought_here,
                found.own,
                found.others,
                found.freed,
                found.resting,
                found.more,
                found.upto,
                found.sure,
                tuple(frames.UnheardPart(*one) for one in found.unheard),
            )
        )

    async def _may_have_sold(self, held: Open, lacking: Lacking) -> bool:
        """Tell whether what the record lacks may be sales of who asks."""
        if held.consumer in lacking.consumers or not lacking.gateways:
            return held.consumer in lacking.consumers
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: self._calls.went_through(held.key.account, held.consumer, lacking.gateways)
        )
