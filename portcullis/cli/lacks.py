"""Everything that is wrong with a cut as it was typed, told at once: at 3 a.m. nobody mends one thing at a time.

Asked only where no cut was made. What was typed right stays in the command to paste.
"""

import typer

from broker import spelled
from broker.pasted import looks_secret
from portcullis.cli.client import NO_ANSWER, Api, connect
from portcullis.cli.face import Face, Stopped
from portcullis.cli.meant import ANYTHING, Looked, looked_up, option_of
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
    looked = _looked_beside(face, targets, lacks) or as_typed(targets)
    stopped = _all_of_it(face, verb, lacks, looked or as_typed(targets), reason, everything=everything)
    if reason is not None:
        raise stopped
    face.stop(stopped)
    raise typer.Exit(_NOT_UNDERSTOOD)


def misread(
    face: Face, verb: str, faults: list[tuple[str, str]], targets: list[str], reason: str | None,
    after: list[str], *, everything: bool,
) -> Stopped:  # fmt: skip
    """Return what to say of a line that cannot be read: what is wrong with it, and the command that was meant.

    Of the words behind the reason (`after`) one that names something is a target, any other is more of the reason.
    """
    lacks, behind = list(faults), [f"{ANYTHING}:{word}" for word in after]
    if reason is None and not any(name == "--reason" for name, _ in lacks):
        lacks.append(("--reason", _NO_REASON))
    looked: list[Looked] = []
    if not everything:
        looked = _looked_beside(face, [*targets, *behind], lacks) or as_typed(targets)
    more = [one.text for one in looked[len(targets) :] if not one.options]
    if reason is not None:
        reason = " ".join([reason, *more])
    looked = [one for place, one in enumerate(looked) if place < len(targets) or one.options]
    if not everything and not looked:
        lacks.append(("a target", _NO_TARGET))
    return _all_of_it(face, verb, lacks, looked, reason, everything=everything)


def _looked_beside(face: Face, targets: list[str], lacks: list[tuple[str, str]]) -> list[Looked]:
    """Look up targets; that it cannot be done is one more thing that is wrong."""
    try:
        return looked_up(connect(face), targets)
    except Stopped as away:
        lacks.append(("the broker", away.what))
    except SettingsError as fault:
        lacks.append((fault.field, fault.message))
    return []


def as_typed(targets: list[str]) -> list[Looked]:
    """Return targets that cannot be looked up: they stay in the command as they were typed."""
    found = []
    for target in targets:
        kind, _, text = target.partition(":")
        option = option_of("consumer" if kind == ANYTHING else kind)
        options = () if looks_secret(text) else (spelled.option(option, text),)
        found.append(Looked(kind, text, kind != ANYTHING, options))
    return found


def _all_of_it(
    face: Face,
    verb: str,
    lacks: list[tuple[str, str]],
    looked: list[Looked],
    reason: str | None,
    *,
    everything: bool,
) -> Stopped:
    lacks = lacks + [
        (one.option, f"there is no {one.kind} {one.shown}")
        for one in looked
        if not one.there and one.kind != ANYTHING
    ]
    if everything:
        step = face.command(f"{verb} --everything --reason {why(reason)}")
    else:
        step = _step(face, verb, looked, reason)
    return Stopped(
        "; ".join(f"{name}: {text}" for name, text in lacks), f"NOTHING was {_DONE[verb]}.", step,
        reason="malformed", errors=tuple(lacks),
    )  # fmt: skip


def told(face: Face, verb: str, api: Api, stopped: Stopped, targets: list[str], reason: str) -> Stopped:
    """Return what to say where the broker refused a cut by its targets: what may be meant by them."""
    if (stopped.reason.startswith("no_") and stopped.reason != NO_ANSWER) or stopped.errors:
        looked = looked_up(api, targets)
        if any(not one.there for one in looked):
            stopped.state = f"NOTHING was {_DONE[verb]}."
            stopped.step = _step(face, verb, looked, reason)
    return stopped


def _step(face: Face, verb: str, looked: list[Looked], reason: str | None) -> str:
    """Return commands to paste: with everything that was typed right, and what may be meant by the rest."""
    because, absent = why(reason), [one for one in looked if not one.there]
    if not looked:
        return ""
    if len(looked) == 1 and absent and absent[0].options:
        commands = [face.command(f"{verb} {option} --reason {because}") for option in absent[0].options]
        return "\n".join(("One of these may be meant:", *commands))
    right = " ".join(dict.fromkeys(one.options[0] for one in looked if one.there and one.options))
    alone = ["Only what is there:", face.command(f"{verb} {right} --reason {because}")]
    before = alone if right and absent else []
    if all(one.options for one in looked):
        options = " ".join(dict.fromkeys(one.options[0] for one in looked))
        what = "All of it, if this is meant:" if before else "This may be meant:" if absent else "Then:"
        return "\n".join((*before, what, face.command(f"{verb} {options} --reason {because}")))
    lists = dict.fromkeys(one.listing for one in absent if not one.options)
    return "\n".join(
        (
            *before,
            *(f"See what there is: {face.command(one)}" for one in lists),
            "In doubt, all of it:",
            face.command(f"{verb} --everything --reason {because}"),
        )
    )


def why(reason: str | None) -> str:
    """Return a reason as a command takes it; a word to replace where none was given, or one that is not repeated."""
    return "WHY" if reason is None or looks_secret(reason) else spelled.word(reason)
