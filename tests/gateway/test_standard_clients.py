"""What standard clients send is served: offers to upgrade, expectations, time units, other scripts, early signatures."""

import asyncio
import hashlib
import hmac
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote

import pytest

from clients.paper.symbols import Symbol
from clients.venues.binance import codes
from clients.wire import RefusalKind
from tests.gateway.world import Answer, Bot, World, exchange_bytes, running_world

OFFERS = {
    "Java's": "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n",
    "Apache's": "Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n",
    "several": "Upgrade: h2c, TLS/1.3\r\nConnection: keep-alive, upgrade\r\n",
    "in other case": "CONNECTION: UPGRADE\r\nUPGRADE: H2C\r\n",
    "half of one": "Upgrade: h2c\r\n",
    "the other half": "Connection: Upgrade\r\n",
    "unknown": "Connection: Upgrade\r\nUpgrade: foo/7\r\n",
}
ORDER = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.003"}


def offering(data: bytes, headers: str) -> bytes:
    return data.replace(b"\r\nHost:", b"\r\n" + headers.encode() + b"Host:", 1)


async def answers(port: int, pieces: list[bytes], count: int) -> list[int]:
    """Write in pieces, read so many answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = []
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        async with asyncio.timeout(60):
            while len(found) < count:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                found.append(int(head[9:12]))
                if "content-length: " in head:
                    await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
    finally:
        writer.close()
    return found


@pytest.mark.parametrize("name", list(OFFERS))
async def test_an_offer_to_upgrade_is_ignored_and_the_body_stays_whole(tmp_path: Path, name: str) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        await bot.ready()
        offer = OFFERS[name]

        def order() -> bytes:
            return offering(bot.signed("POST", "/api/v3/order", body=True, **ORDER), offer)

        read = offering(bot.signed("GET", "/api/v3/account"), offer)
        plain = bot.signed("POST", "/api/v3/order", body=True, **ORDER)
        assert await answers(world.port, [order() + read + plain + order()], 4) == [200] * 4
        assert await answers(world.port, [read, order()], 2) == [200] * 2
        assert bought(world) == [Decimal("0.003")] * 4


def bought(world: World) -> list[Decimal]:
    return [Decimal(one["params"]["quantity"]) for one in world.executed() if "quantity" in one["params"]]


@pytest.mark.parametrize("size", [1, 3, 50])
async def test_an_offer_in_pieces_reads_as_one(tmp_path: Path, size: int) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        await bot.ready()
        data = offering(bot.signed("POST", "/api/v3/order", body=True, **ORDER), OFFERS["Java's"])
        data += (
            bot.signed("DELETE", "/api/v3/openOrders", symbol="BTCUSDT")
            + b"GET /x/y HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        )
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert (await answers(world.port, pieces, 3))[0::2] == [200, 404]
        assert len(world.executed()) >= 1


@pytest.mark.parametrize("name", list(OFFERS))
async def test_the_paper_exchange_ignores_offers_too(tmp_path: Path, name: str) -> None:
    """A client that is tried against it without a gateway meets the venue's manners."""
    async with running_world(tmp_path) as world:
        email = world.paper.account("direct@paper.test", USDT="100000")
        key = world.paper.key(email)
        assert key.secret is not None
        direct = Bot(world.paper.server.port, key.key_id, key.secret.reveal())
        data = direct.signed("POST", "/api/v3/order", body=True, **ORDER).replace(b" /binance", b" ", 1)
        more = direct.signed("GET", "/api/v3/account").replace(b" /binance", b" ", 1)
        offered = offering(data, OFFERS[name]) + more
        assert await answers(
            world.paper.server.port, [offered[:80], offered[80:-120], offered[-120:]], 2
        ) == [200, 200]
        assert bought(world) == [Decimal("0.003")]


