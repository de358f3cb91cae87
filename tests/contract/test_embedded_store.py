"""The embedded store keeps the contract, and its own promises about files and keys."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.errors import StoreUnavailable
from broker.stores.embedded import key as keys
from broker.stores.embedded.store import EmbeddedStore
from clients.secret import Secret
from tests.contract.secret_store import *  # noqa: F403 - the contract's tests run here

KEY = Secret("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    opened = EmbeddedStore(tmp_path / "secrets.db", KEY)
    yield opened
    opened.close()


def test_the_file_holds_no_secret_and_no_trace_of_a_destroyed_one(
    store: EmbeddedStore, tmp_path: Path
) -> None:
    store.write("keys/main/trade/1", {"secret": Secret("planted-real-secret")}, {"account": "main"})
    store.destroy("keys/main/trade/1")
    for path in tmp_path.iterdir():
        assert b"planted-real-secret" not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0


def test_another_key_does_not_open_it(store: EmbeddedStore, tmp_path: Path) -> None:
    store.write("a/b", {"secret": Secret("x")}, {})
    with pytest.raises(StoreUnavailable, match="not the one"):
        EmbeddedStore(tmp_path / "secrets.db", keys.fresh())


def test_after_a_rotation_the_new_key_opens_and_the_old_does_not(
    store: EmbeddedStore, tmp_path: Path
) -> None:
    store.write("a/b", {"secret": Secret("x")}, {})
    new = keys.fresh()
    store.rewrap(KEY, new)
    again = EmbeddedStore(tmp_path / "secrets.db", new)
    assert again.read("a/b") == {"secret": Secret("x")}
    again.close()
    with pytest.raises(StoreUnavailable):
        EmbeddedStore(tmp_path / "secrets.db", KEY)
    with pytest.raises(StoreUnavailable):
        store.rewrap(KEY, keys.fresh())


def test_a_row_that_was_moved_or_relabelled_does_not_open(store: EmbeddedStore, tmp_path: Path) -> None:
    store.write("keys/a/trade/1", {"secret": Secret("a")}, {"account": "a"})
    store.write("keys/b/trade/1", {"secret": Secret("b")}, {"account": "b"})
    with sqlite3.connect(tmp_path / "secrets.db") as raw:
        (stolen,) = raw.execute("SELECT sealed FROM secrets WHERE path = 'keys/a/trade/1'").fetchone()
        raw.execute("UPDATE secrets SET sealed = ? WHERE path = 'keys/b/trade/1'", (stolen,))
    raw.close()
    with pytest.raises(StoreUnavailable, match="changed"):
        store.read("keys/b/trade/1")


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kek"
    keys.to_file(path, KEY)
    assert keys.key_bytes(keys.from_file(path), "file") == bytes(range(32))
    path.chmod(0o640)
    with pytest.raises(StoreUnavailable, match="chmod 600"):
        keys.from_file(path)
    with pytest.raises(StoreUnavailable, match="restore"):
        keys.from_file(tmp_path / "none")


def test_a_key_from_the_environment_is_taken_out_of_it() -> None:
    environment = {"KEK": KEY.reveal()}
    assert keys.from_environment(environment, "KEK") == KEY
    assert environment == {}
    with pytest.raises(StoreUnavailable):
        keys.from_environment(environment, "KEK")


@pytest.mark.parametrize("text", ["", "short", "AAECAwQ=", "!!!"])
def test_a_key_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(StoreUnavailable):
        keys.key_bytes(Secret(text), "a test")
