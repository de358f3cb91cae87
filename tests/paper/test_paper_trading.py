"""The paper exchange: orders rest, fill, cancel, and the door refuses what the venue refuses."""

from decimal import Decimal

from clients.paper import state
from clients.paper.exchange import PaperExchange
from tests.paper.harness import running_paper


async def test_a_limit_order_rests_binds_money_and_gives_it_back_on_cancel() -> None:
    async with running_paper() as paper:
        key = paper.key(paper.account(USDT="1000"))
        order = {
            "symbol": "BTCUSDT",
            "side": "BUY",
            "type": "LIMIT",
            "timeInForce": "GTC",
            "quantity": "0.01",
        }
        status, placed = await paper.call("POST", "/api/v3/order", key, **order, price="50000")
        assert (status, placed["status"]) == (200, "NEW")
        held = paper.exchange.accounts[key.account].balance("USDT")
        assert (held.free, held.locked) == (Decimal(500), Decimal(500))
        status, _ = await paper.call(
            "DELETE", "/api/v3/order", key, symbol="BTCUSDT", orderId=placed["orderId"]
        )
        assert status == 200
        assert (held.free, held.locked) == (Decimal(1000), Decimal(0))
        status, again = await paper.call(
            "DELETE", "/api/v3/order", key, symbol="BTCUSDT", orderId=placed["orderId"]
        )
        assert (status, again["code"]) == (400, -2011)


async def test_a_resting_order_fills_when_the_price_comes_to_it() -> None:
    async with running_paper() as paper:
        key = paper.key(paper.account(USDT="1000"))
        order = {
            "symbol": "BTCUSDT",
            "side": "BUY",
            "type": "LIMIT",
            "timeInForce": "GTC",
            "quantity": "0.01",
        }
        _, placed = await paper.call("POST", "/api/v3/order", key, **order, price="59000")
        assert placed["status"] == "NEW"
        await paper.admin("POST", "price", {"symbol": "BTCUSDT", "price": "58000"})
        _, seen = await paper.call("GET", "/api/v3/order", key, symbol="BTCUSDT", orderId=placed["orderId"])
        assert seen["status"] == "FILLED"
        _, trades = await paper.call("GET", "/api/v3/myTrades", key, symbol="BTCUSDT")
        assert [trade["price"] for trade in trades] == ["59000.00000000"]


async def test_a_stop_waits_for_its_trigger_and_an_oco_binds_once() -> None:
    async with running_paper() as paper:
        key = paper.key(paper.account(BTC="1"))
        pair = {"symbol": "BTCUSDT", "side": "SELL", "quantity": "1", "aboveType": "LIMIT_MAKER",
                "abovePrice": "70000", "belowType": "STOP_LOSS", "belowStopPrice": "50000"}  # fmt: skip
        status, placed = await paper.call("POST", "/api/v3/orderList/oco", key, **pair)
        assert status == 200, placed
        held = paper.exchange.accounts[key.account].balance("BTC")
        assert (held.free, held.locked) == (Decimal(0), Decimal(1))
        await paper.admin("POST", "depth", {"symbol": "BTCUSDT", "quote": "1000000"})
        await paper.admin("POST", "price", {"symbol": "BTCUSDT", "price": "49000"})
        assert (held.free, held.locked) == (Decimal(0), Decimal(0))
        _, orders = await paper.call("GET", "/api/v3/allOrders", key, symbol="BTCUSDT")
        assert sorted(order["status"] for order in orders) == ["EXPIRED", "FILLED"]


async def test_an_otoco_places_its_pair_once_the_working_order_is_filled() -> None:
    async with running_paper() as paper:
        key = paper.key(paper.account(USDT="100000"))
        values = {
            "symbol": "BTCUSDT", "workingType": "LIMIT", "workingSide": "BUY", "workingPrice": "61000",
            "workingQuantity": "0.1", "workingTimeInForce": "GTC", "pendingSide": "SELL",
            "pendingQuantity": "0.05", "pendingAboveType": "LIMIT_MAKER", "pendingAbovePrice": "70000",
            "pendingBelowType": "STOP_LOSS", "pendingBelowStopPrice": "50000",
        }  # fmt: skip
        status, placed = await paper.call("POST", "/api/v3/orderList/otoco", key, **values)
        assert status == 200, placed
        _, open_orders = await paper.call("GET", "/api/v3/openOrders", key, symbol="BTCUSDT")
        assert sorted(order["type"] for order in open_orders) == ["LIMIT_MAKER", "STOP_LOSS"]


