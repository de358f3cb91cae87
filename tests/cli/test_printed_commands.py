"""A command on a screen can be pasted as it stands: from any directory, for this home, one to a line."""

import ast
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from broker.gate import Mode
from portcullis.cli.app import app
from portcullis.cli.face import Face, Stopped, program
from portcullis.cli.pages import PAGES, paged
from portcullis.cli.remedies import AWAY, step
from portcullis.foundation import opened
from portcullis.settings import open_home

COMMANDS = frozenset(typer.main.get_group(app).commands)


def face_of(home: Path | None) -> Face:
    return Face(home, commands=COMMANDS, err=Console(file=io.StringIO(), width=80, highlight=False))


def screen(face: Face, step: str) -> list[str]:
    out = Console(file=io.StringIO(), width=80, highlight=False)
    face.step(out, "next", step)
    return out.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["pc", "./pc", "sub/../pc", "a home", "it's"])
def test_a_home_is_named_whole_and_as_a_shell_takes_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = shlex.split(face_of(Path(name)).command("cuts"))
    assert words[1:] == ["--home", str(tmp_path / name), "cuts"]


def test_a_home_that_a_variable_names_is_named_to_every_other_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pasted where the variable says something else, or nothing, a command acted on another home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORTCULLIS_HOME", " a home ")
    face, given = face_of(None), f"--home '{tmp_path / 'a home'}'"
    assert face.command("cuts") == f"{program()} {given} cuts"
    assert face.words("see `portcullis cuts`") == f"see `{program()} {given} cuts`"
    assert face_of(Path("other")).command("cuts") == f"{program()} --home {tmp_path / 'other'} cuts"
    for nothing in ("", None):
        monkeypatch.delenv("PORTCULLIS_HOME")
        if nothing is not None:
            monkeypatch.setenv("PORTCULLIS_HOME", nothing)
        assert face_of(None).command("cuts") == f"{program()} cuts"
        monkeypatch.setenv("PORTCULLIS_HOME", "x")


def test_the_program_is_named_whole_whatever_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Printed in the directory above its environment, it was `bin/portcullis`, and nowhere else found."""
    own = tmp_path / "in here" / "bin"
    own.mkdir(parents=True)
    (own / "portcullis").touch(mode=0o755)
    for directory in (tmp_path, own.parent, own, Path("/")):
        monkeypatch.chdir(directory)
        (word,) = shlex.split(program({"PATH": str(own)}, str(own / "python")))
        assert Path(word) == own / "portcullis"


def test_two_steps_are_two_lines_that_can_both_be_typed(tmp_path: Path) -> None:
    lines = screen(face_of(tmp_path), "portcullis reconcile, then portcullis thaw cut_1 --reason WHY")
    given = f"{program()} --home {tmp_path}"
    assert [line.strip() for line in lines] == [
        f"next {given} reconcile", f"next {given} thaw cut_1 --reason WHY",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "step",
    [
        "look at its address list; else portcullis rotation start --account main --wait",
        "untick withdrawals for this key at the exchange; or portcullis rotation show rot_0123456789abcdef0123",
        "bots TRADE ON with it. To stop them too: portcullis cut --key main/trade/2 --reason WHY",
        "see who asked so much: portcullis calls",
    ],
)
def test_a_command_in_prose_is_this_homes_and_is_not_broken(step: str, tmp_path: Path) -> None:
    (line,) = screen(face_of(tmp_path), step)
    typed = step[step.index("portcullis ") :].removeprefix("portcullis ")
    assert line.endswith(f"{program()} --home {tmp_path} {typed}")


@pytest.mark.parametrize(
    "text", ["Portcullis runs", "the portcullis home", "portcullis-7 is gone", "/usr/bin/portcullis cuts"]
)
def test_what_is_no_command_stays_as_it_was_written(text: str, tmp_path: Path) -> None:
    assert face_of(tmp_path).words(text) == text


def test_a_command_that_names_a_home_is_called_as_this_one_is_and_keeps_its_home(tmp_path: Path) -> None:
    """`run portcullis --home /x init` was printed bare, beside the whole path of `portcullis demo`."""
    said = face_of(tmp_path).words("run `portcullis --home /srv/other init`, or see portcullis --home X")
    assert said == f"run `{program()} --home /srv/other init`, or see {program()} --home X"


@pytest.mark.parametrize("reason", sorted(AWAY))
def test_a_database_that_is_away_names_the_command_that_looks_at_it(reason: str, tmp_path: Path) -> None:
    """`status` with PostgreSQL down said: check that the disk is not full."""
    said = step(face_of(tmp_path), reason)
    assert f"{program()} --home {tmp_path} db check" in said
    assert PAGES["RB-02"] in said


def test_a_code_that_is_not_right_sends_nobody_to_the_homes_token(tmp_path: Path) -> None:
    """A mistyped code was answered with: log in, or restore the home's own token."""
    assert "next code" in step(face_of(tmp_path), "bad_code")
    for reason in ("bad_code", "bad_login", "locked"):
        assert "set the host's clock" in step(face_of(tmp_path), reason)


