"""Two stores, one truth: killed between any two steps, no secret is without a record and no gate forgotten."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker import gate_document
from broker.db import rows, tables
from broker.deeds import Deed
from broker.errors import NotFound, StoreUnavailable, Withheld
from broker.gate import Mode
from broker.gate_document import NotedCut
from broker.model import Stage
from broker.service import Service
from broker.service.cuts import noted
from broker.service.secrets import SETTLED_US
from broker.service.service import found_home, open_service
from broker.stores.embedded import key as keys
from broker.stores.embedded.store import EmbeddedStore
from clients.venue import Credential, Environment, KeyType, Slot
from portcullis.stores import all_paths
from tests.broker.crashing import GOOD, act, crashed, store_at
from tests.gateway.world import POLICY, WallClock
from tests.places import database_at
from tests.services.vault.server import VaultServer

UPSTREAM = "http://127.0.0.1:1"
MOST_EFFECTS = 12


class Tomorrow(WallClock):
    def now_us(self) -> int:
        return super().now_us() + SETTLED_US + 1


@pytest.fixture(params=["embedded and sqlite", "vault and postgres"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with a home in it: an account with a key, a bot with a grant."""
    (tmp_path / "kek").write_text(keys.fresh().reveal())
    if request.param == "vault and postgres":
        request.getfixturevalue("on_postgres")
        server: VaultServer = request.getfixturevalue("vault")
        token = str(request.getfixturevalue("root_token"))
        found = {"address": server.address, "token": token, "mount": request.getfixturevalue("mount")}
        (tmp_path / "vault.json").write_text(json.dumps(found))
    database = database_at(tmp_path)
    database.upgrade()
    found_home(database, Environment.PAPER, "solo")
    database.close()
    for service in opened(tmp_path):
        service.mirror.merge()
        service.accounts.create("main", venue="binance", upstream=UPSTREAM)
        credential = Credential("REAL", keys.fresh(), KeyType.HMAC)
        service.keys.import_key("main", slot=Slot.TRADE, credential=credential, facts=GOOD)
        service.grants.create_consumer("bot")
        service.grants.create(consumer="bot", account="main", policy=POLICY)
    return tmp_path


def opened(directory: Path, clock: WallClock | None = None) -> Iterator[Service]:
    """Open a folder's home, for the length of a `for`."""
    database, store = database_at(directory), store_at(directory)
    yield open_service(database, store, clock or WallClock())
    store.close()
    database.close()


def living(service: Service) -> set[str]:
    """Return the paths that hold a secret now."""
    found = set()
    for path in all_paths(service.desk.secrets):
        try:
            service.desk.secrets.read(path)
        except NotFound:
            continue
        found.add(path)
    return found


def on_record(service: Service) -> set[str]:
    """Return the paths that somebody owns; reading each proves that no record is without its secret."""
    grants = {one.secret_path for one in service.grants.list().items if one.secret_path is not None}
    current = {one.path for one in service.keys.list() if one.stage.value != "pending"}
    with service.desk.database.read() as connection:
        egress = connection.exec_driver_sql(
            "SELECT password_path FROM egress WHERE password_path IS NOT NULL"
        )
        owned = grants | current | set(egress.scalars())
    for path in owned:
        assert service.desk.secrets.read(path)
    return owned


@pytest.mark.process
@pytest.mark.parametrize("what", ["grant", "reissue", "egress", "import"])
def test_killed_at_any_step_no_secret_is_lost_and_none_is_without_a_record(home: Path, what: str) -> None:
    steps = 0
    for after in (False, True):
        at = 1
        while crashed(home, what, at, after=after):
            at += 1
            steps += 1
            assert at < MOST_EFFECTS
            for service in opened(home, Tomorrow()):
                service.secrets.tidy()
                pending = {one.path for one in service.keys.list() if one.stage.value == "pending"}
                nobodys = living(service) - on_record(service) - pending
                if what == "reissue":  # the secrets of keys that were replaced; their grant knows them
                    mine = {f"virtual/{one.id}/" for one in service.grants.list().items}
                    nobodys = {path for path in nobodys if not path.startswith(tuple(mine))}
                assert nobodys == set()
    assert steps >= 4


@pytest.mark.process
def test_an_import_killed_at_any_step_is_finished_by_the_next_of_the_same_key(home: Path) -> None:
    at = 1
    while crashed(home, "import", at, after=False):
        for service in opened(home):
            act(service, f"import {at}False")
            (current,) = [
                one for one in service.keys.list() if one.stage is Stage.CURRENT and one.ref.slot is Slot.READ
            ]
            assert current.venue_key_id == f"REAL-{at}False"
            assert service.desk.secrets.read(current.path)
        at += 1


