"""An order whose reply was lost and that the exchange showed later is on record as any other: what it offers counts."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from broker.db import log_tables as t
from broker.gate import Mode
from clients.paper.faults import Fault
from tests.gateway.test_alternatives import some_sold_by_hand
from tests.gateway.test_followed import halt, limit, shared
from tests.gateway.test_fresh_gateway import gateway_at
from tests.gateway.world import Bot, World, served

pytestmark = [pytest.mark.sockets, pytest.mark.usefixtures("very_patient")]


async def halted_everywhere(world: World) -> None:
    _, change = world.service.cuts.close(targets=("everything",), mode=Mode.HALT, reason="test", actor="test")
    told, late = await world.authority.changes.acknowledged(change, 60)
    assert told
    assert late == ()


async def until(fits: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not fits():  # noqa: ASYNC110 - the record tells nobody
            await asyncio.sleep(0.05)


def lose_a_reply(world: World) -> None:
    world.paper.server.faults.append(Fault("lose-reply", "POST", "/api/v3/order", times=1))


@pytest.mark.parametrize("then", ["the same again", "another one beside"])
async def test_a_resting_sale_that_was_found_is_offered_at_every_gateway(tmp_path: Path, then: str) -> None:
    """It had its id on record and no row that says what it offers: another bot's stock was sold after the next start."""

    def is_found() -> bool:
        with world.service.desk.database.log.read() as connection:
            rows = connection.execute(select(t.SENT_ORDERS).where(t.SENT_ORDERS.c.quantity == "0.45"))
            return all(row.known_as for row in rows)

    async with shared(tmp_path) as (world, one, two):
        for bot in (one, two):
            assert (await bot.order("BUY", "0.5006")).status == 200
        await until(lambda: not world.gateway.spool.waiting)
        async with gateway_at(world, tmp_path / "edge") as port:
            bot = Bot(port, one.key_id, one.secret)
            await bot.ready()
            lose_a_reply(world)
            assert (await bot.order("SELL", "0.45", **limit(world, "1.04"))).status != 200
            await until(is_found)
            await halted_everywhere(world)
        place = "edge" if then == "the same again" else "other"
        async with gateway_at(world, tmp_path / place) as port:
            bot = Bot(port, one.key_id, one.secret)
            await bot.ready()
            assert (await bot.order("SELL", "0.45")).status in {401, 503}
        assert (await two.order("SELL", "0.45")).status == 200


@pytest.mark.parametrize("how", ["market", "rests"])
async def test_what_the_next_start_finds_is_not_counted_beside_what_nobody_heard_of(
    tmp_path: Path, how: str
) -> None:
    async with some_sold_by_hand(tmp_path) as (world, one, _):
        async with gateway_at(world, tmp_path / "edge") as port:
            bot = Bot(port, one.key_id, one.secret)
            await bot.ready()
            lose_a_reply(world)
            await bot.order("SELL", "0.2", **({} if how == "market" else limit(world, "1.03")))
        await halt(world)
        async with gateway_at(world, tmp_path / "edge") as port:
            bot = Bot(port, one.key_id, one.secret)
            await bot.ready()
            got = await served(lambda: bot.order("SELL", "0.29"))
            assert got.status == 200, got.reason
