"""The paper exchange is as strict as the venue's pages: a judge that is too kind proves nothing."""

from typing import Any

import pytest

from clients.paper.server import ROUTES
from clients.paper.takes import TAKES
from tests.paper.harness import Paper, running_paper

LIMIT = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01",
         "price": "59000"}  # fmt: skip
MARKET = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}


async def placed(paper: Paper, **values: object) -> tuple[int, Any]:
    key = paper.key(paper.account())
    return await paper.call("POST", "/api/v3/order", key, **values)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        (LIMIT | {"colour": "red"}, -1104),
        (LIMIT | {"Price": "1"}, -1104),
        (LIMIT | {"isIsolated": "TRUE"}, -1104),
        (LIMIT | {"reduceOnly": "true"}, -1104),
        (LIMIT | {"quantity": ".001"}, -1100),
        (LIMIT | {"price": "50000."}, -1100),
        (LIMIT | {"price": "5e4"}, -1100),
        (LIMIT | {"price": "+59000"}, -1100),
        (LIMIT | {"price": "-59000"}, -1100),
        (LIMIT | {"price": "59 000"}, -1100),
        (LIMIT | {"price": "\uff10.1"}, -1100),
        (LIMIT | {"newClientOrderId": ""}, -1105),
        (LIMIT | {"newClientOrderId": "d\u00e9j\u00e0"}, -1100),
        (LIMIT | {"newClientOrderId": "\uff11\uff12"}, -1100),
        (LIMIT | {"recvWindow": "5000.1234"}, -1100),
        (LIMIT | {"recvWindow": "5000."}, -1100),
        (LIMIT | {"timeInForce": ""}, -1105),
        (LIMIT | {"symbol": ""}, -1102),
        (LIMIT | {"type": ""}, -1102),
        ({name: value for name, value in LIMIT.items() if name != "price"}, -1102),
        (MARKET | {"price": "59000"}, -1106),
        (MARKET | {"timeInForce": "GTC"}, -1106),
        (MARKET | {"quoteOrderQty": "100"}, -1106),
        (LIMIT | {"pegPriceType": "PRIMARY_PEG", "pegOffsetType": "PRICE_LEVEL"}, -1128),
        (LIMIT | {"recvWindow": "60001"}, -1131),
        (LIMIT | {"recvWindow": "10000000"}, -1131),
        (LIMIT | {"recvWindow": "9" * 25}, -1131),
        (LIMIT | {"timestamp": "1795358627"}, -1021),
        (LIMIT | {"timestamp": "1795358627105000000"}, -1021),
        (LIMIT | {"timestamp": "0"}, -1021),
        (LIMIT | {"timestamp": "-1"}, -1100),
        (LIMIT | {"timestamp": ""}, -1102),
        (LIMIT | {"quantity": "0.000000001"}, -1111),
        (LIMIT | {"quantity": "0.0000001"}, -1013),
        (LIMIT | {"price": "59000.001"}, -1013),
        (LIMIT | {"price": "1000"}, -1013),
        (LIMIT | {"quantity": "0.00001", "price": "59000"}, -1013),
    ],
)
async def test_what_the_venue_refuses_is_refused_by_its_code(values: dict[str, object], code: int) -> None:
    async with running_paper() as paper:
        status, body = await placed(paper, **values)
        assert (status, body["code"]) == (400, code), body
        assert paper.exchange.executed == []


async def test_unread_parameters_are_counted() -> None:
    async with running_paper() as paper:
        _, body = await placed(paper, **LIMIT, colour="red")
        assert body["msg"] == "Not all sent parameters were read; read '8' parameter(s) but was sent '9'."


@pytest.mark.parametrize("path", ["time", "ping", "ticker/price", "depth", "klines"])
async def test_public_calls_take_no_more_than_they_document(path: str) -> None:
    async with running_paper() as paper:
        more = {"interval": "1m"} if path == "klines" else {}
        more |= {} if path in {"time", "ping"} else {"symbol": "BTCUSDT"}
        assert (await paper.call("GET", f"/api/v3/{path}", **more))[0] == 200
        status, body = await paper.call("GET", f"/api/v3/{path}", **more, timestamp="1")
        assert (status, body["code"]) == (400, -1104)


@pytest.mark.parametrize("refused", [True, False])
async def test_what_sapi_does_with_unknown_parameters_is_a_switch(refused: bool) -> None:
    async with running_paper() as paper:
        key = paper.key(paper.account())
        paper.exchange.switches["sapi_unknown_refused"] = refused
        status, _ = await paper.call("GET", "/sapi/v1/account/status", key, colour="red")
        assert status == (400 if refused else 200)
        status, _ = await paper.call("GET", "/api/v3/account", key, colour="red")
        assert status == 400, "what /api does is documented"


