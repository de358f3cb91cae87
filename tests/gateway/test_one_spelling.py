"""A signed write passes once, however it is spelt the second time; and every spelling is read as one request."""

import asyncio
import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.world import Answer, Bot, World, exchange_bytes, running_world

ORDER = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.001&price=60000&newClientOrderId=a:b/c"


def signature(bot: Bot, text: str) -> str:
    return hmac.new(bot.secret.encode(), text.encode(), hashlib.sha256).hexdigest()


async def send(world: World, bot: Bot, method: str, path: str, query: str, body: str, *more: str) -> Answer:
    lines = [f"{method} {path}{'?' if query else ''}{query} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"X-MBX-APIKEY: {bot.key_id}", f"Content-Length: {len(body)}", *more, "", body]
    return await exchange_bytes(world.port, "\r\n".join(lines).encode())


def spellings(text: str, sign: str) -> dict[str, tuple[str, ...]]:
    """Return other ways to present one signed order: method, path, query, body, headers."""
    path, signed = "/binance/api/v3/order", f"{text}&signature={sign}"
    head, _, tail = text.partition("&price=")
    return {
        "the same": ("POST", path, "", signed),
        "double slash": ("POST", "/binance//api/v3/order", "", signed),
        "in the query": ("POST", path, signed, ""),
        "double slash, in the query": ("POST", "/binance//api/v3/order", signed, ""),
        "signature in the query": ("POST", path, f"signature={sign}", text),
        "signature in the body": ("POST", path, text, f"signature={sign}"),
        "signature first": ("POST", path, f"signature={sign}&{text}", ""),
        "upper case signature": ("POST", path, "", f"{text}&signature={sign.upper()}"),
        "escaped client id": ("POST", path, "", signed.replace("a:b/c", "a%3Ab%2Fc")),
        "escaped in lower case": ("POST", path, "", signed.replace("a:b/c", "a%3ab/c")),
        "another endpoint": ("POST", "/binance/api/v3/order/test", "", signed),
        "key header spelt otherwise": ("POST", path, "", signed, "x-other: 1"),
        "split elsewhere": ("POST", path, head, f"&price={tail}&signature={sign}"),
        "three slashes": ("POST", "/binance///api/v3/order", "", signed),
        "inner double slash": ("POST", "/binance/api//v3/order", "", signed),
        "slash at the end": ("POST", path + "/", "", signed),
        "upper case path": ("POST", "/binance/API/v3/order", "", signed),
        "escaped path": ("POST", "/binance/%61pi/v3/order", "", signed),
        "upper case mount": ("POST", "/Binance/api/v3/order", "", signed),
        "overridden method": ("GET", path, signed, "", "X-HTTP-Method-Override: POST"),
    }


@pytest.mark.parametrize("name", list(spellings("a&price=b", "c")))
async def test_a_signed_order_passes_once_however_it_is_spelt_again(tmp_path: Path, name: str) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        text = f"{ORDER}&timestamp={bot._instant()}"
        sign = signature(bot, text)
        first = await send(world, bot, "POST", "/binance/api/v3/order", "", f"{text}&signature={sign}")
        assert first.status == 200, first
        again = await send(world, bot, *spellings(text, sign)[name])
        assert (again.status, again.reason) == (504, "replay") or 400 <= again.status < 500, again
        assert len(world.executed()) == 1


@pytest.mark.parametrize(
    "name", ["double slash", "in the query", "signature in the query", "signature first", "escaped client id"]
)
async def test_it_passes_once_too_where_the_odd_spelling_comes_first(tmp_path: Path, name: str) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        text = f"{ORDER}&timestamp={bot._instant()}"
        sign = signature(bot, text)
        first = await send(world, bot, *spellings(text, sign)[name])
        assert first.status == 200, first
        again = await send(world, bot, "POST", "/binance/api/v3/order", "", f"{text}&signature={sign}")
        assert (again.status, again.reason) == (504, "replay")
        assert len(world.executed()) == 1


async def test_the_same_order_sent_many_times_at_once_passes_once(tmp_path: Path) -> None:
    """The first orders of a pair wait for its facts together; what one judged before that wait is judged anew."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        text = f"{ORDER}&timestamp={bot._instant()}"
        ways = spellings(text, signature(bot, text))
        names = ["the same", "the same", "double slash", "in the query", "signature first", "the same"]
        answers = await asyncio.gather(*(send(world, bot, *ways[name]) for name in names))
        assert sorted(answer.status for answer in answers) == [200, 504, 504, 504, 504, 504]
        assert {answer.reason for answer in answers if answer.status != 200} == {"replay"}
        assert len(world.executed()) == 1


async def test_a_double_slash_is_one_path_for_table_policy_and_venue(tmp_path: Path) -> None:
    """A base URL that ends in a slash makes it; what leaves has one."""
    async with running_world(tmp_path) as world:
        world.account()
        policy = 'allow = ["market"]\nsymbols = ["BTCUSDT"]\nextra_reads = ["/sapi/v1/nothing/known"]'
        bot = world.bot(policy=policy)
        before = len(world.asked())
        for path in ("/binance//sapi/v1/nothing/known", "/binance//api/v3/avgPrice"):
            text = f"timestamp={bot._instant()}" if "sapi" in path else ""
            query = f"{text}&signature={signature(bot, text)}" if text else "symbol=BTCUSDT"
            answer = await send(world, bot, "GET", path, query, "")
            assert answer.reason is None, answer
        seen: list[dict[str, Any]] = world.asked()[before:]
        assert [row["path"] for row in seen if "//" in row["path"]] == []
        assert {"/sapi/v1/nothing/known", "/api/v3/avgPrice"} <= {row["path"] for row in seen}
