"""What earlier starts did is in no count before it was read: until then no exit of a shared account is judged."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from broker.errors import StoreUnavailable
from broker.gateway import bygone, process, recall
from broker.gateway.parts import Parts
from broker.gateway.recall import Recall
from tests.gateway.test_alternatives import listed, oco, some_sold_by_hand
from tests.gateway.test_followed import BIG, halt, limit
from tests.gateway.test_fresh_gateway import gateway_at
from tests.gateway.world import Answer, Bot, World, bots, running_world

pytestmark = [pytest.mark.sockets, pytest.mark.usefixtures("very_patient")]
UNKNOWN = (503, "holdings_unknown")


def busy(*_: Any, **__: Any) -> None:
    raise StoreUnavailable("call-log", "busy")


class Unreadable(Parts):
    """The files of earlier starts, on a disk that is going."""

    def read(self, *_: Any, **__: Any) -> Any:
        """Read none of them."""
        raise OSError(5, "Input/output error")


async def offers(world: World, bot: Bot, how: str) -> None:
    if how == "oco":
        await listed(bot, "oco", oco(world, "0.249"))
    elif how == "limit":
        assert (await bot.order("SELL", "0.249", **limit(world, "1.04"))).status == 200
    else:
        assert (await bot.order("SELL", "0.249")).status == 200


@asynccontextmanager
async def started_anew(
    world: World, bot: Bot, directory: Path, monkeypatch: pytest.MonkeyPatch, between: Callable[[], Any],
    how: str = "limit",
) -> AsyncIterator[Bot]:  # fmt: skip
    """One start sells or offers, while the broker takes no lines in; then there is a halt, and the next start."""
    async with gateway_at(world, directory) as port:
        before = Bot(port, bot.key_id, bot.secret)
        await before.ready()
        monkeypatch.setattr(type(world.service.calls), "ingest", busy)
        await offers(world, before, how)
    await halt(world)
    monkeypatch.setattr(process, "FIRST_SECONDS", 0.3)
    between()
    async with gateway_at(world, directory) as port:
        after = Bot(port, bot.key_id, bot.secret)
        await after.ready()
        yield after


def reads_late(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Have a start read nothing of the earlier ones before it may."""
    may, look = asyncio.Event(), Recall.look

    async def late(self: Recall) -> bool:
        await may.wait()
        return await look(self)

    monkeypatch.setattr(Recall, "look", late)
    return may


async def in_the_end(bot: Bot, quantity: str) -> Answer:
    """Leave as soon as there is another verdict than that nobody knows."""
    for _ in range(60):
        got = await bot.order("SELL", quantity)
        if got.status != UNKNOWN[0]:
            break
        assert got.reason == UNKNOWN[1], got
        await asyncio.sleep(0.25)
    return got


@pytest.mark.parametrize("asked", ["well", "silent"])
@pytest.mark.parametrize("how", ["oco", "limit", "sold"])
async def test_no_more_is_sold_than_an_earlier_start_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, asked: str
) -> None:
    may = asyncio.Event()

    def between() -> None:
        nonlocal may
        may = reads_late(monkeypatch)
        if asked == "silent":
            monkeypatch.setattr(type(world.service.calls), "stake", busy)

    async with (
        some_sold_by_hand(tmp_path) as (world, one, _),
        started_anew(world, one, tmp_path / "edge", monkeypatch, between, how) as leaves,
    ):
        got = await leaves.order("SELL", "0.26")
        assert (got.status, got.reason) == UNKNOWN, got
        may.set()
        if asked == "well":
            got = await in_the_end(leaves, "0.25")
            assert got.status == 200, "that is its own, as was read"


async def test_who_is_alone_waits_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0.5")
        (one,) = await bots(world, "one", policy=BIG)
        async with started_anew(
            world, one, tmp_path / "edge", monkeypatch, lambda: reads_late(monkeypatch)
        ) as leaves:
            assert (await leaves.order("SELL", "0.25")).status == 200


async def test_what_cannot_be_read_keeps_nobody_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience_us = 4_000_000

    def between() -> None:
        monkeypatch.setattr(recall, "PATIENCE_US", patience_us)
        monkeypatch.setattr(bygone, "Parts", Unreadable)

    async with (
        some_sold_by_hand(tmp_path) as (world, one, _),
        started_anew(world, one, tmp_path / "edge", monkeypatch, between) as leaves,
    ):
        got = await leaves.order("SELL", "0.25")
        assert (got.status, got.reason) == UNKNOWN, got
        assert (await in_the_end(leaves, "0.25")).status == 200, "the record counts"