@pytest.mark.process
def test_a_cut_killed_at_any_step_is_in_force_once_it_is_on_record(home: Path) -> None:
    for after in (False, True):
        at = 1
        while crashed(home, "cut", at, after=after):
            at += 1
            assert at < MOST_EFFECTS
            for service in opened(home):
                service.mirror.merge()
                for cut in service.cuts.list(open_only=True).items:
                    document = service.desk.secrets.mirror.read(cut.id)
                    assert document is not None, "what the database holds is in the mirror after a merge"
                    assert gate_document.load(cut.id, document) == noted(cut)


@pytest.mark.process
def test_a_thaw_killed_at_any_step_leaves_it_closed_or_thawed_in_both(home: Path) -> None:
    for after in (False, True):
        at = 1
        while True:
            for service in opened(home):
                act(service, "cut")
            killed = crashed(home, "thaw", at, after=after)
            for service in opened(home):
                service.mirror.merge()
                for cut in service.cuts.list(open_only=True).items:
                    service.cuts.thaw(cut.id, reason="again", actor="me")
                with service.desk.database.read() as connection:
                    assert all(one.mode is Mode.OPEN for one in rows.gates(connection).values())
            if not killed:
                break
            at += 1
            assert at < MOST_EFFECTS


# --- the stricter of both -------------------------------------------------------------------------


@pytest.fixture
def service(home: Path) -> Iterator[Service]:
    yield from opened(home)


def close(service: Service) -> str:
    cut, _ = service.cuts.close(targets=("consumer:bot",), mode=Mode.CLOSED, reason="leak", actor="me")
    service.mirror.note(noted(cut))
    return cut.id


def mode(service: Service, scope: str) -> Mode:
    with service.desk.database.read() as connection:
        found = rows.gates(connection).get(scope)
        return Mode.OPEN if found is None else found.mode


def forget(service: Service) -> None:
    """Make the database what it was before the cut, as yesterday's backup would."""
    with service.desk.database.write() as connection:
        for table in (tables.CLOSERS, tables.CUT_SCOPES, tables.CUTS, tables.GATES):
            connection.execute(table.delete())


def test_a_database_that_forgot_a_cut_is_told_by_the_mirror(service: Service, home: Path) -> None:
    close(service)
    forget(service)
    assert mode(service, "consumer:bot") is Mode.OPEN
    for later in opened(home):
        assert not later.mirror.serves, "no lease before the mirror was read"
        later.mirror.merge()
        assert later.mirror.serves
        assert mode(later, "consumer:bot") is Mode.CLOSED


def test_a_database_that_only_forgot_the_end_of_a_thaw_stays_closed(service: Service, home: Path) -> None:
    cut_id = close(service)
    cut = service.cuts.get(cut_id)
    service.mirror.note(replace(noted(cut), thawed_us=1))
    for later in opened(home):
        later.mirror.merge()
        assert mode(later, "consumer:bot") is Mode.CLOSED
        later.cuts.thaw(cut_id, reason="safe", actor="me")
        assert mode(later, "consumer:bot") is Mode.OPEN


def test_a_thaw_the_mirror_never_heard_of_is_undone(service: Service, home: Path) -> None:
    cut_id = close(service)
    held = service.desk.secrets.mirror.read(cut_id)
    service.cuts.thaw(cut_id, reason="safe", actor="me")
    service.desk.secrets.mirror.change(cut_id, lambda _: held)  # a Vault restored from yesterday
    for later in opened(home):
        later.mirror.merge()
        assert mode(later, "consumer:bot") is Mode.CLOSED
        assert later.cuts.get(cut_id).thawed_at is None


@pytest.mark.parametrize(
    "document", ["", "{}", "null", '{"version": 2}', '["cut"]', "\x00", '{"cut": "cut_x", "scopes": []}']
)
def test_a_gate_document_that_nobody_understands_closes_everything(
    service: Service, home: Path, document: str
) -> None:
    service.desk.secrets.mirror.change("by-hand", lambda _: document)
    for later in opened(home):
        later.mirror.merge()
        assert mode(later, "everything") is Mode.CLOSED
        (cut,) = later.cuts.list(open_only=True).items
        assert "delete it there" in cut.reason


def test_what_a_responder_wrote_offline_closes_here(service: Service) -> None:
    service.mirror.merge()
    offline = gate_document.NotedCut(
        "cut_offline", Mode.HALT, ("account:main", "consumer:unheard-of"), "3 a.m.", "carol", 1
    )
    service.desk.secrets.mirror.change(offline.id, lambda _: gate_document.dump(offline))
    service.mirror.merge()
    assert mode(service, "account:main") is Mode.HALT
    cut = service.cuts.get("cut_offline")
    assert (cut.actor, cut.opened_at) == ("carol", datetime(1970, 1, 1, 0, 0, 0, 1, UTC))


