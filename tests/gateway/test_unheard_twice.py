"""What a bot sent again under the same name as no answer came: on record as its own, however often no answer came."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.gate import Mode
from broker.gateway.owners import Owners
from broker.gateway.senders import Claims
from broker.gateway.sent import Sent, which
from broker.link.frames import ClaimPart
from clients.paper.faults import Fault
from clients.wire import OrderState
from tests.gateway.test_followed import BIG, halt, limit
from tests.gateway.test_heirs import revoke
from tests.gateway.test_kept_lines import edge
from tests.gateway.test_namesakes import OCO
from tests.gateway.test_recall import at
from tests.gateway.world import PATIENCE_S, Answer, Bot, World, bots, running_world, served

SIZE = Decimal("0.3")
BOOT, BEFORE = "2" * 16, "1" * 16

# --- what is decided --------------------------------------------------------------------------


def sent(number: int, grant: str = "one", *, boot: str = "", **more: Any) -> Sent:
    quantity = more.pop("quantity", SIZE)
    return Sent(
        number, grant, "main", "BTCUSDT", "mine", "SELL", quantity, Decimal(5), 1_000_000 + number, 6_000_000,
        asked=number, boot=boot, **more,
    )  # fmt: skip


def at_the_venue(order_id: str = "10") -> OrderState:
    return OrderState(
        "BTCUSDT",
        order_id,
        "mine",
        final=False,
        price=Decimal(5),
        quantity=SIZE,
        side="SELL",
        created_us=1_100_000,
    )


@pytest.mark.parametrize(
    ("found", "taken"),
    [
        ((), None),
        ((sent(1),), 1),
        ((sent(2), sent(1), sent(3)), 1),
        ((sent(1), sent(2, "two")), None),
        ((sent(1), sent(2, quantity=None)), None),
        ((sent(1), sent(2, exact=False)), None),
        ((sent(1), sent(2, renamed=True)), None),
    ],
)
def test_which_of_two_it_is_changes_nothing_only_where_they_are_alike(
    found: tuple[Sent, ...], taken: int | None
) -> None:
    one = which(found)
    assert taken == (None if one is None else one.number)


def told(*found: Sent, asked_of: OrderState | None = None) -> tuple[list[Any], Owners]:
    """Return what is put on record of an order that may be any of these."""
    owners, record = Owners(), list[Any]()
    for one in found:
        owners.waiting.add(one)
    owners.on_confirmed = lambda one: record.append((one.known_as, one.grant, one.number))
    owners.on_owned = lambda *what: record.append((*what[2:], None))
    for _ in range(3):
        owners.identify("main", asked_of or at_the_venue())
    return record, owners


def test_it_is_put_on_record_once_whichever_of_its_senders_requests_it_is() -> None:
    assert told(sent(1), sent(2))[0] == [("#10", "one", 1)]
    assert told(sent(1), sent(2, renamed=True))[0] == [("#10", "one", None)]
    for other in (sent(2, "two"), sent(2, flying=True)):
        record, owners = told(sent(1), other)
        assert not record
        assert owners.find("main", "BTCUSDT", "#10") is None


@pytest.mark.parametrize("venue_us", [6_500_000, 6_500_001])
def test_what_was_sent_elsewhere_is_put_on_record_once_nothing_more_may_come(venue_us: int) -> None:
    owners, record = Owners(), list[Any]()
    owners.on_owned = lambda *what: record.append(what)
    for _ in range(2):
        owners.assign([sent(0, boot=BEFORE)], "10", venue_us)
        owners.assign([sent(0, boot=BEFORE), sent(0, boot=BEFORE)], "10", venue_us)
    assert owners.find("main", "BTCUSDT", "#10") == "one"
    assert len(record) <= 1
    if venue_us > 6_500_000:
        owners, record = Owners(), []
        owners.on_owned = lambda *what: record.append(what)
        owners.assign([sent(0, boot=BEFORE)], "10", venue_us)
        assert record == [("main", "BTCUSDT", "#10", "one")]


def claim(one: Sent, grant: str, boot: str) -> ClaimPart:
    return ClaimPart(grant, one.name, one.sent_us, one.until_us, "SELL", "0.3", "5", boot=boot)


def test_who_stands_for_a_sender_is_what_the_broker_says_of_that_very_request() -> None:
    own, earlier = sent(1), sent(2, boot=BEFORE)
    claims = Claims(BOOT, (claim(own, "heir", BOOT), claim(earlier, "heir", BEFORE)))
    assert [claims.stands_for(one) for one in (own, earlier)] == ["heir", "heir"]
    assert claims.stands_for(sent(3)) == "one", "of this one it said nothing"
    assert Claims(BEFORE, (claim(own, "heir", BOOT),)).stands_for(own) == "one", "that is another start's"
    both = Claims(BOOT, (claim(own, "heir", BOOT), claim(own, "two", BOOT)))
    assert both.stands_for(own) == "one", "it may have been either"


def test_what_was_sent_from_here_is_not_taken_from_the_brokers_word() -> None:
    away = "3" * 16
    claims = Claims(BOOT, tuple(claim(sent(1), "heir", boot) for boot in (BOOT, BEFORE, away)))
    assert [one.boot for one in claims.beside("main", "BTCUSDT", [sent(2, boot=BEFORE)])] == [away]


# --- what a bot sees --------------------------------------------------------------------------


async def lost_twice(world: World, ask: Callable[[], Awaitable[Answer]]) -> None:
    world.paper.server.faults.append(Fault("lose-reply", "POST", times=2))
    for _ in range(2):
        assert (await ask()).reason == "unknown_outcome"
    world.paper.server.faults.clear()


async def once_known(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Ask until it is known whose it is: an outage until then, and no longer than a bot waits."""
    async with asyncio.timeout(PATIENCE_S):
        while (got := await ask()).reason == "owner_unknown":
            assert got.status == 503
            await asyncio.sleep(0.2)
    return got


