"""A real Vault keeps the contract, and every way it can refuse or be away has an error of its own."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import hvac
import pytest

from broker.errors import NotFound, StoreConflict, StoreUnavailable
from broker.stores.vault.config import TokenAuth, VaultConfig
from broker.stores.vault.session import Session
from broker.stores.vault.values import VaultStore
from clients.secret import Secret
from tests.contract.secret_store import *  # noqa: F403 - the contract's tests run here
from tests.contract.secret_store import LABELS, VALUES
from tests.contract.unruly import Relay, relay
from tests.services.vault.server import VaultServer, free_port, raft_vault

PATH = "keys/main/trade/1"
SLOWEST_S = 30
"""How long a Vault that is well may take to answer, beside ten other processes."""


@pytest.fixture
def config(vault: VaultServer, mount: str, root_token: Path) -> VaultConfig:
    return VaultConfig((vault.address,), TokenAuth(root_token), mount, timeout_s=SLOWEST_S)


Opener = Callable[[VaultConfig], VaultStore]


@pytest.fixture
def opened() -> Iterator[Opener]:
    """Opens stores, and closes them at the end."""
    stores = []

    def one(config: VaultConfig) -> VaultStore:
        stores.append(VaultStore(Session(config)))
        return stores[-1]

    yield one
    for store in stores:
        store.close()


@pytest.fixture
def store(config: VaultConfig, opened: Opener) -> VaultStore:
    return opened(config)


@pytest.fixture
def between(config: VaultConfig) -> Iterator[Relay]:
    with relay(config.addresses[0]) as one:
        yield one


def at(config: VaultConfig, *addresses: str) -> VaultConfig:
    return replace(config, addresses=addresses)


def refused(store: VaultStore, reason: str) -> StoreUnavailable:
    with pytest.raises(StoreUnavailable) as caught:
        store.read(PATH)
    assert caught.value.reason == reason
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__, (
        "a foreign exception shows a URL"
    )
    return caught.value


def test_with_a_prefix_it_keeps_to_its_own_corner(
    config: VaultConfig, store: VaultStore, opened: Opener
) -> None:
    team = opened(replace(config, prefix="team/one"))
    team.write(PATH, VALUES, LABELS)
    assert team.paths("keys/") == (PATH,)
    assert store.paths("keys/") == ()
    assert store.paths("team/") == (f"team/one/{PATH}",)


# --- writes that are interrupted ----------------------------------------------------------


def test_a_write_whose_answer_is_lost_is_read_and_compared(
    config: VaultConfig, between: Relay, opened: Opener
) -> None:
    store = opened(at(config, between.address))
    store.paths("x/")
    between.mode, between.spare = "lose-reply", 1  # the look at the path passes, the write's answer is lost
    with pytest.raises(StoreUnavailable):
        store.write(PATH, VALUES, LABELS)
    between.mode = "pass"
    store.write(PATH, VALUES, LABELS)
    assert dict(store.read(PATH)) == VALUES
    assert dict(store.metadata(PATH)) == LABELS


def test_a_secret_without_labels_is_labelled_by_the_same_write(
    vault: VaultServer, mount: str, store: VaultStore
) -> None:
    plain = {name: value.reveal() for name, value in VALUES.items()}
    vault.client().secrets.kv.v2.create_or_update_secret(PATH, secret=plain, cas=0, mount_point=mount)
    assert dict(store.metadata(PATH)) == {}
    with pytest.raises(StoreConflict):
        store.write(PATH, {"secret": Secret("other")}, LABELS)
    assert dict(store.metadata(PATH)) == {}
    store.write(PATH, VALUES, LABELS)
    assert dict(store.metadata(PATH)) == LABELS


def test_what_was_written_after_us_is_never_taken_for_ours(
    vault: VaultServer, mount: str, store: VaultStore
) -> None:
    store.write(PATH, VALUES, {})
    raw = vault.client().secrets.kv.v2
    raw.update_metadata(PATH, cas_required=False, max_versions=5, mount_point=mount)
    raw.create_or_update_secret(PATH, secret={"secret": "swapped"}, mount_point=mount)
    assert dict(store.read(PATH)) == VALUES


def test_a_secret_deleted_by_hand_is_not_called_destroyed(
    vault: VaultServer, mount: str, store: VaultStore
) -> None:
    store.write(PATH, VALUES, LABELS)
    vault.client().secrets.kv.v2.delete_secret_versions(PATH, versions=[1], mount_point=mount)
    assert "undelete" in str(refused(store, "vault_deleted"))
    vault.client().secrets.kv.v2.undelete_secret_versions(PATH, versions=[1], mount_point=mount)
    assert dict(store.read(PATH)) == VALUES


# --- refusals -----------------------------------------------------------------------------


def test_a_wrong_mount_is_named(config: VaultConfig, opened: Opener) -> None:
    fault = refused(opened(replace(config, mount="elsewhere")), "vault_wrong_mount")
    assert "vault.mount" in str(fault)


def test_a_version_1_engine_is_refused_before_its_silence_is_believed(
    vault: VaultServer, config: VaultConfig, opened: Opener
) -> None:
    vault.client().sys.enable_secrets_engine("kv", path=f"{config.mount}-old", options={"version": "1"})
    refused(opened(replace(config, mount=f"{config.mount}-old")), "vault_kv1")


def test_what_the_role_may_not_do_is_forbidden(
    vault: VaultServer, config: VaultConfig, tmp_path: Path, opened: Opener
) -> None:
    root = vault.client()
    root.sys.create_or_update_policy(
        "reader", f'path "{config.mount}/metadata/*" {{ capabilities = ["read"] }}'
    )
    made = root.auth.token.create(policies=["reader"])["auth"]["client_token"]
    fault = refused(opened(replace(config, auth=TokenAuth(proof(tmp_path, made)))), "vault_forbidden")
    assert PATH in str(fault)
    assert "vault check" in str(fault)


def proof(folder: Path, text: str) -> Path:
    path = folder / "proof"
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_a_file_that_others_may_read_proves_nothing(
    config: VaultConfig, root_token: Path, opened: Opener
) -> None:
    root_token.chmod(0o644)
    assert "chmod 600" in str(refused(opened(config), "vault_login"))
    root_token.unlink()
    refused(opened(config), "vault_login")


# --- away ---------------------------------------------------------------------------------


def test_a_vault_that_is_not_there(config: VaultConfig, opened: Opener) -> None:
    fault = refused(opened(at(config, f"http://127.0.0.1:{free_port()}")), "vault_unreachable")
    assert "root-of-a-test" not in str(fault)


def test_a_vault_that_answers_too_late(config: VaultConfig, between: Relay, opened: Opener) -> None:
    between.mode = "hang"
    refused(opened(replace(at(config, between.address), timeout_s=1)), "vault_slow")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/v1/x\r\nContent-Length: 0\r\n\r\n", "vault_standby"),
        (b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\n{}", "vault_failed"),
        (b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\n\r\n{}", "vault_failed"),
        (b'HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{"errors":["quota"]}', "vault_rate"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\noops", "vault_failed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnot json!", "vault_failed"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]", "vault_failed"),
        (b"nonsense\r\n\r\n", "vault_unreachable"),
    ],
)  # fmt: skip
def test_a_vault_that_says_something_else(
    config: VaultConfig, between: Relay, said: bytes, reason: str, opened: Opener
) -> None:
    between.mode, between.said = "answer", said
    refused(opened(at(config, between.address)), reason)


def answer(status: str, kind: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


JSON = "application/json"
KONG = b'{"message":"no Route matched with those values","request_id":"d2a1b75bb5fd6e2a5b4b8c1d6f3d0e1b"}'
STRANGERS = (
    answer("404 Not Found", "text/html", b"default backend - 404"),
    answer("404 Not Found", "text/plain", b""),
    answer("404 Not Found", JSON, b'{"message":"no Route matched with those values"}'),
    answer("404 Not Found", JSON, b'{"errors":["no service"]}'),
    answer(
        "404 Not Found", JSON, b'{"errors":["no handler for route \\"p/data/x\\". route entry not found."]}'
    ),
    answer("403 Forbidden", "text/html", b"blocked"),
    answer("403 Forbidden", JSON, b'{"message":"Forbidden"}'),
    answer("400 Bad Request", "text/html", b"bad request"),
    answer("429 Too Many Requests", "text/html", b"slow down"),
    answer("503 Service Unavailable", "text/html", b"no backend"),
    answer("200 OK", "text/html", b"sign in"),
    answer("200 OK", JSON, b'{"status":"ok"}'),
    answer("200 OK", JSON, b""),
    *(
        answer(one, JSON, KONG)
        for one in ("404 Not Found", "403 Forbidden", "429 Too Many Requests", "200 OK")
    ),
    answer("404 Not Found", JSON, b'{"errors":[],"message":"no route"}'),
    answer("403 Forbidden", JSON, b'{"errors":[{"code":"DENIED"}]}'),
    answer("404 Not Found", JSON, b'{"request_id":"x","data":{"data":null,"metadata":{"version":1}}}'),
    answer("200 OK", JSON, b'{"data":{"keys":[]}}'),
    answer("404 Not Found", JSON, b"[" * 100_000),
    answer("204 No Content", JSON, b""),
)
"""Whoever stands in front of Vault, in words that Vault has for something else; and Vault itself, where its mount is gone."""

LOST = (
    answer("500 Internal", JSON, b'{"errors":["local node not active but active cluster node not found"]}'),
    answer("500 Internal", JSON, b'{"errors":["internal error"]}'),
    answer("503 Unavailable", JSON, b'{"errors":["Vault is sealed"]}'),
    answer("400 Bad Request", JSON, b'{"errors":["path disabled in replication DR secondary mode"]}'),
    answer("472 DR", JSON, b'{"errors":[]}'),
    answer("473 Performance", JSON, b'{"errors":[]}'),
    *STRANGERS[:4],
    *STRANGERS[5:],
    answer("400 Bad Request", JSON, KONG),
)
"""Nodes that are none, or cannot send on what they were asked."""


@pytest.mark.parametrize("said", STRANGERS)
def test_the_word_of_who_stands_in_front_is_not_the_stores(
    config: VaultConfig, between: Relay, said: bytes, opened: Opener, store: VaultStore
) -> None:
    """Taken for its word, a secret was not there, a mirror was put back, and a destroy or a write was done."""
    behind = opened(at(config, between.address))
    behind.write(PATH, VALUES, LABELS)
    behind.mirror.change("history", lambda _: "kept")
    between.mode, between.said = "answer", said
    for ask in (
        lambda: behind.read(PATH), lambda: behind.metadata(PATH), lambda: behind.paths("keys/"),
        lambda: behind.destroy(PATH), lambda: behind.write("keys/main/trade/2", VALUES, LABELS),
        lambda: behind.mirror.read("history"), behind.mirror.names,
        lambda: behind.mirror.change("history", lambda known: "put back" if known is None else None),
        behind.maintain,
    ):  # fmt: skip
        with pytest.raises(StoreUnavailable):
            ask()
    assert dict(store.read(PATH)) == VALUES
    assert store.mirror.read("history") == "kept"
    with pytest.raises(NotFound):
        store.read("keys/main/trade/2")


@pytest.mark.parametrize("said", LOST)
def test_a_node_that_is_none_is_passed_over_and_is_no_answer(
    config: VaultConfig, between: Relay, said: bytes
) -> None:
    now = [1000.0]
    between.mode, between.said = "answer", said
    both = Session(at(config, between.address, config.addresses[0]), lambda: now[0])
    store = VaultStore(both)
    store.write(PATH, VALUES, LABELS)
    assert dict(store.read(PATH)) == VALUES
    alone = Session(at(config, between.address), lambda: now[0])
    now[0] += 3600
    with pytest.raises(StoreUnavailable):
        alone.maintain()
    assert alone.absent_s() == 3600, "nobody answered who could have told of a cut"
    alone.close()
    store.close()


def test_a_word_that_anybody_may_say_is_no_destroy(
    config: VaultConfig, between: Relay, opened: Opener, store: VaultStore
) -> None:
    """All is asked of Vault, but the destroy itself is answered in front of it, by 204."""
    behind = opened(at(config, between.address))
    behind.write(PATH, VALUES, LABELS)
    between.instead = ("/destroy/", answer("204 No Content", JSON, b""))
    with pytest.raises(StoreUnavailable):
        behind.destroy(PATH)
    assert dict(store.read(PATH)) == VALUES
    between.instead = None
    behind.destroy(PATH)


def test_what_vault_itself_says_of_nothing_is_believed(store: VaultStore) -> None:
    """404 with no error, and with the data of a version that was destroyed."""
    store.write(PATH, VALUES, LABELS)
    with pytest.raises(NotFound) as nothing:
        store.read("keys/main/trade/7")
    assert nothing.value.reason == "no_secret"
    assert store.mirror.read("history") is None
    assert store.mirror.names() == ()
    store.destroy(PATH)
    with pytest.raises(NotFound) as destroyed:
        store.read(PATH)
    assert destroyed.value.reason == "destroyed"


def test_the_token_never_follows_a_redirect(config: VaultConfig, between: Relay, opened: Opener) -> None:
    with relay(config.addresses[0]) as lure:
        where = lure.address.encode()
        between.mode = "answer"
        between.said = (
            b"HTTP/1.1 307 Temporary Redirect\r\nLocation: " + where + b"/v1/x\r\nContent-Length: 0\r\n\r\n"
        )
        refused(opened(at(config, between.address)), "vault_standby")
        assert lure.seen == []


def test_the_next_address_answers_where_the_first_does_not(
    config: VaultConfig, between: Relay, opened: Opener
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    store = opened(replace(at(config, nobody, between.address, config.addresses[0]), timeout_s=5))
    store.write(PATH, VALUES, LABELS)
    assert between.seen
    between.mode = "hang"
    assert dict(store.read(PATH)) == VALUES
    count = len(between.seen)
    assert dict(store.read(PATH)) == VALUES
    assert len(between.seen) == count, "the one that answered last is asked first"


def test_no_proxy_of_the_environment_sees_a_token(
    config: VaultConfig, between: Relay, monkeypatch: pytest.MonkeyPatch, opened: Opener
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, between.address)
    monkeypatch.setenv("VAULT_ADDR", between.address)
    with pytest.raises(NotFound):
        opened(config).read(PATH)
    assert between.seen == []


# --- a whole life -------------------------------------------------------------------------


def test_sealed_restarted_and_unsealed_it_goes_on(tmp_path: Path, opened: Opener) -> None:
    with raft_vault(tmp_path) as server:
        server.client().sys.enable_secrets_engine("kv", path="p", options={"version": "2"})
        config = VaultConfig(
            (server.address,), TokenAuth(proof(tmp_path, server.root)), "p", timeout_s=SLOWEST_S
        )
        store = opened(config)
        store.write(PATH, VALUES, LABELS)
        server.seal()
        refused(store, "vault_sealed")
        server.unseal()
        assert dict(store.read(PATH)) == VALUES
        server.kill()
        refused(store, "vault_unreachable")
        server.start()
        refused(store, "vault_sealed")
        server.unseal()
        assert dict(store.read(PATH)) == VALUES
        assert store.may_serve_on()


def test_a_vault_that_was_never_initialised(tmp_path: Path, opened: Opener) -> None:
    with raft_vault(tmp_path, initialise=False) as server:
        config = VaultConfig((server.address,), TokenAuth(proof(tmp_path, "none")), "p", timeout_s=SLOWEST_S)
        refused(opened(config), "vault_not_initialised")


def test_it_knows_for_how_long_vault_has_been_away(config: VaultConfig, between: Relay) -> None:
    now = [1000.0]
    session = Session(replace(config, addresses=(between.address,), max_absence_s=60), lambda: now[0])
    store = VaultStore(session)
    store.maintain()
    between.mode, between.said = (
        "answer",
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
    )
    now[0] += 59
    with pytest.raises(StoreUnavailable):
        store.maintain()
    assert store.may_serve_on()
    now[0] += 2
    assert not store.may_serve_on()
    between.mode = "pass"
    store.maintain()
    assert store.may_serve_on()


def test_no_secret_is_in_what_it_logs(
    store: VaultStore, caplog: pytest.LogCaptureFixture, vault: VaultServer
) -> None:
    caplog.set_level(0)
    store.write(PATH, VALUES, LABELS)
    store.read(PATH)
    assert "planted" not in caplog.text
    assert vault.root not in caplog.text


def test_hvac_is_imported_in_the_store_alone() -> None:
    assert hvac is not None
    roots = [Path(name) for name in ("broker", "clients", "portcullis")]
    users = {
        path.parent for root in roots for path in root.rglob("*.py") if "import hvac" in path.read_text() or "from hvac" in path.read_text()
    }  # fmt: skip
    assert users == {Path("broker/stores/vault")}
