"""Keys in a real Vault, state in a real PostgreSQL, by the commands an operator types."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from broker.errors import NotFound, StoreConflict, StoreUnavailable
from broker.ports import SecretStore
from broker.stores.embedded import key as keys
from broker.stores.embedded.store import EmbeddedStore
from clients.secret import Secret
from portcullis.foundation import opened
from portcullis.settings import open_home
from portcullis.store_move import copy
from tests.cli.started import cli, cli_json
from tests.gateway.world import POLICY
from tests.services.postgres.server import PASSWORD, PostgresServer
from tests.services.vault.server import VaultServer

pytestmark = pytest.mark.process


@pytest.fixture
def described(vault: VaultServer, mount: str, tmp_path: Path) -> Path:
    """A file that describes the test's own corner of Vault, logged in to by AppRole."""
    path = tmp_path / "vault.json"
    auth = {
        "method": "approle",
        "role_id": "not-yet",
        "secret_id_file": str(tmp_path / "secret-id"),
        "mount": f"{mount}-login",
    }
    path.write_text(json.dumps({"addresses": [vault.address], "mount": f"{mount}-keys", "auth": auth}))
    return path


def enrol(vault: VaultServer, path: Path) -> None:
    """Do by hand what an administrator does after `vault setup`: role id and secret id."""
    document = json.loads(path.read_text())
    auth = document["auth"]
    role = vault.client().auth.approle
    auth["role_id"] = role.read_role_id("portcullis-run", mount_point=auth["mount"])["data"]["role_id"]
    secret_id = role.generate_secret_id("portcullis-run", mount_point=auth["mount"])["data"]["secret_id"]
    Path(auth["secret_id_file"]).touch(mode=0o600)
    Path(auth["secret_id_file"]).write_text(secret_id)
    path.write_text(json.dumps(document))


@pytest.fixture
def set_up(vault: VaultServer, described: Path, root_token: Path, tmp_path: Path) -> Path:
    arguments = ("vault", "setup", "--vault", str(described), "--apply", "--token-file", str(root_token))
    assert len(cli_json(tmp_path / "none", *arguments)["done"]) > 5
    enrol(vault, described)
    return described


def test_setup_shows_what_it_would_do_and_applying_twice_is_once(
    vault: VaultServer, described: Path, root_token: Path, tmp_path: Path
) -> None:
    home = tmp_path / "none"
    shown = cli(home, "vault", "setup", "--vault", str(described))
    assert shown.returncode == 0, shown.stderr
    assert "Nothing was changed" in shown.stdout
    assert "vault policy write" in shown.stdout
    assert (
        f"{json.loads(described.read_text())['mount']}/"
        not in vault.client().sys.list_mounted_secrets_engines()["data"]
    )
    found = cli_json(home, "vault", "check", "--vault", str(described), code=1)["items"]
    assert found[0]["remedy"]
    for _ in range(2):
        cli_json(
            home, "vault", "setup", "--vault", str(described), "--apply", "--token-file", str(root_token)
        )
    enrol(vault, described)
    found = cli_json(home, "vault", "check", "--vault", str(described))["items"]
    assert all(one["well"] for one in found), found


def test_a_home_is_made_with_the_one_login_that_a_wrapped_secret_id_is_good_for(
    vault: VaultServer, set_up: Path, tmp_path: Path
) -> None:
    """`init` logged in twice: it said that somebody else may have used the secret id, and left half a home."""
    document = json.loads(set_up.read_text())
    where = f"auth/{document['auth']['mount']}/role/portcullis-run/secret-id"
    made = vault.client().adapter.post(f"/v1/{where}", json={}, headers={"X-Vault-Wrap-TTL": "60s"})
    Path(document["auth"]["secret_id_file"]).write_text(made["wrap_info"]["token"])
    document["auth"]["wrapped"] = True
    set_up.write_text(json.dumps(document))
    home = tmp_path / "home"
    init = ("init", "--environment", "paper", "--mode", "solo", "--vault", str(set_up))
    assert cli(home, *init).returncode == 0
    gates = vault.client().adapter.request("LIST", f"/v1/{document['mount']}/metadata/gates")
    assert "instance" in gates["data"]["keys"], "the secret store is known as this home's"


