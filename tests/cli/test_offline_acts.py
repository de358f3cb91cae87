"""What is approved for a command that works in place is done once, as by the API."""

from pathlib import Path

import pytest

from broker.db import acts
from broker.errors import Conflict
from broker.service import Service
from clients.secret import Secret
from clients.venue import Environment
from portcullis.cli import offline, session
from portcullis.cli.face import Face, Stopped
from portcullis.foundation import found, opened
from portcullis.settings import Home

DEED, WHERE, SHOWS = "store.move", "vault", ("from: here", "to: there")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    made = found(tmp_path / "home", Environment.TESTNET, "solo")
    token = Secret(made.tokens["owner"].read_text().strip())
    monkeypatch.setattr(session, "token_of", lambda _: token)
    monkeypatch.setattr(session, "one_time_code", lambda _: "000000")
    return made.home


def announced(home: Home, service: Service) -> str:
    """Announce it, and have it confirmed."""
    with pytest.raises(Stopped) as said, offline.permitted(Face(), home, service, DEED, WHERE, SHOWS):
        pass
    assert said.value.reason == "announced"
    (act,) = service.openings.list()
    with service.desk.database.write() as connection:
        assert acts.confirm(connection, act.id, "somebody", 1)
    return act.id


def move(home: Home, service: Service, act: str) -> None:
    """Do as `store move` does."""
    with (
        offline.permitted(Face(act=act), home, service, DEED, WHERE, SHOWS),
        service.desk.database.write() as connection,
    ):
        service.audit.record(connection, DEED, WHERE)


def test_what_was_announced_for_a_command_in_place_is_done_once(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Since an act is used up by its deed, one that needs no broker was none that used it: it was good for a day."""
    with opened(home) as service:
        monkeypatch.setattr(service.openings, "_is_needed", lambda: True)
        monkeypatch.setattr(service.credentials, "use_code", lambda *_: None)
        act = announced(home, service)
        move(home, service, act)
        assert not service.openings.list()
        with pytest.raises(Conflict, match="used before"):
            move(home, service, act)
        done = [one.entry.action for one in service.audit.list(limit=500).items]
        assert done.count("act.use") == done.count(DEED) == 1


def test_what_is_not_as_it_was_announced_is_not_done(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(home) as service:
        monkeypatch.setattr(service.openings, "_is_needed", lambda: True)
        monkeypatch.setattr(service.credentials, "use_code", lambda *_: None)
        act = announced(home, service)
        elsewhere = offline.permitted(Face(act=act), home, service, DEED, WHERE, ("to: elsewhere",))
        with pytest.raises(Conflict, match="another request"), elsewhere:
            pass
        assert [one.id for one in service.openings.list()] == [act]