async def test_the_door_refuses_in_the_venues_words() -> None:
    async with running_paper() as paper:
        email = paper.account()
        key, reader = paper.key(email), paper.key(email, enableSpotAndMarginTrading=False)
        order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
        cases = [
            (await paper.call("GET", "/api/v3/account", key, timestamp="1499827319559"), (400, -1021)),
            (await paper.call("GET", "/api/v3/account", key, recvWindow="60001"), (400, -1131)),
            (await paper.call("GET", "/api/v3/account", key, source="127.0.0.9"), (401, -2015)),
            (await paper.call("POST", "/api/v3/order", reader, **order), (401, -2015)),
            (
                await paper.call("POST", "/api/v3/order", key, **(order | {"quantity": "0.000001"})),
                (400, -1013),
            ),
            (await paper.call("POST", "/api/v3/order", key, **(order | {"quantity": "100"})), (400, -2010)),
            (await paper.call("GET", "/api/v3/nothing", key), (404, -1000)),
        ]
        for (status, body), expected in cases:
            assert (status, body["code"]) == expected
        assert paper.exchange.executed == []
        key.deleted = True
        status, body = await paper.call("GET", "/sapi/v1/account/apiRestrictions", key)
        assert (status, body["code"]) == (400, -2008)


async def test_a_wrong_signature_is_refused_and_a_duplicate_too() -> None:
    async with running_paper() as paper:
        key = paper.key(paper.account())
        head = f"Host: x\r\nX-MBX-APIKEY: {key.key_id}\r\n\r\n"
        now = paper.exchange.now_us() // 1000
        for query, code in (
            (f"timestamp={now}&signature=00", -1022),
            (f"a=1&a=2&timestamp={now}&signature=0", -1101),
        ):
            status, body = await paper.raw(f"GET /api/v3/account?{query} HTTP/1.1\r\n{head}".encode())
            assert (status, body["code"]) == (400, code)


async def test_weights_end_in_429_and_then_in_a_ban() -> None:
    async with running_paper(clock=lambda: 1_795_000_000_000_000) as paper:  # all within the same minute
        paper.exchange.limits.api_weight = 10
        answers = [(await paper.call("GET", "/api/v3/time"))[0] for _ in range(40)]
        assert answers[:10] == [200] * 10
        assert answers[10] == 429
        assert answers[-1] == 418


async def test_keys_of_a_sub_account_are_made_and_deleted_by_the_manager() -> None:
    async with running_paper() as paper:
        email = paper.account()
        manager = next(key for key in paper.exchange.keys.values() if key.label == "manager")
        path = "/sapi/v1/sub-account/subAccountApi"
        status, made = await paper.call(
            "POST",
            path,
            manager,
            email=email,
            apiName="rot-1",
            status=2,
            ipAddress="127.0.0.1",
            canTrade="true",
        )
        assert status == 200, made
        _, listed = await paper.call("GET", path, manager, email=email)
        assert [row["apikey"] for row in listed["rows"]] == [made["apiKey"]]
        status, _ = await paper.call("DELETE", path, manager, email=email, subAccountApiKey=made["apiKey"])
        assert status == 200
        assert paper.exchange.keys[made["apiKey"]].deleted
        status, _ = await paper.call("DELETE", path, paper.key(email), email=email, subAccountApiKey="x")
        assert status == 400


async def test_a_reply_can_be_lost_after_the_order_took_effect() -> None:
    async with running_paper() as paper:
        key = paper.key(paper.account())
        await paper.admin("POST", "faults", {"do": "lose-reply", "match": {"method": "POST"}})
        order = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
        try:
            await paper.call("POST", "/api/v3/order", key, **order)
            raise AssertionError("the reply came")
        except EOFError:
            pass
        assert [entry["action"] for entry in paper.exchange.executed] == ["place"]


async def test_state_survives_a_second_start() -> None:
    async with running_paper() as paper:
        key = paper.key(paper.account(USDT="1000"))
        order = {
            "symbol": "BTCUSDT",
            "side": "BUY",
            "type": "LIMIT",
            "timeInForce": "GTC",
            "quantity": "0.01",
        }
        await paper.call("POST", "/api/v3/order", key, **order, price="50000")
        saved = state.dump(paper.exchange)
    fresh = PaperExchange()
    state.load(fresh, saved)
    assert state.dump(fresh) == saved
    assert fresh.keys[key.key_id].secret == key.secret


async def test_the_admin_api_asks_for_its_token() -> None:
    async with running_paper() as paper:
        status, _ = await paper.raw(
            b"GET /paper/state HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer no\r\n\r\n"
        )
        assert status == 401
        status, body = await paper.admin("POST", "keys", {"flags": {"fly": True}})
        assert (status, body["field"]) == (400, "flags.fly")
