"""Orders of every kind: owned, replaced, amended, listed; budget goes back by what the venue says was executed."""

from pathlib import Path
from typing import Any

import pytest

from clients.paper import spot_account
from clients.paper.server import ROUTES
from tests.gateway.world import POLICY, running_world

LIMIT = {"type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01"}


async def test_a_cancelled_order_gives_its_budget_back(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot(policy=POLICY.replace('"10000"', '"1000"'))
        for _ in range(4):
            placed = await bot.order(price="59000", **LIMIT)
            assert placed.status == 200, placed
            gone = await bot.call("DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=placed.body["orderId"])
            assert gone.status == 200
        assert (await bot.order()).status == 200
        assert (await bot.order()).reason == "day_notional"


async def test_an_order_is_replaced_and_the_new_one_is_owned(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot, _ = world.bot("bot"), world.bot("other")
        placed = await bot.order(price="59000", **LIMIT)
        replaced = await bot.call(
            "POST", "/api/v3/order/cancelReplace", symbol="BTCUSDT", side="BUY", price="58000",
            cancelReplaceMode="STOP_ON_FAILURE", cancelOrderId=placed.body["orderId"], **LIMIT,
        )  # fmt: skip
        assert replaced.status == 200, replaced
        number = replaced.body["newOrderResponse"]["orderId"]
        amended = await bot.call(
            "PUT", "/api/v3/order/amend/keepPriority", symbol="BTCUSDT", orderId=number, newQty="0.005"
        )
        assert amended.status == 200, amended
        name = amended.body["amendedOrder"]["clientOrderId"]
        gone = await bot.call("DELETE", "/api/v3/order", symbol="BTCUSDT", origClientOrderId=name)
        assert gone.status == 200, gone


async def test_a_list_is_cancelled_by_its_owner_by_any_name(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000", BTC="3")
        bot, other = world.bot("bot"), world.bot("other")
        pair = {
            "symbol": "BTCUSDT", "side": "SELL", "quantity": "0.01", "aboveType": "LIMIT_MAKER",
            "abovePrice": "70000", "belowType": "STOP_LOSS", "belowStopPrice": "50000",
        }  # fmt: skip
        for name in ("orderListId", "listClientOrderId"):
            placed = await bot.call("POST", "/api/v3/orderList/oco", **pair)
            assert placed.status == 200, placed
            query = {"symbol": "BTCUSDT", name: placed.body[name]}
            refused = await other.call("DELETE", "/api/v3/orderList", **query)
            assert refused.reason == "not_own_order", refused
            gone = await bot.call("DELETE", "/api/v3/orderList", **query)
            assert gone.status == 200, gone


async def test_an_order_found_only_at_the_venue_belongs_to_the_accounts_owner(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        _, foreign = await world.paper.admin(
            "POST", "orders/foreign",
            {"account": "main@paper.test", "symbol": "BTCUSDT", "side": "BUY", "quantity": "0.01", "price": "50000"},
        )  # fmt: skip
        query = {"symbol": "BTCUSDT", "orderId": foreign["orderId"]}
        other = world.bot("other")
        assert (await bot.call("DELETE", "/api/v3/order", **query)).reason == "not_own_order"
        assert (await other.call("DELETE", "/api/v3/openOrders", symbol="BTCUSDT")).reason == "account_wide"
        owner = world.bot("owner", policy="account_owner = true\n" + POLICY)
        assert (await owner.call("DELETE", "/api/v3/order", **query)).status == 200


async def test_the_real_key_id_in_an_answer_becomes_the_bots_own(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        route = ROUTES[("GET", "/api/v3/account")]
        telling = spot_account.Route(lambda _, seen: {"apiKey": seen.key.key_id}, "signed", 20)
        ROUTES[("GET", "/api/v3/account")] = telling
        try:
            answer = await bot.call("GET", "/api/v3/account")
        finally:
            ROUTES[("GET", "/api/v3/account")] = route
        assert answer.body == {"apiKey": bot.key_id}


async def test_a_policy_change_is_in_force_at_once(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        (grant,) = world.service.grants.list().items
        assert (await bot.order()).status == 200
        for text, status in (('"500"', 400), ('"2000"', 200)):
            world.service.grants.set_policy(grant.id, POLICY.replace('"1000"', text))
            await world.settled()
            answer = await bot.order()
            assert answer.status == status, answer


@pytest.mark.parametrize("beside", ["the grant's own", "the account's"])
async def test_a_wider_policy_binds_a_lease_that_was_being_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: str
) -> None:
    """It was read before the change and told after it: it kept the old limits for as long as it was renewed."""
    own = beside == "the grant's own"
    narrow = POLICY.replace('"1000"', '"500"') if own else POLICY + '\n[account.day]\nmax_notional = "500"\n'
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        leases, late = world.authority.leases, list[str]()
        real = leases.judge

        def judge(link: Any, frame: Any) -> Any:
            opening = real(link, frame)
            if not late:
                (grant,) = world.service.grants.list().items
                late.append(grant.id)
                world.service.grants.set_policy(grant.id, POLICY)
            return opening

        monkeypatch.setattr(leases, "judge", judge)
        bot = world.bot(policy=narrow)
        await bot.ready()
        assert late
        assert (await bot.order()).status == 200, "600 USDT"


async def test_a_reissued_key_ends_the_old_one(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order()).status == 200
        (grant,) = world.service.grants.list().items
        fresh = world.service.grants.reissue(grant.id)
        await world.settled()
        old = await bot.order()
        assert (old.status, old.reason) == (401, "revoked")
        assert fresh.secret is not None
        bot.key_id, bot.secret = fresh.grant.key_id, fresh.secret.reveal()
        assert (await bot.order()).status == 200


@pytest.mark.parametrize("reading", ["match", "order-id"])
async def test_an_own_order_may_be_named_twice_and_another_never(tmp_path: Path, reading: str) -> None:
    """Whichever name the exchange goes by: both must be of one order of the bot's own."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        world.paper.exchange.switches["both_order_names"] = reading
        bot, other = world.bot("bot"), world.bot("other")
        mine = (await bot.order(price="59000", newClientOrderId="mine", **LIMIT)).body
        second = (await bot.order(price="58000", newClientOrderId="second", **LIMIT)).body
        theirs = (await other.order(price="57000", newClientOrderId="theirs", **LIMIT)).body
        mixed = [(mine, "theirs"), (theirs, "mine"), (theirs, "theirs"), (mine, "second"), (mine, "no-such")]
        for order, name in mixed:
            query = {"symbol": "BTCUSDT", "orderId": order["orderId"], "origClientOrderId": name}
            refused = await bot.call("DELETE", "/api/v3/order", **query)
            assert (refused.status, refused.code) == (400, -2011), (name, refused)
        query = {"symbol": "BTCUSDT", "orderId": mine["orderId"], "origClientOrderId": "mine"}
        assert (await bot.call("DELETE", "/api/v3/order", **query)).status == 200
        replaced = await bot.call(
            "POST", "/api/v3/order/cancelReplace", symbol="BTCUSDT", side="BUY", price="56000",
            cancelReplaceMode="STOP_ON_FAILURE", cancelOrderId=second["orderId"], cancelOrigClientOrderId="second",
            **LIMIT,
        )  # fmt: skip
        assert replaced.status == 200, replaced
        ended = [
            order.client_order_id for order in world.paper.exchange.engine.orders.values() if not order.open
        ]
        assert sorted(ended) == ["mine", "second"]
