"""A time limit of ours, or a connection that we have none left of, is never told as the venue's fault."""

import asyncio
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker.errors import LinkDown
from broker.gateway import asking, fetch, forward
from broker.gateway.fetch import Fetcher
from broker.gateway.limits import Need
from broker.gateway.room import Limits
from broker.gateway.upstream import Pool
from broker.gateway.venue_view import NotKnown
from broker.gateway.whose import Whose
from clients.egress import DIRECT
from clients.venue import OrderRef
from tests.gateway.test_crowds import small_world
from tests.gateway.world import bots
from tests.paper.harness import held


async def _hang(*_: object) -> Any:
    await asyncio.Event().wait()


def fetcher(**link: Any) -> Fetcher:
    nothing: Any = SimpleNamespace()
    made: Any = SimpleNamespace(pulse=SimpleNamespace(behind=lambda _: False), acting=None, **link)
    return Fetcher(nothing, made, nothing, nothing, nothing, nothing, nothing, nothing)


def job(pool: Any = None) -> Any:
    return SimpleNamespace(
        failed={}, asked=set(), need=Need.EXIT, asker="k", wanted=1, view=SimpleNamespace(pool=pool), account=None, line=None,
        held=SimpleNamespace(), inbound=SimpleNamespace(vouched="k"),
    )  # fmt: skip


async def test_a_broker_that_lends_nothing_in_an_exits_time_is_not_told_as_a_venue_out_of_reach(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fetch, "EXIT_BUDGET_SECONDS", 0.01)
    wanted = job()
    await fetcher(need_budget=_hang).fetch_all(wanted, ["budget"])
    assert wanted.failed["budget"].reason == "broker_silent"


async def _silent(*_: object) -> Any:
    raise LinkDown("no_answer", "the broker did not answer in time")


async def test_a_budget_that_the_broker_says_nothing_of_is_told_alike() -> None:
    wanted = job()
    await fetcher(need_budget=_silent).fetch_all(wanted, ["budget"])
    assert wanted.failed["budget"].reason == "broker_silent"


async def test_who_finds_too_many_waiting_for_a_connection_is_told_so() -> None:
    pool = Pool("http://127.0.0.1:1", DIRECT, limits=Limits(512, 8))
    pool._most_waiting = 0
    wanted = job(pool)
    wanted.need = Need.RISK
    await fetcher().fetch_all(wanted, ["line"])
    assert wanted.failed["line"].reason == "busy"
    wanted.need = Need.EXIT
    await fetcher().fetch_all(wanted, ["line"])
    assert wanted.failed["line"].reason == "venue_unreachable", "nobody listens there"
    pool.close()


@pytest.mark.parametrize("what", ["order", "list"])
async def test_that_the_venues_half_of_the_time_is_up_says_nothing_of_the_venue(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(asking, "ASK_SECONDS", 0.02)
    nothing: Any = SimpleNamespace()
    book: Any = SimpleNamespace(material={"k": nothing})
    whose = Whose(book, nothing, nothing, nothing)
    asked: Any = SimpleNamespace(
        account=SimpleNamespace(fetch_order=_hang, fetch_list=_hang), need=Need.EXIT, asker="k"
    )
    held: Any = SimpleNamespace(key_text="k")
    ask = whose._order if what == "order" else whose._list
    with pytest.raises(NotKnown) as caught:
        await ask(asked, held, OrderRef("BTCUSDT", "1", None, is_list=what == "list"))
    assert caught.value.reason == "no_time"


async def test_a_venue_that_cannot_be_reached_in_its_own_time_is_told_as_that() -> None:
    async def unreachable(*_: object) -> Any:
        raise TimeoutError("connecting took too long")

    nothing: Any = SimpleNamespace()
    book: Any = SimpleNamespace(material={"k": nothing})
    asked: Any = SimpleNamespace(account=SimpleNamespace(fetch_order=unreachable), need=Need.EXIT, asker="k")
    held: Any = SimpleNamespace(key_text="k")
    with pytest.raises(TimeoutError):
        await Whose(book, nothing, nothing, nothing)._order(asked, held, OrderRef("BTCUSDT", "1"))


async def test_a_request_that_finds_every_connection_in_use_is_told_so_and_when_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with small_world(tmp_path, monkeypatch, Limits(64, 8)) as world:  # three reads of a key at a time
        world.account(USDT="100000")
        (bot,) = await bots(world)
        assert (await bot.order()).status == 200
        monkeypatch.setattr(forward, "PREPARE_SECONDS", 0.3)
        with held(world.paper, "GET", "/api/v3/myTrades"):
            reads = [
                asyncio.ensure_future(bot.call("GET", "/api/v3/myTrades", symbol="BTCUSDT")) for _ in range(8)
            ]
            refused = [await one for one in islice(asyncio.as_completed(reads), 5)]
        assert {(one.status, one.reason, one.headers["retry-after"]) for one in refused} == {
            (503, "busy", "1")
        }
        for one in reads:
            one.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
