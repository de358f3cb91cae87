"""Logging in to a real Vault: AppRole, wrapped secret ids, tokens that die and come again."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from broker.errors import NotFound, StoreUnavailable
from broker.stores.vault.check import check
from broker.stores.vault.config import AppRoleAuth, TokenAuth, VaultConfig
from broker.stores.vault.layout import VaultRole
from broker.stores.vault.session import Session
from broker.stores.vault.setup import Plan, apply
from tests.services.vault.server import VaultServer

ROLE = "portcullis-run"
BOTH = (VaultRole.BROKER, VaultRole.ROTATOR)


@pytest.fixture
def set_up(vault: VaultServer, mount: str) -> str:
    """A mount with everything that `vault setup` makes; the name of its AppRole mount."""
    where = f"{mount}-approle"
    apply(vault.client(), Plan(mount, auth_mount=where).steps())
    return where


@pytest.fixture
def config(vault: VaultServer, mount: str, set_up: str, tmp_path: Path) -> VaultConfig:
    role = vault.client().auth.approle
    role_id = role.read_role_id(ROLE, mount_point=set_up)["data"]["role_id"]
    secret_id = role.generate_secret_id(ROLE, mount_point=set_up)["data"]["secret_id"]
    auth = AppRoleAuth(role_id, private(tmp_path / "secret-id", secret_id), role=ROLE, mount=set_up)
    return VaultConfig((vault.address,), auth, mount, timeout_s=30)


@pytest.fixture
def session(config: VaultConfig) -> Iterator[Session]:
    one = Session(config)
    yield one
    one.close()


def private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def own(session: Session) -> dict[str, object]:
    found: dict[str, object] = session.ask("look", lambda client: client.auth.token.lookup_self())["data"]
    return found


def secret(session: Session) -> str:
    assert session._token is not None
    return session._token.value.reveal()


def test_approle_logs_in_with_a_token_that_lives_on(session: Session) -> None:
    facts = own(session)
    assert facts["period"] == 3600
    assert facts["path"] == f"auth/{session.config.mount}-approle/login"


def test_a_token_that_died_is_replaced_and_the_request_made(vault: VaultServer, session: Session) -> None:
    own(session)
    dead = secret(session)
    vault.client().auth.token.revoke(dead)
    own(session)
    assert secret(session) != dead


def test_many_threads_with_one_dead_token_log_in_once(vault: VaultServer, session: Session) -> None:
    own(session)
    vault.client().auth.token.revoke(secret(session))
    logins = []
    login = session._login
    session._login = lambda client, now_s: logins.append(1) or login(client, now_s)  # type: ignore[assignment,func-returns-value]
    threads = [threading.Thread(target=own, args=(session,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(logins) == 1


def test_a_lack_of_rights_is_no_reason_to_log_in_again(session: Session) -> None:
    own(session)
    before = secret(session)
    with pytest.raises(StoreUnavailable, match="does not let our role") as caught:
        session.ask("list the mounts", lambda client: client.sys.list_mounted_secrets_engines())
    assert caught.value.reason == "vault_forbidden"
    assert secret(session) == before


def test_it_renews_at_half_its_life_and_logs_in_where_renewing_ends(
    vault: VaultServer, config: VaultConfig
) -> None:
    now = [1000.0]
    session = Session(config, lambda: now[0])
    session.maintain()
    first = session._token
    now[0] += 1700
    session.maintain()
    assert session._token is first, "half of an hour is not over"
    now[0] += 200
    session.maintain()
    assert session._token is not None
    assert session._token is not first
    assert secret(session) == first.value.reveal()  # type: ignore[union-attr]
    assert session._token.got_s == now[0]
    vault.client().auth.token.revoke(secret(session))
    now[0] += 1900
    session.maintain()
    assert secret(session) != first.value.reveal()  # type: ignore[union-attr]
    session.close()


def test_a_secret_id_that_is_no_longer_valid(vault: VaultServer, config: VaultConfig, tmp_path: Path) -> None:
    private(tmp_path / "secret-id", "not-one")
    session = Session(config)
    with pytest.raises(StoreUnavailable, match="new secret id") as caught:
        own(session)
    assert caught.value.reason == "vault_login"
    made = vault.client().auth.approle.generate_secret_id(ROLE, mount_point=f"{config.mount}-approle")
    private(tmp_path / "secret-id", made["data"]["secret_id"])
    assert own(session), "mended without a restart"
    session.close()


def wrapped(vault: VaultServer, config: VaultConfig, path: str | None = None) -> VaultConfig:
    where = path or f"auth/{config.mount}-approle/role/{ROLE}/secret-id"
    made = vault.client().adapter.post(f"/v1/{where}", json={}, headers={"X-Vault-Wrap-TTL": "60s"})
    assert isinstance(config.auth, AppRoleAuth)
    private(config.auth.secret_id_file, made["wrap_info"]["token"])
    return replace(config, auth=replace(config.auth, wrapped=True))


def test_a_wrapped_secret_id_is_unwrapped_once_and_kept_in_memory(
    vault: VaultServer, config: VaultConfig
) -> None:
    session = Session(wrapped(vault, config))
    own(session)
    vault.client().auth.token.revoke(secret(session))
    assert own(session), "logged in again with the secret id it remembers"
    session.close()
    other = Session(session.config)
    with pytest.raises(StoreUnavailable, match="else may have"):
        own(other)
    other.close()


def test_a_wrapped_token_that_was_made_elsewhere_is_refused(vault: VaultServer, config: VaultConfig) -> None:
    session = Session(wrapped(vault, config, "sys/wrapping/wrap"))
    with pytest.raises(StoreUnavailable, match="not made for us"):
        own(session)
    session.close()


# --- vault check --------------------------------------------------------------------------


def test_check_has_nothing_to_say_where_all_is_well(session: Session) -> None:
    findings = check(session, BOTH)
    assert [one.what for one in findings if not one.well] == []


def test_check_names_what_is_too_much_and_what_lacks(vault: VaultServer, session: Session) -> None:
    told = {one.what: one.remedy for one in check(session, (VaultRole.BROKER,)) if not one.well}
    assert any("create" in what and "data/managers" not in what and "keys" in what for what in told)
    assert all("must not" in what for what in told)
    root = vault.client()
    root.sys.create_or_update_policy(f"{session.config.mount}-broker", 'path "x" { capabilities = ["read"] }')
    told = {one.what: one.remedy for one in check(session, BOTH) if not one.well}
    assert any("may not" in what and "virtual" in what for what in told)
    assert all("vault setup" in remedy for what, remedy in told.items() if "may not" in what)


def test_check_says_that_a_root_token_is_too_much(
    vault: VaultServer, config: VaultConfig, tmp_path: Path
) -> None:
    session = Session(replace(config, auth=TokenAuth(private(tmp_path / "t", vault.root))))
    assert any("EVERYTHING" in one.what for one in check(session, BOTH))
    session.close()


def test_check_stops_where_it_cannot_go_on(config: VaultConfig) -> None:
    for broken, word in (
        (replace(config, addresses=("http://127.0.0.1:1",)), "vault_unreachable"),
        (replace(config, mount="none"), "vault_wrong_mount"),
    ):
        session = Session(broken)
        last = check(session, BOTH)[-1]
        assert word in last.what
        assert last.remedy
        session.close()


def test_what_never_was_is_still_not_found_through_a_role(session: Session) -> None:
    with pytest.raises(NotFound):
        session.ask(
            "read keys/none", lambda client: client.secrets.kv.v2.read_secret_metadata("keys/none", mount_point=session.config.mount)
        )  # fmt: skip