def test_each_command_after_a_no_has_a_line_of_its_own(tmp_path: Path) -> None:
    """They were one line, with a backslash and an n between them."""
    face = face_of(tmp_path)
    face.stop(
        Stopped("there is no grant", step="One of these may be meant:\nportcullis cuts\nportcullis status")
    )
    lines = face.err.file.getvalue().splitlines()  # type: ignore[attr-defined]
    given = f"{program()} --home {tmp_path}"
    assert [one.strip() for one in lines[-3:]] == [
        "next One of these may be meant:", f"{given} cuts", f"{given} status",
    ]  # fmt: skip


def test_a_no_names_its_commands_for_this_home(tmp_path: Path) -> None:
    face = face_of(tmp_path)
    face.stop(Stopped("there is no cut 'x'; `portcullis cuts` shows them", step=face.command("cuts")))
    text = face.err.file.getvalue()  # type: ignore[attr-defined]
    assert text.count(f"{program()} --home {tmp_path} cuts") == 2


def test_no_command_of_the_program_asks_to_type_what_it_refuses(tmp_path: Path) -> None:
    """`status` said `thaw CUT`, and `thaw` said: missing option --reason."""
    home = tmp_path / "home"
    done = CliRunner().invoke(app, ["--home", str(home), "init", "--environment", "paper", "--mode", "solo"])
    assert done.exit_code == 0, done.output
    with opened(open_home(home)) as service:
        for actor in ("ann", "portcullis"):
            service.cuts.close(targets=("everything",), mode=Mode.CLOSED, reason="x", actor=actor)
        steps = [one.step for one in service.conditions.look() if one.kind == "cut"]
    typed = [part for step in steps for part in step.split(", then ") if " thaw " in part]
    assert len(typed) == 2
    for one in typed:
        answered = CliRunner().invoke(app, ["--home", str(home), *shlex.split(one)[1:]])
        assert "Missing option" not in answered.output
        assert answered.exit_code == 1, answered.output


