"""A backup opens with its code alone, is whole or refused, and comes back closed, on any stores."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from broker.audit.verify import Report
from broker.backup import code, seal
from broker.backup.code import BadCode
from broker.backup.seal import BadBackup
from broker.db import rows
from broker.db import tables as t
from broker.gate import Mode
from broker.service import Service
from broker.service.audit import read_verified
from clients.secret import Secret
from clients.venue import Credential, Environment, KeyFacts, KeyType, Slot
from portcullis import backup
from portcullis.cli.app import app
from portcullis.foundation import found, opened
from portcullis.settings import Home, SettingsError, open_home
from portcullis.stores import all_paths
from portcullis.vault_settings import VaultDocument
from tests.cli.started import cli, cli_json
from tests.gateway.world import POLICY
from tests.services.postgres.server import PASSWORD, PostgresServer
from tests.services.vault.server import VaultServer

SAFE = KeyFacts(True, True, False, False, True, "42")


# --- the code and the seal ------------------------------------------------------------------------


@given(st.integers(0, 35), st.characters(codec="ascii"))
def test_a_mistyped_code_is_refused(at: int, other: str) -> None:
    made = code.fresh().reveal()
    bare = made.replace("-", "")
    typed = bare[:at] + other + bare[at + 1 :]
    if typed.upper().replace("-", "").split() == [bare]:
        return
    with pytest.raises(BadCode):
        code.private_key(Secret(typed))


def test_a_code_may_be_typed_as_one_likes() -> None:
    made = code.fresh()
    public = code.public_text(code.private_key(made))
    for typed in (made.reveal().lower(), made.reveal().replace("-", " "), f"  {made.reveal()}\n"):
        assert code.public_text(code.private_key(Secret(typed))) == public


def sealed(lines: list[bytes], key: Secret) -> bytes:
    out = io.BytesIO()
    seal.seal(lines, code.private_key(key).public_key(), out)
    return out.getvalue()


KEY = code.fresh()
SMALL = [b"one", b"two " * 1000, b"three"]


@given(st.lists(st.binary(max_size=50).filter(lambda line: b"\n" not in line), max_size=20))
def test_what_was_sealed_opens_as_it_was(lines: list[bytes]) -> None:
    assert list(seal.opened(io.BytesIO(sealed(lines, KEY)), code.private_key(KEY))) == lines


def test_many_parts_open_as_they_were() -> None:
    lines = [bytes([65 + number % 26]) * 700_000 for number in range(8)]
    assert list(seal.opened(io.BytesIO(sealed(lines, KEY)), code.private_key(KEY))) == lines


@given(st.data())
def test_any_change_and_any_cut_is_found(data: st.DataObject) -> None:
    whole = bytearray(sealed(SMALL, KEY))
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        whole[at] ^= data.draw(st.integers(1, 255))
    else:
        del whole[at:]
    with pytest.raises(BadBackup):
        list(seal.opened(io.BytesIO(bytes(whole)), code.private_key(KEY)))


def test_another_code_does_not_open_it_and_nothing_may_follow_the_end() -> None:
    whole = sealed(SMALL, KEY)
    with pytest.raises(BadBackup, match="another recovery code"):
        list(seal.opened(io.BytesIO(whole), code.private_key(code.fresh())))
    with pytest.raises(BadBackup, match="goes on"):
        list(seal.opened(io.BytesIO(whole + b"x"), code.private_key(KEY)))


# --- a home, there and back -----------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = found(tmp_path / "home", Environment.LIVE, "solo", api_port=0, gateway_port=0).home
    with opened(made) as service:
        fill(service)
    return made


def fill(service: Service) -> None:
    service.accounts.create("main", venue="binance")
    credential = Credential("REAL", Secret("planted-real-secret"), KeyType.HMAC)
    service.keys.import_key("main", slot=Slot.TRADE, credential=credential, facts=SAFE)
    service.grants.create_consumer("bot")
    grant = service.grants.create(consumer="bot", account="main", policy=POLICY).grant
    service.grants.reissue(grant.id)
    assert grant.secret_path is not None
    service.desk.secrets.destroy(grant.secret_path)
    service.cuts.close(targets=("consumer:bot",), mode=Mode.HALT, reason="a test", actor="me")
    service.mirror.merge()


def held(service: Service) -> list[object]:
    """Return everything that must come back."""
    tables = (t.ACCOUNTS, t.KEY_VERSIONS, t.CONSUMERS, t.GRANTS, t.OLD_KEYS, t.POLICIES, t.OPERATORS)
    with service.desk.database.read() as connection:
        state = [list(connection.execute(table.select())) for table in tables]
    secrets = []
    for path in all_paths(service.desk.secrets):
        values = backup_values(service, path)
        secrets.append((path, dict(service.desk.secrets.metadata(path)), values))
    return [state, secrets]


def backup_values(service: Service, path: str) -> dict[str, str] | None:
    try:
        return {name: value.reveal() for name, value in service.desk.secrets.read(path).items()}
    except Exception as fault:  # noqa: BLE001 - destroyed is what it may be
        assert "destroyed" in str(fault)  # noqa: PT017 - the rest is returned
        return None


def made(home: Home, folder: Path) -> tuple[Path, Secret]:
    with opened(home) as service:
        recovery = backup.new_code(service)
        backup.make(home, service, folder / "backup")
    return folder / "backup", recovery


def modes(service: Service) -> dict[str, Mode]:
    with service.desk.database.read() as connection:
        return {scope: one.mode for scope, one in rows.gates(connection).items() if one.closers}


def look(service: Service) -> Report:
    return read_verified(service.desk.database)


@pytest.mark.parametrize("target", ["embedded", "vault and postgres"])
def test_a_home_comes_back_closed_with_everything_on_any_stores(
    home: Home, target: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    file, recovery = made(home, tmp_path)
    assert b"planted" not in file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600
    vault, database = None, None
    if target != "embedded":
        server: VaultServer = request.getfixturevalue("vault")
        postgres: PostgresServer = request.getfixturevalue("postgres_server")
        mount, token = request.getfixturevalue("mount"), request.getfixturevalue("root_token")
        postgres.database(mount)
        (tmp_path / "password").write_text(PASSWORD)
        vault = VaultDocument.model_validate(
            {"addresses": [server.address], "mount": mount, "auth": {"method": "token", "file": str(token)}}
        )
        found_ = {
            "hosts": [f"127.0.0.1:{postgres.port}"], "database": mount, "ssl_mode": "disable",
            "password_file": str(tmp_path / "password"), "single_node": True,
        }  # fmt: skip
        from portcullis.database_settings import DatabaseDocument  # noqa: PLC0415 - this case alone

        database = DatabaseDocument.model_validate(found_)
    content = backup.read_file(file, code.private_key(recovery))
    restored, cut = backup.restore(
        content, tmp_path / "elsewhere", vault=vault, database=database, ports=(0, 0), tell=lambda _: None
    )
    with opened(home) as before, opened(open_home(restored.root)) as after:
        assert held(after) == held(before)
        assert modes(after) == {"consumer:bot": Mode.HALT, "everything": Mode.CLOSED}
        assert after.cuts.get(cut).reason.startswith("restored")
        assert after.desk.home.generation == before.desk.home.generation + 1
        assert after.desk.home.instance == before.desk.home.instance
        assert look(after).bad == []
        token = Secret((restored.root / "operator.token").read_text().strip())
        operator = after.operators.by_token(token)
        assert operator is not None
        assert operator.name == "owner"
        if vault is not None:
            document = after.desk.secrets.mirror.read("instance")
            assert document is not None
            assert json.loads(document)["generation"] == 2


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("where", ["open_service", "signer_of", "_put"])
def test_a_restore_that_is_killed_leaves_no_home(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """After the rows are there and before everything is closed it would be a home with every gate as it was."""
    file, recovery = made(home, tmp_path)
    content = backup.read_file(file, code.private_key(recovery))

    def dies(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(backup, where, dies)
    with pytest.raises(Killed):
        backup.restore(
            content, tmp_path / "elsewhere", vault=None, database=None, ports=(0, 0), tell=lambda _: None
        )
    with pytest.raises(SettingsError, match="no home yet"):
        open_home(tmp_path / "elsewhere")


def test_a_restore_that_finds_no_room_says_that_it_is_half_done(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended in an error that said nothing of what it left."""
    file, recovery = made(home, tmp_path)
    sheet, elsewhere = tmp_path / "sheet", tmp_path / "elsewhere"
    sheet.write_text(recovery.reveal(), encoding="ascii")
    sheet.chmod(0o600)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup, "_put", full)
    done = CliRunner().invoke(
        app, ["--home", str(elsewhere), "restore", str(file), "--code-file", str(sheet)]
    )
    said = " ".join(done.output.split())
    assert done.exit_code == 1
    assert "No space left on device" in said
    assert "it is no home, and nothing runs on it." in said


