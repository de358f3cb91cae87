"""One record of a cut that cannot be read, or kept, closes everything and says so; it keeps no other from being taken in."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from broker import gate_document
from broker.db import rows
from broker.errors import Malformed
from broker.gate import Mode
from broker.gate_document import NotedCut
from broker.model import EVERYTHING, new_id
from broker.service import Service
from broker.service.unrecorded import VERSION
from clients.venue import Environment
from portcullis.foundation import found, opened
from portcullis.seating import take
from portcullis.settings import Home
from portcullis.upkeep import Upkeep

GOOD = NotedCut("cut_good", Mode.CLOSED, ("account:main",), "leak", "me", 1)
BAD: dict[str, dict[str, Any]] = {
    "no version": {"scopes": ["key-version:abc"]},
    "no number": {"scopes": ["account:main", "key-version:main/trade/x"]},
    "another spelling": {"scopes": ["key-version:main/trade/01"]},
    "too long a scope": {"scopes": ["grant:" + "g" * 200]},
    "an instant of no calendar": {"opened_us": 2**62},
    "an instant that no column holds": {"opened_us": 2**70},
    "half a character": {"reason": "\ud800"},
    "a text that no server holds": {"reason": "a\0b"},
    "too long an actor": {"actor": "a" * 65},
}
TEXTS = {"no JSON": "{", "nested without end": "[" * 200_000, "empty": ""}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = found(tmp_path / "home", Environment.PAPER, "solo").home
    with opened(made) as service:
        service.mirror.merge()
    return made


def documents(name: str) -> dict[str, str]:
    def document(**changes: Any) -> str:
        return json.dumps(json.loads(gate_document.dump(GOOD)) | {"cut": name} | changes)

    return {why: document(**changes) for why, changes in BAD.items()} | TEXTS


def taken_in(service: Service, where: str) -> None:
    """See that the start serves the safety path: the good cut is on record, the other closes all, and both are told."""
    upkeep = Upkeep(service)
    upkeep.once()
    assert not list(upkeep.hazards()), "the merge went through"
    assert service.mirror.serves
    cuts = {cut.id: cut for cut in service.cuts.list(open_only=True).items}
    good = cuts.pop(GOOD.id)
    assert good.scopes == ("account:main",)
    ((name, other),) = cuts.items()
    assert other.scopes == (EVERYTHING,)
    assert where in other.reason
    told = [one for one in service.conditions.look() if one.kind == "cut" and one.subject == name]
    assert where in told[0].says
    made, _ = service.cuts.close(targets=("everything",), mode=Mode.CLOSED, reason="leak", actor="me")
    assert made.on_record, "a cut works"
    service.mirror.merge()
    service.cuts.thaw(name, reason="looked at", actor="me")


@pytest.mark.parametrize("why", [*BAD, *TEXTS])
def test_a_document_in_the_secret_store_that_cannot_be_read_keeps_no_other_cut_back(
    home: Home, why: str
) -> None:
    """A scope that names no key version ended every merge: nothing was served, and nothing told why."""
    with opened(home) as service:
        document = documents("cut_bad")[why]
        service.desk.secrets.mirror.change("cut_bad", lambda _: document)
        service.mirror.note(GOOD)
    with opened(home) as service:
        taken_in(service, "cut_bad")


@pytest.mark.parametrize("why", [*BAD, *TEXTS])
def test_a_file_in_the_home_that_cannot_be_read_keeps_no_other_cut_back(home: Home, why: str) -> None:
    with opened(home) as service:
        instance = service.desk.home.instance
        service.desk.unrecorded.keep(GOOD)
        document = documents("cut_bad")[why]
        whole = json.dumps({"version": VERSION, "instance": instance, "cut": document})
        (home.cuts / "cut_bad.cut").write_text(whole if why in BAD else document)
    with opened(home) as service:
        taken_in(service, "cut_bad.cut")


def test_a_file_whose_name_is_no_text_keeps_no_other_cut_back(home: Home) -> None:
    with opened(home) as service:
        service.desk.unrecorded.keep(GOOD)
    Path(os.fsdecode(os.fsencode(home.cuts) + b"/cut_\xff.cut")).touch()
    with opened(home) as service:
        taken_in(service, r"cut_\xff.cut")


@pytest.mark.parametrize("fault", [RuntimeError("as nobody foresaw"), Malformed("bad_data", ())])
@pytest.mark.parametrize("where", ["store", "home"])
def test_a_cut_that_fails_as_nobody_foresaw_keeps_no_other_back(
    home: Home, where: str, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or that the database refuses to hold: PostgreSQL says so of more than SQLite does."""
    odd = NotedCut("cut_odd", Mode.CLOSED, ("consumer:odd",), "leak", "me", 1)
    with opened(home) as service:
        for cut in (GOOD, odd):
            if where == "store":
                service.mirror.note(cut)
            else:
                service.desk.unrecorded.keep(cut)
    gates_of = rows.gates_of

    def fails(connection: Any, scopes: Any) -> Any:
        if "consumer:odd" in scopes:
            raise fault
        return gates_of(connection, scopes)

    monkeypatch.setattr(rows, "gates_of", fails)
    with opened(home) as service:
        taken_in(service, "cut_odd")