def test_every_route_of_spot_and_wallet_says_what_it_takes() -> None:
    """What is not in the table takes anything: that is for other products, which only answer emptily."""
    silent = {f"{method} {path}" for method, path in ROUTES} - set(TAKES)
    assert {at.split("/")[1] for at in silent} <= {"fapi", "dapi", "eapi", "sapi"}
    assert [at for at in silent if "/sapi/" in at] == ["GET /sapi/v1/system/status"]
    assert set(TAKES) <= {f"{method} {path}" for method, path in ROUTES}


# --- times ------------------------------------------------------------------------------------------------


async def timed(paper: Paper, path: str, unit: str) -> tuple[int, Any]:
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\nX-MBX-TIME-UNIT: {unit}\r\n\r\n"
    return await paper.raw(head.encode())


@pytest.mark.parametrize("unit", ["MICROSECOND", "microsecond"])
async def test_times_come_in_the_unit_that_was_asked_for(unit: str) -> None:
    async with running_paper() as paper:
        _, micro = await timed(paper, "/api/v3/time", unit)
        _, milli = await timed(paper, "/api/v3/time", "MILLISECOND")
        assert len(str(micro["serverTime"])) == 16
        assert len(str(milli["serverTime"])) == 13
        _, candles = await timed(paper, "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1", unit)
        assert [len(str(candles[0][at])) for at in (0, 6)] == [16, 16]


async def test_another_unit_is_refused() -> None:
    async with running_paper() as paper:
        status, body = await timed(paper, "/api/v3/time", "SECOND")
        assert (status, body["code"]) == (400, -1194)


# --- wallets ----------------------------------------------------------------------------------------------


async def test_money_moves_between_spot_funding_and_margin() -> None:
    async with running_paper() as paper:
        email = paper.account(USDT="1000")
        key = paper.key(email, permitsUniversalTransfer=True)
        for kind, amount in (("MAIN_FUNDING", "300"), ("MAIN_MARGIN", "200"), ("FUNDING_MAIN", "50")):
            status, body = await paper.call(
                "POST", "/sapi/v1/asset/transfer", key, type=kind, asset="USDT", amount=amount
            )
            assert status == 200, body
        _, funding = await paper.call("POST", "/sapi/v1/asset/get-funding-asset", key)
        assert [(one["asset"], float(one["free"])) for one in funding] == [("USDT", 250)]
        _, margin = await paper.call("GET", "/sapi/v1/margin/account", key)
        assert [(one["asset"], float(one["netAsset"])) for one in margin["userAssets"]] == [("USDT", 200)]
        assert float(paper.exchange.accounts[email].balance("USDT").free) == 550
        status, body = await paper.call(
            "POST", "/sapi/v1/asset/transfer", key, type="FUNDING_MAIN", asset="USDT", amount="251"
        )
        assert (status, body["code"]) == (400, -9000)


@pytest.mark.parametrize(
    ("path", "values", "field"),
    [
        ("asset/assetDetail", {}, "USDT"),
        ("asset/dribblet", {}, "userAssetDribblets"),
        ("accountSnapshot", {"type": "SPOT"}, "snapshotVos"),
        ("capital/deposit/address", {"coin": "USDT"}, "address"),
        ("capital/withdraw/quota", {}, "wdQuota"),
        ("margin/isolated/account", {}, "assets"),
    ],
)
async def test_what_clients_ask_when_they_start_is_answered(
    path: str, values: dict[str, str], field: str
) -> None:
    async with running_paper() as paper:
        status, body = await paper.call("GET", f"/sapi/v1/{path}", paper.key(paper.account()), **values)
        assert status == 200, body
        assert field in body


async def test_a_snapshot_has_a_type() -> None:
    async with running_paper() as paper:
        status, body = await paper.call("GET", "/sapi/v1/accountSnapshot", paper.key(paper.account()))
        assert (status, body["code"]) == (400, -1102)


# --- what the sheet says of one call ----------------------------------------------------------------------

DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("path", "values", "code"),
    [
        ("asset/transfer", {}, -1102),
        ("asset/transfer", {"type": ""}, -1105),
        ("accountSnapshot", {"type": "SPOT", "startTime": -31}, -4047),
        ("accountSnapshot", {"type": "SPOT", "limit": "6"}, -1102),
        ("capital/deposit/hisrec", {"startTime": -91}, -4047),
        ("capital/deposit/hisrec", {"startTime": -180, "endTime": -89}, -4047),
        ("capital/deposit/hisrec", {"limit": "1001"}, -1102),
        ("capital/withdraw/history", {"startTime": -91}, -4047),
        ("capital/withdraw/history", {"startTime": -8, "withdrawOrderId": "x"}, -4047),
        ("capital/withdraw/history", {"idList": ",".join("a" * 46)}, -1102),
        ("account/status", {"recvWindow": "5000.5"}, -1100),
    ],
)
async def test_reads_of_the_wallet_have_the_bounds_that_are_documented(
    path: str, values: dict[str, Any], code: int
) -> None:
    async with running_paper() as paper:
        now_ms = paper.exchange.now_us() // 1000
        sent = {
            name: now_ms + value * DAY_MS if isinstance(value, int) else value
            for name, value in values.items()
        }
        status, body = await paper.call("GET", f"/sapi/v1/{path}", paper.key(paper.account()), **sent)
        assert (status, body["code"]) == (400, code), body


