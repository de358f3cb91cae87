"""Drives Binance's own SDK, binance-sdk-spot; prints one line of JSON."""

import json
import sys

from binance_common.configuration import ConfigurationRestAPI
from binance_sdk_spot.spot import Spot

config = json.loads(sys.argv[1])
rest = Spot(
    config_rest_api=ConfigurationRestAPI(
        api_key=config["key"], api_secret=config["secret"], base_path=config["base"]
    )
).rest_api
held = {row.asset: row.free for row in rest.get_account(omit_zero_balances=True).data().balances}
seen = {"usdt": held["USDT"]}
placed = rest.new_order(
    symbol="BTCUSDT", side="BUY", type="LIMIT", time_in_force="GTC", quantity=0.01, price=59000.0
).data()
seen["limit"] = placed.status
seen["query"] = rest.get_order(symbol="BTCUSDT", order_id=placed.order_id).data().status
seen["open"] = len(rest.get_open_orders(symbol="BTCUSDT").data())
seen["cancel"] = rest.delete_order(symbol="BTCUSDT", order_id=placed.order_id).data().status
seen["market"] = rest.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity=0.01).data().status
seen["trades"] = len(rest.my_trades(symbol="BTCUSDT").data())
print(json.dumps(seen))