def test_what_a_responder_writes_again_or_makes_stricter_closes_here(service: Service) -> None:
    """Vault lists no versions: what is there now is read again. See `test_written_anew`."""
    service.mirror.merge()
    offline = NotedCut("panic", Mode.HALT, ("consumer:bot",), "3 a.m.", "carol", 1)

    def write(cut: NotedCut) -> None:
        service.desk.secrets.mirror.change(offline.id, lambda _: gate_document.dump(cut))
        service.mirror.merge()

    write(offline)
    assert mode(service, "consumer:bot") is Mode.HALT
    write(replace(offline, mode=Mode.CLOSED, scopes=("account:main",)))
    assert mode(service, "account:main") is Mode.CLOSED
    service.cuts.thaw(offline.id, reason="safe", actor="me")
    for _ in range(2):
        service.mirror.merge()
        assert mode(service, "account:main") is Mode.OPEN
    write(replace(offline, opened_us=2))
    assert (mode(service, "consumer:bot"), mode(service, "account:main")) == (Mode.HALT, Mode.OPEN)


def test_a_thaw_waits_for_the_mirror_and_a_cut_does_not(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_id = close(service)

    def away(*_: object) -> None:
        raise StoreUnavailable("vault_unreachable", "away on purpose")

    monkeypatch.setattr(type(service.desk.secrets.mirror), "change", away)
    with pytest.raises(StoreUnavailable):
        service.cuts.thaw(cut_id, reason="safe", actor="me")
    assert mode(service, "consumer:bot") is Mode.CLOSED
    service.cuts.close(targets=("everything",), mode=Mode.CLOSED, reason="leak", actor="me")
    assert mode(service, "everything") is Mode.CLOSED


# --- whose mirror it is ---------------------------------------------------------------------------


def test_an_instance_that_was_restored_elsewhere_serves_nothing(service: Service, home: Path) -> None:
    service.mirror.merge()
    ours = service.desk.home
    newer = {"instance": ours.instance, "generation": ours.generation + 1}
    service.desk.secrets.mirror.change("instance", lambda _: json.dumps(newer))
    service.mirror.merge()
    assert not service.mirror.serves
    assert "generation 2, here 1" in service.mirror.superseded
    for later in opened(home):
        later.mirror.merge()
        assert not later.mirror.serves


def test_a_superseded_home_stays_so_when_its_secret_store_is_put_back_to_before_that(
    service: Service, home: Path
) -> None:
    """A Vault from a snapshot says again that this host is the living one: it rotated the other one's keys."""
    service.mirror.merge()
    ours = service.desk.home
    before = {"instance": ours.instance, "generation": ours.generation}
    newer = {**before, "generation": ours.generation + 1}
    service.desk.secrets.mirror.change("instance", lambda _: json.dumps(newer))
    service.mirror.merge()
    for document in (json.dumps(before), None):
        if document is not None:
            service.desk.secrets.mirror.change("instance", lambda _, text=document: text)
        with pytest.raises(Withheld, match="restored elsewhere"):
            service.desk.guard.ensure(Deed.DELETE)
        service.mirror.merge()
        assert not service.mirror.serves
    for later in opened(home):
        with pytest.raises(Withheld, match="restored elsewhere"):
            later.desk.guard.ensure(Deed.PLAN)
        later.mirror.merge()
        assert not later.mirror.serves


def test_a_cut_is_noted_before_anything_is_asked_of_a_database_that_is_away(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What keeps the mirror asks the database much; a cut that it does not take must not wait for that."""
    service.mirror.merge()
    cut = NotedCut("cut_early", Mode.CLOSED, ("everything",), "leak", "me", 1)
    service.desk.closings[cut.id] = cut

    def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("database", "planted: away")

    with monkeypatch.context() as patched:
        patched.setattr(type(service.desk.database), "read", away)
        patched.setattr(type(service.desk.database), "write", away)
        with suppress(StoreUnavailable):
            service.mirror.merge()
    assert service.desk.secrets.mirror.read(cut.id) is not None
    del service.desk.closings[cut.id]


def test_a_document_that_is_mended_is_believed_again(service: Service) -> None:
    """One that cannot be understood stops everything while it is there, and says nothing of another host."""
    service.mirror.merge()
    ours = service.desk.home
    for generation in ("two", 10**30, True):
        document = {"instance": ours.instance, "generation": generation}
        service.desk.secrets.mirror.change("instance", lambda _, one=document: json.dumps(one))
        service.mirror.merge()
        assert not service.mirror.serves
        mended = {"instance": ours.instance, "generation": ours.generation}
        service.desk.secrets.mirror.change("instance", lambda _, one=mended: json.dumps(one))
        service.mirror.merge()
        assert service.mirror.serves, generation


@pytest.mark.parametrize("document", ['{"instance": "other", "generation": 1}', "{}", "garbage", "[]"])
def test_a_mirror_of_somebody_else_serves_nothing(service: Service, document: str) -> None:
    service.desk.secrets.mirror.change("instance", lambda _: document)
    with suppress(StoreUnavailable):
        service.mirror.merge()
    assert not service.mirror.serves


def test_the_embedded_store_is_one_of_both(tmp_path: Path) -> None:
    (tmp_path / "kek").write_text(keys.fresh().reveal())
    store = store_at(tmp_path)
    assert isinstance(store, EmbeddedStore)
    store.close()
