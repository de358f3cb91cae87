"""Drives binance-connector."""

from binance.spot import Spot
from drive_steps import CONFIG, PRIVATE_KEY, SECRET, drive

BTC = {"symbol": "BTCUSDT"}


class Driver:
    def __init__(self) -> None:
        self.client = Spot(CONFIG["key"], SECRET, base_url=CONFIG["base"], private_key=PRIVATE_KEY)
        self.number = None

    def account(self):
        return sorted([row["asset"], float(row["free"])] for row in self.client.account()["balances"])

    def limit(self):
        more = {"type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "59000"}
        placed = self.client.new_order(**BTC, side="BUY", **more)
        self.number = placed["orderId"]
        return placed["status"]

    def query(self):
        return self.client.get_order(**BTC, orderId=self.number)["status"]

    def open(self):
        return [row["orderId"] == self.number for row in self.client.get_open_orders(**BTC)]

    def cancel(self):
        return self.client.cancel_order(**BTC, orderId=self.number)["status"]

    def market(self):
        return self._market("0.01")["status"]

    def trades(self):
        return [[row["isBuyer"], float(row["qty"])] for row in self.client.my_trades(**BTC)]

    def too_large(self):
        return self._market("5")

    def _market(self, quantity):
        return self.client.new_order(**BTC, side="BUY", type="MARKET", quantity=quantity)

    def withdraw(self):
        return self.client.withdraw(coin="USDT", address="0x1234567890", amount=5)


drive(Driver())
