"""One frame that cannot be answered, read or applied ends nobody's link; and what it may have closed is closed."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.authority.link import Link
from broker.background import Background
from broker.budget import Parts
from broker.gate import Mode
from broker.gateway import book as books
from broker.link import frames
from broker.link.channel import memory_pair
from tests.gateway.world import Bot, World, running_world

PARTS: Parts = (("slc_1", Decimal(1)),)
SMALL = {"quantity": "0.001"}


async def until(fits: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not fits():  # noqa: ASYNC110 - links tell nobody
            await asyncio.sleep(0.02)


def broken(*_: object, **__: object) -> Any:
    raise RuntimeError("planted: a fault that nobody expected")


def the_link(world: World) -> Link:
    return world.authority.changes.links["local"]


BROKEN_ANSWERS = {
    "CloseSlices": ("close_slices", frames.CloseSlices(PARTS)),
    "Release": ("release", frames.Release(PARTS)),
    "SpoolDone": ("close_boot", frames.SpoolDone("b00t", 0)),
    "Calls": ("ingest", frames.Calls("b00t", 1, ("x",))),
    "AskSlice": ("lend", frames.AskSlice(9_001, "lse_1")),
    "OwnerQuery": ("whose", frames.OwnerQuery(9_002, "main", "BTCUSDT", "1")),
    "StakeQuery": ("stake", frames.StakeQuery(9_003, "", "BTCUSDT", "BTC")),
}


@pytest.mark.parametrize("kind", BROKEN_ANSWERS)
async def test_a_frame_that_the_broker_cannot_answer_ends_no_link(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    name, frame = BROKEN_ANSWERS[kind]
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        link = the_link(world)
        with monkeypatch.context() as patched:
            patched.setattr(world.service.calls, name, broken)
            if isinstance(frame, frames.AskSlice | frames.StakeQuery):
                frame = replace(frame, lease=next(iter(link.leases)))
            world.gateway.link._send(frame)
            await until(lambda: "RuntimeError" in caplog.text)
        assert (await bot.order(**SMALL)).status == 200
        assert the_link(world) is link
        assert "planted" not in caplog.text, "nobody knows what an unexpected fault quotes"


@pytest.mark.parametrize("kind", ["Renew", "Ack", "CanaryDone", "OpenLease"])
async def test_nor_does_one_that_fails_at_once(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    where, name, frame = {
        "Renew": ("leases", "renew", frames.Renew(9_001, ("lse_1",))),
        "Ack": ("changes", "acknowledge", frames.Ack(2)),
        "CanaryDone": ("cutovers", "answer", frames.CanaryDone(1, well=True)),
        "OpenLease": ("leases", "judge", frames.OpenLease(9_002, "KEY")),
    }[kind]
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        with monkeypatch.context() as patched:
            patched.setattr(getattr(world.authority, where), name, broken)
            world.gateway.link._send(frame)
            await until(lambda: "RuntimeError" in caplog.text)
        assert (await bot.order(**SMALL)).status == 200


async def test_who_waits_for_an_answer_that_failed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease that could not be opened is a 503 at once, and the next try has it."""
    async with running_world(tmp_path) as world:
        world.account()
        with monkeypatch.context() as patched:
            patched.setattr(world.authority.leases, "judge", broken)
            bot = world.bot()
            answer = await bot.order(**SMALL)
            assert (answer.status, answer.reason) == (503, "unavailable")
        await until_trading(bot)


async def until_trading(bot: Bot) -> None:
    async with asyncio.timeout(60):
        while (await bot.order(**SMALL)).status != 200:  # noqa: ASYNC110 - a refusal is remembered for a moment
            await asyncio.sleep(0.05)


async def test_slices_that_could_not_be_taken_back_are_taken_back_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        (grant,) = world.service.grants.list().items
        lent = world.service.calls.used(grant.id)
        (standing,) = world.gateway.book.standing.values()
        with monkeypatch.context() as patched:
            patched.setattr(world.service.calls, "close_slices", broken)
            parts = standing.purse.close(0, everything=True)
            world.gateway.link._send(frames.CloseSlices(parts))
            await until(lambda: "CloseSlices" in caplog.text)
        await until(lambda: world.service.calls.used(grant.id) < lent)


@pytest.mark.parametrize("data", [b"", b"[]", b'["Nope",{}]', b'["Ack",{"change":"x"}]', b"\xff\xfe"])
async def test_what_is_no_frame_ends_no_link_at_the_broker(tmp_path: Path, data: bytes) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        channel: Any = world.gateway.link._channel
        channel._outbox.put_nowait(data)
        assert (await bot.order(**SMALL)).status == 200
        await world.cut("consumer:bot")


