"""A PostgreSQL that was stopped, not ended, answers nothing: whoever cuts is told so in time, and it works again after."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.db import database as databases
from broker.db import meta
from broker.db.turns import PATIENCE_S, Urgency, urgency
from broker.errors import StoreUnavailable
from broker.service.operators import Role
from tests.api.desk import opened_desk
from tests.gateway.world import running_world
from tests.places import database_at
from tests.services.postgres.server import PostgresServer

pytestmark = [pytest.mark.usefixtures("on_postgres"), pytest.mark.process]


@contextlib.contextmanager
def stopped(server: PostgresServer) -> Iterator[None]:
    """Stop every process of a server, as a host does that swaps or a disk that hangs."""
    assert server.process is not None
    main = server.process.pid
    children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    everyone = [main, *map(int, children)]
    _all(everyone, signal.SIGSTOP)
    try:
        yield
    finally:
        _all(everyone, signal.SIGCONT)


def _all(pids: list[int], how: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # one that was just ending
            os.kill(pid, how)


def test_a_cut_is_answered_within_its_bound_while_the_server_answers_nothing(
    postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = database_at(tmp_path)
    with database.write(Urgency.SAFETY) as connection:
        meta.put(connection, "x", "before")
    began = time.monotonic()
    with monkeypatch.context() as patch:  # short for as long as nobody answers: who answers may take its time
        patch.setattr(databases, "_LEAST_S", 1.0)
        patch.setitem(PATIENCE_S, Urgency.SAFETY, 2.0)
        with (
            stopped(postgres_server),
            pytest.raises(StoreUnavailable),
            database.write(Urgency.SAFETY) as connection,
        ):
            meta.put(connection, "x", "while")
    assert time.monotonic() - began < 60, "without a limit it waits for ever"
    with database.write(Urgency.SAFETY, patience_s=60) as connection:
        assert meta.get(connection, "x") == "before"
        meta.put(connection, "x", "after")
    with database.read() as connection:
        assert meta.get(connection, "x") == "after"
    database.close()


async def test_a_cut_through_the_api_is_in_force_while_the_server_answers_nothing(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """Who asks is known from before, what it names cannot be looked up, and it says so. Then it gets on record."""
    with opened_desk(tmp_path) as desk:
        desk.trading()
        desk.service.operators.learn()
        async with desk.client(Role.RESPONDER) as client:
            with stopped(postgres_server):
                began = time.monotonic()
                body = {"targets": ["consumer:bot"], "mode": "closed", "reason": "leak"}
                answer = await client.post("/v1/cuts", json=body, headers={"Idempotency-Key": "k"})
                assert time.monotonic() - began < 15, "its bounds are seconds, whatever the server does"
                said = answer.json()
                assert (answer.status_code, said["on_record"]) == (201, False)
                assert said["durable"] == ["secret store"]
                assert "NOT in the database" in said["notes"][0]
                assert any("could not be looked up" in note for note in said["notes"])
                assert [one.id for one in desk.service.desk.closings.values()] == [said["id"]]
            made = desk.service.cuts.closing.get(said["id"])
            if made is not None:
                assert await asyncio.to_thread(made.settled.result, 90)
            shown = (await client.get(f"/v1/cuts/{said['id']}")).json()
        assert shown["on_record"] is True
        assert desk.service.desk.closings == {}


async def test_leases_and_heartbeats_go_on_where_others_use_every_usual_connection(tmp_path: Path) -> None:
    """Sixteen who read slowly hold what there is; what the safety thread reads has connections of its own."""
    async with running_world(tmp_path) as world:
        world.account()
        bot = world.bot()
        with contextlib.ExitStack() as held:
            for _ in range(16):
                held.enter_context(world.service.desk.database.read())
            await world.authority.beat()
            assert await world.authority.in_safety(urgency.get) is Urgency.SAFETY
            assert (await bot.call("GET", "/api/v3/account")).status == 200, "a lease was opened"
