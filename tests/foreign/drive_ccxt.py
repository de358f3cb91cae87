"""Drives ccxt as a bot does: the whole round of a spot bot, sync or async; prints one line of JSON."""

import asyncio
import inspect
import json
import sys

import ccxt
import ccxt.async_support

config = json.loads(sys.argv[1])
S = config["base"]
API = {
    "public": S + "/api/v3", "private": S + "/api/v3", "v1": S + "/api/v1", "sapi": S + "/sapi/v1",
    "sapiV2": S + "/sapi/v2", "sapiV3": S + "/sapi/v3", "sapiV4": S + "/sapi/v4", "fapiPublic": S + "/fapi/v1",
    "fapiPublicV2": S + "/fapi/v2", "fapiPrivate": S + "/fapi/v1", "dapiPublic": S + "/dapi/v1",
    "eapiPublic": S + "/eapi/v1",
}  # fmt: skip


def exchange(module: object) -> object:
    return module.binance(
        {"apiKey": config["key"], "secret": config["secret"], "urls": {"api": API}, "enableRateLimit": False,
         "options": {"defaultType": "spot", **config.get("options", {})}}
    )  # fmt: skip


async def got(value: object) -> object:
    return await value if inspect.isawaitable(value) else value


async def whole_round(ex: object) -> dict:
    seen = {}
    seen["markets"] = len(await got(ex.load_markets()))
    seen["usdt"] = (await got(ex.fetch_balance()))["USDT"]["free"]
    limit = await got(ex.create_order("BTC/USDT", "limit", "buy", 0.01, 59000))
    seen["limit"] = limit["status"]
    edited = await got(ex.edit_order(limit["id"], "BTC/USDT", "limit", "buy", 0.01, 58000))
    seen["edited"] = [edited["status"], edited["price"]]
    seen["open"] = len(await got(ex.fetch_open_orders("BTC/USDT")))
    seen["cancelled"] = (await got(ex.cancel_order(edited["id"], "BTC/USDT")))["status"]
    seen["market"] = (await got(ex.create_order("BTC/USDT", "market", "buy", 0.01)))["status"]
    seen["cost"] = (await got(ex.create_market_buy_order_with_cost("BTC/USDT", 100)))["status"]
    stop = await got(ex.create_order("BTC/USDT", "limit", "sell", 0.001, 50000, {"stopLossPrice": 50500}))
    seen["stop"] = (await got(ex.fetch_order(stop["id"], "BTC/USDT")))["type"]
    trailing = await got(
        ex.create_order(
            "BTC/USDT",
            "market",
            "sell",
            0.001,
            None,
            {"trailingPercent": 5, "stopLossOrTakeProfit": "stopLoss"},
        )
    )
    seen["trailing"] = trailing["symbol"]
    seen["all"] = len(await got(ex.cancel_all_orders("BTC/USDT")))
    seen["left"] = len(await got(ex.fetch_open_orders("BTC/USDT")))
    seen["trades"] = len(await got(ex.fetch_my_trades("BTC/USDT")))
    return seen


async def caught(ex: object) -> dict:
    """Say which exception each step raises."""
    steps = {
        "order": lambda: ex.create_order("BTC/USDT", "market", "buy", 0.01),
        "large": lambda: ex.create_order("BTC/USDT", "market", "buy", 5),
        "symbol": lambda: ex.create_order("SOL/USDT", "market", "buy", 1),
        "withdraw": lambda: ex.withdraw("USDT", 5, "0x1234567890", {"network": "PAPER"}),
        "transfer": lambda: ex.transfer("USDT", 5, "spot", "funding"),
        "account": lambda: ex.private_get_account({}),
        "cancel": lambda: ex.cancel_order("999999", "BTC/USDT"),
    }
    seen = {}
    if config["steps"] != ["account"]:  # nothing that loads markets first
        await got(ex.load_markets())
    for name in config["steps"]:
        try:
            await got(steps[name]())
            seen[name] = "passed"
        except Exception as fault:
            seen[name] = type(fault).__name__
    return seen


async def main() -> None:
    ex = exchange(ccxt.async_support if config["mode"] == "async" else ccxt)
    try:
        seen = await (caught(ex) if "steps" in config else whole_round(ex))
    finally:
        if config["mode"] == "async":
            await ex.close()
    print(json.dumps(seen))


asyncio.run(main())
