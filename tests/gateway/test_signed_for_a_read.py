"""Who overhears a read cannot make a cancel of it: a signature covers neither method nor path.

`GET openOrders` and `DELETE openOrders` are the same signed text, and so are `GET order` and `DELETE order`.
"""

from pathlib import Path

import pytest

from broker.gateway.replay import MOST, Entry, ReplayGuard
from tests.gateway.world import Bot, bots, exchange_bytes, running_world

S = 1_000_000
GRID = {"type": "LIMIT", "timeInForce": "GTC", "price": "49000", "newClientOrderId": "grid-1"}
ORDER, ALL = "/api/v3/order", "/api/v3/openOrders"


def as_delete(raw: bytes, read: str, write: str) -> bytes:
    """Return the same signed text with another method, and on another path."""
    return raw.replace(b"GET ", b"DELETE ", 1).replace(read.encode() + b"?", write.encode() + b"?", 1)


async def open_orders(bot: Bot) -> int:
    found = await bot.call("GET", ALL, symbol="BTCUSDT")
    assert found.status == 200
    return len(found.body)


@pytest.mark.parametrize("moved", [False, True], ids=["query", "body"])
@pytest.mark.parametrize(
    ("read", "write", "params"),
    [
        (ALL, ALL, {}),
        ("/api/v3/allOrders", ALL, {}),
        ("/api/v3/myTrades", ALL, {}),
        (ORDER, ORDER, {"origClientOrderId": "grid-1"}),
        (ORDER, ORDER, {"orderId": "?"}),
        ("/api/v3/allOrders", ORDER, {"orderId": "?"}),
    ],
)
async def test_a_read_is_no_cancel(
    tmp_path: Path, read: str, write: str, params: dict[str, str], *, moved: bool
) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        (bot,) = await bots(world)
        placed = await bot.order("BUY", "0.001", **GRID)
        assert placed.status == 200
        named = {
            name: str(placed.body["orderId"]) if value == "?" else value for name, value in params.items()
        }
        raw = bot.signed("GET", read, symbol="BTCUSDT", **named)
        for _ in range(2):  # a read may come as often as it likes
            assert (await exchange_bytes(bot.port, raw)).status == 200
        theft = as_delete(raw, read, write)
        if moved:
            text = theft.partition(b"?")[2].partition(b" ")[0].decode()
            theft = bot.plain("DELETE", write, text, body=True)
        got = await exchange_bytes(bot.port, theft)
        assert (got.status, got.code, got.reason) == (400, -1021, "signed_for_a_read")
        assert await open_orders(bot) == 1
        signed_anew = bot.signed("DELETE", write, symbol="BTCUSDT", **named)
        assert (await exchange_bytes(bot.port, signed_anew)).status == 200
        assert await open_orders(bot) == 0


async def test_a_read_that_never_left_is_no_cancel_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was refused here: who sees it on its way has the text all the same."""
    async with running_world(tmp_path) as world:
        world.account()
        (bot,) = await bots(world)
        assert (await bot.order("BUY", "0.001", **GRID)).status == 200
        raw = bot.signed("GET", ALL, symbol="BTCUSDT")
        with monkeypatch.context() as patch:
            patch.setattr(world.gateway.forwarder, "_line", lambda *_: None)
            assert (await exchange_bytes(bot.port, raw)).status == 503
        got = await exchange_bytes(bot.port, as_delete(raw, ALL, ALL))
        assert (got.status, got.reason) == (400, "signed_for_a_read")
        assert (await bot.call("DELETE", ALL, symbol="BTCUSDT")).status == 200


def test_reads_push_no_write_out() -> None:
    guard, write = ReplayGuard(0), Entry(5 * S, -7)
    guard.remember(write, 5 * S, 5 * S)
    for hashed in range(MOST + 1):
        whose = str(hashed // 60 % 20)  # more than a page of one grant's is refused
        assert guard.read(Entry((hashed % 60) * S, hashed, whose), 5 * S, (hashed % 60) * S)
    for number in range(20):
        guard.read(Entry((100 + number) * S, number), 5 * S, (100 + number) * S)
    assert guard.passed(write)
    assert not guard.was_read(write)
    assert guard.was_read(Entry(119 * S, 19))
