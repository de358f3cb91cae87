"""A cut is in force at the gateways before its transaction is waited for, and stays so until it is on record or thawed.

While another process holds the database, while its disk is full, whatever news of the same gates comes meanwhile.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from broker.api.app import create_app
from broker.api.context import Context
from broker.api.wrong import of_this_process
from broker.db import accounts as account_store
from broker.db import cutovers, rows
from broker.db import cuts as cut_store
from broker.db.database import Database
from broker.db.turns import Urgency
from broker.errors import NotFound, StoreUnavailable
from broker.gate import Gate, Mode
from broker.gate_document import NotedCut
from broker.gates import Gates
from broker.gateway.process import Gateway
from broker.link.channel import memory_pair
from broker.model import KeyRef, Stage
from broker.service import cuts as cuts_service
from broker.service.operators import Role
from broker.service.service import open_service
from clients.venue import Slot
from clients.venues.binance import WIRE
from portcullis.connected import ConnectedGateways
from tests.api.desk import FakeVenue, FakeWarden
from tests.gateway.test_promises import started
from tests.gateway.world import Bot, WallClock, World, running_world

SMALL = {"quantity": "0.001"}
BOT = {"targets": ["consumer:bot"], "mode": "closed", "reason": "leak"}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command line waits for is shorter here."""
    monkeypatch.setattr(cuts_service, "MIRROR_AFTER_S", 0.05)
    monkeypatch.setattr(cuts_service, "COMMITTED_WITHIN_S", 0.2)


async def until(fits: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not fits():  # noqa: ASYNC110 - gates tell nobody
            await asyncio.sleep(0.01)


@contextmanager
def held(world: World) -> Iterator[Callable[[], None]]:
    """Hold the state's write lock, as another process would, until it is let go."""
    other = Database(world.service.desk.database._where)
    with ExitStack() as stack:
        stack.callback(other.close)
        stack.enter_context(other.write())
        yield stack.close


@asynccontextmanager
async def api(world: World) -> AsyncIterator[httpx.AsyncClient]:
    token = world.service.operators.create("me", frozenset({Role.ADMIN})).reveal()
    app = create_app(Context(world.service, ConnectedGateways(world.authority), FakeVenue(), FakeWarden()))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport,
        base_url="http://127.0.0.1",
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
    ) as client:
        yield client


def wrong(world: World) -> list[str]:
    context = Context(world.service, ConnectedGateways(world.authority), FakeVenue(), FakeWarden())
    return [one.kind for one in of_this_process(context)]


def on_record(world: World) -> dict[str, bool]:
    """Return the cuts that the database has, by id, with whether they are open."""
    with world.service.desk.database.read() as connection:
        found = cut_store.page(connection, 2**62, 100, open_only=False)
        return {row.id: row.thawed_us is None for row in found}


def gates(world: World) -> dict[str, Mode]:
    """Return what every gate lets pass, as the database has it."""
    with world.service.desk.database.read() as connection:
        return {name: one.mode for name, one in rows.gates(connection).items()}


async def close(world: World, *targets: str, mode: Mode = Mode.CLOSED) -> str:
    """Cut, beside the loop, and wait until the gateway has it in force."""
    cut, change = await asyncio.to_thread(
        world.service.cuts.close, targets=targets, mode=mode, reason="leak", actor="me"
    )
    assert (await world.authority.changes.acknowledged(change, 60)) == (("local",), ())
    return cut.id


