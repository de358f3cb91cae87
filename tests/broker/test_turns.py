"""Writes of one process take turns: the urgent first, nobody for ever, nothing later that was given up."""

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broker.db import meta
from broker.db.database import LOG_FILE, Database
from broker.db.turns import PATIENCE_S, Turns, Urgency
from broker.errors import StoreUnavailable

LONG_S = 60.0


def until(what: Callable[[], object]) -> None:
    end = time.monotonic() + LONG_S
    while not what():
        assert time.monotonic() < end
        time.sleep(0.002)


def waiting(turns: Turns) -> int:
    return len(turns._waiting)


@contextmanager
def begun(work: Callable[[], object]) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(LONG_S)
        assert not thread.is_alive()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = Database(tmp_path / "state.db")
    found.upgrade()
    yield found
    found.close()


@contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold a file's write lock, as another process would."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield other
    finally:
        if other.in_transaction:
            other.execute("ROLLBACK")
        other.close()


def test_the_urgent_go_first_and_equals_as_they_came() -> None:
    turns, order = Turns(), []
    threads = []
    with turns.turn(Urgency.CONTROL):
        for number, how in enumerate((2, 1, 1, 0, 2, 0, 1)):

            def work(number: int = number, how: int = how) -> None:
                with turns.turn(Urgency(how)):
                    order.append((how, number))

            threads.append(threading.Thread(target=work))
            threads[-1].start()
            until(lambda number=number: waiting(turns) == number + 1)
    for thread in threads:
        thread.join(LONG_S)
    assert order == sorted(order)
    assert len(order) == 7


def test_a_turn_that_was_given_up_is_never_done_and_stops_nobody() -> None:
    turns, done = Turns(), []
    with turns.turn(Urgency.CONTROL):

        def impatient() -> None:
            with pytest.raises(StoreUnavailable), turns.turn(Urgency.SAFETY, 0.05):
                done.append("given up")

        with begun(impatient):
            until(lambda: waiting(turns) == 0 and not turns.urgent.is_set())
    with turns.turn(Urgency.UPKEEP):
        done.append("next")
    assert done == ["next"]


def test_work_that_fails_gives_its_turn_back(database: Database) -> None:
    def failing(fault: type[BaseException]) -> None:
        with database.write() as connection:
            meta.put(connection, "x", "1")
            raise fault

    for fault in (ValueError, KeyboardInterrupt, SystemExit):
        with pytest.raises(fault):
            failing(fault)
    with database.write(Urgency.SAFETY, patience_s=LONG_S) as connection:
        assert meta.get(connection, "x") is None


def test_a_write_within_a_write_is_an_error_and_not_a_wait(database: Database) -> None:
    with database.write(), pytest.raises(RuntimeError), database.write():
        pass
    with database.write() as connection:
        with database.log.write():
            pass
        with database.read():
            pass
        meta.put(connection, "x", "1")
    with database.read() as connection:
        assert meta.get(connection, "x") == "1"


def test_a_locked_log_holds_no_write_of_the_state_up(database: Database, tmp_path: Path) -> None:
    with locked(tmp_path / LOG_FILE):
        with (
            pytest.raises(StoreUnavailable, match="nothing was changed"),
            database.log.write(patience_s=0.05),
        ):
            pass
        with database.write(Urgency.SAFETY, patience_s=LONG_S) as connection:
            meta.put(connection, "x", "1")
        with database.log.read() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM calls").scalar() == 0


def test_what_waits_for_another_process_lets_the_urgent_go_first(database: Database, tmp_path: Path) -> None:
    order: list[str] = []

    def write(name: str, how: Urgency) -> None:
        with database.write(how) as connection:
            meta.put(connection, name, "1")
            order.append(name)

    with locked(tmp_path / "state.db") as other:
        control = threading.Thread(target=write, args=("control", Urgency.CONTROL))
        control.start()
        until(lambda: database.turns._holder == control.ident)
        cut = threading.Thread(target=write, args=("cut", Urgency.SAFETY))
        cut.start()
        until(lambda: database.turns._holder == cut.ident)
        other.execute("ROLLBACK")
        cut.join(LONG_S)
        control.join(LONG_S)
    assert order == ["cut", "control"]


def test_what_was_given_up_behind_another_process_is_not_written_later(
    database: Database, tmp_path: Path
) -> None:
    with locked(tmp_path / "state.db") as other:
        with (
            pytest.raises(StoreUnavailable, match="nothing was changed"),
            database.write(Urgency.SAFETY, patience_s=0.05) as connection,
        ):
            meta.put(connection, "x", "1")
        other.execute("ROLLBACK")
    with database.write() as connection:
        assert meta.get(connection, "x") is None


def test_a_batch_of_the_log_lets_an_urgent_write_pass_first(database: Database) -> None:
    order: list[str] = []

    def log() -> None:
        with database.log.write(Urgency.UPKEEP):
            order.append("log")

    with database.write(Urgency.SAFETY) as connection, begun(log):
        meta.put(connection, "x", "1")
        order.append("cut")
        thread_waits = not database.turns._calm.is_set()
    assert thread_waits
    assert order == ["cut", "log"]


RIVAL = """
import sys
from pathlib import Path
from broker.db import meta
from broker.db.database import Database
database = Database(Path(sys.argv[1]) / "state.db")
number = 0
while True:
    with database.write() as connection:
        meta.put(connection, "rival", str(number := number + 1))
    if number == 1:
        print("begins", flush=True)
"""


@pytest.mark.process
def test_urgent_writes_get_through_beside_a_process_that_writes_without_pause(
    database: Database, tmp_path: Path
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", RIVAL, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline()
        for number in range(50):
            with database.write(Urgency.SAFETY) as connection:
                meta.put(connection, "ours", str(number))
    finally:
        child.kill()
        child.communicate()
    with database.read() as connection:
        assert meta.get(connection, "ours") == "49"
        assert int(meta.get(connection, "rival") or 0) > 0


def test_a_person_who_cuts_waits_for_less_than_the_command_line_does() -> None:
    from portcullis.cli.client import TIMEOUT  # noqa: PLC0415 - the command line loads much

    assert TIMEOUT.read is not None
    assert PATIENCE_S[Urgency.SAFETY] + 3 < TIMEOUT.read
