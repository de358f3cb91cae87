"""What bots send: limit orders of Binance spot as ccxt writes them, signed before they are needed. Pure."""

import hashlib
import hmac
import time
from dataclasses import dataclass

SYMBOLS = (
    "BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT",
    "ADAUSDT", "DOGEUSDT", "LTCUSDT", "LINKUSDT", "AVAXUSDT",
)  # fmt: skip
PRICE = "100.00000000"
LIMIT = "99.50"
QUANTITY = "0.25"
ORDER_PATH = "/api/v3/order"


@dataclass(frozen=True, slots=True)
class Key:
    """A key pair of an exchange, real or virtual."""

    key_id: str
    secret: str


REAL = Key("R" * 64, "s" * 64)
"""The real key: the upstream knows it, and whatever re-signs."""


class Writer:
    """Writes orders of one key, each under an id of its own."""

    def __init__(self, key: Key, path: str, run: str, place: str) -> None:
        """Prepare what all orders share.

        Args:
            key: Signs.
            path: Full path of the order endpoint, mount included.
            run: Distinguishes this run's client order ids.
            place: Where the signature goes: `body`, as ccxt does it, or `query`, beside a body that it covers.
        """
        self._key, self._path, self._run, self._place = key, path, run, place
        self._secret = key.secret.encode()
        self._tail = (
            f" HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: python-requests/2.32.3\r\n"
            f"Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n"
            f"X-MBX-APIKEY: {key.key_id}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        )

    def order(self, number: int) -> bytes:
        """Return one order as it goes out, timed now."""
        side = "BUY" if number % 2 else "SELL"
        text = (
            f"timestamp={time.time_ns() // 1_000_000}&symbol={SYMBOLS[number % len(SYMBOLS)]}&side={side}"
            f"&newClientOrderId=x-TKT5PX2F{self._run}{number:010d}&newOrderRespType=FULL&type=LIMIT"
            f"&quantity={QUANTITY}&price={LIMIT}&timeInForce=GTC&recvWindow=10000"
        )
        sealed = hmac.digest(self._secret, text.encode(), hashlib.sha256).hex()
        target = self._path
        if self._place == "query":
            target += f"?signature={sealed}"
        else:
            text += f"&signature={sealed}"
        return f"POST {target}{self._tail}Content-Length: {len(text)}\r\n\r\n{text}".encode()
