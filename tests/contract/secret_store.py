"""What every secret store must do. A store's own test gives `open_store`, and imports these tests."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from broker.errors import NotFound, StoreConflict
from broker.ports import SecretStore
from clients.secret import Secret

VALUES = {"secret": Secret("planted-real-secret"), "passphrase": Secret("planted-passphrase")}
LABELS = {"account": "main", "slot": "trade", "venue_key_id": "K"}


def test_what_is_written_is_read_back(store: SecretStore) -> None:
    store.write("keys/main/trade/1", VALUES, LABELS)
    assert dict(store.read("keys/main/trade/1")) == VALUES
    assert dict(store.metadata("keys/main/trade/1")) == LABELS


def test_a_path_is_written_once_and_the_same_again_is_nothing(store: SecretStore) -> None:
    store.write("keys/main/trade/1", VALUES, LABELS)
    store.write("keys/main/trade/1", VALUES, LABELS)
    with pytest.raises(StoreConflict):
        store.write("keys/main/trade/1", {"secret": Secret("other")}, LABELS)
    with pytest.raises(StoreConflict):
        store.write("keys/main/trade/1", VALUES, LABELS | {"slot": "read"})
    assert dict(store.read("keys/main/trade/1")) == VALUES


def test_destroyed_values_are_gone_and_their_labels_stay(store: SecretStore) -> None:
    store.write("keys/main/trade/1", VALUES, LABELS)
    store.destroy("keys/main/trade/1")
    store.destroy("keys/main/trade/1")
    with pytest.raises(NotFound):
        store.read("keys/main/trade/1")
    assert dict(store.metadata("keys/main/trade/1")) == LABELS
    with pytest.raises(StoreConflict):
        store.write("keys/main/trade/1", VALUES, LABELS)


def test_paths_are_listed_by_prefix_destroyed_ones_included(store: SecretStore) -> None:
    for path in ("keys/a/trade/1", "keys/a/trade/2", "keys/b/trade/1", "virtual/g/1"):
        store.write(path, VALUES, LABELS)
    store.destroy("keys/a/trade/1")
    assert store.paths("keys/a/") == ("keys/a/trade/1", "keys/a/trade/2")
    assert store.paths("nothing/") == ()


def test_what_never_was_is_not_found(store: SecretStore) -> None:
    for ask in (store.read, store.metadata, store.destroy):
        with pytest.raises(NotFound):
            ask("keys/none/trade/1")


def test_a_store_shows_no_secret_of_itself(store: SecretStore) -> None:
    store.write("keys/main/trade/1", VALUES, LABELS)
    assert "planted" not in repr(store)
    assert "planted" not in repr(store.read("keys/main/trade/1"))


# --- the mirror of the gates ------------------------------------------------------------------


def test_a_gate_is_written_over_and_read_back(store: SecretStore) -> None:
    mirror = store.mirror
    assert mirror.names() == ()
    assert mirror.read("cut_1") is None
    mirror.change("cut_1", lambda _: "one")
    mirror.change("cut_1", lambda known: f"{known} two")
    mirror.change("cut_0", lambda _: "zero")
    assert mirror.read("cut_1") == "one two"
    assert mirror.names() == ("cut_0", "cut_1")


def test_a_gate_that_is_left_alone_stays(store: SecretStore) -> None:
    seen: list[str | None] = []

    def leave(known: str | None) -> None:
        seen.append(known)

    store.mirror.change("cut_1", lambda _: "one")
    store.mirror.change("cut_1", leave)
    assert seen == ["one"]
    assert store.mirror.read("cut_1") == "one"


def test_gates_are_no_secrets_and_secrets_no_gates(store: SecretStore) -> None:
    store.write("keys/a/trade/1", {"secret": Secret("x")}, {})
    store.mirror.change("cut_1", lambda _: "one")
    assert store.mirror.names() == ("cut_1",)
    assert store.paths("keys/") == ("keys/a/trade/1",)


def test_two_writers_of_one_gate_lose_nothing(store: SecretStore) -> None:
    def add(number: int) -> None:
        store.mirror.change("cut_1", lambda known: f"{known or ''}{number};")

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(add, range(3)))
    document = store.mirror.read("cut_1") or ""
    assert sorted(document.split(";")) == ["", "0", "1", "2"]
