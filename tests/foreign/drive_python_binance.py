"""Drives python-binance; prints one line of JSON."""

import json
import sys

from binance.client import Client

config = json.loads(sys.argv[1])
Client.API_URL = config["base"] + "/api"
Client.MARGIN_API_URL = config["base"] + "/sapi"
client = Client(config["key"], config["secret"], private_key=config.get("private_key"), ping=False)
client.API_URL, client.MARGIN_API_URL = Client.API_URL, Client.MARGIN_API_URL
seen = {"usdt": client.get_asset_balance("USDT")["free"], "time": client.get_server_time()["serverTime"] > 0}
placed = client.order_limit_buy(symbol="BTCUSDT", quantity="0.01", price="59000")
seen["limit"] = placed["status"]
seen["query"] = client.get_order(symbol="BTCUSDT", orderId=placed["orderId"])["status"]
seen["open"] = len(client.get_open_orders(symbol="BTCUSDT"))
seen["cancel"] = client.cancel_order(symbol="BTCUSDT", orderId=placed["orderId"])["status"]
seen["market"] = client.order_market_buy(symbol="BTCUSDT", quantity="0.01")["status"]
seen["trades"] = len(client.get_my_trades(symbol="BTCUSDT"))
print(json.dumps(seen))
