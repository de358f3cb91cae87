"""What every command shares: home, plain or JSON answers, errors for the person on call, exit codes.

Rules:
1. Answers go to stdout, everything else to stderr. With `--json` stdout is exactly one JSON document.
2. An error says three things: what happened, what state things are in, what to do next.
3. Exit code 0: done. 1: refused or failed. 2: the command was not understood.
4. A paper home says PAPER on every screen.
"""

import functools
import inspect
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from broker.errors import BrokerError, Done
from clients.venue import Environment
from portcullis.cli.answers import plain
from portcullis.cli.blank import StrictCommand
from portcullis.cli.pages import paged
from portcullis.cli.tables import clean, hanging, said
from portcullis.settings import VARIABLE, HalfMade, Home, SettingsError, locate, open_home, variable

FAILED = 1

STATES: Mapping[str, str] = {
    Done.NO: "Nothing was changed.",
    Done.YES: "It was done all the same.",
    Done.UNKNOWN: "Whether it was done is not known: look before you do it again.",
}
"""What state things are in after a failure."""

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", metavar="DIR", help="Home directory; else $PORTCULLIS_HOME.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer with one JSON document on stdout.")]


ActOption = Annotated[
    str, typer.Option("--act", help="What was announced for this very command.", show_default=False)
]
WaitOption = Annotated[
    bool, typer.Option("--wait", help="Where it is announced: wait until it may be done, then do it.")
]


class Stopped(Exception):
    """A command that could not be carried out.

    Attributes:
        what: What happened, in one sentence.
        state: What state things are in now.
        step: What to do next; a command after it has a line of its own.
        reason: Short and stable, for scripts.
        errors: Field and message, where an input was at fault.
        known: What is known all the same, line by line; `document` is the same for scripts.
    """

    def __init__(
        self,
        what: str,
        state: str = "Nothing was changed.",
        step: str = "",
        *,
        reason: str = "failed",
        errors: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(what)
        self.known: tuple[str, ...] = ()
        self.document: object = None
        self.what, self.state, self.step = what, state, step
        self.reason, self.errors = reason, errors


@dataclass(slots=True)
class Face:
    """What one command line asked for, and where its answers go."""

    given_home: Path | None = None
    as_json: bool = False
    act: str = ""
    wait: bool = False
    closes: bool = False
    """It takes rights away: no token, no setting and no right of a file but those that it needs keeps it from that."""
    commands: frozenset[str] = frozenset()
    out: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=False))
    err: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))

    @property
    def root(self) -> Path:
        """Where the home is, existing or not."""
        return locate(self.given_home)

    def home(self) -> Home:
        """Open the home.

        Raises:
            SettingsError: There is none, or it cannot be used.
        """
        try:
            return open_home(self.root)
        except SettingsError as fault:
            bare = Home(self.root, Environment.LIVE, "solo")
            if not self.closes or not os.path.lexists(bare.lock):
                raise
            self.step(self.err, "[yellow]![/]", str(fault), 0)  # a broker reads it as it begins, not now
            return bare

    def command(self, text: str) -> str:
        """Return a command to type, in whatever directory and shell: with `--home` where a home was named to this one.

        By `$PORTCULLIS_HOME` too: where that says something else, or nothing, another home would be meant.
        """
        return f"{self._program()} {text}"

    def _program(self) -> str:
        named = self.given_home is not None or variable(VARIABLE) is not None
        return program() + (f" --home {shown_path(self.root)}" if named else "")

    def words(self, text: str) -> str:
        """Return prose with the commands in it as they are typed here."""
        own = self._program()
        text = _ELSEWHERE.sub(program(), text)
        return paged(_NAMED.sub(lambda one: f"{own} " if one["command"] in self.commands else one[0], text))

    def typed(self, document: Any) -> Any:
        """Return a document whose steps are commands as they are typed here."""
        if isinstance(document, dict):
            return {
                name: self.words(value) if name == "step" and isinstance(value, str) else self.typed(value)
                for name, value in document.items()
            }
        return [self.typed(one) for one in document] if isinstance(document, list) else document

    def step(self, out: Console, mark: str, step: str, indent: int = 4) -> None:
        """Print what to do next: a command is this program's, whole, and one to a line, so that it can be copied.

        Prose is wrapped between words; where a command stands in it, by the terminal, which breaks no command.
        A runbook after a command has a line of its own, too.
        """
        steps = step.split(_THEN)
        if not (steps[0].startswith(_OURS) and all(one.startswith(_OWN_LINE) for one in steps)):
            if self.words(step) == step:
                out.print(hanging(mark, step, indent))
                return
            steps = [step]
        for one in steps:
            begun = said("{}{}", " " * indent, Text.from_markup(mark + " " if mark else ""))
            out.print(said("{}{}", begun, self.words(one)), soft_wrap=True)

    def answer(self, document: object, show: Callable[[Console], None]) -> None:
        """Give the answer: as JSON, or shown on the screen."""
        if self.as_json:
            self.out.file.write(json.dumps(document, separators=(",", ":"), default=plain) + "\n")
            self.out.file.flush()
        else:
            show(self.out)

    def stop(self, stopped: Stopped) -> None:
        """Say why a command was not carried out."""
        if self.as_json:
            error: dict[str, object] = {
                "reason": stopped.reason, "what": stopped.what, "state": stopped.state, "next": stopped.step,
                "errors": [{"field": name, "message": text} for name, text in stopped.errors],
            }  # fmt: skip
            if stopped.document is not None:
                error["known"] = stopped.document
            self.out.file.write(json.dumps({"error": error}, separators=(",", ":"), default=plain) + "\n")
            self.out.file.flush()
            return
        what = self.words("This cannot be used as it is:" if stopped.errors else stopped.what)
        self.err.print(
            Text.assemble(("✗ ", "bold red"), (clean(what), "bold")), soft_wrap=what != stopped.what
        )
        for name, text in stopped.errors:
            if _OURS in text:
                self.err.print(said("    [yellow]{}[/]  {}", name, self.words(text)), soft_wrap=True)
            else:
                self.err.print(hanging(said("[yellow]{}[/] ", name), text, 4))
        if stopped.state:
            self.err.print(said("  [dim]now [/] {}", self.words(stopped.state)))
        for line in stopped.known:
            self.err.print(hanging("[bold red]■[/]", line, 2))
        for number, line in enumerate(stopped.step.split("\n") if stopped.step else ()):
            mark = "    " if number else "next"
            self.err.print(said("  [dim]{}[/] {}", mark, self.words(line)), soft_wrap=True)