def test_what_was_taken_back_closes_nothing_whatever_it_named(home: Home) -> None:
    """A cut of what does not exist is noted as thawed: its odd name must not close everything at the next start."""
    with opened(home) as service:
        for number, scope in enumerate(("grant:" + "g" * 200, "key-version:abc")):
            service.mirror.note(NotedCut(f"cut_{number}", Mode.CLOSED, (scope,), "leak", "me", 1, 2))
    with opened(home) as service:
        service.mirror.merge()
        assert not service.cuts.list(open_only=True).items


def test_a_cut_on_record_whose_scope_cannot_be_read_closes_everything_when_it_is_adopted(home: Home) -> None:
    cut = NotedCut(new_id("cut"), Mode.CLOSED, ("account:main",), "leak", "me", 1)
    with opened(home) as service:
        service.mirror.note(cut)
        service.mirror.merge()
        with service.desk.database.write() as connection:
            connection.exec_driver_sql(f"INSERT INTO cut_scopes VALUES ('{cut.id}', 'key-version:abc')")  # noqa: S608 - its own id
    with opened(home) as service:
        service.mirror.merge()
        (standing,) = service.cuts.list(open_only=True).items
        assert EVERYTHING in standing.scopes


def test_a_mode_on_record_that_cannot_be_read_closes(home: Home) -> None:
    """Every heartbeat failed on it, and every look at what is cut."""
    with opened(home) as service:
        service.mirror.merge()
        service.cuts.close(targets=("everything",), mode=Mode.HALT, reason="leak", actor="me")
        with service.desk.database.write() as connection:
            connection.exec_driver_sql("UPDATE closers SET mode = 'odd'")
            connection.exec_driver_sql("UPDATE cuts SET mode = 'odd'")
        with service.desk.database.read() as connection:
            assert rows.gates(connection)[EVERYTHING].mode is Mode.CLOSED
        (standing,) = service.cuts.list(open_only=True).items
        assert standing.mode is Mode.CLOSED


def test_where_a_home_was_run_last_that_cannot_be_read_was_elsewhere(home: Home) -> None:
    """The start ended with an error of the program's own, and no cut could be made."""
    with opened(home) as service:
        with service.desk.database.write() as connection:
            connection.exec_driver_sql("INSERT INTO meta (name, value) VALUES ('place', '{')")
        take(home, service)
        (standing,) = service.cuts.list(open_only=True).items
        assert standing.scopes == (EVERYTHING,)


def test_a_part_of_upkeep_that_fails_as_nobody_foresaw_is_told_while_it_does(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stood in the log alone: nothing was served, and `status` said that all is well."""
    with opened(home) as service:
        upkeep = Upkeep(service)

        def fails() -> None:
            raise ZeroDivisionError

        with monkeypatch.context() as patch:
            patch.setattr(service.mirror, "merge", fails)
            upkeep.once()
            (hazard,) = upkeep.hazards()
            assert "keep store: ZeroDivisionError" in hazard.what
            assert "NO BOT IS SERVED" in hazard.what
        upkeep.once()
        assert not list(upkeep.hazards())
