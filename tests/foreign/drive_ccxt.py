"""Drives ccxt as a bot does, sync or async."""

import asyncio
import importlib
import json
import sys

from drive_steps import CONFIG, PRIVATE_KEY, SECRET, got, rows, take

S = CONFIG["base"]
API = {
    "public": S + "/api/v3", "private": S + "/api/v3", "v1": S + "/api/v1", "sapi": S + "/sapi/v1",
    "sapiV2": S + "/sapi/v2", "sapiV3": S + "/sapi/v3", "sapiV4": S + "/sapi/v4", "fapiPublic": S + "/fapi/v1",
    "fapiPublicV2": S + "/fapi/v2", "fapiPrivate": S + "/fapi/v1", "dapiPublic": S + "/dapi/v1",
    "eapiPublic": S + "/eapi/v1",
}  # fmt: skip
PAIR = "BTC/USDT"


class Driver:
    """One bot. Steps return what a test can compare: no ids, no times."""

    def __init__(self, module) -> None:
        self.ex = module.binance(
            {"apiKey": CONFIG["key"], "secret": SECRET or PRIVATE_KEY.strip(), "urls": {"api": API}, "enableRateLimit": False,
             "options": {"defaultType": "spot", **CONFIG.get("options", {})}}
        )  # fmt: skip
        self.order = None

    async def _new(self, *what):
        self.order = await got(self.ex.create_order(PAIR, *what))
        return [self.order[name] for name in ("type", "side", "status", "amount", "filled")]

    async def load(self):
        return sorted(await got(self.ex.load_markets(True)))

    async def balance(self):
        found = await got(self.ex.fetch_balance())
        return [found["USDT"]["free"], found["BTC"]["free"]]

    async def limit(self):
        return await self._new("limit", "buy", 0.01, 59000)

    async def edit(self):
        old = self.order["id"]
        self.order = await got(self.ex.edit_order(old, PAIR, "limit", "buy", 0.012, 58000))
        return [self.order["id"] != old, self.order["status"], self.order["amount"], self.order["price"]]

    async def fetch(self):
        found = await got(self.ex.fetch_order(self.order["id"], PAIR))
        return [found[name] for name in ("status", "side", "amount", "price", "triggerPrice")]

    async def open(self):
        return rows(await got(self.ex.fetch_open_orders(PAIR)), "side", "amount", "price")

    async def cancel(self):
        return (await got(self.ex.cancel_order(self.order["id"], PAIR)))["status"]

    async def trade_on(self):
        """Place and cancel until the test writes a line; return the rounds, and what failed."""
        print(json.dumps({"step": "wait"}), flush=True)
        over = asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        rounds, failed = 0, []
        while not over.done():
            try:
                order = await got(self.ex.create_order(PAIR, "limit", "buy", 0.001, 50000))
                await got(self.ex.cancel_order(order["id"], PAIR))
            except Exception as fault:
                failed.append(repr(fault))
            rounds += 1
            await asyncio.sleep(0.25)  # the exchange takes 50 orders in 10 seconds
        return [rounds, len(failed), failed[:3]]

    async def market(self):
        return await self._new("market", "buy", 0.01)

    async def cost(self):
        self.order = await got(self.ex.create_market_buy_order_with_cost(PAIR, 90))
        return [self.order["status"], self.order["side"], self.order["cost"] <= 90]

    async def stop(self):
        return await self._new("limit", "sell", 0.001, 50000, {"stopLossPrice": 50500})

    async def trailing(self):
        more = {"trailingPercent": 5, "stopLossOrTakeProfit": "stopLoss"}
        return await self._new("market", "sell", 0.001, None, more)

    async def cancel_all(self):
        return rows(await got(self.ex.cancel_all_orders(PAIR)), "status", "amount")

    async def trades(self):
        return rows(await got(self.ex.fetch_my_trades(PAIR)), "side", "amount")

    async def ticker(self):
        return (await got(self.ex.fetch_ticker(PAIR)))["symbol"]

    async def too_large(self):
        return await self._new("market", "buy", 5)

    async def too_dear(self):
        return await self._new("limit", "buy", 0.01, 70000)

    async def other_symbol(self):
        return (await got(self.ex.create_order("SOL/USDT", "market", "buy", 1)))["status"]

    async def withdraw(self):
        return await got(self.ex.withdraw("USDT", 5, "0x1234567890", {"network": "PAPER"}))

    async def transfer(self):
        return await got(self.ex.transfer("USDT", 5, "spot", "funding"))

    async def cancel_unknown(self):
        return await got(self.ex.cancel_order("999999", PAIR))

    async def fetch_unknown(self):
        return await got(self.ex.fetch_order("999999", PAIR))

    async def wrong_secret(self):
        kept, self.ex.secret = self.ex.secret, "x" * 64
        try:
            return await self.balance()
        finally:
            self.ex.secret = kept

    async def unknown_key(self):
        kept, self.ex.apiKey = self.ex.apiKey, "y" * 64
        try:
            return await self.balance()
        finally:
            self.ex.apiKey = kept

    async def two_minutes_late(self):
        return await self._at(120_000)

    async def two_minutes_early(self):
        return await self._at(-120_000)

    async def _at(self, difference):
        self.ex.options["timeDifference"] = difference
        try:
            return await self._new("market", "buy", 0.01)
        finally:
            self.ex.options["timeDifference"] = 0


async def main() -> None:
    driver = Driver(importlib.import_module("ccxt.async_support" if CONFIG["mode"] == "async" else "ccxt"))
    try:
        await take(driver)
    finally:
        if CONFIG["mode"] == "async":
            await driver.ex.close()


asyncio.run(main())
