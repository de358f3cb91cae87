"""The history of real processes is told by what they left behind, and what broke a promise in it is found."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from broker.calllog import Ask, write_line
from broker.db.database import Database
from tests.cli.started import Demo, cli_json, cut_off, kill, running_demo, wait_until
from tests.history import laws
from tests.history.events import Deleted, Executed, History, Reopened
from tests.history.processes import left_behind
from tests.history.record import of_logs

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A bot traded, was cut off and thawed; its gateway was killed; its key was rotated; all processes have ended."""
    directory = tmp_path_factory.mktemp("processes")
    with running_demo(directory / "home", directory / "errors") as demo:
        assert demo.order().status == 200
        cut = cut_off(demo)
        assert demo.order().status != 200
        cli_json(demo.home, "thaw", cut, "--reason", "a test")
        wait_until(lambda: trades(demo), "it trades again")
        old = demo.running()["gateway_pid"]
        kill(old)
        wait_until(lambda: demo.running()["gateway_pid"] not in {0, old}, "a new gateway")
        wait_until(lambda: trades(demo), "it trades again")
        done = cli_json(demo.home, "rotation", "start", "--account", "demo", "--wait")
        assert done["state"] == "done", done
    return demo.home


def trades(demo: Demo) -> bool:
    return asyncio.run(demo.bot.order(quantity="0.001")).status == 200


def test_what_processes_left_behind_tells_of_everything(home: Path) -> None:
    history = left_behind(home)
    assert laws.broken(history) == []
    assert len(history.executed) >= 3
    names = {name for one in history.written for name in one.names}
    assert {one.name for one in history.executed} <= names
    assert all(one.signed_us is not None for one in history.executed)
    (cut,) = history.in_force
    assert cut.cut in {one.cut for one in history.reopened}
    assert [one.state for one in history.rotations] == ["done"]
    assert [one.number for one in history.became] == [1, 2]
    assert [one.number for one in history.buried] == [1]
    assert len(history.deleted) == 1
    assert [one.kept for one in history.versions if one.stage == "current"] == [True]


def _never_thawed(history: History) -> None:
    history.reopened = []


def _thawed_later(history: History) -> None:
    history.reopened = [Reopened(max(one.at_us for one in history.written) + 1, history.in_force[0].cut)]


def _nothing_logged(history: History) -> None:
    history.written = []


def _cut_forgotten(history: History) -> None:
    history.cuts, history.reopened = frozenset(), []


def _stolen(history: History) -> None:
    history.executed.append(Executed(history.executed[-1].key_id, "stolen"))


def _deleted_too_soon(history: History) -> None:
    history.deleted = [replace(one, at_us=history.became[0].at_us + 1) for one in history.deleted]


def _current_deleted(history: History) -> None:
    current = next(one for one in history.versions if one.stage == "current")
    history.deleted.append(Deleted(history.rotations[0].ended_us or 0, current.key_id))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_never_thawed, "after cut"),
        (_thawed_later, "after cut"),
        (_nothing_logged, "no gateway wrote it"),
        (_cut_forgotten, "was told, and is not on record"),
        (_stolen, "the exchange executed stolen"),
        (_deleted_too_soon, "was signed with"),
        (_current_deleted, "was deleted while it was in use"),
    ],
)
def test_what_broke_a_promise_is_found_in_what_processes_left(
    home: Path, spoil: Callable[[History], None], words: str
) -> None:
    history = left_behind(home)
    spoil(history)
    assert any(words in one for one in laws.broken(history)), laws.broken(history)


def test_lines_that_no_broker_took_in_are_read_where_the_gateway_left_them(tmp_path: Path) -> None:
    """The last one is torn: it was never acted on."""
    database = Database(tmp_path / "state.db")
    database.upgrade()
    spool = tmp_path / "spool"
    spool.mkdir()
    ask = Ask(
        1, 7, "grt_1", "bot", "main", "main/trade/1", "POST", "order", "place", "BTCUSDT", "BUY", "10", ("a",), None,
        "allow", None, 0, (), "127.0.0.1", False,
    )  # fmt: skip
    refused = msgspec.structs.replace(ask, seq=2, decision="deny", client_order_ids=("b",))
    lines = [write_line(one) for one in (ask, refused)]
    (spool / "calls-0123456789abcdef-00000000.jsonl").write_text("\n".join([*lines, lines[0][:40]]))
    history = History()
    of_logs(history, database, {"local": spool})
    (one,) = history.written
    assert (one.at_us, one.grant, one.risk, one.names, one.key) == (7, "grt_1", True, ("a",), "main/trade/1")
    assert {
        "everything",
        "gateway:local",
        "consumer:bot",
        "grant:grt_1",
        "key-version:main/trade/1",
    } <= one.scopes
    database.close()