_OURS, _THEN = "portcullis ", ", then "
_OWN_LINE = (_OURS, "RB-")
_NAMED = re.compile(r"(?<![\w/.-])portcullis (?=(?P<command>[a-z][a-z-]*))")
"""A command as a message has it: by the program's name, and without `--home`."""
_ELSEWHERE = re.compile(r"(?<![\w/.-])portcullis(?= --home )")
"""One that names a home of its own."""


def shown_path(path: Path) -> str:
    """Return a path as a command takes it, whatever directory that is typed in."""
    return shlex.quote(str(path.absolute()))


def program(environ: Mapping[str, str] = os.environ, executable: str = sys.executable) -> str:
    """Return how this program is called from another terminal, whose PATH may lack our environment."""
    own = Path(executable).parent
    elsewhere = os.pathsep.join(
        part for part in environ.get("PATH", "").split(os.pathsep) if part and Path(part) != own
    )
    if shutil.which("portcullis", path=elsewhere) or not (own / "portcullis").exists():
        return "portcullis"
    return shown_path(own / "portcullis")


def badge(environment: str) -> Text:
    """Return the mark of an environment: PAPER can be mistaken for nothing else."""
    if environment == Environment.PAPER.value:
        return Text(" PAPER ", "bold black on yellow")
    if environment == Environment.TESTNET.value:
        return Text(" TESTNET ", "bold black on cyan")
    return Text(" LIVE ", "bold white on red")


def command(
    app: typer.Typer, name: str, *, opens: bool = False, closes: bool = False, **options: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command whose first parameter is the `Face`; it also takes `--home` and `--json`.

    One that `opens` something may have to be announced first; it takes `--act` and `--wait` besides. One that `closes`
    takes rights away, by whichever token at hand may.

    The function's other parameters are options and arguments as typer reads them.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(function, eval_str=True)
        shared = [
            inspect.Parameter(
                "as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=JsonOption
            ),
            inspect.Parameter("home", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=HomeOption),
        ]
        if opens:
            keyword = inspect.Parameter.KEYWORD_ONLY
            shared += [
                inspect.Parameter("act", keyword, default="", annotation=ActOption),
                inspect.Parameter("wait", keyword, default=False, annotation=WaitOption),
            ]
        parameters = [entry.replace(kind=entry.KEYWORD_ONLY) for entry in list(own.parameters.values())[1:]]
        context = inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)

        @functools.wraps(function)
        def wrapped(**given: Any) -> None:
            context = given.pop("ctx")
            face: Face = context.obj
            face.commands = frozenset(getattr(context.find_root().command, "commands", ()))
            face.as_json = bool(given.pop("as_json")) or face.as_json
            face.given_home, face.closes = given.pop("home") or face.given_home, closes
            if opens:
                face.act, face.wait = given.pop("act"), bool(given.pop("wait"))
            carry_out(face, lambda: function(face, **given))

        del wrapped.__wrapped__  # typer reads the signature below, not the function's own
        taken = {entry.name for entry in parameters}
        everything = [context, *parameters, *(entry for entry in shared if entry.name not in taken)]
        wrapped.__signature__ = own.replace(parameters=everything)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {entry.name: entry.annotation for entry in everything} | {"return": None}
        app.command(name, **{"cls": StrictCommand, **options})(wrapped)
        return function

    return register


def carry_out(face: Face, work: Callable[[], None]) -> None:
    """Run a command; turn what stopped it into words and an exit code.

    Raises:
        typer.Exit: With 1 where it was not carried out.
    """
    try:
        work()
    except HalfMade as fault:
        face.stop(Stopped(str(fault), fault.state, fault.step, reason="half_made"))
        raise typer.Exit(FAILED) from None
    except SettingsError as fault:
        face.stop(
            Stopped(str(fault), reason="bad_settings", errors=((fault.field, fault.message),))
            if face.as_json
            else Stopped(str(fault))
        )
        raise typer.Exit(FAILED) from None
    except BrokerError as fault:
        state = "Nothing runs." if fault.done is Done.NO else f"Nothing runs. {STATES[fault.done]}"
        face.stop(Stopped(str(fault), state, reason=fault.reason))
        raise typer.Exit(FAILED) from None
    except Stopped as stopped:
        face.stop(stopped)
        raise typer.Exit(FAILED) from None
    except UnicodeEncodeError:
        step = "Type it again; names and reasons are UTF-8 text."
        face.stop(Stopped("What was typed holds bytes that are no text.", step=step, reason="malformed"))
        raise typer.Exit(FAILED) from None
