"""A host that serves nobody says so at once: that it stands by, which one has the home's place, and what to do."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from broker import seat as seats
from broker.db import meta
from broker.db.database import Database
from broker.seat import Place, Seat
from broker.service.host_guard import SEAT
from clients.venue import Environment
from portcullis import led
from portcullis.cli import absent, oversight, readiness
from portcullis.cli.app import app
from portcullis.cli.client import Api
from portcullis.cli.face import Face
from portcullis.database_settings import DatabaseDocument
from portcullis.foundation import found
from portcullis.running import Running
from portcullis.settings import Home
from tests.cli.examples import example

WHO = "host b, home /var/lib/portcullis, process 7, since 2026-11-30 02:11 UTC"
WHY = f"this instance was restored elsewhere (generation 2, here 1): {WHO} serves now; end this one"
SUPERSEDED = {
    "kind": "unsafe", "subject": "superseded", "account": "", "what": f"NOTHING IS SERVED: {WHY}",
    "step": "do not start it again: RB-14",
}  # fmt: skip


@pytest.fixture
def team(tmp_path: Path) -> Home:
    """A home whose state other hosts share."""
    document = DatabaseDocument(hosts=["127.0.0.1:5432"], ssl_mode="disable")
    (tmp_path / "home").mkdir()
    return Home(tmp_path / "home", Environment.LIVE, "team", database=document)


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands in for the database that they share."""
    path = tmp_path / "state.db"
    database = Database(path)
    database.upgrade()
    database.close()
    monkeypatch.setattr(led, "database_of", lambda _: Database(path))
    return path


def sits(path: Path, seat: Seat) -> None:
    database = Database(path)
    with database.write() as connection:
        meta.put(connection, SEAT, json.dumps(seats.dump(seat)))
    database.close()


def test_where_another_host_has_the_place_it_is_named(team: Home, shared: Path) -> None:
    """It was said to start this one, which is refused while that one lives."""
    sits(shared, Seat(3, Place("b"), WHO))
    said = absent.absent(Face(team.root), team)
    assert said.reason == "not_running"
    assert f"This is a standby: Portcullis does not run on {team.root}. {WHO} has this home's place." in str(
        said
    )
    assert said.step.startswith("Type it there.")
    closing = absent.absent(Face(team.root, closes=True), team)
    assert "standby" not in str(closing), "a cut waits for no database"


@pytest.mark.parametrize("seat", [None, Seat(3, Place("b"), WHO, left=True), "odd"])
def test_who_left_or_cannot_be_told_is_not_named(team: Home, shared: Path, seat: Seat | str | None) -> None:
    if isinstance(seat, Seat):
        sits(shared, seat)
    elif seat is not None:
        database = Database(shared)
        with database.write() as connection:
            meta.put(connection, SEAT, seat)
        database.close()
    assert led.leader(team) == ""
    assert "other hosts" in absent.absent(Face(team.root), team).state


def test_a_database_that_does_not_answer_names_nobody(
    team: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(led, "database_of", lambda _: Database(tmp_path / "no" / "such" / "state.db"))
    assert led.leader(team) == ""


@pytest.mark.parametrize("typed", ["ready", "status"])
@pytest.mark.parametrize("stands_by", [True, False])
def test_a_broker_that_serves_nobody_says_so_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, *, stands_by: bool
) -> None:
    found(tmp_path / "home", Environment.PAPER, "solo")
    wrong: list[dict[str, Any]] = [SUPERSEDED] if stands_by else []
    documents = {
        "/v1/ready": example("ReadyShown", ready=not stands_by, wrong=wrong, accounts=[], serves=not stands_by,
                             instead=WHY if stands_by else ""),
        "/v1/status": example("Status", wrong=wrong, gateways=[], grants=[], cuts=[], announced=[], unsafe=[]),
    }  # fmt: skip

    def connect(face: Face) -> Api:
        answers = httpx.MockTransport(lambda request: httpx.Response(200, json=documents[request.url.path]))
        return Api(face, face.home(), Running(4711, 2, 3, 4), answers)

    for module in (oversight, readiness):
        monkeypatch.setattr(module, "connect", connect)
    done = CliRunner().invoke(app, ["--home", str(tmp_path / "home"), typed], env={"COLUMNS": "80"})
    lines = done.output.splitlines()
    assert ("STANDBY" in lines[0]) is stands_by, done.output
    assert ("Portcullis runs" in done.output) is (typed == "status" and not stands_by)
    assert (WHO in " ".join(done.output.split())) is stands_by
    assert ("RB-14" in done.output) is stands_by
