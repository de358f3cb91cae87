"""A cut that is answered as on no record lies in the home by then: it binds the rotator beside us, and a restart has it.

Whatever becomes of its first try, or of other cuts; and a disk that hangs holds up no cut.
"""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.api.cuts import _not_on_record
from broker.api.ports import Acknowledged
from broker.errors import NotGranted
from broker.gate import Mode
from broker.gate_document import NotedCut
from broker.model import KeyRef, KeyVersion, Stage
from broker.service import Service
from broker.service.cuts import Cut
from broker.service.making import Made
from clients.venue import Environment, KeyType, Slot
from portcullis.foundation import found, opened
from portcullis.settings import Home
from tests.broker.test_no_threads import none_left

PATIENCE_S = 60.0
REF = KeyRef("main", Slot.TRADE, 1)
KEY = KeyVersion(REF, Stage.CURRENT, "id", KeyType.HMAC, REF.path, datetime.now(UTC))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = found(tmp_path / "home", Environment.PAPER, "solo").home
    with opened(made) as service:
        service.accounts.create_egress("out", addresses=("127.0.0.7",))
        service.accounts.create("main", venue="binance", egress="out", upstream="http://127.0.0.1:9")
        for number in range(4):
            service.grants.create_consumer(f"bot{number}")
    return made


@pytest.fixture
def hung(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Service], threading.Event]]:
    """Let a database answer nothing, neither yes nor no, until somebody says so."""
    ends = []

    def hang(service: Service) -> threading.Event:
        go, write = threading.Event(), service.cuts.closing._write

        def late(made: Made) -> None:
            go.wait(PATIENCE_S)
            write(made)

        monkeypatch.setattr(service.cuts.closing, "_write", late)
        ends.append(go)
        return go

    yield hang
    for go in ends:
        go.set()


def files(home: Home) -> set[str]:
    return {one.stem for one in home.cuts.iterdir()} if home.cuts.is_dir() else set()


def begun(service: Service, target: str) -> Made:
    return service.cuts.closing.begin(targets=(target,), mode=Mode.CLOSED, reason="leak", actor="me")


def let_go(service: Service) -> None:
    with service.desk.database.read() as connection:
        service.checkouts.ensure_open(connection, KEY, "bot")


def test_a_cut_whose_first_try_hangs_binds_the_process_beside_us_once_it_is_answered(
    home: Home, hung: Callable[[Service], threading.Event]
) -> None:
    """Its file was written when that try had failed, up to 15 s later: the rotator brought the key out until then."""
    with opened(home) as broker, opened(home) as rotator:
        let_go(rotator)
        go = hung(broker)
        cut, _ = broker.cuts.close(targets=("account:main",), mode=Mode.CLOSED, reason="leak", actor="me")
        assert not cut.on_record
        with pytest.raises(NotGranted):
            let_go(rotator)
        made = broker.cuts.closing.get(cut.id)
        assert made is not None
        go.set()
        assert made.settled.result(PATIENCE_S)
        with pytest.raises(NotGranted):
            let_go(rotator)
        assert files(home) == set()


def test_cuts_wait_for_no_try_of_another_to_be_written_down(
    home: Home, hung: Callable[[Service], threading.Event]
) -> None:
    """Each had its file once those before it had failed: the fourth after a minute. Nobody has to wait for an answer."""
    with opened(home) as service:
        go = hung(service)
        made = [begun(service, f"consumer:bot{number}") for number in range(4)]
        done, most = threading.Event(), iter(range(3_000))
        while files(home) != {one.noted.id for one in made} and next(most, None) is not None:
            done.wait(0.02)
        assert files(home) == {one.noted.id for one in made}
        assert [one.tries for one in made] == [1, 0, 0, 0]
        go.set()
        assert all(one.settled.result(PATIENCE_S) for one in made)


def test_a_disk_of_the_home_that_hangs_holds_up_no_cut(
    home: Home, hung: Callable[[Service], threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its answer, which says that it lies nowhere, nor its way to the record, nor the cuts behind it."""
    with opened(home) as service:
        inside, back = threading.Event(), threading.Event()

        def hangs(_: NotedCut) -> bool:
            inside.set()
            return back.wait(PATIENCE_S) and False

        monkeypatch.setattr(service.desk.unrecorded, "keep", hangs)
        go = hung(service)
        cut, _ = service.cuts.close(targets=("account:main",), mode=Mode.CLOSED, reason="leak", actor="me")
        assert inside.wait(PATIENCE_S)
        assert not cut.on_record
        assert not service.cuts.closing.is_left(cut.id)
        made, behind = service.cuts.closing.get(cut.id), begun(service, "consumer:bot1")
        assert made is not None
        go.set()
        assert made.settled.result(PATIENCE_S)
        assert behind.settled.result(PATIENCE_S)
        assert not back.is_set()
        back.set()


def test_a_cut_that_is_on_record_at_once_is_written_down_nowhere(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(home) as service:
        kept: list[str] = []
        monkeypatch.setattr(service.desk.unrecorded, "keep", lambda cut: kept.append(cut.id))
        made = begun(service, "account:main")
        assert made.settled.result(PATIENCE_S)
        service.cuts.closing._leaving.leave_all((made,))
        service.cuts.closing._leaving.leave(made)
        assert kept == []


def test_a_cut_that_no_thread_could_be_had_for_is_written_down_once_one_can(
    home: Home, hung: Callable[[Service], threading.Event]
) -> None:
    with opened(home) as service:
        hung(service)
        with none_left():
            made = begun(service, "account:main")
        service.cuts.closing.wake()
        assert made.left.result(PATIENCE_S)
        assert files(home) == {made.noted.id}


@pytest.mark.parametrize("left", [False, True])
def test_the_answer_says_whether_the_processes_beside_us_know_of_it(*, left: bool) -> None:
    cut = Cut("cut_1", Mode.CLOSED, ("everything",), "leak", "me", datetime.now(UTC), on_record=False)
    notes = _not_on_record(cut, Acknowledged(1, (), 0, 15), mirrored=True, kept=True, left=left)
    assert ("rotator" in " ".join(notes)) is not left
