"""The embedded store keeps the contract, and its own promises about files and keys."""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
    with pytest.raises(StoreUnavailable, match="put it back from your copy"):
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


def test_a_store_that_is_closed_while_it_is_read_ends_the_reading_with_an_error_not_the_process(
    store: EmbeddedStore,
) -> None:
    """The connection is one for all threads, and SQLite crashes where it goes away within a statement."""
    store.write("a/b", {"secret": Secret("x")}, {})
    within, closed = threading.Event(), threading.Event()

    def read() -> str:
        with store._transaction() as connection:
            within.set()
            assert not closed.wait(0.2), "closed within a transaction"
            return str(connection.execute("SELECT path FROM secrets").fetchone()[0])

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        assert within.wait(60)
        store.close()
        closed.set()
        assert reading.result() == "a/b"
    with pytest.raises(StoreUnavailable, match="closed"):
        store.read("a/b")


class Full:
    """A store whose disk is full: SQLite ends the transaction by itself there."""

    def __init__(self, store: EmbeddedStore) -> None:
        self._connection = store._connection

    def __enter__(self) -> None:
        (pages,) = self._connection.execute("PRAGMA page_count").fetchone()
        self._connection.execute(f"PRAGMA max_page_count={pages}")

    def __exit__(self, *_: object) -> None:
        self._connection.execute("PRAGMA max_page_count=1000000")


@pytest.mark.parametrize("what", ["write", "change"])
def test_a_full_disk_is_a_store_that_cannot_answer_and_that_answers_again_with_room(
    store: EmbeddedStore, what: str
) -> None:
    large = "x" * 100_000

    def fill() -> None:
        if what == "write":
            store.write("a/large", {"secret": Secret(large)}, {})
        else:
            store.mirror.change("cut_1", lambda _: large)

    with Full(store):
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="full"):
                fill()
        assert (store.paths(""), store.mirror.names()) == ((), ()), "what is there is read"
    fill()
    assert (store.paths(""), store.mirror.names()) in {(("a/large",), ()), ((), ("cut_1",))}
