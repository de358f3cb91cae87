"""The way back in on the broker's host, and invitations: whose token a command speaks with."""

import json
import os
from pathlib import Path

import pytest

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


def test_a_running_broker_knows_at_once_who_was_recovered_or_invited(tmp_path: Path) -> None:
    """The old token is refused, the new one is taken, and who was invited speaks with a token of their own."""
    with running_demo(tmp_path / "home", tmp_path / "errors") as demo:
        owner = cli_json(demo.home, "operator", "list")["items"][0]["name"]
        token = tmp_path / "new.token"
        cli_json(demo.home, "operator", "recover", "--name", owner, "--token-file", str(token))
        assert cli_json(demo.home, "status", code=1)["error"]["reason"] == "unauthenticated"
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
