"""Who asks the broker whose a thousand assets are keeps nobody else's exit waiting for its word."""

import asyncio
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.gateway.words import MOST_AT_ONCE
from broker.link import frames
from clients.paper.symbols import Symbol
from tests.gateway.test_kept_lines import until
from tests.gateway.world import POLICY, World, bots, running_world

pytestmark = [pytest.mark.sockets, pytest.mark.usefixtures("very_patient")]
PAIRS = 2 * MOST_AT_ONCE
ALL = POLICY.replace('["BTCUSDT", "ETHUSDT"]', '{ quote = ["USDT"] }')


def listed(world: World) -> list[str]:
    """Have the exchange list many pairs."""
    names = [f"COIN{number}USDT" for number in range(PAIRS)]
    for name in names:
        price, tick, step, least = (Decimal(text) for text in ("10", "0.01", "0.001", "5"))
        base = name.removesuffix("USDT")
        world.paper.exchange.symbols[name] = Symbol(name, base, "USDT", price, tick, step, least)
    return names


async def test_exits_in_many_pairs_leave_the_broker_time_for_another_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="1")
        other, many = await bots(world, "other", "many", policy=ALL)
        assert (await other.order(quantity="0.0101")).status == 200
        grants = {one.consumer: one.id for one in world.service.grants.list().items}
        wanted, came, answered, held = [0], list[str](), list[str](), threading.Event()
        fetcher, owners, calls = world.gateway.fetcher, world.authority._owners, world.service.calls
        fetch, ask, tell = fetcher._stake, owners.stake, calls.stake

        async def fetched(job: Any) -> None:
            wanted[0] += 1
            await fetch(job)

        def asked(link: Any, frame: frames.StakeQuery) -> Any:
            came.append(link.leases[frame.lease].grant)
            return ask(link, frame)

        def told(account: str, grant: str, *rest: Any) -> Any:
            held.wait(60)
            answered.append(grant)
            return tell(account, grant, *rest)

        monkeypatch.setattr(fetcher, "_stake", fetched)
        monkeypatch.setattr(owners, "stake", asked)
        monkeypatch.setattr(calls, "stake", told)
        try:
            sells = [asyncio.ensure_future(many.order("SELL", "500", symbol=name)) for name in listed(world)]
            await until(lambda: wanted[0] == PAIRS and len(came) >= MOST_AT_ONCE)
            leaves = asyncio.ensure_future(other.order("SELL", "0.5"))
            await until(lambda: grants["other"] in came)
        finally:
            held.set()
        answer = await leaves
        await asyncio.gather(*sells)
        assert answer.status == 200, answer
        assert answered.index(grants["other"]) <= MOST_AT_ONCE
