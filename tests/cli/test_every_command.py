"""Every command on a terminal of 80 columns, in a pipe and with latin-1, against answers of every kind.

The answers are made from the API's own document; a command that is not in the table below fails the first test.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from portcullis.cli import (
    audit_work,
    backup_work,
    client,
    processes,
    recover_work,
    rotation_screen,
    storage_work,
    store_key_work,
)
from portcullis.cli.app import app
from portcullis.running import Running
from tests.cli.consoles import CONSOLES, LATIN, PIPE, TERMINAL, WIDTH, Said, run_on
from tests.cli.examples import EMPTY, LONG, PLAIN, WEIRD, Style, document, transport

LOADED = (audit_work, backup_work, processes, recover_work, storage_work, store_key_work)
"""Loaded here, so that no fork has to."""

STYLES = {"empty": EMPTY, "plain": PLAIN, "long": LONG, "weird": WEIRD}
SHOWN = (
    ("empty", PIPE), ("plain", TERMINAL), ("plain", LATIN), ("long", TERMINAL), ("weird", TERMINAL), ("weird", PIPE),
    ("weird", LATIN),
)  # fmt: skip
WHY = ("--reason", "because")
ROTATION = "rot_1"

ASKED: dict[str, tuple[str, ...]] = {
    "status": (), "calls": (), "reconcile": (), "ready": (), "cuts": ("--all",), "logout": (),
    "login": ("--name", "ann", "--password-file", "{secret}"),
    "cut": ("--everything", *WHY), "halt": ("--consumer", "main", *WHY), "thaw": ("cut_1", *WHY),
    "account create": ("--name", "main"), "account list": (), "account show": ("main",),
    "account manage": ("main", "--manager", "m", "--subaccount", "a@b.c"), "account release": ("main",),
    "egress create": ("--name", "e", "--address", "192.0.2.1"), "egress list": (),
    "key import": ("--account", "main", "--key-id", "k", "--secret-file", "{secret}"), "key list": (),
    "key show": ("main/trade/1",),
    "manager import": ("--name", "m", "--key-id", "k", "--secret-file", "{secret}"), "manager list": (),
    "rotation list": ("--account", "main"), "rotation show": (ROTATION,), "rotation start": ("--account", "main", "--wait"),
    "rotation watch": (ROTATION,), "rotation pause": (ROTATION,), "rotation resume": (ROTATION, "--no-key"),
    "rotation drop": (ROTATION, *WHY), "rotation rollback": (ROTATION, *WHY),
    "rotation answer": (ROTATION, "--key-id", "k", "--secret-file", "{secret}"),
    "rotation waive": (ROTATION, "--destination", "tax", *WHY),
    "schedule show": (), "schedule set": ("main", "--interval", "90d"),
    "alerts add": ("ntfy", "--address-file", "{secret}"), "alerts test": ("ntfy",), "alerts remove": ("ntfy",),
    "alerts list": (), "sweep run": (), "sweep show": (), "sweep retire": ("main/trade/1",),
    "destination create": ("tax", "--account", "main", "--kind", "manual", "--settings", "{settings}"),
    "destination list": (), "destination remove": ("tax",), "destination confirm": ("tax", "--rotation", ROTATION),
    "destination key": ("tax", *WHY),
    "checkout open": ("--grant", "g", "--hours", "1", "--holder", "ann", *WHY), "checkout close": ("out_1",),
    "checkout list": (),
    "consumer create": ("--name", "bot"), "consumer list": (), "consumer show": ("bot",),
    "consumer snippet": ("bot", "--for", "ccxt"),
    "grant create": ("--consumer", "bot", "--account", "main", "--policy", "{policy}"), "grant show": ("grt_1",),
    "grant list": (), "grant revoke": ("grt_1", *WHY), "grant reissue": ("grt_1",),
    "grant policy": ("grt_1", "--policy", "{policy}"), "policy check": ("{policy}",),
    "policy diff": ("{policy}", "--grant", "grt_1"),
    "operator create": ("--name", "bob", "--token-file", "{fresh}"), "operator list": (), "operator end": ("bob",),
    "operator enrol": ("--name", "ann", "--password-file", "{secret}"), "operator activate": ("--name", "ann"),
    "act list": (), "act show": ("main",), "act confirm": ("act_1",), "act cancel": ("act_1",), "audit list": (),
}  # fmt: skip
"""Commands that speak to the broker, and how they are called here."""

OFFLINE: dict[str, tuple[str, ...]] = {
    "init": ("--home", "{fresh}", "--environment", "paper", "--mode", "solo"),
    "install": ("--environment", "paper", "--dry-run"),
    "operator recover": ("--name", "ann", "--token-file", "{fresh}"),
    "audit verify": (), "backup code": (), "backup create": ("--to", "{fresh}"),
    "backup check": ("{backup}", "--code-file", "{code}"),
    "restore": ("{backup}", "--code-file", "{code}", "--home", "{fresh}"),
    "vault setup": ("--vault", "{vault}"), "vault check": ("--vault", "{vault}"),
    "store move": ("--to", "vault", "--vault", "{vault}"), "db check": (), "db upgrade": (),
    "store key show": (), "store key rotate": (),
}  # fmt: skip
"""Commands that need no broker: they are run on a real home."""

STAYING = {"run", "demo", "paper"}
"""Commands that start something and stay: tests/cli/test_demo_process.py and test_run_screens.py have those."""


def commands() -> set[str]:
    """Return every command there is."""

    def walk(one: object, path: tuple[str, ...]) -> Iterator[str]:
        if isinstance(one, TyperGroup):
            for name, inner in one.commands.items():
                yield from walk(inner, (*path, name))
        else:
            yield " ".join(path)

    return set(walk(get_command(app), ()))


def test_no_command_is_left_out() -> None:
    """A new command needs a line in one of the tables above."""
    assert commands() == set(ASKED) | set(OFFLINE) | STAYING


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a recovery code and a backup, and the small files that commands read."""
    document()  # once for all forks
    root = tmp_path_factory.mktemp("ground")
    home = root / "home"

    def done(*arguments: str) -> None:
        ended = CliRunner().invoke(app, ["--home", str(home), *arguments])
        assert ended.exit_code == 0, ended.output

    done("init", "--environment", "paper", "--mode", "solo")
    done("backup", "code", "--to", str(root / "code"))
    done("backup", "create", "--to", str(root / "backup"))
    (root / "secret").write_text("a long enough secret\n")
    (root / "policy").write_text('symbols = ["BTCUSDT"]\n')
    (root / "settings").write_text('{"what": "the tax tool"}')
    (root / "vault").write_text(
        json.dumps(
            {
                "addresses": ["http://127.0.0.1:9"],
                "mount": "portcullis",
                "auth": {"method": "token", "file": str(root / "secret")},
            }
        )
    )
    for name in ("secret", "code", "vault"):
        (root / name).chmod(0o600)
    return root