async def test_a_bot_is_refused_at_once_while_another_process_holds_the_database(tmp_path: Path) -> None:
    """The answer comes within its time, says where the cut is and where it is not, and becomes true by itself."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        async with api(world) as client:
            with held(world) as let_go:
                began = time.monotonic()
                asked = asyncio.create_task(
                    client.post("/v1/cuts", json=BOT, headers={"Idempotency-Key": "k"})
                )
                await until(lambda: bool(world.gateway.book._gates.closing()))
                assert (await bot.order(**SMALL)).reason == "cut"
                assert on_record(world) == {}
                answer = await asked
                assert time.monotonic() - began < 12, "it waits for no lock"
                said = answer.json()
                assert answer.status_code == 201
                assert (said["on_record"], said["durable"]) == (False, ["secret store"])
                assert said["in_force_at"] == ["local"]
                assert "local" in said["notes"][0]
                assert "NOT in the database" in said["notes"][0]
                await asyncio.sleep(1.2)  # a heartbeat has failed meanwhile
                again = await client.post("/v1/cuts", json=BOT, headers={"Idempotency-Key": "k"})
                assert (again.json()["id"], again.json()["replayed"]) == (said["id"], True)
                listed = (await client.get("/v1/cuts", params={"open": True})).json()["items"]
                assert [(one["id"], one["on_record"]) for one in listed] == [(said["id"], False)]
                await until(lambda: "cut-not-on-record" in wrong(world))
                assert (await bot.order(**SMALL)).reason in {"cut", "no_lease"}
                let_go()
            await until(lambda: on_record(world) == {said["id"]: True})
            await until(lambda: world.gateway.book._gates.closing() == ())
            assert (await bot.order(**SMALL)).reason == "cut"
            await until(lambda: "cut-not-on-record" not in wrong(world))
            assert (await client.get(f"/v1/cuts/{said['id']}")).json()["on_record"] is True
            await world.thaw(said["id"])
        await until(lambda: world.gateway.book.gates["consumer:bot"].mode is Mode.OPEN)
        assert (await bot.order(**SMALL)).status == 200
        assert len(world.executed()) == 2


async def test_a_halt_lets_pass_what_a_halt_does_before_it_is_on_record(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        with held(world):
            await close(world, "account:main", mode=Mode.HALT)
            assert (await bot.order(**SMALL)).reason == "halted"
            assert (await bot.call("GET", "/api/v3/account")).status == 200


@pytest.mark.parametrize("taken", [True, False])
async def test_the_answer_of_a_thaw_says_whether_a_broker_that_ends_at_once_keeps_it(
    tmp_path: Path, taken: bool
) -> None:
    async with running_world(tmp_path) as world, api(world) as client:
        world.account()
        world.bot()
        with held(world) as let_go:
            cut = await close(world, "consumer:bot")
            if taken:
                let_go()
                await until(lambda: on_record(world).get(cut) is True)
            answer = await client.post("/v1/thaws", json={"cut": cut, "reason": "safe"})
            let_go()
        assert answer.status_code == 200
        assert (
            any("the database has not taken it yet" in note for note in answer.json()["notes"]) is not taken
        )


async def test_a_thaw_ends_a_cut_that_is_not_on_record_and_both_go_on_record(tmp_path: Path) -> None:
    """A thaw of another cut opens nothing of it."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        other = await close(world, "consumer:bot")
        with held(world) as let_go:
            cut = await close(world, "everything")
            let_go()
            await world.thaw(other)
            assert (await bot.order(**SMALL)).reason == "cut"
        await until(lambda: world.service.cuts.closing.standing() == ())
        await world.thaw(cut)
        with held(world) as let_go:
            cut = await close(world, "everything", "consumer:bot")
            assert (await bot.order(**SMALL)).reason == "cut"
            thawed, _ = await asyncio.to_thread(world.service.cuts.thaw, cut, reason="safe", actor="ann")
            assert thawed.thawed_by == "ann"
            await until(lambda: world.gateway.book._gates.closing() == ())
            let_go()
        await until(lambda: on_record(world).get(cut) is False)
        assert world.service.cuts.get(cut).thawed_why == "safe"
        async with asyncio.timeout(60):
            while (await bot.order(**SMALL)).status != 200:  # noqa: ASYNC110 - leases tell nobody
                await asyncio.sleep(0.01)
        actions = [(one.entry.action, one.entry.subject) for one in world.service.audit.list().items]
        assert ("cut.close", cut) in actions
        assert ("cut.thaw", cut) in actions


async def test_a_thaw_that_the_mirror_cannot_be_told_opens_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> Any:
        raise StoreUnavailable("away", "away on purpose")

    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        with held(world):
            monkeypatch.setattr(world.service.mirror, "note", away)
            cut = await close(world, "consumer:bot")
            with pytest.raises(StoreUnavailable):
                await asyncio.to_thread(world.service.cuts.thaw, cut, reason="x", actor="x")
            assert (await bot.order(**SMALL)).reason == "cut"
            assert not world.service.cuts.closing.is_noted(cut)


