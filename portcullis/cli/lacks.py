"""Everything that is wrong with a cut as it was typed, told at once: at 3 a.m. nobody mends one thing at a time.

Asked only where no cut was made. What was typed right stays in the command to paste.
"""

import shlex

import typer

from broker.pasted import looks_secret
from portcullis.cli.client import Api, connect
from portcullis.cli.face import Face, Stopped
from portcullis.cli.meant import Looked, looked_up
from portcullis.settings import SettingsError

_NO_REASON = "say why, in a few words: it is kept, for who reads it later"
_NO_TARGET = (
    "Nothing was named: --consumer NAME, --account NAME, --venue NAME, --grant ID, --gateway NAME, "
    "--key ACCOUNT/SLOT/VERSION, or --everything"
)
_NOT_BESIDE = "it is all of it: name nothing beside it, or leave it out"
_NOT_UNDERSTOOD = 2
_DONE = {"cut": "cut", "halt": "halted"}


def refuse(face: Face, verb: str, targets: list[str], reason: str | None, *, everything: bool) -> None:
    """Refuse what is seen to be wrong before the broker is asked, and tell what else is.

    Raises:
        Stopped: No target, or everything and something.
        typer.Exit: With 2: an option that is needed is not there, whatever else is wrong.
    """
    lacks = []
    if everything and targets:
        lacks.append(("--everything", _NOT_BESIDE))
    if not everything and not targets:
        lacks.append(("a target", _NO_TARGET))
    if reason is None:
        lacks.append(("--reason", _NO_REASON))
    if not lacks:
        return
    looked: list[Looked] = []
    try:
        looked = looked_up(connect(face), targets)
    except Stopped as away:
        lacks.append(("the broker", away.what))
    except SettingsError as fault:
        lacks.append((fault.field, fault.message))
    lacks += [(one.option, f"there is no {one.kind} {one.shown}") for one in looked if not one.there]
    if everything:
        step = face.command(f"{verb} --everything --reason {_why(reason)}")
    else:
        step = _step(face, verb, looked, reason)
    stopped = Stopped(
        "; ".join(f"{name}: {text}" for name, text in lacks), f"NOTHING was {_DONE[verb]}.", step,
        reason="malformed", errors=tuple(lacks),
    )  # fmt: skip
    if reason is not None:
        raise stopped
    face.stop(stopped)
    raise typer.Exit(_NOT_UNDERSTOOD)


def told(face: Face, verb: str, api: Api, stopped: Stopped, targets: list[str], reason: str) -> Stopped:
    """Return what to say where the broker refused a cut by its targets: what may be meant by them."""
    if stopped.reason.startswith("no_") or stopped.errors:
        looked = looked_up(api, targets)
        if any(not one.there for one in looked):
            stopped.step = _step(face, verb, looked, reason)
    return stopped


def _step(face: Face, verb: str, looked: list[Looked], reason: str | None) -> str:
    """Return commands to paste: with everything that was typed right, and what may be meant by the rest."""
    why, absent = _why(reason), [one for one in looked if not one.there]
    if not looked:
        return ""
    if len(looked) == 1 and absent and absent[0].options:
        commands = [face.command(f"{verb} {option} --reason {why}") for option in absent[0].options]
        return "\n".join(("One of these may be meant:", *commands))
    if all(one.options for one in looked):
        options = " ".join(dict.fromkeys(one.options[0] for one in looked))
        return f"{'This may be meant:' if absent else 'Then:'}\n{face.command(f'{verb} {options} --reason {why}')}"
    lists = dict.fromkeys(one.listing for one in absent if not one.options)
    return "\n".join(
        (
            *(f"See what there is: {face.command(one)}" for one in lists),
            "In doubt, all of it:",
            face.command(f"{verb} --everything --reason {why}"),
        )
    )


def _why(reason: str | None) -> str:
    return "WHY" if reason is None or looks_secret(reason) else shlex.quote(reason)
