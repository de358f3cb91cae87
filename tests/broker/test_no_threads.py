"""A thread that cannot be had costs one try: nothing waits for ever for who never went.

A bot of the same user that leaks threads is enough for a host to have none left for us for a moment.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from broker.audit.keeping import Keeping
from broker.db import cuts as cut_store
from broker.db import overdue as overdue_module
from broker.db.overdue import Overdue
from broker.errors import NotFound
from broker.gate import Mode
from clients import lines
from clients.bounds import Bounds, within
from clients.secret import Secret
from rotation.alerts.answers import Answer
from rotation.alerts.sending import Message
from rotation.alerts.telling import TOGETHER_US, Telling
from rotation.destinations.errands import Errands, Found
from tests.rotation.alerting import Clock, home_with_a_key, unknown

PATIENCE_S = 60.0


@contextmanager
def none_left() -> Iterator[None]:
    def start(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        yield


class Kept:
    name = "paper"

    def __init__(self) -> None:
        self.lines: list[str] = []

    def keep(self, line: str) -> None:
        self.lines.append(line)


def test_an_anchor_that_a_checkpoint_could_not_be_brought_to_says_so_and_gets_the_next() -> None:
    anchor = Kept()
    keeping = Keeping([anchor])
    with none_left():
        keeping.bring(1, "one")
    assert list(keeping.failed()) == ["paper"]
    keeping.bring(2, "two")
    assert keeping.wait(PATIENCE_S)
    assert (anchor.lines, dict(keeping.failed())) == (["two"], {})


def test_a_postgres_that_answers_nothing_is_hung_up_on_by_who_asks_after_that() -> None:
    """Nobody watched over any connection for as long as the process lived."""
    overdue = Overdue()
    here, there = socket.socketpair()
    with none_left(), suppress(RuntimeError), overdue.limited(here.fileno(), 60):
        pass
    assert overdue._watched == {}
    with here, there, overdue.limited(here.fileno(), 0.05):
        here.settimeout(PATIENCE_S)
        assert here.recv(1) == b"", "hung up"


def test_who_watches_ends_where_nothing_is_to_be_watched_and_begins_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each database that was opened left a thread behind for as long as the process lived."""
    monkeypatch.setattr(overdue_module, "_IDLE_S", 0.01)
    overdue, watchers, start = Overdue(), list[threading.Thread](), threading.Thread.start

    def noted(thread: threading.Thread) -> None:
        watchers.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", noted)
    for count in (1, 2):
        here, there = socket.socketpair()
        with here, there:
            with overdue.limited(here.fileno(), 0.1):
                assert len(watchers) == count
            watchers[-1].join(PATIENCE_S)
            assert not watchers[-1].is_alive()


def test_a_name_that_could_not_be_asked_for_is_asked_for_again() -> None:
    lookups, asked = lines._Lookups(), ("localhost", 80, 0, socket.SOCK_STREAM)
    with within(Bounds(PATIENCE_S)):
        with none_left(), pytest.raises(OSError, match="no thread"):
            lookups.ask(asked)
        assert lookups.ask(asked)


def test_a_destination_that_nobody_went_to_is_free() -> None:
    """A rotation waited for it for ever, and the old key lived on."""
    errands = Errands()

    def work() -> Found:
        return Found(delivered=True)

    with none_left():
        assert "no thread" in errands.begin("place", "dotenv", 1, work)
    assert not errands.is_on_its_way("place", 1)
    assert errands.begin("place", "dotenv", 1, work) == ""
    assert errands.collect("place", 1, PATIENCE_S) == Found(delivered=True)


def test_a_channel_that_nobody_could_tell_is_told_by_the_next_look(tmp_path: Path) -> None:
    sent: list[str] = []

    def send(_: str, message: Message) -> Answer:
        sent.append(message.title)
        return message.taken

    with home_with_a_key(tmp_path) as service:
        clock = Clock(service.desk.clock.now_us())
        service.alerts.add("phone", "webhook", Secret("json://127.0.0.1:9/x"))
        telling = Telling(service, clock, send)
        unknown(service, clock, "A" * 64)
        telling.look()
        clock.us += TOGETHER_US
        looks: Callable[[], None] = telling.look
        with none_left():
            looks()
        assert sent == []
        looks()
        assert len(sent) == 1


def test_a_cut_that_no_thread_could_be_had_for_is_put_on_record_as_its_broker_ends(tmp_path: Path) -> None:
    """It was answered as in force, and was nowhere: after the restart that the lack of threads asks for, bots traded."""
    with home_with_a_key(tmp_path) as service:
        with none_left():
            made = service.cuts.closing.begin(
                targets=("everything",), mode=Mode.CLOSED, reason="leak", actor="me"
            )
            with suppress(RuntimeError):
                service.cuts.closing.note(made)
            assert not made.settled.done()
            service.close()
        with service.desk.database.read() as connection:
            row = cut_store.get(connection, made.noted.id)
        assert row is not None
        assert row.thawed_us is None


def test_a_cut_that_is_taken_back_where_no_thread_can_be_had_holds_up_no_other(tmp_path: Path) -> None:
    """The thread that commits ended by it, and the next cut was on record seconds later."""
    with home_with_a_key(tmp_path) as service:
        closing = service.cuts.closing

        def none(*_: object) -> None:
            raise RuntimeError("can't start new thread")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(service.mirror._writer, "submit", none)
            with service.desk.database.write():
                wrong = closing.begin(
                    targets=("consumer:nobody",), mode=Mode.CLOSED, reason="leak", actor="me"
                )
                wrong.noting = True
                right = closing.begin(targets=("everything",), mode=Mode.CLOSED, reason="leak", actor="me")
            assert right.settled.result(PATIENCE_S)
            with pytest.raises(NotFound):
                wrong.settled.result(PATIENCE_S)