def resting(world: World) -> list[Any]:
    return [one for one in world.paper.exchange.engine.orders.values() if one.side == "SELL"]


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
@pytest.mark.parametrize("by", ["orderId", "origClientOrderId"])
@pytest.mark.parametrize("starts", [0, 1])
async def test_who_comes_after_it_leaves_what_it_sent_twice_unheard(
    tmp_path: Path, by: str, starts: int
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="0")
        one, two = await bots(world, "one", "two", policy=BIG)
        _, port, end = await edge(world, tmp_path)
        one = at(port, one)
        await one.ready()
        assert (await one.order("BUY", "0.31")).status == 200
        more = limit(world, "1.04")
        await lost_twice(world, lambda: one.order("SELL", str(SIZE), newClientOrderId="mine", **more))
        (order,) = resting(world)
        for _ in range(starts):
            await end()
            gateway, port, end = await edge(world, tmp_path)
            await gateway.recall.done.wait()
        revoke(world, "one")
        await world.settled()
        (heir,) = await bots(world, "one", policy=BIG)
        heir, two = at(port, heir), at(port, two)
        await heir.ready()
        _, change = world.service.cuts.close(
            targets=("account:main",), mode=Mode.HALT, reason="test", actor="test"
        )
        heard, late = await world.authority.changes.acknowledged(change, PATIENCE_S)
        assert (set(heard), late) == ({"local", "edge"}, ())
        named = {by: str(order.order_id) if by == "orderId" else "mine"}

        def cancel(bot: Bot) -> Callable[[], Awaitable[Answer]]:
            return lambda: bot.call("DELETE", "/api/v3/order", symbol="BTCUSDT", **named)

        assert (await once_known(cancel(two))).reason == "not_own_order"
        assert order.open
        assert (await once_known(cancel(heir))).status == 200
        assert (await served(lambda: heir.order("SELL", str(SIZE)))).status == 200
        await end()


@pytest.mark.sockets
@pytest.mark.usefixtures("very_patient")
async def test_who_comes_after_it_leaves_a_list_that_it_sent_twice_unheard(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="1000000", BTC="1")
        one, two = await bots(world, "one", "two")
        await lost_twice(
            world, lambda: one.call("POST", "/api/v3/orderList/oco", listClientOrderId="L", **OCO)
        )
        (listed,) = {order.list_id for order in resting(world)}
        revoke(world, "one")
        await world.settled()
        (heir,) = await bots(world, "one")
        await halt(world)

        def cancel(bot: Bot) -> Callable[[], Awaitable[Answer]]:
            return lambda: bot.call("DELETE", "/api/v3/orderList", symbol="BTCUSDT", orderListId=listed)

        assert (await once_known(cancel(two))).reason == "not_own_order"
        assert (await once_known(cancel(heir))).status == 200
        assert not any(order.open for order in resting(world))
