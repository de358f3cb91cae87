"""A bot with a virtual key trades through the gateway, within its policy, and is cut off."""

from pathlib import Path

import pytest

from broker.gate import Mode
from clients.venue import KeyType
from tests.gateway.world import POLICY, exchange_bytes, running_world


@pytest.mark.parametrize("key_type", list(KeyType))
async def test_a_virtual_hmac_key_trades_whatever_signs_upstream(tmp_path: Path, key_type: KeyType) -> None:
    async with running_world(tmp_path) as world:
        world.account(key_type=key_type)
        bot = world.bot()
        await bot.ready()
        answer = await bot.order()
        assert (answer.status, answer.body["status"]) == (200, "FILLED"), answer
        assert [entry["action"] for entry in world.executed()] == ["place"]
        assert world.executed()[0]["key_id"] != bot.key_id
        account = await bot.call("GET", "/api/v3/account")
        assert account.status == 200


async def test_what_the_policy_does_not_allow_is_refused_in_the_venues_words(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        limit = {"type": "LIMIT", "timeInForce": "GTC"}
        cases = [
            (await bot.order(quantity="0.02"), 400, -2010, "order_notional"),
            (await bot.order(symbol="SOLUSDT", quantity="1"), 400, -1121, "symbol"),
            (await bot.order(price="70000", **limit), 400, -2010, "collar"),
            (await bot.call("POST", "/sapi/v1/capital/withdraw/apply", coin="USDT", address="x", amount="1"),
             403, -1002, "never_granted"),
            (await bot.call("POST", "/sapi/v1/asset/transfer", type="MAIN_FUNDING", asset="USDT", amount="1"),
             403, -1002, "never_granted"),
            (await exchange_bytes(world.port, bot.plain("POST", "/api/v3/userDataStream")), 403, -1002, "stream"),
            (await bot.call("GET", "/api/v3/no/such"), 403, -1002, "unknown_endpoint"),
            (await bot.call("GET", "/api/v3/account", timestamp="1499827319559"), 400, -1021, "stale"),
        ]  # fmt: skip
        for answer, status, code, reason in cases:
            assert (answer.status, answer.code, answer.reason) == (status, code, reason), answer
        assert world.executed() == []


async def test_a_cut_refuses_everything_at_once_and_a_thaw_opens_again(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order()).status == 200
        cut_id = await world.cut("consumer:bot")
        for answer in (await bot.order(), await bot.call("GET", "/api/v3/account"),
                       await bot.public("/api/v3/ping")):  # fmt: skip
            assert (answer.status, answer.code, answer.reason) == (401, -2014, "cut")
        assert len(world.executed()) == 1
        asked = [line for _, line in world.gateway.spool.batch(0, 100) if '"r":"cut"' in line]
        assert asked, "refusals after a cut are the bot's own"
        assert all('"c":"bot"' in line for line in asked)
        await world.thaw(cut_id)
        assert (await bot.order()).status == 200


async def test_overlapping_cuts_need_a_thaw_each(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        first, second = await world.cut("consumer:bot"), await world.cut("account:main")
        await world.thaw(first)
        assert (await bot.order()).reason == "cut"
        await world.thaw(second)
        assert (await bot.order()).status == 200


async def test_a_halt_lets_reads_cancels_and_exits_pass(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="10000", BTC="1")
        bot = world.bot()
        resting = await bot.order(type="LIMIT", timeInForce="GTC", price="59000", quantity="0.01")
        assert resting.status == 200, resting
        await world.cut("everything", mode=Mode.HALT)
        assert (await bot.order()).reason == "halted"
        assert (await bot.call("GET", "/api/v3/account")).status == 200
        gone = await bot.call("DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=resting.body["orderId"])
        assert gone.status == 200, gone
        leaving = await bot.order("SELL", quantity="0.5")
        assert leaving.status == 200, leaving
        more = await bot.order("SELL", quantity="0.9")
        assert (more.code, more.reason) == (-2010, None), "the exchange says what is there"


async def test_exits_pass_beyond_every_cap(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="10000", BTC="1")
        bot = world.bot()
        assert (await bot.order("SELL", quantity="0.9")).status == 200
        assert (await bot.order("SELL", quantity="0.9")).code == -2010
        low = await bot.order("SELL", quantity="0.05", type="LIMIT", timeInForce="GTC", price="40000")
        assert low.reason == "collar"


async def test_the_rolling_day_limit_holds(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot(policy=POLICY.replace('"10000"', '"1500"'))
        answers = [await bot.order() for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 400, 400]
        assert answers[2].reason == "day_notional"


async def test_a_refused_order_gives_its_budget_back(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="10")
        bot = world.bot(policy=POLICY.replace('"10000"', '"1000"'))
        for _ in range(5):
            assert (await bot.order()).code == -2010
        world.paper.exchange.accounts["main@paper.test"].balance("USDT").free += 10000
        assert (await bot.order()).status == 200


async def test_an_order_is_cancelled_only_by_its_own_grant(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        mine, other = world.bot("mine"), world.bot("other")
        limit = {"type": "LIMIT", "timeInForce": "GTC", "price": "59000", "quantity": "0.01"}
        placed = await mine.order(newClientOrderId="my-order", **limit)
        number = placed.body["orderId"]
        for names in ({"orderId": number}, {"origClientOrderId": "my-order"}):
            refused = await other.call("DELETE", "/api/v3/order", symbol="BTCUSDT", **names)
            assert (refused.code, refused.reason) == (-2011, "not_own_order")
        stolen = await other.order(newClientOrderId="my-order", **limit)
        assert stolen.code == -2010
        refused = await other.call("DELETE", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="my-order")
        assert refused.reason == "not_own_order"
        assert (await other.call("DELETE", "/api/v3/openOrders", symbol="BTCUSDT")).reason == "account_wide"
        assert (await mine.call("DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=number)).status == 200


async def test_a_write_passes_once(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        raw = bot.signed(
            "POST", "/api/v3/order", symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01"
        )
        assert (await exchange_bytes(world.port, raw)).status == 200
        again = await exchange_bytes(world.port, raw)
        assert (again.status, again.body, again.reason) == (504, None, "replay")
        assert len(world.executed()) == 1


async def test_an_unknown_outcome_is_an_empty_504_and_is_not_tried_again(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order()).status == 200
        await world.paper.admin("POST", "faults", {"do": "lose-reply", "match": {"path": "/api/v3/order"}})
        answer = await bot.order()
        assert (answer.status, answer.body, answer.reason) == (504, None, "unknown_outcome")
        assert len(world.executed()) == 2


async def test_the_real_key_id_never_reaches_the_bot(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        answer = await bot.call("GET", "/api/v3/account")
        real = {key.key_id for key in world.paper.exchange.keys.values()}
        assert not any(key_id in str(answer) for key_id in real)


async def test_observe_passes_what_it_would_refuse_and_writes_it_down(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot(policy='mode = "observe"\n' + POLICY)
        assert (await bot.order(quantity="0.05")).status == 200
        refused = await bot.call(
            "POST", "/sapi/v1/capital/withdraw/apply", coin="USDT", address="x", amount="1"
        )
        assert refused.reason == "never_granted"