def test_setup_says_how_to_get_role_id_and_secret_ids_and_checks_the_same_file(
    described: Path, root_token: Path, tmp_path: Path
) -> None:
    """It said `vault check` without --vault, named no role id, and no secret id for the rotator."""
    document = json.loads(described.read_text())
    rotators = tmp_path / "rotators"
    document["auth"] |= {"wrapped": True, "rotator_secret_id_file": str(rotators)}
    described.write_text(json.dumps(document))
    done = cli(
        tmp_path / "none",
        "vault",
        "setup",
        "--vault",
        str(described),
        "--apply",
        "--token-file",
        str(root_token),
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split("next ", 1)[1] for line in done.stdout.splitlines() if line.startswith("  next ")]
    assert any(line.startswith("vault read -field=role_id ") for line in lines)
    assert any(line.endswith(f"> {tmp_path / 'secret-id'})") for line in lines)
    assert any(line.endswith(f"> {rotators})") for line in lines)
    assert lines[-1].endswith(f"vault check --vault {described}")


def test_a_wrong_token_is_said_and_not_shown(described: Path, tmp_path: Path) -> None:
    arguments = ("vault", "setup", "--vault", str(described), "--apply")
    done = cli(tmp_path / "none", *arguments, stdin="planted-wrong-token\n")
    assert done.returncode == 1
    assert "Vault did not take it" in done.stderr
    assert "planted" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"addresses": ["http://vault.example:8200"]}, "addresses"),
        ({"addresses": []}, "addresses"),
        ({"auth": {"method": "password"}}, "auth"),
        ({"mount": "../sys"}, "mount"),
        ({"colour": "red"}, "colour"),
        ({"client_cert": "cert.pem"}, "--vault"),
        ({"max_absence_s": -1}, "max_absence_s"),
    ],
)
def test_a_description_that_cannot_be_used_names_the_field(
    described: Path, tmp_path: Path, change: Mapping[str, object], field: str
) -> None:
    described.write_text(json.dumps(json.loads(described.read_text()) | change))
    error = cli_json(tmp_path / "none", "vault", "check", "--vault", str(described), code=1)["error"]
    assert error["errors"][0]["field"].startswith(field)
    assert str(described) in error["errors"][0]["message"]


# --- a home on both -------------------------------------------------------------------------------


def test_a_home_on_vault_and_postgres_holds_neither_keys_nor_state(
    set_up: Path, postgres_server: PostgresServer, tmp_path: Path, mount: str
) -> None:
    postgres_server.database(mount)
    password = tmp_path / "database.password"
    password.write_text(PASSWORD + "\n")
    described = tmp_path / "database.json"
    document = {
        "hosts": [f"127.0.0.1:{postgres_server.port}"], "database": mount, "password_file": str(password),
        "ssl_mode": "disable",
    }  # fmt: skip
    described.write_text(json.dumps(document))
    home = tmp_path / "home"
    init = (
        "init",
        "--environment",
        "paper",
        "--mode",
        "solo",
        "--vault",
        str(set_up),
        "--database",
        str(described),
    )
    error = cli_json(home, *init, code=1)["error"]
    assert "single_node" in error["what"]
    assert not home.exists()
    described.write_text(json.dumps(document | {"single_node": True}))
    cli_json(home, *init)
    kept = {path.name for path in home.iterdir()}
    assert kept == {"audit.key", "home.json", "operator.token", "run.lock", "spool"}
    assert (home / "run.lock").read_bytes() == b""
    assert PASSWORD not in (home / "home.json").read_text()
    assert cli_json(home, "db", "check")["well"] is True
    assert cli_json(home, "db", "upgrade")["well"] is True
    with opened(open_home(home)) as service:
        service.accounts.create("main", venue="binance", upstream="http://127.0.0.1:1")
        service.grants.create_consumer("bot")
        grant = service.grants.create(consumer="bot", account="main", policy=POLICY).grant
    with opened(open_home(home)) as service:
        assert grant.secret_path is not None
        assert service.desk.secrets.read(grant.secret_path)["secret"]
    again = cli_json(tmp_path / "again", *init, code=1)["error"]
    assert "another Portcullis" in again["what"]
    postgres_server.sql("UPDATE alembic_version SET version_num = '0001'", mount)
    error = cli_json(home, "db", "check", code=1)["error"]
    assert error["reason"] == "schema_older"
    assert "db upgrade" in error["what"]
    postgres_server.sql("UPDATE alembic_version SET version_num = '9999'", mount)
    assert cli_json(home, "db", "upgrade", code=1)["error"]["reason"] == "schema_newer"


