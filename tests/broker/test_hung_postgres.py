"""A PostgreSQL that was stopped, not ended, answers nothing: whoever cuts is told so in time, and it works again after."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.db import database as databases
from broker.db import meta
from broker.db.turns import PATIENCE_S, Urgency
from broker.errors import StoreUnavailable
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
    for pid in everyone:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in everyone:
            os.kill(pid, signal.SIGCONT)


def test_a_cut_is_answered_within_its_bound_while_the_server_answers_nothing(
    postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "_LEAST_S", 1.0)
    monkeypatch.setitem(PATIENCE_S, Urgency.SAFETY, 2.0)
    database = database_at(tmp_path)
    with database.write(Urgency.SAFETY) as connection:
        meta.put(connection, "x", "before")
    began = time.monotonic()
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
