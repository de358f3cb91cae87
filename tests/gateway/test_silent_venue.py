"""The exchange that does not answer is a condition: nobody finds out by bots that fail while every view is green."""

from pathlib import Path

import pytest

from broker.gateway import venue_line, wellbeing
from broker.gateway.wellbeing import KNOCK_S, SILENT_S, SILENT_TIMES, WRITES_UNTRIED_S, Ask, Silence
from broker.link.frames import Trouble
from clients.paper.faults import Fault
from tests.gateway.test_refused_keys import until
from tests.gateway.world import World, running_world

LIMIT = {"type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01", "price": "59000"}


def wrong(world: World) -> set[str]:
    return {one.kind for one in world.service.conditions.look()} & {
        "venue-silent",
        "orders-unanswered",
        "venue-banned",
        "venue-turns-away",
        "orders-turned-away",
    }


@pytest.mark.parametrize(
    "how", [{"do": "close"}, {"do": "error", "status": 502}, {"do": "error", "status": 302}]
)
async def test_an_exchange_that_answers_nothing_is_told_of_until_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, object]
) -> None:
    """Whether it cannot be reached, or every answer is an error of its own; and it is right again without a bot."""
    monkeypatch.setattr(wellbeing, "SILENT_S", 0.0)
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        assert (await bot.call("GET", "/api/v3/account")).status == 200
        world.paper.server.faults.append(Fault(times=100_000, **how))  # type: ignore[arg-type]
        for _ in range(SILENT_TIMES):
            await bot.call("GET", "/api/v3/account")
        await until(lambda: "venue-silent" in wrong(world))
        world.paper.server.faults.clear()
        await until(lambda: wrong(world) == set())


async def test_orders_that_get_no_answer_are_told_of_where_questions_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wellbeing, "SILENT_S", 0.0)
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        assert (await bot.order(**LIMIT)).status == 200
        world.paper.server.faults.append(Fault("error", method="POST", status=503, times=100_000))
        for _ in range(SILENT_TIMES):
            await bot.order(**LIMIT)
            assert (await bot.call("GET", "/api/v3/account")).status == 200
        await until(lambda: wrong(world) == {"orders-unanswered"})
        world.paper.server.faults.clear()
        assert (await bot.order(**LIMIT)).status == 200
        await until(lambda: wrong(world) == set())


async def test_a_ban_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not with the next beat of the link: no beat comes here."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        assert (await bot.call("GET", "/api/v3/account")).status == 200
        monkeypatch.setattr(world.gateway.link, "_tell_health", lambda: None)
        world.paper.server.faults.append(Fault("error", status=418, code=-1003, retry_after="60"))
        assert (await bot.call("GET", "/api/v3/account")).status == 418
        await until(lambda: wrong(world) == {"venue-banned"})


async def test_a_ban_that_goes_on_is_written_down_once_and_again_where_it_is_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway says each second how long it lasts still: for three days each word was a write of the state."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        assert (await bot.call("GET", "/api/v3/account")).status == 200
        written: list[tuple[Trouble, ...]] = []
        reports = world.service.reports
        before = reports.of_gateway
        monkeypatch.setattr(
            reports,
            "of_gateway",
            lambda *said: (written.append(said[2]), before(*said)),  # type: ignore[func-returns-value]
        )
        (link,) = world.authority.changes.links.values()
        (view,) = world.gateway.mounts.views.values()
        for pause_s in (600, 1200):
            written.clear()
            view.meter.refused(418, pause_s, view.now_us(), "ip")
            for _ in range(5):
                link.health = None
                world.gateway.link.tell_health()
                await until(lambda: link.health is not None)
            await until(lambda: wrong(world) == {"venue-banned"})
            assert len(written) == 1, written


