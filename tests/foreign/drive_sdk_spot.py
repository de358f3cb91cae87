"""Drives Binance's own SDK, binance-sdk-spot. It has no withdrawals: those are in another package."""

from binance_common.configuration import ConfigurationRestAPI
from binance_sdk_spot.spot import Spot
from drive_steps import CONFIG, PRIVATE_KEY, SECRET, drive

BTC = {"symbol": "BTCUSDT"}


class Driver:
    def __init__(self) -> None:
        where = ConfigurationRestAPI(
            api_key=CONFIG["key"], api_secret=SECRET, base_path=CONFIG["base"],
            private_key=PRIVATE_KEY,
        )  # fmt: skip
        self.rest = Spot(config_rest_api=where).rest_api
        self.number = None

    def account(self):
        return sorted([row.asset, float(row.free)] for row in self.rest.get_account().data().balances)

    def limit(self):
        more = {"type": "LIMIT", "time_in_force": "GTC", "quantity": 0.01, "price": 59000.0}
        placed = self.rest.new_order(**BTC, side="BUY", **more).data()
        self.number = placed.order_id
        return placed.status

    def query(self):
        return self.rest.get_order(**BTC, order_id=self.number).data().status

    def open(self):
        return [row.order_id == self.number for row in self.rest.get_open_orders(**BTC).data()]

    def cancel(self):
        return self.rest.delete_order(**BTC, order_id=self.number).data().status

    def market(self):
        return self._market(0.01).status

    def trades(self):
        return [[row.is_buyer, float(row.qty)] for row in self.rest.my_trades(**BTC).data()]

    def too_large(self):
        return self._market(5.0).status

    def _market(self, quantity):
        return self.rest.new_order(**BTC, side="BUY", type="MARKET", quantity=quantity).data()


drive(Driver())