async def test_a_websocket_is_refused_and_told_why(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        data = b"GET /binance/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n"
        answer = await exchange_bytes(world.port, data)
        assert (answer.status, answer.reason) == (400, "websocket")
        assert "WebSocket" in answer.body["msg"]


async def test_a_body_that_waits_to_be_asked_for_is_asked_for(tmp_path: Path) -> None:
    """`Expect: 100-continue`, as curl and old .NET clients send it with an order."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await bot.ready()
        data = offering(bot.signed("POST", "/api/v3/order", body=True, **ORDER), "Expect: 100-continue\r\n")
        head, _, body = data.partition(b"\r\n\r\n")
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(head + b"\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.close()
        whole = offering(bot.signed("POST", "/api/v3/order", body=True, **ORDER), "Expect: 100-Continue\r\n")
        assert (await exchange_bytes(world.port, whole)).status == 200
        assert len(world.executed()) == 2


HEADS = {
    "User-Agent in two spellings": "User-Agent: a\r\nuser-agent: b\r\n",
    "X-Forwarded-For twice": "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 127.0.0.1\r\n",
    "Via twice": "Via: 1.1 a\r\nVia: 1.1 b\r\n",
    "Connection twice": "Connection: keep-alive\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n",
    "Accept twice": "Accept: application/json\r\nAccept: */*\r\n",
    "Cookie twice": "Cookie: a=1\r\nCookie: b=2\r\n",
    "baggage twice": "baggage: a=1\r\nbaggage: b=2\r\n",
    "Content-Type twice": "Content-Type: application/json\r\nContent-Type: application/x-www-form-urlencoded\r\n",
    "an underscore": "x_request_id: 1\r\n",
    "latin-1": "X-Bot: m\u00fcller\r\n",
    "a tab": "X-Bot: a\tb\r\n",
    "an expectation of nothing": "Expect:\r\n",
    "a body that is not packed": "Content-Encoding: identity\r\n",
    "all of it": "Via: a\r\nVia: b\r\nx_y: \u00fc\r\nConnection: keep-alive\r\nConnection: te\r\n",
}


async def test_headers_that_decide_nothing_keep_no_order_and_no_cancel_back(tmp_path: Path) -> None:
    """Libraries and proxies send them twice, or in their own alphabet; none of them is forwarded."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        await bot.ready()
        rests = {"type": "LIMIT", "timeInForce": "GTC", "price": "59000", "quantity": "0.01"}
        for name, head in HEADS.items():
            for data in (
                bot.signed("POST", "/api/v3/order", body=True, **(ORDER | rests)),
                bot.signed("DELETE", "/api/v3/openOrders", symbol="BTCUSDT"),
            ):
                sent = data.replace(b"\r\nHost:", b"\r\n" + head.encode("latin-1") + b"Host:", 1)
                answer = await exchange_bytes(world.port, sent)
                assert answer.status == 200, (name, answer)
        assert len(bought(world)) == len(HEADS)


async def test_a_second_connection_header_is_heeded(tmp_path: Path) -> None:
    """It is a list, in however many lines: who says `close` in any of them is closed."""
    async with running_world(tmp_path) as world:
        data = b"GET /x/y HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: te\r\nConnection: close\r\n\r\n"
        answer = await exchange_bytes(world.port, data)
        assert (answer.status, answer.headers["connection"]) == (404, "close")


@pytest.mark.parametrize("unit", ["MICROSECOND", "microsecond", "MILLISECOND", "Microsecond"])
@pytest.mark.parametrize("header", ["X-MBX-TIME-UNIT", "x-mbx-time-unit"])
async def test_the_time_unit_passes_on_every_way(tmp_path: Path, header: str, unit: str) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await bot.ready()
        for data in (
            bot.plain("GET", "/api/v3/time"),
            bot.signed("GET", "/api/v3/account"),
            bot.signed("POST", "/api/v3/order", body=True, **ORDER),
        ):
            answer = await exchange_bytes(world.port, offering(data, f"{header}: {unit}\r\n"))
            assert answer.status == 200, answer
            assert seen_units(world)[-1] == unit.upper()
        assert (await bot.order()).status == 200
        assert seen_units(world)[-1] is None


def seen_units(world: World) -> list[str | None]:
    return [row.get("time_unit") for row in world.paper.exchange.requests]


@pytest.mark.parametrize("unit", ["NANOSECOND", "", "MICROSECOND, MILLISECOND", "1"])
async def test_a_time_unit_that_nobody_knows_is_refused_and_never_dropped(tmp_path: Path, unit: str) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await bot.ready()
        assert (await bot.order()).status == 200
        for data in (
            bot.plain("GET", "/api/v3/time"),
            bot.signed("POST", "/api/v3/order", body=True, **ORDER),
        ):
            answer = await exchange_bytes(world.port, offering(data, f"X-MBX-TIME-UNIT: {unit}\r\n"))
            assert (answer.status, answer.code, answer.reason) == (400, -1100, "time_unit")
            assert "X-MBX-TIME-UNIT" in answer.body["msg"]
        assert len(world.executed()) == 1


FOREIGN = "币安人生USDT"
FOREIGN_POLICY = f"""
allow = ["market", "account", "trade"]
symbols = ["BTCUSDT", "{FOREIGN}"]
[order]
max_notional = "1000"
[day]
max_notional = "10000"
"""


def listed(world: World) -> None:
    price, tick, step, least = (Decimal(text) for text in ("0.2", "0.0001", "1", "5"))
    world.paper.exchange.symbols[FOREIGN] = Symbol(FOREIGN, "币安人生", "USDT", price, tick, step, least)


def early(bot: Bot, method: str, path: str, **values: str) -> bytes:
    """Sign the text before it is encoded, as some clients do."""
    pairs = values | {"timestamp": str(bot._instant())}
    plain = "&".join(f"{name}={value}" for name, value in pairs.items())
    wire = "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs.items())
    signature = hmac.new(bot.secret.encode(), plain.encode(), hashlib.sha256).hexdigest()
    return bot.plain(method, path, f"{wire}&signature={signature}", body=method == "POST")


async def test_a_pair_in_another_script_trades_and_is_listed_in_a_policy(tmp_path: Path) -> None:
    """Bought, sold, cancelled and asked about: by clients that sign after encoding, and before."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        listed(world)
        bot = world.bot(policy=FOREIGN_POLICY)
        await bot.ready()
        values = {"symbol": FOREIGN, "side": "BUY", "type": "MARKET", "quantity": "100"}
        bought = await bot.call("POST", "/api/v3/order", body=True, **values)
        assert bought.status == 200, bought
        again = await exchange_bytes(world.port, early(bot, "POST", "/api/v3/order", **values))
        assert again.status == 200, again
        sold = await bot.call("POST", "/api/v3/order", **(values | {"side": "SELL"}))
        assert sold.status == 200, sold
        resting = values | {"type": "LIMIT", "timeInForce": "GTC", "price": "0.195"}
        placed = await bot.call("POST", "/api/v3/order", body=True, **resting)
        assert placed.status == 200, placed
        number = str(placed.body["orderId"])
        seen = await exchange_bytes(
            world.port, early(bot, "GET", "/api/v3/order", symbol=FOREIGN, orderId=number)
        )
        assert seen.body["symbol"] == FOREIGN
        cancelled = await exchange_bytes(
            world.port, early(bot, "DELETE", "/api/v3/order", symbol=FOREIGN, orderId=number)
        )
        assert cancelled.status == 200, cancelled
        prices = await bot.public("/api/v3/ticker/price", "symbols=" + quote(f'["BTCUSDT","{FOREIGN}"]'))
        assert {row["symbol"] for row in prices.body} == {"BTCUSDT", FOREIGN}
        assert {entry["params"]["symbol"] for entry in world.executed()} == {FOREIGN}


async def test_a_pair_in_another_script_that_is_not_listed_is_refused_by_its_name(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        listed(world)
        bot = world.bot()
        await bot.ready()
        answer = await bot.call(
            "POST", "/api/v3/order", symbol=FOREIGN, side="BUY", type="MARKET", quantity="100"
        )
        assert (answer.status, answer.code) == (400, -1121)
        assert world.executed() == []


REFUSED = [
    ("", {"colour": "red"}, -1104, ("colour",)),
    ("", {"quantity": "1e3"}, -1100, ("quantity",)),
    ("", {"side": "buy"}, -1100, ("side",)),
    ("", {"side": ""}, -1102, ("side",)),
    ("", {"newClientOrderId": ""}, -1105, ("newClientOrderId",)),
    ("&price=1&price=2", {}, -1101, ("price",)),
    ("&newClientOrderId=a+b", {}, -1100, ("newClientOrderId", "%20")),
    ("&newClientOrderId=a;b", {}, -1100, ("newClientOrderId", "%3B")),
    ("&newClientOrderId=%4", {}, -1100, ("newClientOrderId", "hex")),
    ("&newClientOrderId=%41", {}, -1100, ("newClientOrderId", "unescaped")),
    ("&newClientOrderId=%ff", {}, -1100, ("newClientOrderId", "UTF-8")),
    ("&newClientOrderId", {}, -1100, ("newClientOrderId", "'='")),
    ("&&price=1", {}, -1100, ("'&'",)),
    ("&{}", {}, -1100, ("JSON",)),
    ("&recvWindow=70000", {}, -1131, ("60000",)),
    ("&recvWindow=10000000", {}, -1131, ("60000",)),
    ("&recvWindow=99999999999999999999", {}, -1131, ("60000",)),
]


@pytest.mark.parametrize(("tail", "change", "code", "words"), REFUSED)
async def test_a_refusal_of_form_names_its_cause(
    tmp_path: Path, tail: str, change: dict[str, str], code: int, words: tuple[str, ...]
) -> None:
    """In the message that a bot's user reads: the parameter, what is wrong with it, and what to do."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await bot.ready()
        pairs = ORDER | change | {"timestamp": str(bot._instant())}
        text = "&".join(f"{name}={value}" for name, value in pairs.items()) + tail
        signature = hmac.new(bot.secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        data = bot.plain("POST", "/api/v3/order", f"{text}&signature={signature}", body=True)
        answer = await exchange_bytes(world.port, data)
        assert (answer.status, answer.code) == (400, code), answer
        assert all(word in answer.body["msg"] for word in words), answer
        assert world.executed() == []


async def test_heads_that_are_refused_say_why_too(tmp_path: Path) -> None:
    cases = {
        b"GET /binance/api/v3/ping HTTP/1.1\r\n\r\n": "Host",
        b"GET /binance/api/v3/ping HTTP/1.1\r\nHost: evil.test\r\n\r\n": "--allowed-host",
        b"GET /nowhere/api HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n": "/binance",
        b"POST /binance/api/v3/order HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n": "Content-Length",
        b"PATCH /binance/api/v3/order HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n": "POST",
    }
    async with running_world(tmp_path) as world:
        for data, word in cases.items():
            answer = await exchange_bytes(world.port, data)
            assert word in answer.body["msg"], answer


async def test_a_cut_says_so_where_a_bots_user_reads(tmp_path: Path) -> None:
    """Class and code stay those that libraries take for final; the text says who did it and what ends it."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await bot.ready()
        assert (await bot.order()).status == 200
        await world.cut("consumer:bot")
        answers: list[Answer] = [
            await bot.order(),
            await bot.call("GET", "/api/v3/account"),
            await bot.public("/api/v3/time"),
        ]
        for answer in answers:
            assert (answer.status, answer.code, answer.reason) == (401, -2014, "cut")
            assert "Cut off by Portcullis" in answer.body["msg"]
            assert "thaw" in answer.body["msg"]


def test_every_reason_of_a_form_has_words_of_its_own() -> None:
    """None falls back to a sentence about a parameter that was not sent."""
    default = codes._MALFORMED_DEFAULT[1]
    reasons = set(codes._MALFORMED) - {"missing"}
    for reason in reasons:
        body = codes.refuse(RefusalKind.MALFORMED, f"{reason}:symbol").body.decode()
        assert default.format("symbol") not in body
        assert len(body) < 260