async def test_what_a_gateway_found_in_its_last_life_is_gone_when_it_comes_back_well(tmp_path: Path) -> None:
    """A restarted gateway that finds nothing wrong says so: its last word would stand for ever."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        world.service.reports.of_gateway(world.gateway.link._name, (), (Trouble("venue-silent", "gone"),))
        (link,) = world.authority.changes.links.values()
        assert link.said is None or link.said == ((), ())
        link.said = type(link)(link.channel, link.gateway, link.boot).said
        world.gateway.link.tell_health()
        await until(lambda: wrong(world) == set())


def test_a_few_errors_are_no_silence_and_neither_is_a_short_one() -> None:
    told: list[int] = []
    here = Silence()
    here.on_change = lambda: told.append(1)
    for _ in range(10):
        here.heard(Ask.QUESTION, 0.0, well=False)
    assert here.now(0.0) == ()
    here.heard(Ask.QUESTION, 1.0, well=True)
    here.heard(Ask.QUESTION, 2.0, well=False)
    here.heard(Ask.QUESTION, 2.0 + SILENT_S, well=False)
    assert (here.now(9.0), told) == ((), []), "two"
    here.heard(Ask.QUESTION, 2.1 + SILENT_S, well=False)
    assert (here.now(9.0), told) == ((Ask.QUESTION,), [1])
    here.heard(Ask.WRITE, 9.0, well=True)
    assert here.now(9.0) == (Ask.QUESTION,)
    here.heard(Ask.QUESTION, 10.0, well=True)
    assert (here.now(10.0), told) == ((), [1, 1])


def test_writes_that_nobody_tries_any_more_say_nothing_of_now() -> None:
    here = Silence()
    for at_s in (0.0, 1.0, SILENT_S):
        here.heard(Ask.WRITE, at_s, well=False)
    assert here.now(SILENT_S + WRITES_UNTRIED_S - 1) == (Ask.WRITE,)
    assert here.now(SILENT_S + WRITES_UNTRIED_S) == ()


@pytest.mark.parametrize("status", [451, 403])
async def test_an_exchange_that_turns_everybody_away_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """It answers, so it is not silent: with a region's rule, or its firewall's page, whoever asks whatever."""
    monkeypatch.setattr(wellbeing, "SILENT_S", 0.0)
    monkeypatch.setattr(wellbeing, "KNOCK_S", 0.0)
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        assert (await bot.order(**LIMIT)).status == 200
        world.paper.server.faults.append(Fault("error", status=status, code=0, times=100_000))
        for _ in range(SILENT_TIMES):
            read = await bot.call("GET", "/api/v3/account")
            assert (read.status, read.reason) == (status, "turned_away")
        for _ in range(SILENT_TIMES):
            await bot.call("DELETE", "/api/v3/openOrders", symbol="BTCUSDT")
        await until(lambda: wrong(world) == {"venue-turns-away", "orders-turned-away"})
        said = [one.says for one in world.service.conditions.look() if "turned away" in one.says]
        assert all(f"HTTP {status}" in words for words in said)
        (view,) = world.gateway.mounts.views.values()
        view._prices.clear()
        order = await bot.order(**LIMIT)
        assert (order.status, order.body, order.reason) == (503, None, "turned_away")
        world.paper.server.faults.clear()
        await until(lambda: wrong(world) == {"orders-turned-away"})
        assert (await bot.call("DELETE", "/api/v3/openOrders", symbol="BTCUSDT")).status == 200
        await until(lambda: wrong(world) == set())


async def test_orders_that_are_turned_away_alone_are_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prices are still to be had: each of them would end what is said of the whole."""
    monkeypatch.setattr(wellbeing, "SILENT_S", 0.0)
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        assert (await bot.order(**LIMIT)).status == 200
        world.paper.server.faults.append(Fault("error", method="POST", status=403, code=0, times=100_000))
        for _ in range(SILENT_TIMES):
            assert (await bot.order(**LIMIT)).reason == "turned_away"
            assert (await bot.call("GET", "/api/v3/account")).status == 200
        await until(lambda: wrong(world) == {"orders-turned-away"})


async def test_a_page_that_comes_as_a_yes_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A firewall's challenge has status 202: passed on, a library reads it as the answer."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        assert (await bot.call("GET", "/api/v3/account")).status == 200
        real, page = (
            venue_line.Line._end,
            venue_line.Reply(202, {b"content-type": b"text/html"}, b"<html></html>"),
        )
        monkeypatch.setattr(venue_line.Line, "_end", lambda line, _: real(line, page))
        read = await bot.call("GET", "/api/v3/account")
        assert (read.status, read.body, read.reason) == (503, None, "turned_away")


def test_our_own_upkeep_knocks_now_and_then_where_it_is_turned_away() -> None:
    """A firewall holds an address for longer the more it asks; one answer, whoever asked, ends that."""
    here = Silence()
    assert [here.knock(at_s) for at_s in (0.0, 0.1)] == [True, True]
    for at_s in (100.0, 101.0, 100.0 + SILENT_S):
        here.answered(Ask.QUESTION, at_s, 403)
    assert here.now(110.0) == (Ask.DOOR,)
    assert here.seen[Ask.DOOR] == "403"
    assert [here.knock(at_s) for at_s in (110.0, 110.1, 109.9 + KNOCK_S, 110.0 + KNOCK_S)] == [
        *(True, False, False, True),
    ]
    here.answered(Ask.WRITE, 150.0, 451)
    here.answered(Ask.QUESTION, 151.0, None)
    assert (here.now(151.0), here.knock(151.0), here.knock(151.1)) == ((), True, True)
