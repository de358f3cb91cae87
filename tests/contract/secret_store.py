"""What every secret store must do. A store's own test gives `open_store`, and imports these tests."""

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