def _written() -> Iterator[tuple[str, str]]:
    """Yield every command that our code prints: where, and without the program's name."""
    root = Path(__file__).parents[2]
    for package in ("broker", "rotation", "portcullis"):
        for file in sorted((root / package).rglob("*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            called = {
                id(node.args[0])
                for node in ast.walk(tree)
                if isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "command"
                and node.args
            }
            parts = {
                id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values
            }
            for node in ast.walk(tree):
                text = "" if id(node) in parts else _text(node)
                where = f"{file.relative_to(root)}:{getattr(node, 'lineno', 0)}"
                if id(node) in called and text:
                    yield where, text
                elif (at := re.search(r"(?:^|: )portcullis (?=[a-z])", text)) is not None:
                    for one in text[at.end() :].split(", then "):
                        yield where, re.split("[,;(]", one.removeprefix("portcullis "))[0]


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if not isinstance(node, ast.JoinedStr):
        return ""
    return "".join(str(one.value) if isinstance(one, ast.Constant) else "x1" for one in node.values)


@pytest.mark.parametrize("step", ["portcullis reconcile, then RB-15", "portcullis status, then RB-03"])
def test_a_runbook_beside_a_command_has_a_line_of_its_own_and_is_named_by_its_page(
    step: str, tmp_path: Path
) -> None:
    """`next portcullis vault check; RB-03` was printed: pasted, a shell looked for a program called RB-03."""
    first, second = (line.strip() for line in screen(face_of(tmp_path), step))
    assert first == f"next {program()} --home {tmp_path} {step.split()[1].rstrip(',')}"
    assert second == f"next {PAGES[step[-5:]]}"


def test_every_runbook_is_named_by_a_page_that_there_is() -> None:
    folder = Path(__file__).parents[2]
    assert sorted(PAGES.values()) == sorted(
        f"docs/runbooks/{one.name}" for one in (folder / "docs/runbooks").glob("RB-*")
    )
    assert paged("mend it (RB-02), see docs/runbooks/RB-03-secret-store.md") == (
        f"mend it ({PAGES['RB-02']}), see {PAGES['RB-03']}"
    )


def _steps() -> Iterator[tuple[str, str]]:
    """Yield every text of ours that begins as a command, part by part, and where."""
    root = Path(__file__).parents[2]
    for package in ("broker", "rotation", "portcullis"):
        for file in sorted((root / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                text = _text(node)
                if text.startswith("portcullis ") and [*text.split(), ""][1].rstrip(",") in COMMANDS:
                    for part in filter(None, text.split(", then ")):
                        yield f"{file.relative_to(root)}:{getattr(node, 'lineno', 0)}", part


def test_a_step_that_begins_as_a_command_holds_nothing_that_is_none() -> None:
    """`alerts add telegram (or slack, mail, ...)` and `cut --reason WHY, with the right name` were printed so."""
    wrong = [
        f"{where}: {part}"
        for where, part in _steps()
        if re.search(r"[(),]|; (?!portcullis )", part) or not part.startswith(("portcullis ", "RB-", "x1"))
    ]
    assert not wrong, "\n".join(wrong)


def test_every_command_that_the_code_prints_is_whole() -> None:
    """Typed as it is printed, none lacks an option or names one that there is not."""
    group, wrong = typer.main.get_command(app), []
    for where, text in _written():
        words = shlex.split(text)
        if not words or words[0] not in COMMANDS or "--help" in words:
            continue
        command, context = group, group.context_class(group, info_name="portcullis", obj=Face())
        try:
            while hasattr(command, "resolve_command"):
                name, command, words = command.resolve_command(context, words)
                context = command.context_class(command, parent=context, info_name=name)
            command.parse_args(context, words)
        except Exception as fault:  # noqa: BLE001 - the parser has its own kinds
            if type(fault).__name__ != "BadParameter":  # a placeholder is no number
                wrong.append(f"{where}: {text}: {fault!r}")
    assert not wrong, "\n".join(wrong)


NAMED_ALONE = (
    "what `operator create` wrote", "Name the file that `operator create` wrote", "As named in `rotation show`",
    "a key import for the venue",
)  # fmt: skip
"""What tells of a command, and asks nobody to type it."""


def test_no_text_names_a_command_without_the_program() -> None:
    """`To stop a bot: cut ...` was printed, and `or alerts remove NAME`: pasted, a shell looked for `alerts`."""
    groups = typer.main.get_group(app).commands
    names = [f"{name} {one}" for name, group in groups.items() for one in getattr(group, "commands", ())]
    typed = re.compile(rf"(?<![\w/.-])(?:{'|'.join(map(re.escape, names))})(?= |`|$|[:;,.])")
    root, wrong = Path(__file__).parents[2], list[str]()
    for package in ("broker", "rotation", "portcullis"):
        for file in sorted((root / package).rglob("*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            said = {
                id(node.body[0].value)
                for node in ast.walk(tree)
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
                and isinstance(node.body[0] if node.body else None, ast.Expr)
            }
            for node in ast.walk(tree):
                if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in said:
                    continue
                text = node.value
                wrong += [
                    f"{file.relative_to(root)}:{node.lineno}: {text}"
                    for found in typed.finditer(text)
                    if found.start() and not text[: found.start()].endswith("portcullis ")
                    if not any(one in text for one in NAMED_ALONE)
                ]
    assert wrong == []
