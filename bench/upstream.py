"""The venue of the figures: answers Binance's requests at once with ready bytes. One process, uvloop, httptools.

Orders are filled at once; an answer repeats the order's client id and counts order ids, nothing else in it changes.
Every `SAMPLE`th order is checked: it must carry the real key and verify with the real secret. `GET /bench/seen`
tells how many orders came, how many were checked and how many of those were wrong.
"""

import asyncio
import hashlib
import hmac
import json
import sys
import time
from typing import cast

import httptools
import uvloop

from bench.bot import LIMIT, PRICE, QUANTITY, REAL, SYMBOLS

SAMPLE = 16
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json;charset=UTF-8\r\nx-mbx-uuid: 0\r\n"
    b"x-mbx-used-weight-1m: 1\r\nContent-Length: %d\r\n\r\n"
)


def _ready(document: object) -> bytes:
    body = json.dumps(document, separators=(",", ":")).encode()
    return _HEAD % len(body) + body


PRICES = _ready([{"symbol": symbol, "price": PRICE} for symbol in SYMBOLS])
PAIRS = _ready(
    {"symbols": [{"symbol": s, "baseAsset": s.removesuffix("USDT"), "quoteAsset": "USDT"} for s in SYMBOLS]}
)
ACCOUNT = _ready({"balances": [{"asset": s[:-4], "free": "1000000", "locked": "0"} for s in SYMBOLS]})
_ORDER = (
    f',"orderListId":-1,"clientOrderId":"%s","transactTime":1700000000000,"price":"{LIMIT}",'
    f'"origQty":"{QUANTITY}","executedQty":"{QUANTITY}","cummulativeQuoteQty":"24.87500000",'
    '"status":"FILLED","timeInForce":"GTC","type":"LIMIT","side":"BUY","workingTime":1700000000000,'
    f'"selfTradePreventionMode":"NONE","fills":[{{"price":"{LIMIT}","qty":"{QUANTITY}",'
    '"commission":"0.00025","commissionAsset":"BTC","tradeId":1}]}'
).encode()


class Seen:
    """What came."""

    def __init__(self) -> None:
        self.orders = self.checked = self.wrong = 0


class Venue(asyncio.Protocol):
    """One connection."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._parser = httptools.HttpRequestParser(self)
        self._target = self._body = b""
        self._key = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        """See httptools."""
        self._target = self._body = b""

    def on_url(self, url: bytes) -> None:
        """See httptools."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools."""
        if name.lower() == b"x-mbx-apikey":
            self._key = value

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._body += body

    def on_message_complete(self) -> None:
        """See httptools."""
        self._transport.write(self._answer())

    def _answer(self) -> bytes:
        path, _, query = self._target.partition(b"?")
        if path == b"/api/v3/order":
            return self._order(query)
        if path == b"/api/v3/ticker/price":
            return PRICES
        if path == b"/api/v3/exchangeInfo":
            return PAIRS
        if path == b"/api/v3/time":
            return _ready({"serverTime": time.time_ns() // 1_000_000})
        if path == b"/bench/seen":
            seen = self._seen
            return _ready({"orders": seen.orders, "checked": seen.checked, "wrong": seen.wrong})
        return ACCOUNT

    def _order(self, query: bytes) -> bytes:
        seen, body = self._seen, self._body
        seen.orders += 1
        if seen.orders % SAMPLE == 0:
            seen.checked += 1
            seen.wrong += not self._true(query, body)
        name = body.partition(b"newClientOrderId=")[2].partition(b"&")[0]
        symbol = body.partition(b"symbol=")[2].partition(b"&")[0]
        answer = b'{"symbol":"%s","orderId":%d' % (symbol, seen.orders) + _ORDER % name
        return _HEAD % len(answer) + answer

    def _true(self, query: bytes, body: bytes) -> bool:
        """Tell whether the real key signed this, wherever the signature stands."""
        given, signed = b"", []
        for part in (query, body):
            pairs = part.split(b"&") if part else []
            given = next((pair[10:] for pair in pairs if pair.startswith(b"signature=")), given)
            signed.append(b"&".join(pair for pair in pairs if not pair.startswith(b"signature=")))
        right = hmac.digest(REAL.secret.encode(), b"".join(signed), hashlib.sha256).hex().encode()
        return self._key == REAL.key_id.encode() and hmac.compare_digest(right, given)


async def _serve() -> None:
    seen = Seen()
    server = await asyncio.get_running_loop().create_server(lambda: Venue(seen), "127.0.0.1", 0, backlog=512)
    sys.stdout.write(json.dumps({"port": server.sockets[0].getsockname()[1]}) + "\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())
