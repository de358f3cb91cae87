"""A cut, halt or thaw whose line cannot be read: what it did NOT do is said, with a command that keeps what was right.

A name after no option, an option that is misspelled, one without its value, a reason in several words without quotes:
each is read as far as it can be, and looked up. Nothing is done by a guess: a command to paste is named.
"""

from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import typer

from broker import spelled
from broker.pasted import looks_secret
from portcullis.cli import lacks, oversight_answers
from portcullis.cli.blank import StrictCommand
from portcullis.cli.client import connect
from portcullis.cli.face import Face, Stopped
from portcullis.cli.meant import ANYTHING
from portcullis.settings import SettingsError

CUT_ID = "cut_"
"""What the ids begin with that we give. One that was written into the secret store has a name of its writer's."""

_KINDS = {
    "--consumer": "consumer", "--account": "account", "--venue": "venue", "--grant": "grant", "--gateway": "gateway",
    "--key": "key-version",
}  # fmt: skip
_VALUES = {*_KINDS, "--reason", "--home", "--act"}
_SWITCHES = {"--everything", "--json", "--wait"}
_WORDS = {
    "--bot": "--consumer", "--exchange": "--venue", "--because": "--reason", "--why": "--reason",
    "--all": "--everything",
}  # fmt: skip
_PRINTED = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"
"""Dashes that a chat or a page puts where two hyphens were typed."""

_NEVER_MEANT = {"--act", "--home"}
_NOT_UNDERSTOOD = 2
_LONGEST = 40


@dataclass(slots=True)
class Typed:
    """A line, as far as it can be read."""

    targets: list[str] = field(default_factory=list)
    """As scopes; `name:...` is one that stood after no option."""
    said: list[str] = field(default_factory=list)
    """The reason, word by word."""
    after: list[str] = field(default_factory=list)
    """Words right behind the reason: more of it, or names."""
    faults: list[tuple[str, str]] = field(default_factory=list)
    everything: bool = False
    home: Path | None = None
    as_json: bool = False

    @property
    def reason(self) -> str | None:
        """The reason, where one was given."""
        return " ".join(self.said) or None


def read(typed: list[str]) -> Typed:
    """Read a line as far as it can be."""
    found, words, behind = Typed(), list(typed), False
    while words:
        word = _with_hyphens(words.pop(0))
        if not word.startswith("-") or word == "-":
            if behind:
                found.after.append(word)
            else:
                _loose(found, word)
            continue
        behind = False
        name, mark, value = word.partition("=")
        is_whole = bool(mark)
        option = _option(found, name)
        if option in _SWITCHES:
            _switch(found, option)
        elif option is not None:
            if not is_whole and words and not words[0].startswith("-"):
                is_whole, value = True, words.pop(0)
            behind = _take(found, option, value, is_whole=is_whole)
    if found.after and (found.everything or any(not one.startswith(f"{ANYTHING}:") for one in found.targets)):
        found.said, found.after = found.said + found.after, []
        found.faults.append(("--reason", "put it in quotes: it is more than one word"))
    return found


def _option(found: Typed, name: str) -> str | None:
    """Return the option that was typed, or may be meant."""
    known = _VALUES | _SWITCHES
    if name in known:
        return name
    meant = _WORDS.get(name) or next(
        iter(get_close_matches(f"--{name.lstrip('-')}", sorted(known - _NEVER_MEANT), 1, 0.6)), None
    )
    shown = "as pasted" if looks_secret(name.lstrip("-")) else name[:_LONGEST]
    found.faults.append((shown, "there is no such option" + (f": {meant}?" if meant else "")))
    return meant


def _with_hyphens(word: str) -> str:
    """Return a word with hyphens where it begins with dashes of print."""
    bare = word.lstrip(_PRINTED + "-")
    return word if bare == word or word[0] == "-" or not bare else f"--{bare}"


def _switch(found: Typed, option: str) -> None:
    found.everything = found.everything or option == "--everything"
    found.as_json = found.as_json or option == "--json"


def _take(found: Typed, option: str, value: str, *, is_whole: bool) -> bool:
    """Note an option's value; tell whether words behind it may be more of it."""
    if not value.strip():
        empty = "it was given, but is empty (a shell variable that is not set?)"
        found.faults.append((option, empty if is_whole else "nothing stands behind it"))
    elif option == "--reason":
        found.said = [value]
        return True
    elif option == "--home":
        found.home = Path(value)
    elif option in _KINDS:
        found.targets.append(f"{_KINDS[option]}:{value}")
    return False


