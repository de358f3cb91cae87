"""Orders of a revoked grant are left to who comes after it: no exit is refused because a grant was made anew."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from broker.gate import Mode
from broker.link import frames
from clients.paper.faults import Fault
from tests.gateway.test_namesakes import OCO, OTO, cancel, is_open
from tests.gateway.world import POLICY, Bot, World, bots, running_world

LIMIT = {"type": "LIMIT", "timeInForce": "GTC", "price": "59000"}
OWNER = POLICY.replace("allow =", "account_owner = true\nallow =", 1)


def revoke(world: World, consumer: str) -> None:
    (grant,) = (
        one for one in world.service.grants.list().items if one.consumer == consumer and not one.revoked_at
    )
    world.service.grants.revoke(grant.id, "test")


async def left_behind(world: World, bot: Bot) -> dict[str, Any]:
    """What a bot has open when its grant is revoked: orders and a list, by what a later one may name."""
    orders = [await bot.order(newClientOrderId=f"o{number}", **LIMIT) for number in range(5)]
    listed = await bot.call("POST", "/api/v3/orderList/oco", listClientOrderId="L", **OCO)
    pending = await bot.call("POST", "/api/v3/orderList/oto", **OTO)
    assert {one.status for one in (*orders, listed, pending)} == {200}
    async with asyncio.timeout(60):
        while world.gateway.spool.waiting:  # noqa: ASYNC110 - that the broker has heard tells nobody
            await asyncio.sleep(0.01)
    return {
        "ids": [one.body["orderId"] for one in orders],
        "list": listed.body["orderListId"],
        "pending": pending.body["orderListId"],
    }


async def left(bot: Bot, found: dict[str, Any]) -> list[tuple[int, str | None]]:
    """Leave all of it, each by another way."""
    ids, pair = found["ids"], {"symbol": "BTCUSDT"}
    replaced = {"side": "SELL", "type": "MARKET", "quantity": "0.001", "cancelReplaceMode": "STOP_ON_FAILURE"}
    answers = [
        await cancel(bot, orderId=ids[0]),
        await cancel(bot, origClientOrderId="o1"),
        await cancel(bot, orderId=ids[2], origClientOrderId="o2"),
        await bot.call("PUT", "/api/v3/order/amend/keepPriority", **pair, orderId=ids[3], newQty="0.005"),
        await bot.call("POST", "/api/v3/order/cancelReplace", **pair, **replaced, cancelOrderId=ids[4]),
        await bot.call("DELETE", "/api/v3/orderList", **pair, listClientOrderId="L"),
        await bot.call("DELETE", "/api/v3/orderList", **pair, orderListId=found["pending"]),
    ]
    return [(answer.status, answer.reason) for answer in answers]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("halted", [False, True])
async def test_orders_of_a_revoked_grant_are_left_by_its_consumers_next_one(
    tmp_path: Path, *, shared: bool, halted: bool
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="1")
        if shared:
            await bots(world, "other")
        (first,) = await bots(world, "bot")
        found = await left_behind(world, first)
        revoke(world, "bot")
        await world.settled()
        (second,) = await bots(world, "bot")
        if halted:
            await world.cut("account:main", mode=Mode.HALT)
        assert await left(second, found) == [(200, None)] * 7


@pytest.mark.parametrize("policy", [POLICY, OWNER])
async def test_where_the_consumer_has_none_they_are_the_accounts(tmp_path: Path, policy: str) -> None:
    """Of an only grant without more, of others where it speaks for the account."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="1")
        if policy == OWNER:
            await bots(world, "other")
        (first,) = await bots(world, "gone")
        found = await left_behind(world, first)
        revoke(world, "gone")
        await world.settled()
        (second,) = await bots(world, "bot", policy=policy)
        assert await left(second, found) == [(200, None)] * 7


async def test_on_a_shared_account_they_are_no_strangers(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="1")
        other, first, _ = await bots(world, "other", "bot", "third")
        found = await left_behind(world, first)
        assert {status for status, _ in await left(other, found)} == {400}
        revoke(world, "bot")
        await world.settled()
        assert {status for status, _ in await left(other, found)} == {400}
        await bots(world, "bot")
        assert {status for status, _ in await left(other, found)} == {400}
        assert all(is_open(world, number) for number in found["ids"])


@contextmanager
def silent(world: World) -> Iterator[None]:
    """No question about an owner is answered in time."""
    channel = world.gateway.link._channel
    send = channel.send

    def deaf(frame: frames.Frame) -> None:
        if not isinstance(frame, frames.OwnerQuery):
            send(frame)

    channel.send = deaf  # type: ignore[method-assign]
    try:
        yield
    finally:
        channel.send = send  # type: ignore[method-assign]


async def test_on_an_account_of_its_own_a_bot_leaves_whoever_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that just started knows no owner; the broker hangs, the exchange answers no reads."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="1")
        (first,) = await bots(world)
        found = await left_behind(world, first)
        revoke(world, "bot")
        await world.settled()
        (second,) = await bots(world)
        monkeypatch.setattr("broker.gateway.forward.PREPARE_SECONDS", 0.2)
        monkeypatch.setattr("broker.gateway.asking.ASK_SECONDS", 0.3)
        world.paper.server.faults.append(Fault("error", method="GET", times=1000, status=500))
        with silent(world):
            assert await left(second, found) == [(200, None)] * 7


async def test_what_a_silent_broker_could_tell_is_said_as_an_outage(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="1")
        await bots(world, "other")
        (first,) = await bots(world, "bot")
        found = await left_behind(world, first)
        revoke(world, "bot")
        await world.settled()
        (second,) = await bots(world, "bot")
        with silent(world):
            assert (await cancel(second, orderId=found["ids"][0])).status == 503
        assert (await cancel(second, orderId=found["ids"][0])).status == 200
