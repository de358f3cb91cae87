"""A line that the log store cannot hold costs itself and no other: what came with it and behind it is kept."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from broker.calllog import Ask, write_line
from broker.db import calls as call_store
from clients.venues.binance import answers, grammar
from tests.gateway.world import World, bots, running_world

SMALL = {"quantity": "0.001"}
ASK = Ask(
    1, 5, "grt", "bot", "main", "main/trade/1", "POST", "order.place", "place", "BTCUSDT", "BUY", "60",
    ("mine",), None, "allow", None, 0, (), "127.0.0.1:1", False, (("mine", "BUY", "1", "60", True),), (1, 2),
)  # fmt: skip


async def until(fits: Callable[[], bool]) -> None:
    """Look again and again, for as long as a busy machine may need."""
    async with asyncio.timeout(60):
        while not fits():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)


def logged(world: World) -> list[Any]:
    with world.service.desk.database.log.read() as connection:
        return call_store.page(connection, (2**62, "~", 2**62), 10_000, {})


@pytest.mark.parametrize("length", [20, 40, 41, 50])
async def test_no_symbol_that_a_bot_may_send_stops_the_log(tmp_path: Path, kind: str, length: int) -> None:
    """PostgreSQL refuses what is longer than its column, and with it every line that is written beside it."""
    del kind
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        (bot,) = await bots(world)
        assert (await bot.order(symbol="币" * length, **SMALL)).status != 200
        assert (await bot.order(newClientOrderId="after", **SMALL)).status == 200
        await until(lambda: not world.gateway.spool.waiting)
        assert json.dumps(["after"]) in {row.client_ids for row in logged(world)}


UNFIT = {
    "a symbol longer than any": {"symbol": "A" * 90},
    "a NUL in a name": {"symbol": "BTC\0USDT"},
    "a number that no column holds": {"at_us": 2**70},
    "a reason without end": {"reason": "x" * 400},
}


@pytest.mark.parametrize("unfit", UNFIT)
async def test_a_line_that_no_column_holds_is_on_record_as_lost_and_the_others_are_kept(
    tmp_path: Path, kind: str, unfit: str
) -> None:
    """Whoever wrote it, an exchange that lies or a gateway with a fault: the log must not stand still for it."""
    lines = [
        write_line(msgspec.structs.replace(ASK, seq=seq, **(UNFIT[unfit] if seq == 5 else {})))
        for seq in range(1, 10)
    ]
    async with running_world(tmp_path) as world:
        lost = world.service.calls.ingest("local", "b00t", lines)
        kept = sorted(row.seq for row in logged(world))
        assert lost in {(), (4,)}
        assert kept == [seq for seq in range(1, 10) if seq - 1 not in lost]
        if kind == "postgres":
            assert lost == (4,)
        assert world.service.calls.ingest("local", "b00t", lines) == lost, "sent again it changes nothing"


@pytest.mark.parametrize("unfit", [1, 5, 9, 10])
async def test_how_far_a_boot_is_taken_in_is_on_record_whatever_of_it_was_lost(
    tmp_path: Path, kind: str, unfit: int
) -> None:
    """What is read of the log is as of that line."""
    del kind
    many = [
        write_line(msgspec.structs.replace(ASK, seq=seq, **({"at_us": 2**70} if seq == unfit else {})))
        for seq in range(1, 10)
    ]
    async with running_world(tmp_path) as world:
        calls = world.service.calls

        def upto() -> int:
            return calls.stake("main", "grt", "BTCUSDT", "BTC", boot="b00t", gateway="local").upto

        assert upto() == 0
        calls.ingest("local", "b00t", [*many[:4], "{torn"], 1)
        assert upto() == 5
        calls.ingest("local", "b00t", many[5:], 6)
        assert upto() == 9
        calls.ingest("local", "b00t", ["{torn"], 10)
        assert upto() == 10
        calls.ingest("local", "b00t", many, 1)
        assert upto() == 10, "sent again it changes nothing"
        calls.ingest("local", "b00t", many)
        calls.ingest("other", "b00t", many[:3], 1)
        assert upto() == 10
        calls.close_boot("local", "b00t")
        assert upto() == 0


LIES: dict[str, dict[str, Any]] = {
    "an id without end": {"orderId": "1" * 500},
    "an id that is a document": {"orderId": {"a": [1]}},
    "an id of text": {"orderId": "1\0"},
    "an id that is true": {"orderId": True},
    "a side of its own": {"side": "S" * 400},
    "a symbol of its own": {"symbol": "BTC\0USDT"},
    "a symbol without end": {"symbol": "A" * 400},
    "an amount of many digits": {"executedQty": "0." + "1" * 60},
}


@pytest.mark.parametrize("lie", LIES)
def test_what_is_no_id_no_side_and_no_symbol_is_not_taken_for_one(lie: str) -> None:
    told = {"symbol": "BTCUSDT", "orderId": 7, "side": "BUY", "status": "NEW", "executedQty": "1"} | LIES[lie]
    state = answers.order_state(told)
    assert state is None or (
        state.order_id == "7"
        and state.side in {"BUY", None}
        and state.symbol in {"BTCUSDT", ""}
        and len(str(state.executed_base)) <= 40
    )


def test_symbols_are_as_long_as_the_log_has_room_for() -> None:
    assert grammar.symbol("币" * 40)
    assert not grammar.symbol("币" * 41)
    assert grammar.symbol_list(f'["{"币" * 40}"]')
    assert not grammar.symbol_list(f'["{"币" * 41}"]')