def _loose(found: Typed, word: str) -> None:
    shown = "what looks like a key" if looks_secret(word) else word[:_LONGEST]
    found.faults.append((shown, "it stands after no option: a bot is --consumer, an account --account"))
    found.targets.append(f"{ANYTHING}:{word}")


class CutCommand(StrictCommand):
    """`cut` and `halt`."""

    def misread(self, ctx: Any, typed: list[str], fault: Any) -> None:
        """Say that nothing was cut, and how it is done."""
        if not isinstance(ctx.obj, Face):
            super().misread(ctx, typed, fault)
            return
        line, face = _begin(ctx, ctx.obj, typed)
        if line.after:  # nothing else was named: what names something is meant
            line.faults.append(
                ("--reason", "put it in quotes where it is more than one word, and a name after an option")
            )
        faults = line.faults or [("what was typed", str(fault.message))]
        _end(
            face,
            lacks.misread(
                face,
                str(self.name),
                faults,
                line.targets,
                line.reason,
                line.after,
                everything=line.everything,
            ),
        )


class ThawCommand(StrictCommand):
    """`thaw`."""

    def misread(self, ctx: Any, typed: list[str], fault: Any) -> None:
        """Say that nothing was thawed, and how it is done."""
        if not isinstance(ctx.obj, Face):
            super().misread(ctx, typed, fault)
            return
        line, face = _begin(ctx, ctx.obj, typed)
        named = [one.partition(":")[2] for one in line.targets if one.startswith(f"{ANYTHING}:")]
        faults = [one for one in line.faults if one[0] not in {name[:_LONGEST] for name in named[:1]}]
        if line.reason is None and not any(name == "--reason" for name, _ in faults):
            faults.append(("--reason", "say why, in a few words: it is kept, for who reads it later"))
        options = " ".join(_as_options(line))
        if options or not named:
            step = (
                face.command(f"thaw {options} --reason {lacks.why(line.reason)}") if options else _look(face)
            )
        else:
            step = _thaws(face, named[0], line.reason)
        _end(face, _not_thawed(faults or [("what was typed", str(fault.message))], step))


def no_cut(face: Face, name: str, reason: str) -> Stopped:
    """Return what to say of a thaw of something that is no cut's id in force."""
    shown = "what looks like a key" if looks_secret(name) else name[:_LONGEST]
    return _not_thawed([(shown, "no cut of that id is in force")], _thaws(face, name, reason))


def _not_thawed(faults: list[tuple[str, str]], step: str) -> Stopped:
    what = "; ".join(f"{name}: {text}" for name, text in faults)
    state = "NOTHING was thawed: what was closed stays closed."
    return Stopped(what, state, step, reason="malformed", errors=tuple(faults))


def _as_options(line: Typed) -> list[str]:
    kinds = {kind: option for option, kind in _KINDS.items()}
    split = (one.partition(":") for one in line.targets if not one.startswith(f"{ANYTHING}:"))
    named = [spelled.option(kinds[kind], name) for kind, _, name in split if not looks_secret(name)]
    return ["--everything"] if line.everything else named


def _thaws(face: Face, name: str, reason: str | None) -> str:
    """Return the commands that thaw what a name may mean: a cut's id, or what a cut holds."""
    why = lacks.why(reason)
    if name.startswith(CUT_ID) and not looks_secret(name):
        return face.command(spelled.thaw(name, why))
    try:
        rows = list(connect(face).pages(oversight_answers.Cut, "cuts", open=True))
    except (Stopped, SettingsError):
        return _look(face)
    if any(row.id == name for row in rows):
        return face.command(spelled.thaw(name, why))
    found = [row.id for row in rows if any(one.partition(":")[2] == name for one in row.targets)]
    if not found:
        return _look(face)
    return "\n".join(("This may be meant:", *(face.command(spelled.thaw(one, why)) for one in found)))


def _look(face: Face) -> str:
    return f"See what is in force: {face.command('cuts')}"


def _begin(ctx: Any, face: Face, typed: list[str]) -> tuple[Typed, Face]:
    line = read(typed)
    face.commands = frozenset(getattr(ctx.find_root().command, "commands", ()))
    face.given_home, face.as_json = line.home or face.given_home, line.as_json or face.as_json
    return line, face


def _end(face: Face, stopped: Stopped) -> None:
    face.stop(stopped)
    raise typer.Exit(_NOT_UNDERSTOOD)
