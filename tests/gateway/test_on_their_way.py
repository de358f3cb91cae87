"""What had left before a gate closed is counted, followed to its answer, and hidden from nobody."""

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from broker.authority import changes as changing
from broker.authority.link import OnTheirWay
from broker.errors import StoreUnavailable
from broker.gate import Mode
from broker.gateway.flights import Flights, Progress
from broker.gateway.process import Gateway
from broker.gateway.upstream import Pool
from broker.gateway.venue_line import Line
from broker.link.channel import memory_pair
from clients.venues.binance import WIRE
from portcullis.cli import oversight_answers
from portcullis.cli.cuts import on_their_way
from portcullis.connected import ConnectedGateways
from tests.gateway.test_cut_at_once import api
from tests.gateway.test_promises import started
from tests.gateway.world import Bot, World, running_world
from tests.paper.harness import Held, held

SMALL = {"quantity": "0.001"}
CUT = {"targets": ["everything"], "mode": "closed", "reason": "leak"}


async def until(fits: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not fits():  # noqa: ASYNC110 - flights tell nobody
            await asyncio.sleep(0.01)


@asynccontextmanager
async def under_way(world: World, *bots: Bot) -> AsyncIterator[tuple[list["asyncio.Task[Any]"], Held]]:
    """Send one order for each bot; all have left, and the exchange answers none of them before it is let."""
    with held(world.paper, "POST", "/api/v3/order") as orders:
        sent = [asyncio.create_task(bot.order(**SMALL)) for bot in bots]
        await until(lambda: len(world.gateway.book.flights) == len(orders.waiting) == len(bots))
        yield sent, orders
    await asyncio.gather(*sent, return_exceptions=True)


async def cut_now(world: World, *targets: str, mode: Mode = Mode.CLOSED) -> tuple[str, int]:
    cut, change = world.service.cuts.close(targets=targets, mode=mode, reason="test", actor="test")
    assert (await world.authority.changes.acknowledged(change, 60))[1] == ()
    return cut.id, change.number


@pytest.mark.parametrize("mode", [Mode.CLOSED, Mode.HALT])
async def test_a_cut_says_how_many_had_left_and_when_the_last_was_answered(
    tmp_path: Path, mode: Mode
) -> None:
    """Only those in its scope: another bot's orders are none of this cut's."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot, other = world.bot("bot"), world.bot("other")
        for one in (bot, other):
            assert (await one.order(**SMALL)).status == 200
        async with under_way(world, bot, other, bot, bot) as (sent, _):
            cut_id, number = await cut_now(world, "consumer:bot", mode=mode)
            early = await world.authority.changes.on_their_way(number, 0)
            assert early == OnTheirWay(3, 3, None, ())
        found = await world.authority.changes.on_their_way(number, 60)
        assert found is not None
        assert (found.requests, found.unanswered) == (3, 0)
        assert found.last_us is not None
        assert found.last_us > 0
        assert {answer.status for answer in await asyncio.gather(*sent)} <= {200, 400}, "400: past its window"
        shown = await ConnectedGateways(world.authority).on_their_way(cut_id, 0)
        assert shown is not None
        assert (shown.requests, shown.unanswered) == (3, 0)
        await until(
            lambda: "cut.on_their_way" in {one.entry.action for one in world.service.audit.list().items}
        )


async def test_what_the_exchange_never_answers_stays_counted_as_unanswered(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        await world.paper.admin("POST", "faults", {"do": "hang", "match": {"method": "POST"}})
        hanging = asyncio.create_task(bot.order(**SMALL))
        await until(lambda: len(world.gateway.book.flights) == 1)
        with held(world.paper, "POST", "/api/v3/order"):
            slow = asyncio.create_task(bot.order(**SMALL))
            await until(lambda: len(world.gateway.book.flights) == 2)
            _, number = await cut_now(world, "everything")
        assert (await slow).status in {200, 400}
        changes = world.authority.changes
        await until(lambda: changes._waiting[number].out == {"local": 1})
        found = await changes.on_their_way(number, 0)
        assert found is not None
        assert (found.requests, found.unanswered) == (2, 1)
        assert (await hanging).status == 504
        found = await changes.on_their_way(number, 30)
        assert found is not None
        assert found.unanswered == 0, (
            "given up is an end too: its outcome is not known, and the bot was told so"
        )


async def test_a_gateway_that_has_not_answered_is_no_gateway_that_sent_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stopped one cannot say what had left; nor can one that was killed a moment before the cut."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        await bot.ready()
        async with under_way(world, bot):
            monkeypatch.setattr(world.gateway.link, "_apply", lambda _: None)
            _, change = world.service.cuts.close(
                targets=("everything",), mode=Mode.CLOSED, reason="test", actor="test"
            )
            changes = world.authority.changes
            assert (await changes.acknowledged(change, 0))[1] == ("local",)
            assert await changes.on_their_way(change.number, 0) == OnTheirWay(0, 0, None, ("local",))
            changes.links["local"].channel.close()
            await until(lambda: not changes.links)
            _, change = world.service.cuts.close(
                targets=("account:main",), mode=Mode.CLOSED, reason="test", actor="test"
            )
            assert await changes.acknowledged(change, 0) == ((), ())
            assert await changes.on_their_way(change.number, 0) == OnTheirWay(0, 0, None, ("local",))
            changes.starts._gone["local"] -= 60_000_000
            _, change = world.service.cuts.close(
                targets=("consumer:bot",), mode=Mode.CLOSED, reason="test", actor="test"
            )
            assert await changes.on_their_way(change.number, 0) == OnTheirWay(0, 0, None, ()), "long over"


async def test_a_quiet_cut_says_that_nothing_was_on_its_way(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        assert (await world.bot().order(**SMALL)).status == 200
        _, number = await cut_now(world, "everything")
        assert await world.authority.changes.on_their_way(number, 5) == OnTheirWay(0, 0, None, ())


# --- every way out ends a flight --------------------------------------------------------------


@pytest.mark.parametrize("where", ["pool", "line", "aftermath", "leaves", "ledger"])
async def test_a_fault_of_ours_around_a_request_that_leaves_ends_its_flight(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a rotation waits for it for ever, and a cut counts it for ever. The bot hears: outcome unknown."""

    def broken(*_: object, **__: object) -> Any:
        raise RuntimeError("planted")

    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        aftermath = world.gateway.aftermath
        owner, name = {
            "pool": (Pool, "send"), "line": (Line, "send"), "aftermath": (aftermath, "_settled"),
            "leaves": (aftermath, "leaves"), "ledger": (world.gateway.ledger, "added"),
        }[where]  # fmt: skip
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, broken)
            answer = await asyncio.wait_for(bot.order(**SMALL), 60)
        assert (answer.status, answer.reason) in {(504, "unknown_outcome"), (200, None)}
        assert len(world.gateway.book.flights) == 0
        assert world.gateway.ledger.in_flight == 0
        assert (await bot.order(**SMALL)).status == 200


