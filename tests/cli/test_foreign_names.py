"""Who writes a cut into the secret store names it, and what it holds, as they like: what is printed of it can be pasted."""

import io
import subprocess
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from broker import spelled
from broker.errors import Malformed
from broker.gate import Mode
from broker.gate_document import NotedCut
from broker.service import again
from broker.service.audit import ITSELF
from broker.service.reconcile_facts import OpenCut
from broker.service.reconcile_steps import _other
from clients.venue import Environment
from portcullis.cli.app import app
from portcullis.cli.face import Face
from portcullis.foundation import found, opened

NAMES = (
    "-x", "--reason", "-", "a b", " b", "für später", "it's", "a;b", "$(id)", "`id`", "a\tb", "x, then portcullis status",
    "RB-03", "\u202egnp", "a.b.c", "1", "\\x41",
)  # fmt: skip
COMMANDS = frozenset(typer.main.get_group(app).commands)


def as_a_shell_reads(line: str) -> list[str]:
    """Return the words of a line that was pasted into a shell."""
    told = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True, timeout=600, cwd="/"
    )
    return told.stdout.decode().split("\0")[:-1]


def printed(step: str) -> list[list[str]]:
    """Return the commands of a step as they are read after a screen showed them, without what calls the program."""
    out = Console(file=io.StringIO(), width=80, highlight=False)
    Face(Path("/srv/h"), commands=COMMANDS).step(out, "", step, 0)
    lines = out.file.getvalue().splitlines()  # type: ignore[attr-defined]
    read = [as_a_shell_reads(line.partition(" --home /srv/h ")[2]) for line in lines]
    return [one for one in read if one]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_one_word_whatever_it_holds(name: str) -> None:
    assert as_a_shell_reads(spelled.word(name)) == [name]
    (words,) = printed(f"portcullis {spelled.thaw(name)}")
    assert words[0] == "thaw"
    assert name in words[1:]
    given = CliRunner().invoke(app, ["--home", "/nowhere/at/all", *words])
    assert "No such option" not in given.output
    assert given.exit_code == 1, given.output


def test_every_cut_in_force_is_listed_and_named_by_commands_that_can_be_pasted(tmp_path: Path) -> None:
    """A page that ended with such a name was the last; `thaw -x` was an option, a scope with `;` another command."""
    with opened(found(tmp_path / "home", Environment.PAPER, "solo").home) as service:
        for name in NAMES:
            noted = NotedCut(name, Mode.CLOSED, (f"consumer:{name}",), "leak", "me", 1)
            service.mirror.note(noted)
        service.mirror.merge()
        seen, after = list[str](), ""
        while True:
            page = service.cuts.list(open_only=True, after=after, limit=1)
            seen += [one.id for one in page.items]
            if page.next is None:
                break
            after = page.next
        assert sorted(seen) == sorted(NAMES)
        for wrong in ("1.a\0b", "1." + "x" * 65, "x.a"):
            with pytest.raises(Malformed):
                service.cuts.list(after=wrong)
        steps = {one.subject: one.step for one in service.conditions.look() if one.kind == "cut"}
        for name in NAMES:
            calls, thaw = printed(steps[name])
            assert (calls[0], name in calls or f"--consumer={name}" in calls) == ("calls", True), calls
            assert (thaw[0], name in thaw[1:]) == ("thaw", True), thaw


def test_what_reconcile_says_of_a_cut_can_be_pasted_and_repeats_no_command_that_is_none_of_ours() -> None:
    """The reason of a cut is whatever its writer put there, and so is who they say they are."""
    ours = again.reason("this was revoked", "portcullis grant revoke grt_1 --reason WHY")
    assert again.command_in(ITSELF, ours) == "portcullis grant revoke grt_1 --reason WHY"
    for wrong in ("portcullis status; rm x", "portcullis $(id)", "portcullis a\nb", "portcullis a > b"):
        assert again.command_in(ITSELF, again.reason("x", wrong)) is None
    (step,) = _other(OpenCut("-x y", "me", "leak", own=False)).commands
    assert printed(step) == [["thaw", "--reason", "WHY", "--", "-x y"]]
