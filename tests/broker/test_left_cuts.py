"""A cut that lies in the home alone binds whatever lets a key go, and nobody takes it for less than it is."""

import contextvars
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.backup import code
from broker.db import Connection
from broker.db import cuts as cut_store
from broker.errors import NotGranted, StoreUnavailable
from broker.gate import Mode
from broker.gate_document import NotedCut
from broker.model import EVERYTHING, KeyRef, KeyVersion, Stage, new_id
from broker.service import Service
from broker.service.adoption import adopt, take_in
from broker.service.desk import Change
from broker.service.leaving import Leaving
from broker.service.making import Made
from clients.venue import Environment, KeyType, Slot
from portcullis import backup
from portcullis.foundation import found, opened
from portcullis.settings import Home

REF = KeyRef("main", Slot.TRADE, 1)
KEY = KeyVersion(REF, Stage.CURRENT, "id", KeyType.HMAC, REF.path, datetime.now(UTC))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = found(tmp_path / "home", Environment.PAPER, "solo").home
    with opened(made) as service:
        service.accounts.create_egress("out", addresses=("127.0.0.7",))
        service.accounts.create("main", venue="binance", egress="out", upstream="http://127.0.0.1:9")
    return made


def cut_of(*scopes: str) -> NotedCut:
    return NotedCut(new_id("cut"), Mode.CLOSED, scopes, "leak", "me", 1)


def made_of(cut: NotedCut) -> Made:
    return Made(cut, Change(0), contextvars.copy_context())


def files(home: Home) -> list[Path]:
    return sorted(home.cuts.iterdir()) if home.cuts.is_dir() else []


def let_go(service: Service) -> None:
    """Ask what checkouts, pasted keys and deliveries ask before a key leaves."""
    with service.desk.database.read() as connection:
        service.checkouts.ensure_open(connection, KEY, "bot")


@pytest.mark.parametrize("scope", ["account:main", "consumer:bot", EVERYTHING])
def test_no_key_leaves_while_a_cut_of_it_lies_in_the_home(home: Home, scope: str) -> None:
    """Leases waited until it was on record; a checkout, and a delivery of the rotator beside us, did not."""
    with opened(home) as broker, opened(home) as rotator:
        let_go(rotator)
        broker.desk.unrecorded.keep(cut_of(scope))
        for service in (broker, rotator):
            with pytest.raises(NotGranted):
                let_go(service)
        broker.mirror.merge()
        (standing,) = broker.cuts.list(open_only=True).items
        with pytest.raises(NotGranted):
            let_go(rotator)
        broker.cuts.thaw(standing.id, reason="well", actor="me")
        let_go(rotator)


def test_no_key_leaves_elsewhere_while_a_cut_is_in_the_secret_store_and_on_no_record(home: Home) -> None:
    """A rotator beside the broker, and the next start before it has read that store, let the key go."""
    with opened(home) as broker, opened(home) as rotator:
        made = made_of(cut_of("account:main"))
        broker.mirror.note(made.noted)
        Leaving(broker.desk, broker.mirror).leave_all((made,))
        with pytest.raises(NotGranted):
            let_go(rotator)


def test_a_cut_of_others_in_the_home_keeps_no_key(home: Home) -> None:
    with opened(home) as service:
        service.desk.unrecorded.keep(cut_of("account:other", "consumer:another"))
        let_go(service)


@pytest.mark.parametrize("what", ["directory", "file"])
def test_no_key_leaves_where_it_cannot_be_seen_what_was_left(home: Home, what: str) -> None:
    """`Nothing is served` was said of it, and a real key went out."""
    if what == "directory":
        home.cuts.write_text("no directory")
    else:
        home.cuts.mkdir()
        (home.cuts / "cut_0.cut").touch()
    with opened(home) as service, pytest.raises((StoreUnavailable, NotGranted)):
        let_go(service)


def test_what_cannot_be_read_lies_there_for_as_long_as_it_holds(home: Home) -> None:
    """The next look of the same start deleted what its reason tells a person to look at."""
    home.cuts.mkdir()
    (home.cuts / "cut_0123.cut").write_text("{")
    for _ in range(2):
        with opened(home) as service:
            take_in(service.desk, service.audit)
            take_in(service.desk, service.audit)
            (standing,) = service.cuts.list(open_only=True).items
            assert len(files(home)) == 1
    with opened(home) as service:
        service.mirror.merge()
        service.cuts.thaw(standing.id, reason="looked at", actor="me")
    with opened(home) as service:
        service.mirror.merge()
        assert not service.cuts.list(open_only=True).items
    assert not files(home)


def test_a_cut_counts_as_kept_only_where_its_own_file_is_there(home: Home) -> None:
    """What lay in the directory's place was taken for it, and the answer said that a restart finds the cut."""
    home.cuts.write_text("no directory")
    with opened(home) as service:
        cut = cut_of("account:main")
        assert not service.desk.unrecorded.keep(cut)
        home.cuts.unlink()
        assert service.desk.unrecorded.keep(cut)
        assert service.desk.unrecorded.keep(cut)


def test_what_is_over_while_it_is_written_down_leaves_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who took it back had nothing to take away yet, and who wrote it took its note for gone."""
    with opened(home) as service:
        leaving, made = Leaving(service.desk, service.mirror), made_of(cut_of("account:main"))
        keep = service.desk.unrecorded.keep

        def late(cut: NotedCut) -> bool:
            made.on_record = True
            leaving.over(made)
            return keep(cut)

        monkeypatch.setattr(service.desk.unrecorded, "keep", late)
        leaving.leave(made)
        assert not leaving.is_kept(made.noted.id)
    assert not files(home)


def test_a_cut_that_comes_on_record_while_it_is_looked_for_was_not_thawed(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record was read, then who was on the way there: a commit in between looked like a thaw, and was noted as one."""
    with opened(home) as service:
        service.mirror.merge()
        cut = cut_of("account:main")
        service.desk.closings[cut.id] = cut
        service.mirror._remember_half(cut.id, 7)
        get, looks = cut_store.get, list[str]()

        def committed(connection: Connection, name: str) -> object:
            found = get(connection, name)
            looks.append(name)
            if len(looks) == 2:
                with service.desk.database.write() as other:
                    patch.setattr(cut_store, "get", get)
                    adopt(other, service.audit, cut, 1)
                service.desk.closings.pop(name)
            return found

        with monkeypatch.context() as patch:
            patch.setattr(cut_store, "get", committed)
            service.mirror._hold_on()
        assert len(looks) == 2
        document = service.desk.secrets.mirror.read(cut.id)
        assert document is None or '"thawed_us": null' in document


def test_a_backup_has_the_cut_that_lay_in_the_home_alone(home: Home, tmp_path: Path) -> None:
    """Whoever restored it had it nowhere: it was forgotten with the old host."""
    cut = cut_of("account:main")
    with opened(home) as service:
        secret = backup.new_code(service)
        service.desk.unrecorded.keep(cut)
        (home.cuts / "cut_0123.cut").touch()  # as a broker beside us begins to write one
        made = backup.make(home, service, tmp_path / "backup")
        assert [one.id for one in service.cuts.list(open_only=True).items] == [cut.id]
    content = backup.read_file(made.path, code.private_key(secret))
    again, closing = backup.restore(
        content, tmp_path / "again", vault=None, database=None, ports=(0, 0), tell=lambda _: None
    )
    with opened(again) as service:
        service.mirror.merge()
        assert {one.id for one in service.cuts.list(open_only=True).items} == {cut.id, closing}