def test_flights_are_counted_by_key_and_scope_and_end_once() -> None:
    flights = Flights()
    first = flights.leaves("a/trade/1", ("everything", "consumer:x"))
    second = flights.leaves("a/trade/1", ("everything", "consumer:y"))
    assert flights.on("a/trade/1") == 2
    assert flights.watch(7, ["consumer:x"], 100) == 1
    assert flights.watch(8, ["consumer:z"], 100) == 0
    assert flights.lands(second, 150) == ("", False)
    assert flights.progress() == ()
    assert flights.lands(first, 190) == ("a/trade/1", True)
    assert flights.lands(first, 999) == ("", False), "a second end changes nothing"
    assert flights.progress() == (Progress(7, 0, 90),)
    assert flights.progress() == ()
    assert (len(flights), flights.on("a/trade/1")) == (0, 0)


@pytest.mark.parametrize(
    ("flying", "words"),
    [
        (
            {"requests": 3, "unanswered": 0, "last_answer_after_ms": 1400},
            "3 requests were already on their way to the exchange when the gate closed; the last was answered 1.4 s later.",
        ),
        (
            {"requests": 1, "unanswered": 1, "last_answer_after_ms": None},
            "1 request was already on its way to the exchange when the gate closed; 1 of them has no answer yet. It cannot",
        ),
        (
            {"requests": 0, "unanswered": 0, "last_answer_after_ms": None},
            "no request was on its way to the exchange",
        ),
        (None, "how many requests were on their way to the exchange is not known"),
    ],
)
def test_it_is_said_in_words(flying: dict[str, Any] | None, words: str) -> None:
    out = Console(width=200, file=io.StringIO())
    out.print(on_their_way(None if flying is None else oversight_answers.OnTheirWay(**flying)))
    assert words.lower() in out.file.getvalue().lower()  # type: ignore[attr-defined]


# --- greeting ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "moment", ["while the welcome is read", "as its gates are gathered", "as it is sent"]
)
async def test_no_cut_falls_between_a_welcome_and_the_broadcasts(tmp_path: Path, moment: str) -> None:
    """A gateway is broadcast to after its welcome only, and its welcome has the gates as of then."""
    async with running_world(tmp_path) as world:
        world.account()
        authority, made = world.authority, list[str]()

        def cut() -> None:
            if not made:
                made.append("cut")
                world.service.cuts.close(
                    targets=("consumer:bot",), mode=Mode.CLOSED, reason="test", actor="test"
                )

        def before(real: Callable[..., Any]) -> Callable[..., Any]:
            def wrapped(*args: Any) -> Any:
                found = real(*args)
                cut()
                return found

            return wrapped

        bot = world.bot()
        here, there = memory_pair()
        if moment == "as it is sent":
            here.send = before(here.send)  # type: ignore[method-assign]
        elif moment == "as its gates are gathered":
            authority.changes.states = before(authority.changes.states)  # type: ignore[method-assign]
        else:
            authority._welcome = before(authority._welcome)  # type: ignore[method-assign]
        serving = asyncio.ensure_future(authority.serve(here))
        edge = Gateway(there, "edge", tmp_path / "edge", {WIRE.name: WIRE})
        port, stop, running = await started(edge)
        assert made == ["cut"]
        async with asyncio.timeout(60):
            while not edge.book.gates.get("consumer:bot"):  # noqa: ASYNC110 - gates tell nobody
                await asyncio.sleep(0.01)
        answer = await Bot(port, bot.key_id, bot.secret).order(**SMALL)
        assert answer.reason == "cut"
        assert world.executed() == []
        stop.set()
        await running
        here.close()
        await asyncio.gather(serving, return_exceptions=True)


