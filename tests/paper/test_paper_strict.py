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
        (LIMIT | {"timeInForce": ""}, -1105),
        (LIMIT | {"symbol": ""}, -1102),
        (LIMIT | {"type": ""}, -1102),
        ({name: value for name, value in LIMIT.items() if name != "price"}, -1102),
        (MARKET | {"price": "59000"}, -1106),
        (MARKET | {"timeInForce": "GTC"}, -1106),
        (MARKET | {"quoteOrderQty": "100"}, -1106),
        (LIMIT | {"pegPriceType": "PRIMARY_PEG", "pegOffsetType": "PRICE_LEVEL"}, -1128),
        (LIMIT | {"recvWindow": "60001"}, -1131),
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
