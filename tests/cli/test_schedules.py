"""`portcullis schedule` without a broker: what is typed wrongly is said by its option, and files are written or not."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from icalendar import Calendar
from typer.testing import CliRunner

from portcullis.cli import schedules
from portcullis.cli.answers import A, read
from portcullis.cli.app import app
from portcullis.cli.face import Stopped

DATED = {"account": "main", "slot": "trade", "next_at": "2030-01-02T03:04:05+00:00", "interval_days": 90.0,
         "windows": "", "zone": "UTC", "paused": False, "why": "every 90 days"}  # fmt: skip
PAUSED = DATED | {"account": "still", "next_at": None, "paused": True, "why": "paused"}


@dataclass
class Broker:
    """A broker that takes every change, or refuses with these errors."""

    rows: list[dict[str, Any]] = field(default_factory=lambda: [DATED, PAUSED])
    errors: tuple[tuple[str, str], ...] = ()
    put_: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def pages(self, kind: type[A], path: str) -> Iterator[A]:
        assert path == "schedules"
        return (read(kind, row) for row in self.rows)

    def put(self, kind: type[A], path: str, body: dict[str, Any]) -> A:
        if self.errors:
            raise Stopped("windows: no", reason="bad_schedule", errors=self.errors)
        self.put_.append((path, body))
        return read(kind, DATED)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    made = Broker()
    monkeypatch.setattr(schedules, "connect", lambda _: made)
    return made


def schedule(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["schedule", *arguments])


def error(*arguments: str) -> dict[str, Any]:
    """Return the one JSON error of a command that was refused."""
    done = schedule(*arguments, "--json")
    assert done.exit_code == 1, done.output
    found = json.loads(done.stdout)["error"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("text", ["nan", "inf", "-infd", "soon"])
def test_what_is_no_number_of_days_is_refused_here(broker: Broker, text: str) -> None:
    """The person is told how it is written, and nothing is asked of the broker."""
    assert error("set", "main", f"--interval={text}")["what"].startswith("--interval: ")
    assert broker.put_ == []


def test_windows_that_contradict_are_not_silently_any_time(broker: Broker) -> None:
    """Two words that exclude each other change nothing."""
    assert error("set", "main", "--window", "Sat 02:00-03:00", "--any-time")["reason"] == "malformed"
    assert broker.put_ == []


@pytest.mark.parametrize("arguments", [("--window", ""), ("--window", " "), ("--interval", "")])
def test_what_is_named_but_empty_changes_nothing(broker: Broker, arguments: tuple[str, str]) -> None:
    """A shell variable that is not set is neither any time nor the usual interval."""
    done = schedule("set", "main", *arguments)
    assert done.exit_code == 2
    assert arguments[0] in done.output
    assert "is empty" in done.output
    assert broker.put_ == []


def test_what_the_broker_refuses_is_named_by_the_option_that_was_typed(broker: Broker) -> None:
    """Fields of the API are not what the person wrote."""
    broker.errors = (("interval_days", "is between 1 and 365 days"), ("windows", "no"), ("zone", "no"))
    found = error("set", "main", "--interval", "0d")
    assert [one["field"] for one in found["errors"]] == ["--interval", "--window", "--zone"]
    assert found["what"].startswith("--interval is between 1 and 365 days")
    assert found["reason"] == "bad_schedule"


def test_an_account_in_a_path_is_quoted(broker: Broker) -> None:
    """A name with a slash is no other path."""
    assert schedule("set", "a/b?c", "--pause").exit_code == 0
    assert broker.put_ == [("schedules/a%2Fb%3Fc/trade", {"paused": True})]


def test_a_calendar_says_when_it_was_written_and_what_is_not_in_it(broker: Broker) -> None:
    """DTSTAMP is now, not the date of the rotation; a key without a date is named on stderr."""
    before = datetime.now(UTC).replace(microsecond=0)
    done = schedule("show", "--ical", "-")
    (event,) = Calendar.from_ical(done.stdout).walk("VEVENT")
    assert before <= event["DTSTAMP"].dt <= datetime.now(UTC)
    assert event["DTSTART"].dt.isoformat() == DATED["next_at"]
    assert "not in it: still/trade: paused" in done.stderr
    assert broker.rows[1] is PAUSED


def test_a_calendar_in_a_file_answers_json_where_that_was_asked_for(broker: Broker, tmp_path: Path) -> None:
    """With --json stdout is one JSON document, whatever else was written."""
    file = tmp_path / "keys.ics"
    done = schedule("show", "--ical", str(file), "--json")
    assert json.loads(done.stdout) == {"file": str(file), "items": broker.rows}
    assert "UID:main-trade@portcullis" in file.read_text()


def test_a_calendar_that_cannot_be_written_is_an_error_not_a_trace(broker: Broker, tmp_path: Path) -> None:
    """A directory that is not there is named; nor are two documents put into one stdout."""
    file = tmp_path / "nowhere" / "keys.ics"
    assert (
        f"{file} cannot be written (No such file or directory)" in error("show", "--ical", str(file))["what"]
    )
    assert "stdout" in error("show", "--ical", "-")["what"]
    assert broker.put_ == []
