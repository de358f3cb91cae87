"""Drives python-binance."""

from binance.client import Client
from drive_steps import CONFIG, PRIVATE_KEY, SECRET, drive

BTC = {"symbol": "BTCUSDT"}


class Driver:
    def __init__(self) -> None:
        self.client = Client(CONFIG["key"], SECRET, private_key=PRIVATE_KEY, ping=False)
        self.client.API_URL = CONFIG["base"] + "/api"
        self.client.MARGIN_API_URL = CONFIG["base"] + "/sapi"
        self.number = None

    def account(self):
        return sorted([row["asset"], float(row["free"])] for row in self.client.get_account()["balances"])

    def limit(self):
        placed = self.client.order_limit_buy(**BTC, quantity="0.01", price="59000")
        self.number = placed["orderId"]
        return placed["status"]

    def query(self):
        return self.client.get_order(**BTC, orderId=self.number)["status"]

    def open(self):
        return [row["orderId"] == self.number for row in self.client.get_open_orders(**BTC)]

    def cancel(self):
        return self.client.cancel_order(**BTC, orderId=self.number)["status"]

    def market(self):
        return self.client.order_market_buy(**BTC, quantity="0.01")["status"]

    def trades(self):
        return [[row["isBuyer"], float(row["qty"])] for row in self.client.get_my_trades(**BTC)]

    def too_large(self):
        return self.client.order_market_buy(**BTC, quantity="5")

    def withdraw(self):
        return self.client.withdraw(coin="USDT", address="0x1234567890", amount=5)


drive(Driver())
