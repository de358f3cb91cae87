"""Answers that come compressed, long or with blanks are read, and a bot gets what its library understands."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

import clients.paper.server as paper_server
from broker.gate import Mode
from broker.gateway import packed
from broker.gateway.packed import LARGEST_PACKED, LARGEST_UNPACKED
from clients.paper.exchange import PaperExchange
from tests.gateway.world import bots, exchange_bytes, running_world


def _bare(body: bytes) -> bytes:
    packing = zlib.compressobj(wbits=-15)
    return packing.compress(body) + packing.flush()


PACKING = {"gzip": gzip.compress, "deflate": zlib.compress, "deflate, bare": _bare}


@contextmanager
def compressed(monkeypatch: pytest.MonkeyPatch, how: str) -> Iterator[None]:
    real = paper_server._bytes

    def answer(found: Any) -> bytes:
        head, _, body = real(found).partition(b"\r\n\r\n")
        body = PACKING[how](body)
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
        named = how.partition(",")[0].encode()
        lines += [b"Content-Encoding: " + named, b"Content-Length: %d" % len(body)]
        return b"\r\n".join(lines) + b"\r\n\r\n" + body

    with monkeypatch.context() as patch:
        patch.setattr(paper_server, "_bytes", answer)
        yield


@pytest.mark.sockets
@pytest.mark.parametrize("how", PACKING)
async def test_orders_exits_and_reads_at_an_exchange_that_compresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Old code: the exit was executed, and its bot was told 504; facts were not to be had."""
    async with running_world(tmp_path) as world:
        world.account(USDT="10000", BTC="1")
        bot, _ = await bots(world, "bot", "other")
        with compressed(monkeypatch, how):
            assert (await bot.order("BUY", "0.01")).body["status"] == "FILLED"
            assert (await bot.call("GET", "/api/v3/account")).body["canTrade"]
            await world.cut("account:main", mode=Mode.HALT)
            assert (await bot.order("SELL", "0.5")).body["status"] == "FILLED"


def test_what_is_too_large_or_odd_stays_as_it_came_and_says_so() -> None:
    bomb = gzip.compress(bytes(LARGEST_UNPACKED + 1))
    random = bytes(Random(1).randbytes(LARGEST_PACKED))  # noqa: S311 - no secret
    for name, body in (
        (b"gzip", bomb),
        (b"gzip", gzip.compress(random)),
        (b"gzip", b"plain"),
        (b"gzip", gzip.compress(b"x")[:-1]),
        (b"br", b"x"),
        (b"gzip", b""),
    ):
        headers = {b"content-encoding": name}
        assert packed.plain(headers, body) == body
        assert headers == {b"content-encoding": name}
    headers = {b"content-encoding": b" GZIP "}
    assert packed.plain(headers, gzip.compress(b"x" * LARGEST_UNPACKED)) == b"x" * LARGEST_UNPACKED
    assert headers == {}


@pytest.mark.sockets
@pytest.mark.parametrize("count", [1_000, 5_000])
async def test_an_exit_that_meets_many_small_bids_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Old code: the answer was too long to be read, so what was executed was told as 504."""
    real = PaperExchange.answer

    def in_pieces(self: PaperExchange, *asked: Any) -> Any:
        found = real(self, *asked)
        told = found.body if isinstance(found.body, dict) else {}
        told = told.get("data", told).get("newOrderResponse", told)
        if told.get("fills"):
            (fill,) = told["fills"]
            each, fee = (Decimal(fill[name]) / count for name in ("qty", "commission"))
            told["fills"] = [
                fill | {"qty": f"{each:.8f}", "commission": f"{fee:.8f}", "tradeId": 4_900_000_000 + at}
                for at in range(count)
            ]
        return found

    monkeypatch.setattr(PaperExchange, "answer", in_pieces)
    async with running_world(tmp_path) as world:
        world.account(USDT="10000", BTC="2")
        (bot,) = await bots(world)
        answer = await bot.order("SELL", "1", newOrderRespType="FULL")
        assert (answer.status, len(answer.body["fills"])) == (200, count)
        order = await bot.order("SELL", "0.5", type="LIMIT", price="90000", timeInForce="GTC")
        for old, told in ((order.body["orderId"], 200), (404, 409)):
            answer = await bot.call(
                "POST", "/api/v3/order/cancelReplace", symbol="BTCUSDT", side="SELL", type="MARKET", quantity="0.4",
                cancelReplaceMode="ALLOW_FAILURE", cancelOrderId=str(old), newOrderRespType="FULL",
            )  # fmt: skip
            halves = answer.body.get("data", answer.body)
            assert (answer.status, len(halves["newOrderResponse"]["fills"])) == (told, count)
        assert (await bot.order("BUY", "0.001")).status == 200, "nothing of these was in doubt"


@pytest.mark.sockets
@pytest.mark.parametrize(
    "line", ["X-MBX-APIKEY: {key} ", "X-MBX-APIKEY: {key}\t", "Expect: 100-continue ", "Host: 127.0.0.1 "]
)
async def test_blanks_behind_a_value_are_none_of_it(tmp_path: Path, line: str) -> None:
    """Keys from files and environments carry them; old code did not know the key."""
    async with running_world(tmp_path) as world:
        world.account(USDT="10000")
        (bot,) = await bots(world)
        request, sent = bot.signed("GET", "/api/v3/account"), line.format(key=bot.key_id).encode()
        name = sent.partition(b":")[0]
        lines = [one for one in request.split(b"\r\n") if not one.lower().startswith(name.lower() + b":")]
        lines.insert(1, sent)
        assert (await exchange_bytes(world.port, b"\r\n".join(lines))).status == 200
