"""Drives binance-connector; prints one line of JSON."""

import json
import sys

from binance.spot import Spot

config = json.loads(sys.argv[1])
client = Spot(api_key=config["key"], api_secret=config["secret"], base_url=config["base"])
held = {row["asset"]: row["free"] for row in client.account()["balances"]}
seen = {"usdt": held["USDT"]}
placed = client.new_order(
    symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.01", price="59000"
)
seen["limit"] = placed["status"]
seen["query"] = client.get_order("BTCUSDT", orderId=placed["orderId"])["status"]
seen["open"] = len(client.get_open_orders("BTCUSDT"))
seen["cancel"] = client.cancel_order("BTCUSDT", orderId=placed["orderId"])["status"]
seen["market"] = client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.01")["status"]
seen["trades"] = len(client.my_trades("BTCUSDT"))
print(json.dumps(seen))