async def test_what_several_gateways_sent_is_no_whole_figure_while_one_of_them_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer comes within its bound, names the silent one, and so does whoever looks later."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        await bot.ready()
        here, there = memory_pair()
        serving = asyncio.ensure_future(world.authority.serve(here))
        edge = Gateway(there, "edge", tmp_path / "edge", {WIRE.name: WIRE})
        _, stop, running = await started(edge)
        monkeypatch.setattr(edge.link, "_apply", lambda _: None)
        async with api(world) as client, under_way(world, bot):
            began = time.monotonic()
            said = (await client.post("/v1/cuts", json=CUT)).json()
            took_s = time.monotonic() - began
            shown = (await client.get(f"/v1/cuts/{said['id']}")).json()
        assert (said["in_force_at"], said["gateways"]["missing"]) == (["local"], ["edge"])
        assert took_s < 12, "it waits for a silent gateway once, about two seconds"
        for answer in (said, shown):
            assert answer["on_their_way"]["requests"] == 1
            assert any("edge" in note and "not counted" in note for note in answer["notes"])
        stop.set()
        await running
        here.close()
        await asyncio.gather(serving, return_exceptions=True)


async def noted(world: World, cut: str) -> list[dict[str, Any]]:
    found = [one.entry for one in world.service.audit.list().items]
    return [
        json.loads(one.details) for one in found if (one.action, one.subject) == ("cut.on_their_way", cut)
    ]


async def test_a_broker_that_ends_puts_on_record_what_was_on_its_way_as_far_as_it_is_known(
    tmp_path: Path,
) -> None:
    """Who cuts often ends all of it next, and nobody else ever hears of what had left."""
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        async with under_way(world, bot, bot):
            cut, _ = await cut_now(world, "consumer:bot")
            await until(lambda: world.authority.changes.followed._unnoted.keys() == {cut})
            world.authority.close()
            (details,) = await noted(world, cut)
        assert (details["requests"], details["unanswered"]) == (2, 2)


@pytest.mark.parametrize("until_we_end", [False, True])
async def test_what_was_on_its_way_is_on_record_although_the_database_does_not_take_it_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, until_we_end: bool
) -> None:
    """It was tried once, and a log that is held for some seconds is what bad days are like."""
    monkeypatch.setattr(changing, "_PAUSES", (0.01,) * 3)
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        tries, cuts, real = list[str](), world.service.cuts, world.service.cuts.note_flights

        def refuses(cut: str, *more: Any) -> None:
            tries.append(cut)
            if len(tries) <= (4 if until_we_end else 2):
                raise StoreUnavailable("store_busy", "held on purpose")
            real(cut, *more)

        monkeypatch.setattr(cuts, "note_flights", refuses)
        async with under_way(world, bot, bot):
            cut, _ = await cut_now(world, "consumer:bot")
        await until(lambda: len(tries) >= (4 if until_we_end else 3))
        if until_we_end:
            await until(lambda: world.authority.changes.followed._unnoted.keys() == {cut})
            world.authority.close()
        await until(
            lambda: "cut.on_their_way" in {one.entry.action for one in world.service.audit.list().items}
        )
        (details,) = await noted(world, cut)
        assert details["requests"] == 2
        assert tries == [cut] * (5 if until_we_end else 3)


async def test_a_gateway_that_ends_tells_what_has_landed_before_it_hangs_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        link = world.gateway.link
        real = link.landed

        def landed(flight: int) -> None:
            real(flight)
            link.close()

        async with under_way(world, bot):
            _, number = await cut_now(world, "consumer:bot")
            monkeypatch.setattr(link, "landed", landed)
        found = await world.authority.changes.on_their_way(number, 60)
        assert found is not None
        assert (found.requests, found.unanswered) == (1, 0)


async def test_a_flood_of_changes_makes_no_request_one_that_was_never_answered(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account(USDT="100000")
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        async with under_way(world, bot):
            cut, number = await cut_now(world, "consumer:bot")
            for _ in range(250):
                world.service.desk.tell()
            await asyncio.sleep(0)
        found = await world.authority.changes.on_their_way(number, 60)
        assert found is not None, "it is not too old to be known"
        assert (found.requests, found.unanswered) == (1, 0)
        await until(
            lambda: bool([one for one in world.service.audit.list().items if one.entry.subject == cut])
        )
        for _ in range(250):
            world.service.desk.tell()
        await asyncio.sleep(0)
        assert len(world.authority.changes.followed) < 250, "what is over is forgotten"
