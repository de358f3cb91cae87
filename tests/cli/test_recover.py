"""The way back in on the broker's host, and invitations: whose token a command speaks with."""

import json
import os
from pathlib import Path

import pytest

from clients.secret import Secret
from clients.venue import Environment
from portcullis.cli import session
from portcullis.foundation import found, opened
from portcullis.settings import Home
from tests.cli.started import cli, cli_json, running_demo

pytestmark = pytest.mark.process


def test_the_way_back_works_while_nothing_runs_and_is_on_record(tmp_path: Path) -> None:
    """A home whose token is lost has one again, and says what was done."""
    home = found(tmp_path / "home", Environment.LIVE, "team", operators=["ann", "bob"]).home
    old = home.operator_token.read_text()
    home.operator_token.unlink()
    done = cli_json(home.root, "operator", "recover", "--name", "ann")
    assert done["token_file"] == str(home.operator_token)
    assert home.operator_token.stat().st_mode & 0o777 == 0o600
    assert home.operator_token.read_text() != old
    assert any("new token" in one for one in done["done"])
    with opened(home) as service:
        record = service.audit.list(limit=1).items[0].entry
    assert (record.action, record.subject) == ("operator.recover", "operator:ann")
    assert "on the host" in json.loads(record.details)["by"]
    assert "no home" in cli(tmp_path / "elsewhere", "operator", "recover", "--name", "ann").stderr


def test_the_way_back_takes_no_others_token_and_says_who_is_admin_beside(tmp_path: Path) -> None:
    """Bob's recovery, and a slip in a name after it, each wrote over the only copy of another admin's token."""
    home = found(tmp_path / "home", Environment.LIVE, "team", operators=["ann", "bob"]).home
    anns, other = home.operator_token.read_text(), tmp_path / "bob.token"
    error = cli_json(home.root, "operator", "recover", "--name", "bob", code=1)["error"]
    assert error["reason"] == "anothers_token"
    assert "ann" in error["what"]
    assert "--token-file" in error["next"]
    assert home.operator_token.read_text() == anns
    done = cli_json(home.root, "operator", "recover", "--name", "bob", "--token-file", str(other))
    assert "admins beside bob: ann" in done["done"]
    assert home.operator_token.read_text() == anns
    with opened(home) as service:
        service.operators.end("ann")
    assert cli_json(home.root, "operator", "recover", "--name", "bob")["operator"] == "bob"
    assert home.operator_token.read_text() != anns, "a token of nobody is no loss"


def test_a_running_broker_knows_at_once_who_was_recovered_or_invited(tmp_path: Path) -> None:
    """The old token is refused, the new one is taken, and who was invited speaks with a token of their own."""
    with running_demo(tmp_path / "home", tmp_path / "errors") as demo:
        owner = cli_json(demo.home, "operator", "list")["items"][0]["name"]
        token = tmp_path / "new.token"
        cli_json(demo.home, "operator", "recover", "--name", owner, "--token-file", str(token))
        assert cli_json(demo.home, "status")["environment"] == "paper", (
            "the home's own holds the new one, too"
        )
        refused = cli_json(
            demo.home, "operator", "recover", "--name", owner, "--token-file", str(token), code=1
        )
        assert "exists" in refused["error"]["what"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PORTCULLIS_TOKEN_FILE", str(token))
            assert cli_json(demo.home, "status")["environment"] == "paper"
            invited = tmp_path / "bob.token"
            cli_json(
                demo.home,
                "operator",
                "create",
                "--name",
                "bob",
                "--scope",
                "admin",
                "--token-file",
                str(invited),
            )
            seed = tmp_path / "bob.seed"
            cli_json(
                demo.home, "operator", "enrol", "--name", "bob", "--token-file", str(invited),
                "--secret-file", str(seed), stdin="planted-correct-horse",
            )  # fmt: skip
            assert seed.exists()
            patch.setenv("PORTCULLIS_TOKEN", "pcls_op_of_nobody")
            assert cli_json(demo.home, "status", code=1)["error"]["reason"] == "unauthenticated"
            assert os.environ["PORTCULLIS_TOKEN_FILE"]


def test_a_recovery_into_another_file_leaves_the_home_a_token_that_counts(tmp_path: Path) -> None:
    """The home's own token was the recovered operator's: it was dead, nothing said so, and the next step was refused."""
    home = found(tmp_path / "home", Environment.LIVE, "team", operators=["ann", "bob"]).home
    old, other = home.operator_token.read_text(), tmp_path / "ann.token"
    done = cli(home.root, "operator", "recover", "--name", "ann", "--token-file", str(other))
    said = " ".join(done.stdout.split())
    assert f"operator enrol --name ann --token-file {other}" in said
    assert str(home.operator_token) in said
    assert home.operator_token.read_text() == other.read_text() != old
    with opened(home) as service:
        whose = service.operators.by_token(Secret(other.read_text().strip()))
    assert whose is not None
    assert whose.name == "ann"
    bobs = tmp_path / "bob.token"
    done = cli(home.root, "operator", "recover", "--name", "bob", "--token-file", str(bobs))
    assert f"operator enrol --name bob --token-file {bobs}" in " ".join(done.stdout.split())
    assert home.operator_token.read_text() == other.read_text(), "another's is left alone"


def test_a_home_whose_own_token_counts_no_more_is_told_at_a_recovery(tmp_path: Path) -> None:
    home = found(tmp_path / "home", Environment.LIVE, "team", operators=["ann", "bob"]).home
    home.operator_token.write_text("pcls_op_of_nobody\n")
    new = tmp_path / "ann.token"
    done = cli_json(home.root, "operator", "recover", "--name", "ann", "--token-file", str(new))
    assert any(f"install -m 600 {new} {home.operator_token}" in one for one in done["done"])
    assert home.operator_token.read_text() == "pcls_op_of_nobody\n"


def test_a_file_that_cannot_be_read_is_not_written_over(tmp_path: Path) -> None:
    """It may hold the only copy of another's token."""
    home = found(tmp_path / "home", Environment.LIVE, "team", operators=["ann", "bob"]).home
    home.operator_token.unlink()
    home.operator_token.mkdir(0o700)
    error = cli_json(home.root, "operator", "recover", "--name", "ann", code=1)["error"]
    assert error["reason"] == "anothers_token"
    assert "not known" in error["what"]
    assert home.operator_token.is_dir()


def test_people_who_share_an_account_of_the_host_have_sessions_of_their_own(tmp_path: Path) -> None:
    """Two who come by sudo to the home's user do not speak as each other; neither do two homes."""
    one, other = (
        Home(tmp_path / "one", Environment.LIVE, "team"),
        Home(tmp_path / "two", Environment.LIVE, "team"),
    )
    state = {"XDG_STATE_HOME": str(tmp_path)}
    paths = {
        session.path_of(home, state | more)
        for home in (one, other)
        for more in ({}, {"SUDO_UID": "1001"}, {"SUDO_UID": "1002"})
    }
    assert len(paths) == 6