@pytest.mark.parametrize(
    "data",
    [b"", b'["Nope",{}]', b'["GateChanged",{"change":1}]', b'["Wipe",{"keys":"x"}]', b'["PolicyChanged",{}]'],
)
async def test_a_frame_that_the_gateway_cannot_read_closes_until_every_gate_is_told_anew(
    tmp_path: Path, data: bytes
) -> None:
    """It may have been a cut; the broker's next word says whether it was."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        link = the_link(world)
        states, asked = world.authority.changes.states, list[bool]()
        real = link.channel.send
        link.channel.send = lambda frame: (  # type: ignore[method-assign]
            asked.append(True) if isinstance(frame, frames.AllGates) else real(frame)
        )
        channel: Any = link.channel
        channel._outbox.put_nowait(data)
        await until(lambda: bool(asked))
        before = len(world.executed())
        assert (await bot.order(**SMALL)).reason == "cut"
        assert len(world.executed()) == before
        link.channel.send = real  # type: ignore[method-assign]
        link.tell(states())
        await until_trading(bot)
        assert the_link(world) is link


async def test_an_answer_that_cannot_be_read_closes_nothing(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        channel: Any = the_link(world).channel
        for data in (b'["Renewed",{"ask":"x"}]', b'["CallsKept",{}]', b'["SliceLent",{"ask":null}]'):
            channel._outbox.put_nowait(data)
        for _ in range(3):
            assert (await bot.order(**SMALL)).status == 200
        assert not world.gateway.book.unsure


@pytest.mark.parametrize(
    ("methods", "silent"),
    [
        (("close_now", "set_gates"), ("local",)),
        (("close_now", "succeed"), ("local",)),
        (("close_now",), ()),
        (("set_gates",), ()),
        (("succeed",), ()),
    ],
)
async def test_a_cut_that_cannot_be_applied_closes_and_is_not_acknowledged(
    tmp_path: Path, methods: tuple[str, ...], silent: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told twice, before its commit and after it: either is enough to have it in force."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        with monkeypatch.context() as patched:
            for method in methods:
                patched.setattr(books.Book, method, broken)
            _, change = world.service.cuts.close(
                targets=("consumer:bot",), mode=Mode.CLOSED, reason="test", actor="test"
            )
            told, late = await world.authority.changes.acknowledged(change, 1 if silent else 30)
            assert (told, late) == (("local",), silent)
        for _ in range(2):
            assert (await bot.order(**SMALL)).reason == "cut"
        await until(lambda: not world.gateway.book.unsure)
        assert (await bot.order(**SMALL)).reason == "cut", "told anew, it is still closed"
        assert len(world.executed()) == 1


async def test_a_mode_of_a_newer_broker_closes(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        state = frames.GateState("consumer:bot", 5, (("cut_1", "frozen"),))
        the_link(world).tell(frames.GateChanged(9_999, (state,), history=world.gateway.book.history))
        await until(lambda: "consumer:bot" in world.gateway.book.gates)
        assert (await bot.order(**SMALL)).reason == "cut"


async def test_a_policy_that_cannot_be_applied_ends_the_leases_under_the_old_one(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        (grant,) = world.service.grants.list().items
        (lease,) = world.gateway.book.by_lease
        the_link(world).tell(
            frames.PolicyChanged(
                9_999,
                grant.id,
                "no policy at all",
                2,
                account_owner=False,
                history=world.gateway.book.history,
            )
        )
        await until(lambda: lease not in world.gateway.book.by_lease)
        assert (await bot.order(**SMALL)).status == 200, "it is opened anew, as the record has it"


async def test_one_gateway_that_cannot_be_told_keeps_no_cut_from_another(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        here, _ = memory_pair()
        deaf = Link(here, "a-deaf-one", "b00t")
        here.send = broken  # type: ignore[method-assign]
        links = world.authority.changes.links
        real = links.pop("local")
        links |= {"a-deaf-one": deaf, "local": real}  # the deaf one is told first
        _, change = world.service.cuts.close(
            targets=("everything",), mode=Mode.CLOSED, reason="test", actor="test"
        )
        _, late = await world.authority.changes.acknowledged(change, 5)
        assert late == ("a-deaf-one",)
        assert (await bot.order(**SMALL)).reason == "cut"


async def test_the_heartbeat_survives_whatever_fails_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_world(tmp_path) as world:
        with monkeypatch.context() as patched:
            patched.setattr(world.service.continuity, "beat", broken)
            await until(lambda: "a heartbeat failed" in caplog.text)
        began_us = world.authority.leases.began_us
        await until(lambda: world.authority.leases.began_us > began_us)


async def test_a_part_of_the_gateways_beat_that_fails_does_not_stop_the_renewals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        monkeypatch.setattr(world.gateway.link, "health", broken)
        assert (await bot.order(**SMALL)).status == 200
        (held,) = world.gateway.book.by_lease.values()
        first = held.lease.expires_us
        await until(lambda: held.lease.expires_us > first)


async def test_work_beside_the_rest_is_held_and_its_failure_is_seen(caplog: pytest.LogCaptureFixture) -> None:
    beside = Background(logging.getLogger("test"))
    tries = []

    async def work() -> None:
        tries.append(1)
        broken()

    beside.begin(work(), "a work")
    await until(lambda: "a work failed: RuntimeError" in caplog.text)
    beside.keep(work, "a long work")
    await until(lambda: len(tries) >= 3)
    beside.end()


def test_what_is_shut_for_want_of_knowledge_is_not_opened_by_news_of_something_else() -> None:
    """A thaw of everything that comes next says nothing of the cut of a bot that could not be read."""
    book = books.Book({})
    book.set_gates((frames.GateState("everything", 3, (("cut_1", "closed"),)),))
    book.shut(["everything"])
    book.set_gates((frames.GateState("everything", 4),))
    assert book.gates["everything"].mode is Mode.CLOSED
    book.set_all_gates(
        (frames.GateState("everything", 4), frames.GateState("consumer:bot", 1, (("c", "closed"),)))
    )
    assert book.gates["everything"].mode is Mode.OPEN
    assert book.gates["consumer:bot"].mode is Mode.CLOSED
