"""One secret that is lost keeps no backup, no restore and no move of the others back, and is named."""

import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.errors import BrokerError, StoreUnavailable
from broker.model import KeyRef
from broker.service import Service
from broker.stores.embedded import key
from broker.stores.embedded.store import EmbeddedStore
from clients.secret import Secret
from clients.venue import Credential, Environment, KeyType, Slot
from portcullis import backup, store_move
from portcullis.cli.app import app
from portcullis.foundation import found, opened
from portcullis.settings import Home
from tests.api.desk import SAFE, UPSTREAM
from tests.losing import lose

LOST, KEPT = "keys/main/trade/1", "keys/other/trade/1"


def store(folder: Path) -> EmbeddedStore:
    made = EmbeddedStore(folder, key.fresh())
    made.mirror.change("instance", lambda _: "{}")
    return made


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = found(tmp_path / "home", Environment.PAPER, "solo", operators=["owner"], database=None).home
    with opened(home) as service:
        for name in ("main", "other"):
            service.accounts.create(name, venue="binance", upstream=UPSTREAM)
            credential = Credential(f"REAL-{name}", Secret(f"planted-real-secret-{name}"), KeyType.HMAC)
            service.keys.import_key(name, slot=Slot.TRADE, credential=credential, facts=SAFE)
    return home


def flip(home: Home, path: str) -> None:
    """Change one bit of a sealed secret."""
    with sqlite3.connect(home.secrets) as connection:
        (sealed,) = connection.execute("SELECT sealed FROM secrets WHERE path = ?", (path,)).fetchone()
        changed = bytes([sealed[0] ^ 1]) + sealed[1:]
        connection.execute("UPDATE secrets SET sealed = ? WHERE path = ?", (changed, path))


def backed_up(home: Home, service: Service, to: Path) -> tuple[backup.Made, backup.Content]:
    recovery = backup.new_code(service)
    made = backup.make(home, service, to)
    return made, backup.read_file(to, backup.code.private_key(recovery))


@pytest.mark.parametrize("how", ["flipped", "vault_deleted"])
def test_a_backup_has_all_the_rest_and_says_what_it_has_not(home: Home, tmp_path: Path, how: str) -> None:
    if how == "flipped":
        flip(home, LOST)
    with opened(home) as service:
        if how != "flipped":
            lose(service.desk.secrets, LOST, how)
        made, content = backed_up(home, service, tmp_path / "backup")
    assert made.lost == (LOST,)
    assert {path for path, _, _ in content.secrets} & {LOST, KEPT} == {KEPT}
    root = tmp_path / "restored"
    restored, _ = backup.restore(content, root, vault=None, database=None, ports=(0, 0), tell=lambda _: None)
    with opened(restored) as service:
        assert service.desk.secrets.read(KEPT)["secret"].reveal() == "planted-real-secret-other"
        with pytest.raises(BrokerError) as no:
            service.desk.secrets.read(LOST)
        assert no.value.reason == "no_secret", "nothing is destroyed by that: it can be imported again"
        assert KeyRef.parse("main/trade/1") in {one.ref for one in service.keys.list()}


def test_the_command_names_it(home: Home, tmp_path: Path) -> None:
    with opened(home) as service:
        backup.new_code(service)
    flip(home, LOST)
    done = CliRunner().invoke(
        app, ["--home", str(home.root), "backup", "create", "--to", str(tmp_path / "b")]
    )
    assert done.exit_code == 0, done.output
    assert f"{LOST} is NOT in it" in " ".join(done.output.split())


def test_a_store_that_does_not_answer_is_waited_for_all_the_same(home: Home, tmp_path: Path) -> None:
    with opened(home) as service:
        lose(service.desk.secrets, LOST, "vault_sealed")
        with pytest.raises(StoreUnavailable):
            backed_up(home, service, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


@pytest.mark.parametrize("how", ["tampered", "vault_deleted"])
def test_a_store_moves_without_what_is_lost_and_names_it(tmp_path: Path, how: str) -> None:
    source, target = store(tmp_path / "one"), store(tmp_path / "two")
    for path in (LOST, KEPT):
        source.write(path, {"secret": Secret(path)}, {"a": "b"})
    lose(source, LOST, how)
    moved = store_move.copy(source, target, lambda *_: None)
    assert (moved.secrets, moved.destroyed, moved.lost, moved.left) == (1, 0, (LOST,), ())
    assert target.paths("keys/") == (KEPT,)


def test_what_an_earlier_move_brought_over_stays_where_it_is_lost_since(tmp_path: Path) -> None:
    source, target = store(tmp_path / "one"), store(tmp_path / "two")
    source.write(LOST, {"secret": Secret("x")}, {"a": "b"})
    store_move.copy(source, target, lambda *_: None)
    lose(source, LOST, "vault_deleted")
    moved = store_move.copy(source, target, lambda *_: None)
    assert (moved.left, moved.lost) == ((LOST,), ())
    assert target.read(LOST)["secret"].reveal() == "x"


@pytest.mark.parametrize(("how", "said"), [("vault_deleted", True), ("tampered", True), ("destroyed", False)])
def test_a_restore_goes_on_where_one_secret_was_deleted_in_vault_by_hand(
    tmp_path: Path, how: str, said: bool
) -> None:
    """What can be taken back there is taken back there; what was destroyed since stays so."""
    there = store(tmp_path / "one")
    there.write(LOST, {"secret": Secret("x")}, {"a": "b"})
    lose(there, LOST, how)
    fault = backup._put(there, LOST, {"a": "b"}, {"secret": Secret("x")})
    assert (fault is not None) is said
    assert backup._put(there, KEPT, {"a": "b"}, {"secret": Secret("y")}) is None
    assert there.read(KEPT)["secret"].reveal() == "y"
