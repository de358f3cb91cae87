"""What is approved for a command that works in place is done once, as by the API."""

import json
from pathlib import Path

import pytest

from broker.db import acts
from broker.errors import Conflict, StoreUnavailable
from broker.service import Service
from broker.service.audit import Audit
from broker.service.credentials import Credentials
from broker.service.openings import Openings
from broker.stores.embedded import key as keys
from broker.stores.embedded.store import EmbeddedStore
from clients.secret import Secret
from clients.venue import Environment
from portcullis.cli import offline, session, storage_work
from portcullis.cli.face import Face, Stopped
from portcullis.foundation import found, opened
from portcullis.settings import Home, open_home

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


@pytest.mark.parametrize("fails", ["write", "switch", "record"])
def test_what_was_approved_is_not_used_up_by_a_move_that_failed(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """It was used up before anything was moved: a Vault that was away for a moment cost ten minutes, or a second person."""
    document = tmp_path / "vault.json"
    document.write_text(
        json.dumps(
            {"addresses": ["http://127.0.0.1:1"], "mount": "m", "auth": {"method": "token", "file": "t"}}
        )
    )
    opens = tmp_path / "target.db", keys.fresh()
    monkeypatch.setattr(storage_work.stores, "vault_store", lambda _: EmbeddedStore(*opens))
    monkeypatch.setattr(Openings, "_is_needed", lambda _: True)
    monkeypatch.setattr(Credentials, "use_code", lambda *_: None)

    def away(*_: object) -> None:
        raise StoreUnavailable("away", "away on purpose")

    with opened(home) as service:
        service.desk.secrets.write("virtual/grt/1", {"secret": Secret("planted")}, {})
    with pytest.raises(Stopped, match=r"announced|person"):
        storage_work.move(Face(home.root), "vault", document)
    with opened(home) as service:
        (act,) = service.openings.list()
        with service.desk.database.write() as connection:
            assert acts.confirm(connection, act.id, "somebody", 1)
    face = Face(home.root, as_json=True, act=act.id)
    with monkeypatch.context() as patch:
        if fails == "write":
            patch.setattr(EmbeddedStore, "write", away)
        elif fails == "switch":
            patch.setattr(storage_work.settings, "change_vault", away)
        else:
            record = Audit.record

            def full(self: object, connection: object, action: str, *more: object) -> object:
                if action == "store.move":
                    away()
                return record(self, connection, action, *more)  # type: ignore[arg-type]

            patch.setattr(Audit, "record", full)
        with pytest.raises(Stopped, match="away on purpose"):
            storage_work.move(face, "vault", document)
    assert open_home(home.root).vault is None, "the store of before stays in use"
    storage_work.move(face, "vault", document)
    assert open_home(home.root).vault is not None
    with opened(home) as service:
        assert not service.openings.list()
        done = [one.entry.action for one in service.audit.list(limit=500).items]
        assert done.count("act.use") == done.count(DEED) == 1
        assert done.count("store.move-begin") == 2
