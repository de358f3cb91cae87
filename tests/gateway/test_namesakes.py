"""A client order id is no identity: budget and ownership follow the order itself, whatever else bears its name."""

import asyncio
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.errors import LinkDown
from broker.gateway import settlement as settling
from broker.gateway.account_view import AccountView
from broker.gateway.owners import Owners
from broker.gateway.sent import Sent, Waiting
from broker.gateway.whose import NOBODY, OWN, Whose, _Asked
from broker.gateway.words import Patience
from broker.link.frames import OwnerAnswer, OwnerQuery
from clients.wire import OrderState
from tests.gateway.world import POLICY, Bot, World, bots, running_world

LIMIT = {"type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}
DAY_1000 = POLICY.replace('"10000"', '"1000"')
OTO = {
    "symbol": "BTCUSDT", "workingType": "LIMIT", "workingSide": "BUY", "workingPrice": "59000",
    "workingQuantity": "0.01", "workingTimeInForce": "GTC", "pendingType": "LIMIT_MAKER", "pendingSide": "SELL",
    "pendingPrice": "70000", "pendingQuantity": "0.009",
}  # fmt: skip
OCO = {
    "symbol": "BTCUSDT", "side": "SELL", "quantity": "0.01", "aboveType": "LIMIT_MAKER", "abovePrice": "70000",
    "belowType": "STOP_LOSS", "belowStopPrice": "50000",
}  # fmt: skip


async def lose(world: World, path: str = "/api/v3/order", method: str = "POST", **more: object) -> None:
    """Let the next call take effect and its answer be lost."""
    fault = {"do": "lose-reply", "match": {"path": path, "method": method}} | more
    await world.paper.admin("POST", "faults", fault)


async def fail(
    world: World, code: int, path: str, times: int = 1, method: str = "GET", status: int = 400
) -> None:
    fault = {
        "do": "error",
        "status": status,
        "code": code,
        "times": times,
        "match": {"path": path, "method": method},
    }
    await world.paper.admin("POST", "faults", fault)


async def manual(world: World, name: str = "", **more: object) -> int:
    """Place an order by hand, at the exchange itself."""
    row = {
        "account": "main@paper.test",
        "symbol": "BTCUSDT",
        "side": "BUY",
        "quantity": "0.01",
        "price": "50000",
    }
    _, placed = await world.paper.admin("POST", "orders/foreign", row | {"client_order_id": name} | more)
    assert isinstance(placed, dict)
    return int(placed["orderId"])


async def cancel(bot: Bot, **names: object) -> Any:
    return await bot.call("DELETE", "/api/v3/order", symbol="BTCUSDT", **names)


def is_open(world: World, order_id: int) -> bool:
    return world.paper.exchange.engine.orders[order_id].open


def order_named(world: World, name: str) -> int:
    return next(
        one.order_id
        for one in reversed(world.paper.exchange.engine.orders.values())
        if one.client_order_id == name
    )


class Later:
    """The settler of a world, with time that passes at once."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world, self.passed_us = world, 0
        before = AccountView.venue_us
        monkeypatch.setattr(AccountView, "venue_us", lambda view: before(view) + self.passed_us)

    async def settle(self) -> None:
        self.passed_us += 3 * settling.SETTLING_US
        settler = self.world.gateway.settler
        for held in settler._settlement._held.values():
            held.asked_us = -(10**15)
        await settler.settle()

    @property
    def held(self) -> int:
        return len(self.world.gateway.settler._settlement)


# --- budgets ----------------------------------------------------------------------------------


async def test_reading_an_old_order_of_the_same_name_releases_nothing(tmp_path: Path) -> None:
    """The day's cap binds, though each buy reuses the client order id of an order that was cancelled."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        (bot,) = await bots(world, policy=DAY_1000)
        bought = 0
        for _ in range(4):
            resting = await bot.order(price="59000", newClientOrderId="X", **LIMIT)
            if resting.status != 200:
                assert resting.reason == "day_notional", resting
                break
            number = resting.body["orderId"]
            assert (await cancel(bot, orderId=number)).status == 200
            buy = await bot.order(newClientOrderId="X", newOrderRespType="ACK")
            bought += buy.status == 200
            for query in ({"orderId": number}, {"orderId": number, "origClientOrderId": "X"}):
                read = await bot.call("GET", "/api/v3/order", symbol="BTCUSDT", **query)
                assert read.status == 200, read
        assert bought == 1


async def test_cancelling_or_replacing_a_namesake_releases_only_its_own(tmp_path: Path) -> None:
    """The old order of a cancelReplace bears the name of the new one."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        (bot,) = await bots(world, policy=DAY_1000)
        small = LIMIT | {"quantity": "0.005"}
        placed = await bot.order(price="59000", newClientOrderId="X", **small)
        replaced = await bot.call(
            "POST", "/api/v3/order/cancelReplace", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.009",
            cancelReplaceMode="STOP_ON_FAILURE", cancelOrderId=placed.body["orderId"], newClientOrderId="X",
        )  # fmt: skip
        assert replaced.status == 200, replaced
        assert (await bot.order(quantity="0.009")).reason == "day_notional", "the buy counts"
        assert (await bot.order(quantity="0.007")).status == 200, "the cancelled order does not"


async def test_a_lost_reply_stays_reserved_until_the_order_itself_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        later = Later(world, monkeypatch)
        world.account(USDT="100000")
        (bot,) = await bots(world, policy=DAY_1000)
        old = await bot.order(
            price="59000", quantity="0.001", newClientOrderId="X", type="LIMIT", timeInForce="GTC"
        )
        assert (await cancel(bot, orderId=old.body["orderId"])).status == 200
        await lose(world)
        assert (await bot.order(newClientOrderId="X")).status == 504
        assert (
            await bot.call("GET", "/api/v3/order", symbol="BTCUSDT", orderId=old.body["orderId"])
        ).status == 200
        assert later.held == 1, "the read of the older namesake settles nothing"
        await later.settle()
        assert later.held == 0, "the venue showed the order itself, filled"
        assert (await bot.order()).reason == "day_notional"


@pytest.mark.parametrize("code", [-2013, -1121, -1100, -1102, -2015, -1003, -1021, -2011])
async def test_an_order_is_absent_by_the_venues_word_for_it_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Any other no leaves the budget of a lost order taken; the order lives."""
    async with running_world(tmp_path) as world:
        later = Later(world, monkeypatch)
        world.account(USDT="100000")
        (bot,) = await bots(world, policy=DAY_1000)
        await world.paper.admin(
            "POST", "faults", {"do": "close", "match": {"path": "/api/v3/order", "method": "POST"}}
        )
        assert (await bot.order()).status == 504
        for times in (1, 2):
            await fail(world, code, "/api/v3/order")
            await later.settle()
            assert later.held == (0 if code == -2013 and times == 2 else 1)
        assert ((await bot.order()).status == 200) == (code == -2013)


async def test_a_venue_that_lags_and_then_shows_the_order_releases_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        later = Later(world, monkeypatch)
        world.account(USDT="100000")
        (bot,) = await bots(world, policy=DAY_1000)
        await lose(world)
        assert (await bot.order(price="59000", **LIMIT)).status == 504
        await fail(world, -2013, "/api/v3/order")
        for _ in range(3):
            await later.settle()
        await fail(world, -2013, "/api/v3/order", times=5)
        for _ in range(5):
            await later.settle()
        assert later.held == 1, "it was seen: what says otherwise later is wrong"
        assert (await bot.order()).reason == "day_notional"


async def test_a_list_whose_answer_was_lost_is_asked_about_by_its_orders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example: the working order of an OTO is filled, and the list was asked for as if it were an order."""
    async with running_world(tmp_path) as world:
        later = Later(world, monkeypatch)
        world.account(USDT="100000")
        (bot,) = await bots(
            world, policy=DAY_1000.replace('day]\nmax_notional = "1000"', 'day]\nmax_notional = "1300"')
        )
        await lose(world, "/api/v3/orderList")
        lost = await bot.call("POST", "/api/v3/orderList/oto", **(OTO | {"workingPrice": "60500"}))
        assert lost.status == 504, lost
        for _ in range(4):
            await later.settle()
        assert later.held == 1, "its pending order lives"
        assert (await bot.order()).reason == "day_notional"


async def test_an_amended_order_is_not_taken_for_absent_by_its_old_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        later = Later(world, monkeypatch)
        world.account(USDT="100000")
        (bot,) = await bots(world, policy=DAY_1000)
        await lose(world)
        assert (await bot.order(price="59000", newClientOrderId="X", **LIMIT)).status == 504
        amended = await bot.call(
            "PUT", "/api/v3/order/amend/keepPriority", symbol="BTCUSDT", origClientOrderId="X", newQty="0.009",
            newClientOrderId="Y",
        )  # fmt: skip
        assert amended.status == 200, amended
        for _ in range(4):
            await later.settle()
        assert later.held == 1, "it lives under another name"
        assert (await cancel(bot, origClientOrderId="Y")).status == 200
        assert later.held == 0
        assert (await bot.order()).status == 200


async def test_what_is_over_is_released_though_much_is_held_and_other_grants_cannot_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reservations of a grant whose lease is gone take no turn; many orders of one symbol need one call."""
    async with running_world(tmp_path) as world:
        later = Later(world, monkeypatch)
        world.account(USDT="100000")
        world.account("other", USDT="100000")
        (gone,), (bot,) = await bots(world, "gone", account="other"), await bots(world)
        for _ in range(6):
            assert (
                await gone.order(price="59000", quantity="0.001", type="LIMIT", timeInForce="GTC")
            ).status == 200
        numbers = []
        for _ in range(8):
            placed = await bot.order(price="59000", quantity="0.001", type="LIMIT", timeInForce="GTC")
            numbers.append(placed.body["orderId"])
        for lease_id, held in list(world.gateway.book.by_lease.items()):
            if held.account == "other":
                world.gateway.book.drop(lease_id)
        for number in numbers[:-1]:
            await world.paper.admin("POST", "expire", {"order_id": number})
        asked = len(world.asked())
        await later.settle()
        assert later.held == 6 + 1
        assert [row["path"] for row in world.asked()[asked:]] == ["/api/v3/allOrders"]


async def test_settling_waits_while_the_venue_wants_no_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        later = Later(world, monkeypatch)
        world.account(USDT="100000")
        (bot,) = await bots(world)
        await lose(world)
        assert (await bot.order()).status == 504
        (view,) = world.gateway.mounts.views.values()
        view.meter.refused(429, 60, world.gateway.clock.wall_us())
        asked = len(world.asked())
        await later.settle()
        assert (len(world.asked()), later.held) == (asked, 1)


# --- owners -----------------------------------------------------------------------------------


async def test_a_name_that_another_grant_used_gives_no_right_over_the_list(tmp_path: Path) -> None:
    """The example: B places an order with the client id of A's order list, then cancels the list by it."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="3")
        a, b = await bots(world, "a", "b")
        placed = await a.call("POST", "/api/v3/orderList/oco", listClientOrderId="L", **OCO)
        assert placed.status == 200, placed
        mine = await b.order(price="59000", newClientOrderId="L", **LIMIT)
        assert mine.status == 200, mine
        for names in ({"listClientOrderId": "L"}, {"orderListId": placed.body["orderListId"]}):
            refused = await b.call("DELETE", "/api/v3/orderList", symbol="BTCUSDT", **names)
            assert (refused.status, refused.reason) == (400, "not_own_order"), refused
        leg = placed.body["orders"][0]
        for names in ({"orderId": leg["orderId"]}, {"origClientOrderId": leg["clientOrderId"]}):
            assert (await cancel(b, **names)).reason == "not_own_order"
        assert (await cancel(a, origClientOrderId="L")).reason == "not_own_order", "the order L is b's"
        assert is_open(world, leg["orderId"])
        assert (await cancel(b, origClientOrderId="L")).status == 200
        gone = await a.call("DELETE", "/api/v3/orderList", symbol="BTCUSDT", listClientOrderId="L")
        assert gone.status == 200, gone


async def test_an_order_whose_answer_was_lost_is_its_senders_and_nobody_elses(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        a, b = await bots(world, "a", "b")
        assert (await b.order(price="59000", newClientOrderId="mine", **LIMIT)).status == 200
        for by in ("origClientOrderId", "orderId"):
            await lose(world)
            assert (await a.order(price="58000", newClientOrderId="X", **LIMIT)).status == 504
            number = order_named(world, "X")
            names: dict[str, object] = {by: number if by == "orderId" else "X"}
            assert (await cancel(b, **names)).reason == "not_own_order"
            refused = await b.order(price="58000", newClientOrderId="X", **LIMIT)
            assert refused.status == 400, "the exchange refuses a second open order of that name"
            assert (await cancel(b, **names)).reason == "not_own_order", "to have asked for it owns nothing"
            assert is_open(world, number)
            assert (await cancel(a, **names)).status == 200


async def test_a_list_whose_answer_was_lost_is_its_senders_and_nobody_elses(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="3")
        a, b = await bots(world, "a", "b")
        await lose(world, "/api/v3/orderList")
        assert (await a.call("POST", "/api/v3/orderList/oco", listClientOrderId="L", **OCO)).status == 504
        refused = await b.call("DELETE", "/api/v3/orderList", symbol="BTCUSDT", listClientOrderId="L")
        assert refused.reason == "not_own_order", refused
        gone = await a.call("DELETE", "/api/v3/orderList", symbol="BTCUSDT", listClientOrderId="L")
        assert gone.status == 200, gone


async def test_a_manual_order_is_not_cancelled_by_a_namesake(tmp_path: Path) -> None:
    """Whether the namesake was refused, is over, or never got its answer."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        a, _ = await bots(world, "a", "b")
        number = await manual(world, "M")
        assert (await cancel(a, origClientOrderId="M")).reason == "not_own_order"
        assert (await a.order(price="59000", newClientOrderId="M", **LIMIT)).status == 400
        assert (await cancel(a, origClientOrderId="M")).reason == "not_own_order"
        await world.paper.admin(
            "POST", "faults", {"do": "close", "match": {"path": "/api/v3/order", "method": "POST"}}
        )
        assert (await a.order(price="59000", newClientOrderId="M", **LIMIT)).status == 504
        assert (await cancel(a, origClientOrderId="M")).reason == "not_own_order"
        assert (await a.order(newClientOrderId="N")).status == 200, "filled at once"
        other = await manual(world, "N")
        assert (await cancel(a, origClientOrderId="N")).reason == "not_own_order"
        assert is_open(world, number)
        assert is_open(world, other)


async def test_a_dry_run_owns_nothing(tmp_path: Path) -> None:
    """order/test with another's client order id, answered 200, gave its sender that order."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        a, b = await bots(world, "a", "b")
        for name in ("X", "M"):
            tried = await b.call(
                "POST", "/api/v3/order/test", symbol="BTCUSDT", side="BUY", price="59000", newClientOrderId=name, **LIMIT
            )  # fmt: skip
            assert tried.status == 200, tried
        placed = await a.order(price="59000", newClientOrderId="X", **LIMIT)
        by_hand = await manual(world, "M")
        for name in ("X", "M"):
            assert (await cancel(b, origClientOrderId=name)).reason == "not_own_order"
        assert is_open(world, placed.body["orderId"])
        assert is_open(world, by_hand)


async def test_who_may_cancel_an_order_may_replace_and_amend_it_and_nobody_else(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        a, b = await bots(world, "a", "b")
        placed = await a.order(price="59000", newClientOrderId="X", **LIMIT)
        number = placed.body["orderId"]
        for bot, status in ((b, 400), (a, 200)):
            amended = await bot.call(
                "PUT", "/api/v3/order/amend/keepPriority", symbol="BTCUSDT", origClientOrderId="X", newQty="0.009",
                newClientOrderId="X2",
            )  # fmt: skip
            assert amended.status == status, amended
        for bot, status in ((b, 400), (a, 200)):
            replaced = await bot.call(
                "POST", "/api/v3/order/cancelReplace", symbol="BTCUSDT", side="BUY", price="58000",
                cancelReplaceMode="STOP_ON_FAILURE", cancelOrigClientOrderId="X2", **LIMIT,
            )  # fmt: skip
            assert replaced.status == status, replaced
        assert not is_open(world, number)


async def test_the_owner_is_asked_for_and_an_outage_is_said_as_one(tmp_path: Path) -> None:
    """Neither "unknown order" while nobody can tell, nor a no to who sent the only order of that name."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        a, b = await bots(world, "a", "b")
        placed = await a.order(price="59000", newClientOrderId="X", **LIMIT)
        await b.call("GET", "/api/v3/account")
        await fail(world, -1000, "/api/v3/order", times=2, status=500)
        unknown = await cancel(b, origClientOrderId="nobody-knows")
        assert (unknown.status, unknown.reason) == (503, "owner_unknown"), unknown
        gone = await cancel(a, origClientOrderId="X")
        assert gone.status == 200, gone
        assert not is_open(world, placed.body["orderId"])


async def test_a_gateway_that_remembers_nothing_finds_the_sender_in_the_brokers_record(
    tmp_path: Path,
) -> None:
    """After a restart, or at another gateway: an answer that was lost is still its sender's order."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="3")
        a, b = await bots(world, "a", "b")
        await lose(world)
        assert (await a.order(price="58000", newClientOrderId="X", **LIMIT)).status == 504
        by_hand = await manual(world, "M")
        await lose(world, "/api/v3/orderList")
        assert (await a.call("POST", "/api/v3/orderList/oco", listClientOrderId="L", **OCO)).status == 504
        async with asyncio.timeout(60):
            while world.gateway.spool.waiting:  # noqa: ASYNC110 - the log tells nobody
                await asyncio.sleep(0.01)
        world.gateway.spool.boot = "another"
        owners = world.gateway.forwarder._owners
        owners.waiting = Waiting()
        owners._of.clear()
        owners._bearers.clear()
        number = order_named(world, "X")
        for names in ({"origClientOrderId": "X"}, {"orderId": number}, {"orderId": by_hand}):
            assert (await cancel(b, **names)).reason == "not_own_order"
        refused = await b.call("DELETE", "/api/v3/orderList", symbol="BTCUSDT", listClientOrderId="L")
        assert refused.reason == "not_own_order", refused
        assert (await cancel(a, orderId=by_hand)).reason == "not_own_order"
        assert (await cancel(a, origClientOrderId="X")).status == 200
        gone = await a.call("DELETE", "/api/v3/orderList", symbol="BTCUSDT", listClientOrderId="L")
        assert gone.status == 200, gone


async def test_the_only_grant_of_an_account_cancels_whatever_nobody_else_sent_while_the_venue_cannot_be_asked(
    tmp_path: Path,
) -> None:
    """Nobody else's order can be meant, so no look-up that fails may keep it from an exit."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="3")
        (bot,) = await bots(world)
        placed = await bot.order(price="59000", newClientOrderId="X", **LIMIT)
        listed = await bot.call("POST", "/api/v3/orderList/oco", listClientOrderId="L", **OCO)
        by_hand = await manual(world, "M")
        owners = world.gateway.forwarder._owners
        owners._of.clear()
        owners._bearers.clear()
        for path in ("/api/v3/order", "/api/v3/orderList"):
            await fail(world, -1000, path, times=50, status=500)
        assert (await cancel(bot, origClientOrderId="X")).status == 200
        assert (await cancel(bot, origClientOrderId="M")).status == 200
        gone = await bot.call(
            "DELETE", "/api/v3/orderList", symbol="BTCUSDT", orderListId=listed.body["orderListId"]
        )
        assert gone.status == 200, gone
        assert not is_open(world, placed.body["orderId"])
        assert not is_open(world, by_hand)


async def test_an_own_order_is_cancelled_while_the_broker_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By any name that this gateway can know it by; of another's it says that it cannot tell."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        a, b = await bots(world, "a", "b")
        by_hand = await manual(world, "M")
        answered = await a.order(price="59000", newClientOrderId="X", **LIMIT)
        await lose(world)
        assert (await a.order(price="58000", newClientOrderId="Y", **LIMIT)).status == 504
        assert (await b.call("GET", "/api/v3/account")).status == 200

        async def silent(_: object) -> None:
            raise LinkDown("no_answer", "the broker did not answer in time")

        monkeypatch.setattr(world.gateway.link, "ask_owner", silent)
        for names in (
            {"orderId": by_hand},
            {"origClientOrderId": "M"},
            {"orderId": order_named(world, "Y") + 1000},
        ):
            refused = await cancel(a, **names)
            assert refused.reason in {"owner_unknown", "not_own_order"}, refused
        assert (await cancel(a, orderId=by_hand)).status == 503
        assert (await cancel(b, origClientOrderId="X")).reason == "not_own_order", (
            "this gateway sent it for a"
        )
        assert (await cancel(a, origClientOrderId="X")).status == 200
        assert (await cancel(a, orderId=order_named(world, "Y"))).status == 200
        assert not is_open(world, answered.body["orderId"])
        assert is_open(world, by_hand)


async def test_two_names_of_one_order_pass_and_of_two_orders_never(tmp_path: Path) -> None:
    """Which of the two would be cancelled is the exchange's choice, so both must be of the sender's one order."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="3")
        a, b = await bots(world, "a", "b")
        placed = await a.order(price="59000", newClientOrderId="A", **LIMIT)
        mine = await b.order(price="58000", newClientOrderId="B", **LIMIT)
        second = await b.order(price="57000", newClientOrderId="C", **LIMIT)
        for order_id, name in (
            (mine.body["orderId"], "A"), (placed.body["orderId"], "B"), (mine.body["orderId"], "nobody"),
            (mine.body["orderId"], "C"),
        ):  # fmt: skip
            assert (await cancel(b, orderId=order_id, origClientOrderId=name)).reason == "not_own_order"
        listed = await a.call("POST", "/api/v3/orderList/oco", listClientOrderId="L", **OCO)
        for bot, status in ((b, 400), (a, 200)):
            gone = await bot.call(
                "DELETE", "/api/v3/orderList", symbol="BTCUSDT", orderListId=listed.body["orderListId"],
                listClientOrderId="L",
            )  # fmt: skip
            assert gone.status == status, gone
        owners = world.gateway.forwarder._owners
        for number, bot, body, name in (
            (0, a, placed.body, "A"),
            (1, b, mine.body, "B"),
            (2, b, second.body, "C"),
        ):
            if number:
                owners._bearers.clear()
            gone = await cancel(bot, orderId=body["orderId"], origClientOrderId=name)
            assert gone.status == 200, gone


@pytest.mark.parametrize(("own_id", "owner"), [("7", NOBODY), ("5", OWN), (None, OWN)])
async def test_an_order_is_not_its_senders_who_got_another_one_while_the_broker_was_asked(
    own_id: str | None, owner: str
) -> None:
    """A namesake that somebody placed by hand, alike in all else, was cancelled and put on record as the bot's own."""
    owners = Owners()
    sent = Sent(1, "g", "main", "BTCUSDT", "x", "BUY", Decimal(1), Decimal(9), 1_000, 9_000, asked=1)
    owners.waiting.add(sent)

    async def ask_owner(query: OwnerQuery) -> OwnerAnswer:
        if own_id is not None and sent.order_id is None:
            owners.confirm(sent, own_id)
        return OwnerAnswer(query.ask)

    link, clock = SimpleNamespace(ask_owner=ask_owner, boot="b"), SimpleNamespace(boot_us=lambda: 1)
    held: Any = SimpleNamespace(account="main", sole=False, lease=SimpleNamespace(grant="g"))
    job: Any = SimpleNamespace(account=None)
    state = OrderState(
        "BTCUSDT", "5", "x", final=False, side="BUY", quantity=Decimal(1), price=Decimal(9), created_us=2_000
    )
    whose = Whose(held, link, owners, clock)  # type: ignore[arg-type]
    assert await whose._of_state(_Asked(job, held, Patience.of(60)), state) == owner
    assert sent.order_id == (own_id or "5")
