"""Where no thread can be had that would hang up on a PostgreSQL that hangs, it is asked all the same."""

import socket
from pathlib import Path

import pytest

from broker.db import meta
from broker.db.overdue import Overdue
from tests.broker.test_no_threads import PATIENCE_S, none_left
from tests.places import database_at


@pytest.mark.usefixtures("on_postgres")
def test_a_database_that_nobody_watches_over_is_read_and_written(tmp_path: Path) -> None:
    """A cut was not put on record, and a revocation failed, where the watcher had ended and no thread was left."""
    database = database_at(tmp_path)
    try:
        with none_left():
            with database.write() as connection:
                meta.put(connection, "seen", "1")
            with database.read() as connection:
                assert meta.get(connection, "seen") == "1"
    finally:
        database.close()


def test_what_nobody_watches_over_is_hung_up_on_once_a_thread_can_be_had() -> None:
    overdue = Overdue()
    here, there = socket.socketpair()
    other, another = socket.socketpair()
    with here, there, other, another:
        with none_left():
            begun = overdue.limited(here.fileno(), 0.01)
            begun.__enter__()
        with overdue.limited(other.fileno(), 10 * PATIENCE_S):
            here.settimeout(PATIENCE_S)
            assert here.recv(1) == b"", "hung up"
        begun.__exit__(None, None, None)
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(1)