def test_the_old_host_is_refused_where_it_shares_the_store(
    tmp_path: Path, vault: VaultServer, mount: str, root_token: Path
) -> None:
    document = VaultDocument.model_validate(
        {"addresses": [vault.address], "mount": mount, "auth": {"method": "token", "file": str(root_token)}}
    )
    old = found(tmp_path / "home", Environment.LIVE, "solo", vault=document).home
    with opened(old) as service:
        fill(service)
    file, recovery = made(old, tmp_path)
    content = backup.read_file(file, code.private_key(recovery))
    restored, _ = backup.restore(
        content, tmp_path / "elsewhere", vault=document, database=None, ports=(0, 0), tell=lambda _: None
    )
    with opened(old) as service:
        service.mirror.merge()
        assert not service.mirror.serves
        assert "restored elsewhere" in service.mirror.superseded
    with opened(restored) as service:
        service.mirror.merge()
        assert service.mirror.serves


@pytest.mark.process
def test_backup_and_restore_by_command(home: Home, tmp_path: Path) -> None:
    file, sheet = tmp_path / "backup", tmp_path / "code"
    assert cli_json(home.root, "backup", "create", "--to", str(file), code=1)["error"]["what"].startswith(
        "backup"
    )
    cli_json(home.root, "backup", "code", "--to", str(sheet))
    assert cli_json(home.root, "backup", "code", code=1)["error"]["reason"] == "there_already"
    cli_json(home.root, "backup", "create", "--to", str(file))
    checked = cli_json(home.root, "backup", "check", str(file), "--code-file", str(sheet))
    assert (checked["environment"], checked["generation"]) == ("live", 1)
    wrong = cli_json(home.root, "backup", "check", str(file), code=1, stdin="NOPE-NOPE\n")["error"]
    assert wrong["reason"] == "bad_code"
    elsewhere = tmp_path / "elsewhere"
    file.write_bytes(file.read_bytes()[:-1])
    bad = cli_json(elsewhere, "restore", str(file), "--code-file", str(sheet), code=1)["error"]
    assert bad["reason"] == "bad_backup"
    assert not elsewhere.exists(), "nothing is made out of half a backup"
    damaged = file.read_bytes()
    there = cli_json(home.root, "backup", "create", "--to", str(file), code=1)["error"]
    assert "exists already" in there["what"], (
        "a backup is never written over another, however good or bad that is"
    )
    assert file.read_bytes() == damaged
    file = tmp_path / "next"
    cli_json(home.root, "backup", "create", "--to", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    shown = cli(
        elsewhere, "restore", str(file), "--code-file", str(sheet), "--api-port", "0", "--gateway-port", "0"
    )
    assert shown.returncode == 0, shown.stderr
    assert "EVERYTHING IS CLOSED" in shown.stdout
    assert "The old host still holds these keys" in shown.stdout
    assert "planted" not in shown.stdout + shown.stderr
    with pytest.raises(SettingsError), opened(open_home(tmp_path)):
        pass