def filled(ground: Path, tmp_path: Path, arguments: tuple[str, ...]) -> list[str]:
    names = {name: ground / name for name in ("secret", "code", "backup", "policy", "settings", "vault")}
    return [one.format(fresh=tmp_path / "fresh", **names) for one in arguments]


def answered(style: Style, tmp_path: Path) -> Callable[[], None]:
    """Return what makes a fork speak to an API that answers in a style."""
    whole = httpx.Client

    def before() -> None:
        def made(**given: object) -> httpx.Client:
            return whole(**{**given, "transport": transport(style)})  # type: ignore[arg-type]

        client.find_started = lambda _, **__: Running(1, 2, 3, 4)  # type: ignore[assignment]
        client.httpx.Client = made  # type: ignore[assignment,misc]
        rotation_screen._LOOK_S = 0.0
        os.environ |= {"PORTCULLIS_CODE": "123456", "XDG_STATE_HOME": str(tmp_path / "state")}

    return before


def looks_right(said: Said, console: str, arguments: list[str]) -> None:
    """Assert what holds of every screen."""
    assert said.code in {0, 1}, said
    assert "Traceback" not in said.plain, said.plain
    assert "\x07" not in said.out + said.err, "a terminal would obey what others wrote"
    assert "\u202e" not in said.out
    if console != TERMINAL:
        assert "\x1b" not in said.out + said.err, "colours do not belong into a pipe"
        if said.code == 0 or "--json" in arguments:
            assert said.out
        return
    for line in said.lines:
        assert len(line) <= WIDTH or is_copied(line), line


def is_copied(line: str) -> bool:
    """Tell whether a line is one that people copy, which is never wrapped by us."""
    return any(mark in line for mark in ("portcullis", "next", "undo", "key id", "secret", "http", "/", "{"))


@pytest.mark.parametrize(("style", "console"), SHOWN)
@pytest.mark.parametrize("command", sorted(ASKED))
def test_a_command_shows_whatever_the_api_may_answer(
    command: str, style: str, console: str, ground: Path, tmp_path: Path
) -> None:
    arguments = ["--home", str(ground / "home"), *command.split(), *filled(ground, tmp_path, ASKED[command])]
    before = answered(STYLES[style], tmp_path)
    said = run_on(console, arguments, before=before)
    assert "does not run on" not in said.plain, "it asked nobody"
    looks_right(said, console, arguments)
    if console == PIPE:
        (tmp_path / "fresh").unlink(missing_ok=True)
        told = run_on(PIPE, [*arguments, "--json"], before=before)
        assert told.code == said.code, (said, told)
        assert told.out.count("\n") == 1
        json.loads(told.out)
        if style == "weird" and command in {
            "cuts",
            "consumer list",
            "checkout list",
            "operator list",
            "act list",
        }:
            assert "[/x] [bold]" in " ".join(said.plain.split()), said.plain


@pytest.mark.parametrize("console", CONSOLES)
@pytest.mark.parametrize("command", sorted(OFFLINE))
def test_a_command_without_a_broker_has_a_screen_everywhere(
    command: str, console: str, ground: Path, tmp_path: Path
) -> None:
    given = filled(ground, tmp_path, OFFLINE[command])
    arguments = ["--home", str(ground / "home"), *command.split(), *given]
    if command == "backup code":
        arguments.append("--again")
    said = run_on(console, arguments)
    looks_right(said, console, arguments)
    if command not in {"vault check", "store move"}:
        assert said.code == 0, said
