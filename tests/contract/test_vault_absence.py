"""A Vault that turns us away is away: it could tell us of no cut, and who cut may have meant just that."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from broker.errors import NotFound, StoreConflict, StoreUnavailable
from broker.stores.vault.config import AppRoleAuth, TokenAuth, VaultConfig
from broker.stores.vault.session import Session
from broker.stores.vault.setup import Plan, apply
from broker.stores.vault.values import VaultStore
from clients.secret import Secret
from tests.contract.secret_store import LABELS, VALUES
from tests.contract.unruly import Relay, relay
from tests.services.vault.server import VaultServer

PATH = "keys/main/trade/1"
HOUR_S, MOST_S = 3600.0, 86_400.0


class Hours:
    """A clock that a test moves, and a store by it."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.opened: list[VaultStore] = []

    def store(self, config: VaultConfig) -> VaultStore:
        self.session = Session(config, lambda: self.now_s)
        self.opened.append(VaultStore(self.session))
        return self.opened[-1]

    def pass_with(self, store: VaultStore, ask: Callable[[], object], hours: int = 25) -> None:
        """Keep the store up every hour, and ask it something; no answer is the test's matter."""
        for _ in range(hours):
            self.now_s += HOUR_S
            for one in (store.maintain, ask):
                with suppress(StoreUnavailable, NotFound, StoreConflict):
                    one()


@pytest.fixture
def hours() -> Iterator[Hours]:
    one = Hours()
    yield one
    for store in one.opened:
        store.close()


@pytest.fixture
def between(vault: VaultServer) -> Iterator[Relay]:
    with relay(vault.address) as one:
        yield one


def private(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def by_token(vault: VaultServer, mount: str, folder: Path, policy: str = "root") -> tuple[VaultConfig, str]:
    token: str = vault.client().auth.token.create(policies=[policy])["auth"]["client_token"]
    auth = TokenAuth(private(folder / "token", token))
    return VaultConfig((vault.address,), auth, mount, timeout_s=30, max_absence_s=MOST_S), token


def test_after_our_token_was_revoked_leases_end_at_their_bound(
    vault: VaultServer, mount: str, tmp_path: Path, hours: Hours
) -> None:
    config, token = by_token(vault, mount, tmp_path)
    store = hours.store(config)
    store.write(PATH, VALUES, LABELS)
    vault.client().auth.token.revoke(token)
    hours.pass_with(store, lambda: store.read(PATH), 24)
    assert hours.session.absent_s() == 24 * HOUR_S
    assert store.may_serve_on()
    hours.pass_with(store, lambda: store.read(PATH), 1)
    assert not store.may_serve_on()
    private(tmp_path / "token", vault.root)
    store.maintain()
    assert store.may_serve_on(), "let in again, it is back"


def test_after_our_role_was_deleted_leases_end_at_their_bound(
    vault: VaultServer, mount: str, tmp_path: Path, hours: Hours
) -> None:
    where, root = f"{mount}-approle", vault.client()
    apply(root, Plan(mount, auth_mount=where).steps())
    name = "portcullis-run"
    role_id = root.auth.approle.read_role_id(name, mount_point=where)["data"]["role_id"]
    secret_id = root.auth.approle.generate_secret_id(name, mount_point=where)["data"]["secret_id"]
    auth = AppRoleAuth(role_id, private(tmp_path / "secret-id", secret_id), role=name, mount=where)
    store = hours.store(VaultConfig((vault.address,), auth, mount, timeout_s=30, max_absence_s=MOST_S))
    store.maintain()
    assert hours.session._token is not None
    root.auth.approle.delete_role(name, mount_point=where)
    root.auth.token.revoke(hours.session._token.value.reveal())
    hours.pass_with(store, store.mirror.names)
    assert hours.session.absent_s() == 25 * HOUR_S
    assert not store.may_serve_on()


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("403 Forbidden", b'{"errors":["permission denied"]}'),
        ("429 Too Many Requests", b'{"errors":["request path \\"x\\": rate limit quota exceeded"]}'),
        ("400 Bad Request", b'{"errors":["missing client token"]}'),
        ("404 Not Found", b'{"errors":["no handler for route \\"p/data/x\\". route entry not found."]}'),
    ],
)
def test_whatever_word_turns_us_away_tells_nothing_of_what_is_cut(
    vault: VaultServer, mount: str, tmp_path: Path, between: Relay, hours: Hours, status: str, said: bytes
) -> None:
    auth = TokenAuth(private(tmp_path / "token", vault.root))
    config = VaultConfig((between.address,), auth, mount, timeout_s=30, max_absence_s=MOST_S)
    store = hours.store(config)
    store.write(PATH, VALUES, LABELS)
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(said)}\r\n"
    between.mode, between.said = "answer", head.encode() + b"Connection: close\r\n\r\n" + said
    hours.pass_with(store, lambda: store.read(PATH))
    assert not store.may_serve_on()
    between.mode = "pass"
    store.maintain()
    assert store.may_serve_on()


def test_no_right_at_one_path_is_not_away(
    vault: VaultServer, mount: str, tmp_path: Path, hours: Hours
) -> None:
    rules = f'path "{mount}/*" {{ capabilities = ["create", "read", "update", "list"] }}\n'
    rules += f'path "{mount}/data/{PATH}" {{ capabilities = ["deny"] }}'
    vault.client().sys.create_or_update_policy(mount, rules)
    config, _ = by_token(vault, mount, tmp_path, mount)
    store = hours.store(config)
    with pytest.raises(StoreUnavailable) as no:
        store.read(PATH)
    assert no.value.reason == "vault_forbidden"
    hours.pass_with(store, lambda: store.read(PATH), 48)
    assert hours.session.absent_s() == 0
    assert store.may_serve_on()


def test_what_vault_says_of_its_data_is_an_answer(
    vault: VaultServer, mount: str, tmp_path: Path, hours: Hours
) -> None:
    """That nothing is there, and that somebody wrote before."""
    config, _ = by_token(vault, mount, tmp_path)
    store = hours.store(config)
    store.write(PATH, VALUES, LABELS)
    hours.now_s += HOUR_S
    with pytest.raises(NotFound):
        store.read("keys/main/trade/7")
    assert hours.session.absent_s() == 0
    hours.now_s += HOUR_S
    with pytest.raises(StoreConflict):
        hours.session.ask(
            "write it again",
            lambda client: client.secrets.kv.v2.create_or_update_secret(
                PATH, secret={"secret": Secret("other").reveal()}, cas=0, mount_point=mount
            ),
        )
    assert hours.session.absent_s() == 0