async def test_a_gateway_that_comes_meanwhile_is_told_with_its_welcome(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        await bot.ready()
        with monkeyed_commit() as stuck:
            await close(world, "consumer:bot")
            here, there = memory_pair()
            serving = asyncio.ensure_future(world.authority.serve(here))
            edge = Gateway(there, "edge", tmp_path / "edge", {WIRE.name: WIRE})
            port, stop, running = await started(edge)
            assert (await Bot(port, bot.key_id, bot.secret).order(**SMALL)).reason == "cut"
            stuck.set()
            await until(lambda: edge.book._gates.closing() == ())
            assert (await Bot(port, bot.key_id, bot.secret).order(**SMALL)).reason == "cut"
        stop.set()
        await running
        here.close()
        await asyncio.gather(serving, return_exceptions=True)
        assert world.executed() == []


@contextmanager
def monkeyed_commit() -> Iterator[threading.Event]:
    """Let cuts not get on record until the event is set."""
    go, real = threading.Event(), cut_store.add

    def add(*args: Any) -> None:
        if not go.is_set():
            fault = sa.exc.OperationalError("INSERT", None, Exception("planted"))
            raise fault
        real(*args)

    cut_store.add = add
    try:
        yield go
    finally:
        go.set()
        cut_store.add = real


async def test_no_lease_is_opened_or_renewed_under_a_cut_that_is_not_on_record(tmp_path: Path) -> None:
    """The broker reads its gates from the database each second; there the scope is open."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        (held_lease,) = world.gateway.book.by_lease.values()
        with monkeyed_commit():
            await close(world, "consumer:bot")
            began_us = world.authority.leases.began_us
            await until(lambda: world.authority.leases.began_us > began_us)
            assert world.authority.changes.gates["consumer:bot"].mode is Mode.CLOSED
            world.gateway.link._renew()
            await until(lambda: held_lease.lease.id not in world.gateway.book.by_lease)
            assert (await bot.order(**SMALL)).reason == "cut"
            (link,) = world.authority.changes.links.values()
            assert link.leases == {}


@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize(
    "target", ["consumer:nobody", "account:main2", "key-version:main/trade/7", "grant:none"]
)
async def test_a_cut_of_what_does_not_exist_is_taken_back_whole(
    tmp_path: Path, target: str, *, locked: bool
) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        async with api(world) as client:
            with held(world) as let_go:
                if not locked:
                    let_go()
                answer = await client.post("/v1/cuts", json=BOT | {"targets": ["consumer:bot", target]})
                assert (answer.status_code, "NOTHING was cut" in answer.text) == (404, True)
                let_go()
        await until(lambda: world.gateway.book._gates.closing() == ())
        await until(lambda: world.service.cuts.closing.standing() == ())
        assert on_record(world) == {}
        async with asyncio.timeout(60):
            while (await bot.order(**SMALL)).status != 200:  # noqa: ASYNC110 - leases tell nobody
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "target", ["key-version:main/trade/01", "consumer:Bot", "account: main", "key-version:x"]
)
async def test_a_name_that_nothing_can_have_closes_nothing_even_while_nobody_can_look(
    tmp_path: Path, target: str
) -> None:
    """Another spelling of a real name would hold nobody, and be answered as in force."""
    async with running_world(tmp_path) as world:
        world.account()
        with held(world), pytest.raises(NotFound):
            world.service.cuts.close(targets=(target,), mode=Mode.CLOSED, reason="x", actor="me")
        assert world.service.cuts.closing.standing() == ()


async def test_a_name_that_could_not_be_looked_up_says_so_and_is_told_when_it_names_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> Any:
        raise StoreUnavailable("database", "away on purpose")

    async with running_world(tmp_path) as world:
        world.account()
        async with api(world) as client:
            with held(world) as let_go:
                monkeypatch.setattr(world.service.cuts.closing, "look", away)
                answer = await client.post("/v1/cuts", json=BOT | {"targets": ["consumer:bto"]})
                assert (answer.status_code, answer.json()["on_record"]) == (201, False)
                assert any("could not be looked up" in note for note in answer.json()["notes"])
                let_go()
            await until(lambda: "cut-of-nobody" in wrong(world))
            assert on_record(world) == {}
        document = world.service.desk.secrets.mirror.read(answer.json()["id"])
        assert document is not None
        await until(
            lambda: (
                '"thawed_us": null' not in (world.service.desk.secrets.mirror.read(answer.json()["id"]) or "")
            )
        )


async def test_what_a_cut_names_and_exists_stays_closed_where_nobody_could_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was answered as in force: a slip in one name must not open the others once the database is back."""

    def away(*_: object) -> Any:
        raise StoreUnavailable("database", "away on purpose")

    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        async with api(world) as client:
            with held(world) as let_go:
                monkeypatch.setattr(world.service.cuts.closing, "look", away)
                body = BOT | {"targets": ["consumer:bot", "account:mian"]}
                answer = await client.post("/v1/cuts", json=body)
                assert (answer.status_code, answer.json()["on_record"]) == (201, False)
                let_go()
            await until(lambda: world.service.cuts.closing.standing() == ())
            assert gates(world)["consumer:bot"] is Mode.CLOSED
            assert "account:mian" not in gates(world)
            assert (await bot.order(**SMALL)).reason == "cut"
            (stray,) = world.service.cuts.closing.strays()
            assert stray.noted.scopes == ("account:mian",)
            assert "cut-of-nobody" in wrong(world)
            shown = (await client.get(f"/v1/cuts/{answer.json()['id']}")).json()
            assert shown["targets"] == ["consumer:bot"]


async def test_a_cut_that_is_refused_for_a_slip_closes_nobody_while_the_database_is_held(
    tmp_path: Path,
) -> None:
    """It was answered that nothing was cut: that is so at once, not when the lock is free."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        async with api(world) as client:
            with held(world):
                answer = await client.post(
                    "/v1/cuts", json=BOT | {"targets": ["consumer:bot", "account:mian"]}
                )
                assert answer.status_code == 404
                await until(lambda: world.gateway.book._gates.closing() == ())
                assert "consumer:bot" not in world.gateway.book.gates
            await until(lambda: world.service.cuts.closing.standing() == ())
            assert on_record(world) == {}
            assert "cut-of-nobody" not in wrong(world)


async def test_who_is_told_after_a_cut_was_taken_back_hears_that(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        made = world.service.cuts.closing.begin(
            targets=("consumer:nobody",), mode=Mode.CLOSED, reason="x", actor="me"
        )
        await until(lambda: world.service.cuts.closing.standing() == ())
        with pytest.raises(NotFound):
            world.service.cuts.unchecked(made)


async def test_a_version_that_takes_the_place_before_the_cut_is_on_record_is_closed_too(
    tmp_path: Path,
) -> None:
    """The move was under way when the version was closed, and knew nothing of that."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        old, new = (KeyRef("main", Slot.TRADE, version) for version in (1, 2))
        key = next(one for one in world.service.keys.list("main") if one.ref == old)
        with world.service.desk.database.write() as connection:
            account_store.add_key(
                connection, replace(key, ref=new, stage=Stage.PENDING, venue_key_id="N", path=new.path), 0
            )
        rotator = Database(world.service.desk.database._where)
        with rotator.write() as connection:
            made = world.service.cuts.closing.begin(
                targets=(f"key-version:{old}",), mode=Mode.CLOSED, reason="leak", actor="me"
            )
            assert cutovers.move_current(connection, new, old)
            world.service.audit.record(connection, "key.current", f"key-version:{new}")
        rotator.close()
        await until(lambda: world.service.cuts.closing.standing() == ())
        both = {f"key-version:{old}", f"key-version:{new}"}
        assert {name for name, mode in gates(world).items() if mode is Mode.CLOSED} == both
        assert set(world.service.cuts.get(made.noted.id).scopes) == both
        name, told = f"key-version:{new}", world.gateway.book.gates
        await until(lambda: name in told and told[name].mode is Mode.CLOSED)
        await world.thaw(made.noted.id)
        assert set(gates(world).values()) == {Mode.OPEN}


async def test_a_broker_that_ends_before_the_commit_finds_its_cut_in_the_secret_store(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        world.issue()
        with monkeyed_commit() as go:
            cut = await close(world, "consumer:bot")
            await until(lambda: world.service.cuts.closing.is_noted(cut))
            world.service.cuts.closing.end()  # as if it were killed: nothing is committed any more
            assert on_record(world) == {}
            go.set()
        desk = world.service.desk
        after = open_service(desk.database, desk.secrets, WallClock())
        after.mirror.merge()
        assert [(one.id, one.reason) for one in after.cuts.list(open_only=True).items] == [(cut, "leak")]
        after.close()


async def test_without_the_secret_store_the_answer_says_that_a_crash_forgets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the store is back it is written there, although the database still takes nothing."""

    def away(*_: object, **__: object) -> Any:
        raise StoreUnavailable("away", "away on purpose")

    async with running_world(tmp_path) as world:
        world.account()
        world.issue()
        async with api(world) as client:
            with held(world):
                with monkeypatch.context() as patched:
                    patched.setattr(world.service.mirror, "note", away)
                    said = (await client.post("/v1/cuts", json=BOT)).json()
                assert said["durable"] == []
                assert "a crash forgets it" in said["notes"][0]
                world.service.mirror.merge()
                assert world.service.cuts.closing.is_noted(said["id"])


async def test_a_cut_that_another_broker_took_over_from_the_mirror_is_made_once(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        assert (await bot.order(**SMALL)).status == 200
        with monkeyed_commit() as go:
            cut = await close(world, "consumer:bot")
            await until(lambda: world.service.cuts.closing.is_noted(cut))
            go.set()
            desk = world.service.desk
            second = open_service(desk.database, desk.secrets, WallClock())
            with desk.database.turns.turn(Urgency.SAFETY, 60):  # ours cannot come between
                pass
            second.mirror.merge()
        await until(lambda: world.service.cuts.closing.standing() == ())
        await until(lambda: world.gateway.book._gates.closing() == ())
        assert on_record(world) == {cut: True}
        assert (await bot.order(**SMALL)).reason == "cut"
        second.close()


# --- one process' view of the gates -------------------------------------------------------------


def closing(name: str, *scopes: str, mode: Mode = Mode.CLOSED) -> NotedCut:
    return NotedCut(name, mode, scopes, "leak", "me", 1)


def test_no_news_of_a_gate_opens_what_a_closing_holds() -> None:
    gates = Gates()
    gates.take([Gate("everything", 7, {"cut_1": Mode.HALT})])
    gates.close(closing("cut_2", "everything"))
    for epoch in (3, 7, 8, 99):
        gates.take([Gate("everything", epoch)], same=True)
        assert gates.now["everything"].mode is Mode.CLOSED
    assert gates.now["everything"].epoch == 99, "leases are judged by the epochs on record"
    gates.take([Gate("everything", 100, {"cut_2": Mode.CLOSED})], ["cut_2"])
    assert gates.now["everything"].closers == {"cut_2": Mode.CLOSED}
    gates.take([Gate("everything", 101)])
    assert gates.now["everything"].mode is Mode.OPEN


def test_one_closing_that_is_over_leaves_the_other_in_force() -> None:
    gates = Gates()
    gates.close(closing("cut_1", "consumer:a", "consumer:b"))
    gates.close(closing("cut_2", "consumer:b", mode=Mode.HALT))
    gates.take((), ["cut_1"])
    assert "consumer:a" not in gates.now
    assert gates.now["consumer:b"].mode is Mode.HALT
    gates.take((), ["cut_1", "cut_3"])
    assert gates.now["consumer:b"].mode is Mode.HALT
    assert gates.states() == ((), (closing("cut_2", "consumer:b", mode=Mode.HALT),))


def test_a_closing_makes_a_halt_stricter_and_never_milder() -> None:
    gates = Gates()
    gates.take([Gate("everything", 1, {"cut_1": Mode.CLOSED})])
    gates.close(closing("cut_1", "everything", mode=Mode.HALT))
    assert gates.now["everything"].mode is Mode.CLOSED
    read = gates.with_closings({"everything": Gate("everything", 2)})
    assert read["everything"].mode is Mode.HALT