async def test_decimals_of_a_window_on_sapi_are_a_switch() -> None:
    async with running_paper() as paper:
        paper.exchange.switches["sapi_window_decimals"] = True
        key = paper.key(paper.account())
        assert (await paper.call("GET", "/sapi/v1/account/status", key, recvWindow="5000.5"))[0] == 200


async def test_withdrawals_are_asked_for_ten_times_a_minute_by_all_keys_of_an_account() -> None:
    async with running_paper() as paper:
        email = paper.account()
        keys = [paper.key(email), paper.key(email)]
        said = [
            (await paper.call("GET", "/sapi/v1/capital/withdraw/history", keys[number % 2]))[0]
            for number in range(30)
        ]
        assert 429 in said[10:]
        assert said[:10] == [200] * 10


async def test_a_get_carries_its_parameters_in_the_query_alone() -> None:
    async with running_paper() as paper:
        body = b"symbol=BTCUSDT"
        head = b"GET /api/v3/ticker/price HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        _, found = await paper.raw(head + body)
        assert isinstance(found, list), "it named no pair"


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({}, -1102),
        ({"cancelOrderId": "1", "cancelRestrictions": "ONLY_OLD"}, -1145),
        ({"cancelOrderId": "1", "cancelNewClientOrderId": "a b"}, -1100),
        ({"cancelOrderId": "one"}, -1100),
    ],
)
async def test_a_replacement_whose_cancel_is_not_in_form_places_nothing(
    values: dict[str, str], code: int
) -> None:
    """Not even where the new order may be placed without the cancel."""
    async with running_paper() as paper:
        key = paper.key(paper.account())
        sent = LIMIT | {"cancelReplaceMode": "ALLOW_FAILURE"} | values
        status, body = await paper.call("POST", "/api/v3/order/cancelReplace", key, **sent)
        assert (status, body["code"]) == (400, code), body
        assert paper.exchange.executed == []


def manager(paper: Paper) -> Any:
    return next(key for key in paper.exchange.keys.values() if key.label == "manager")


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"status": "0"},
        {"status": "4"},
        {"status": "2"},
        {"status": "3"},
        {"status": "2", "ipAddress": ",".join(["192.0.2.1"] * 51)},
        {"status": "2", "ipAddress": "192.0.2.1", "publicKey": "-----BEGIN PUBLIC KEY-----MIIBIjAN"},
    ],
)
async def test_a_key_is_not_made_of_what_the_call_does_not_take(values: dict[str, str]) -> None:
    """Above all not open to every address because its `status` was forgotten."""
    async with running_paper() as paper:
        email = paper.account()
        sent = {"email": email, "apiName": "x", "canTrade": "true"} | values
        status, body = await paper.call("POST", "/sapi/v1/sub-account/subAccountApi", manager(paper), **sent)
        assert (status, body["code"]) == (400, -1102), body
        assert [key for key in paper.exchange.keys.values() if key.account == email] == []


@pytest.mark.parametrize("values", [{"status": "3"}, {"status": "no"}, {"status": "2"}])
async def test_a_key_is_not_bound_to_nothing(values: dict[str, str]) -> None:
    """It would say that it is bound, and work from everywhere."""
    async with running_paper() as paper:
        email = paper.account()
        key = paper.key(email, ips=())
        sent = {"email": email, "subAccountApiKey": key.key_id} | values
        path = "/sapi/v2/sub-account/subAccountApi/ipRestriction"
        status, body = await paper.call("POST", path, manager(paper), **sent)
        assert (status, body["code"]) == (400, -1102), body


async def test_no_sub_account_here_is_frozen_and_lists_have_pages() -> None:
    async with running_paper() as paper:
        for number in range(3):
            paper.account(f"bot{number}@paper.test")

        async def emails(**values: str) -> list[str]:
            _, body = await paper.call("GET", "/sapi/v1/sub-account/list", manager(paper), **values)
            assert isinstance(body, dict)
            return [one["email"] for one in body["subAccounts"]]

        assert len(await emails(isFreeze="false")) == 3
        assert await emails(isFreeze="true") == []
        assert await emails(page="2", limit="2") == ["bot2@paper.test"]
        status, _ = await paper.call("GET", "/sapi/v1/sub-account/list", manager(paper), limit="201")
        assert status == 400