def test_a_database_is_looked_at_before_a_home_uses_it(
    postgres_server: PostgresServer, mount: str, tmp_path: Path
) -> None:
    """`vault check --vault FILE` did it, `db check` knew the home's own database alone."""
    postgres_server.database(mount)
    password, described = tmp_path / "database.password", tmp_path / "database.json"
    password.write_text(PASSWORD + "\n")
    document = {
        "hosts": [f"127.0.0.1:{postgres_server.port}"], "database": mount, "password_file": str(password),
        "ssl_mode": "disable", "single_node": True,
    }  # fmt: skip
    described.write_text(json.dumps(document))
    none, home = tmp_path / "none", tmp_path / "home"
    found = cli_json(none, "db", "check", "--database", str(described))
    assert (found["well"], found["used"]) == (True, False)
    cli_json(home, "init", "--environment", "paper", "--mode", "solo", "--database", str(described))
    assert cli_json(none, "db", "check", "--database", str(described))["used"] is True
    described.write_text(json.dumps(document | {"single_node": False}))
    error = cli_json(none, "db", "check", "--database", str(described), code=1)["error"]
    assert "single_node" in error["what"]
    assert "It runs and lets us in" in error["next"], "what is wrong is a setting of it"
    assert cli_json(home, "db", "check")["well"] is True
    postgres_server.database(f"{mount}-latin1", "template0", "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
    described.write_text(json.dumps(document | {"database": f"{mount}-latin1"}))
    for arguments in (("db", "check"), ("init", "--environment", "paper", "--mode", "solo")):
        error = cli_json(tmp_path / "other", *arguments, "--database", str(described), code=1)["error"]
        assert "ENCODING 'UTF8'" in error["what"]


# --- moving ---------------------------------------------------------------------------------------


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[EmbeddedStore]:
    store = EmbeddedStore(tmp_path / "from.db", keys.fresh())
    for number in range(1, 4):
        store.write(f"keys/main/trade/{number}", {"secret": Secret(f"planted-{number}")}, {"n": str(number)})
    store.write("virtual/grt/key", {"secret": Secret("planted-virtual")}, {})
    store.destroy("keys/main/trade/1")
    store.mirror.change("instance", lambda _: '{"instance": "a", "generation": 1}')
    store.mirror.change("cut_1", lambda _: "closed")
    yield store
    store.close()


@pytest.fixture
def target(tmp_path: Path) -> Iterator[EmbeddedStore]:
    store = EmbeddedStore(tmp_path / "to.db", keys.fresh())
    yield store
    store.close()


class Failing:
    """A store that fails at the n-th write or destruction, before or after it was done."""

    def __init__(self, inner: SecretStore, at: int, *, done: bool) -> None:
        self._inner, self._left, self._done = inner, at, done

    def _turn(self, work: object, *args: object) -> None:
        self._left -= 1
        if self._left == 0 and not self._done:
            raise StoreUnavailable("away", "away on purpose")
        work(*args)  # type: ignore[operator]
        if self._left == 0:
            raise StoreUnavailable("away", "away on purpose")

    def write(self, *args: object) -> None:
        self._turn(self._inner.write, *args)

    def destroy(self, path: str) -> None:
        self._turn(self._inner.destroy, path)

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
def test_a_move_that_broke_off_anywhere_is_finished_by_the_next(
    embedded: EmbeddedStore, target: EmbeddedStore, at: int, done: bool
) -> None:
    with pytest.raises(StoreUnavailable):
        copy(embedded, Failing(target, at, done=done), lambda _, __: None)  # type: ignore[arg-type]
    moved = copy(embedded, target, lambda _, __: None)
    assert (moved.secrets, moved.destroyed, moved.gates) == (3, 1, 2)
    assert target.read("keys/main/trade/3")["secret"].reveal() == "planted-3"
    assert target.mirror.read("cut_1") == "closed"
    assert copy(embedded, target, lambda _, __: None) == moved


def test_what_was_proven_dead_since_an_earlier_move_is_destroyed_there_by_the_next(
    embedded: EmbeddedStore, target: EmbeddedStore
) -> None:
    """A move that broke off, or one back to the store of before, could never be finished: a rotation had ended between."""
    copy(embedded, target, lambda _, __: None)
    embedded.destroy("keys/main/trade/2")
    moved = copy(embedded, target, lambda _, __: None, {"keys/main/trade/2"})
    assert (moved.secrets, moved.destroyed, moved.left) == (2, 2, ())
    with pytest.raises(NotFound):
        target.read("keys/main/trade/2")
    assert target.metadata("keys/main/trade/2") == {"n": "2"}


def test_what_is_gone_from_the_source_and_not_proven_dead_lives_on_at_the_target(
    embedded: EmbeddedStore, target: EmbeddedStore
) -> None:
    """Somebody destroyed the copy in use by hand: the other one is the last."""
    copy(embedded, target, lambda _, __: None)
    for path in ("keys/main/trade/2", "virtual/grt/key"):
        embedded.destroy(path)
    moved = copy(embedded, target, lambda _, __: None, {"keys/main/trade/1"})
    assert (moved.secrets, moved.destroyed) == (1, 1)
    assert moved.left == ("keys/main/trade/2", "virtual/grt/key")
    assert target.read("keys/main/trade/2")["secret"].reveal() == "planted-2"
    assert target.read("virtual/grt/key")["secret"].reveal() == "planted-virtual"
    assert target.mirror.read("cut_1") == "closed", "it is finished all the same"


@pytest.mark.parametrize("dead", [set[str](), {"keys/main/trade/1"}])
def test_another_key_in_the_place_of_a_destroyed_one_is_left(
    embedded: EmbeddedStore, target: EmbeddedStore, dead: set[str]
) -> None:
    target.write("keys/main/trade/1", {"secret": Secret("x")}, {"n": "another"})
    with pytest.raises(StoreConflict):
        copy(embedded, target, lambda _, __: None, dead)
    assert target.read("keys/main/trade/1")["secret"].reveal() == "x"


@pytest.mark.parametrize("what", ["foreign secret", "other value", "other instance"])
def test_a_target_that_holds_something_else_is_refused_and_left(
    embedded: EmbeddedStore, target: EmbeddedStore, what: str
) -> None:
    if what == "foreign secret":
        target.write("keys/other/trade/1", {"secret": Secret("x")}, {})
    elif what == "other value":
        target.write("keys/main/trade/2", {"secret": Secret("x")}, {"n": "2"})
    else:
        target.mirror.change("instance", lambda _: '{"instance": "b", "generation": 1}')
    with pytest.raises(StoreConflict):
        copy(embedded, target, lambda _, __: None)
    assert target.mirror.read("cut_1") is None


def test_a_home_moves_to_vault_and_back_with_everything(set_up: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    cli_json(home, "init", "--environment", "paper", "--mode", "solo")
    with opened(open_home(home)) as service:
        service.accounts.create("main", venue="binance", upstream="http://127.0.0.1:1")
        service.grants.create_consumer("bot")
        path = service.grants.create(consumer="bot", account="main", policy=POLICY).grant.secret_path
        assert path is not None
        secret = service.desk.secrets.read(path)["secret"].reveal()
    assert cli_json(home, "store", "move", "--to", "embedded", code=1)["error"]["reason"] == "there_already"
    moved = cli_json(home, "store", "move", "--to", "vault", "--vault", str(set_up))
    assert moved["secrets"] == 1
    assert "still hold every key" in moved["left"]
    (home / "secrets.db").rename(tmp_path / "put-away.db")
    with opened(open_home(home)) as service:
        assert service.desk.secrets.read(path)["secret"].reveal() == secret
    assert cli_json(home, "store", "move", "--to", "embedded")["secrets"] == 1
    with opened(open_home(home)) as service:
        assert isinstance(service.desk.secrets, EmbeddedStore)
        assert service.desk.secrets.read(path)["secret"].reveal() == secret
