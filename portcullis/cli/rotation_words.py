"""What is said of a rotation: in plain words, and with the command to go on with. Pure.

Rules:
1. Of the old key it says what was proven, not what was asked for; where there was none it says nothing of one.
2. Whoever is waited for is named: gateways by the drain's last note, destinations by what is on record of each.
"""

import re
from dataclasses import dataclass

from broker.destination import SHUT
from portcullis.cli.rotation_answers import Delivery, Rotation, RotationWhole, Transition

KEPT = "not deleted: "
"""How the reason begins where a delete was not sent, because of the key that stays (`rotation.retire`)."""

_STATES = {
    "planned": "planned",
    "preparing": "what it needs is tried: the ways to the exchange and the store",
    "creating": "the new key is made at the exchange",
    "reconciling": "the answer was lost: the exchange is asked whether a key was made",
    "verifying": "the new key is read back and compared",
    "canary": "one gateway tries the new key",
    "cutting-over": "the new key becomes the current one",
    "draining": "whoever uses the old key moves to the new one",
    "rolling-back": "the old key is taken back",
    "draining-new": "whoever uses the new key moves back to the old one",
    "retiring-old": "the old key is deleted and probed until it is dead",
    "discarding-new": "the new key is deleted and probed until it is dead",
    "stalled": "it waits for you",
    "halting": "an incident retires keys",
    "halted": "an incident took it over",
    "done": "the old key is proven dead",
    "abandoned": "given up: the old key stays in use",
}
_BY_HAND = {
    "creating": "a person makes the new key at the exchange",
    "retiring-old": "a person deletes the old key; it is probed until it is dead",
    "discarding-new": "a person deletes the new key; it is probed until it is dead",
}
_FIRST = {"done": "the first key is in use", "abandoned": "given up: no key was in use, and none is"}
_STATED, _ALONE = "stated, not proven", "by a person's word alone"
_ENDED = {
    "the operator ends it": "ended by a person: the key that was to go is not proven dead",
    "dropped: ": "ended by a person on record alone: a key that it made may live, and the next sweep names it",
}
"""What a rotation's reason begins with where a person ended it without what would have been so otherwise."""
_EFFECTS = {
    "prepare": "tries the ways to the exchange and the store, and makes a pair where it may",
    "read-clock": "reads the exchange's clock, to sign with it",
    "create": "asks the exchange for the new key",
    "find": "asks the exchange whether the key was made",
    "verify": "reads the new key back",
    "canary": "has a gateway try the new key",
    "move": "makes the new key the current one",
    "move-back": "makes the old key the current one again",
    "drain": "looks who still uses the key to be left",
    "delete": "asks the exchange to delete the key",
    "probe": "asks with the key whether it still lives",
    "entomb": "records its death, and destroys the secret",
    "ask-create": "asks a person to make the key",
    "ask-delete": "asks a person to delete the key",
}
_ANSWERS = {
    "out_of_budget": "this minute's calls to the exchange are spent; it waits, and no try is counted",
    "rate_limited": "the exchange wants fewer calls; it waits, and no try is counted",
    "in-use": "bots use the new key",
    "alive": "the exchange still serves it",
    "absent": "the exchange does not list it",
    "listed": "the exchange lists it",
    "refused-by-name": "every host of the exchange refuses it by name, while another key is served",
    "refused-by-name-alone": "every host of the exchange refuses it by name; there is no other key to compare it with",
    "nothing_served": "the exchange serves no other key from here, either: that it is refused says nothing",
    "no_list": "the exchange refuses the manager key its list",
    "bare_list": "the manager key's list lacks the keys in use, too, so it says nothing",
    "not-asked-with": "its secret is lost: nobody can ask the exchange with it",
    "refused-unnamed": "the exchange refuses it, and does not say that it does not know it",
}
_HELD = re.compile(r"^.*? may use it for up to \d+ s")
_DRAINS = ("draining", "draining-new")
_GIVEN_UP = ("planned", "preparing", "verifying", "canary", "draining")
"""States in which a rotation can be given up."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to go on: what it means, and the command."""

    what: str
    command: str


def words(found: Rotation, state: str) -> str:
    """Say what a state means in this rotation."""
    if state == "abandoned" and (
        said := next((_ENDED[one] for one in _ENDED if found.reason.startswith(one)), "")
    ):
        return said  # before all that is so of one that ended as it should
    if found.old_version is None and state in _FIRST:
        return _FIRST[state]
    if state == "done" and _STATED in found.reason:
        alone = " alone, nobody could ask" if _ALONE in found.reason else ""
        return f"the old key is deleted by a person's word{alone}: stated, not proven"
    history = found.history if isinstance(found, RotationWhole) else ()
    asked = any(line.effect.startswith("ask-") for line in history if line.state == state)
    if state in _BY_HAND and (asked or (found.state == state and found.todo)):
        return _BY_HAND[state]
    return _STATES.get(state, state)


def versions(found: Rotation) -> str:
    """Say from which key version to which; one that only retires a key makes none."""
    if found.why in {"retire", "undead"}:
        return f"{found.old_version} retires"
    return f"{found.old_version or 'none'} -> {found.new_version}"


def stands_in(found: RotationWhole) -> str:
    """Return the state it is in, or stalled in."""
    if found.state != "stalled":
        return found.state
    into = [line.was for line in found.history if line.state == "stalled" and line.was != "stalled"]
    return into[-1] if into else "stalled"


def is_held(found: Rotation) -> bool:
    """Tell whether nobody carries it on before a person has said so: then it asks for nothing either."""
    return bool(found.held) and found.ended_at is None


def ways_held(found: RotationWhole) -> list[Way]:
    """Say how one that is held goes on, or ends."""
    on = ways_on(found) if found.state == "stalled" else ways_out(found)
    return [*on, Way("end it on record alone", f'rotation drop {found.id} --reason "..."')]


def awaited(found: RotationWhole) -> list[Delivery]:
    """Return the deliveries that hold a drain up now."""
    state = stands_in(found)
    if state not in _DRAINS or is_held(found):
        return []
    version = found.new_version if state == "draining" else found.old_version
    return [
        one
        for one in found.deliveries
        if one.version == version and not one.confirmed_at and not one.waived_by
    ]


def note(found: RotationWhole) -> str:
    """Return what its state said last, without the destinations that are listed by themselves."""
    last = ""
    for line in found.history:
        last = "" if line.state != line.was else last
        last = line.note or last
    if found.state in _DRAINS and awaited(found):
        held = _HELD.match(last)
        return held[0] if held else ""
    return last


def ways_for(found: Rotation, one: Delivery, manual: frozenset[str]) -> list[Way]:
    """Say how a destination that is waited for lets go."""
    name, rotation = one.destination, found.id
    waive = Way(
        "go on without it; what it holds stops working when that key dies",
        f'rotation waive {rotation} --destination {name} --reason "..."',
    )
    if name not in manual:
        return [waive]
    if SHUT in one.says:
        return [Way("no key goes there before a thaw: see by what it is cut off or halted", "cuts"), waive]
    return [
        Way("see the key, once", f'destination key {name} --reason "..."'),
        Way("once it works there", f"destination confirm {name} --rotation {rotation}"),
        waive,
    ]


def ways_on(found: RotationWhole) -> list[Way]:
    """Say how a stalled rotation can go on, from the state it stalled in."""
    resume = f"rotation resume {found.id}"
    match stands_in(found):
        case "reconciling":
            return [
                Way("you looked: this key was made", f"{resume} --key-id ID"),
                Way("you looked: none was made", f"{resume} --no-key"),
                Way("the exchange can be asked again", resume),
            ]
        case "cutting-over":
            return [
                Way("the record can be written again", resume),
                Way("give the new key up", f"{resume} --discard"),
            ]
        case "rolling-back":
            return [
                Way("the old key can be taken back now", resume),
                Way("the exchange serves the old key no more: go on with the new one", f"{resume} --onward"),
            ]
        case "draining":
            rollback = f'rotation rollback {found.id} --reason "..."'
            return [Way("wait on", resume), Way("take the old key back", rollback)]
        case "draining-new":
            return [Way("wait on", resume)]
        case "retiring-old" | "discarding-new":
            taken_back = f'rotation rollback {found.id} --reason "..."'
            back = Way(
                "the key that stays is lost, and no delete was sent: take the old key back", taken_back
            )
            return [
                Way("it is mended, or deleted by hand: look again", resume),
                *([back] if found.reason.startswith(KEPT) and stands_in(found) == "retiring-old" else []),
                Way(
                    "end it here; the key that was to go may live on, and is told of",
                    f"{resume} --leave",
                ),
            ]
        case _:
            return [Way("go on", resume)]


def ways_out(found: RotationWhole) -> list[Way]:
    """Say how one that stands still, paused or held, goes on or is given up."""
    on = Way("let it go on", f"rotation resume {found.id}")
    if found.state not in _GIVEN_UP:
        return [on]
    back = f'rotation rollback {found.id} --reason "..."'
    return [on, Way("give it up; the old key stays, or is taken back", back)]


def line_words(line: Transition) -> str:
    """Say one line of a history as people do."""
    parts = [_EFFECTS.get(line.effect, ""), line.note or _answer(line.event)]
    return ": ".join(part for part in map(_plain, parts) if part)


def _answer(event: str) -> str:
    """Say what came of the last effect, where the line has no note of its own."""
    kind, _, reason = event.partition(" ")
    if kind in {"refused", "unknown", "retry"}:
        return reason or {"refused": "refused", "unknown": "no answer", "retry": "later"}[kind]
    said = {"Resume": "resumed", "Pause": "paused", "Answered": "a person answered", "Incident": "an incident",
            "Restarted": "another rotator takes over", "RollBack": "taken back"}  # fmt: skip
    return said.get(kind, "")


def _plain(text: str) -> str:
    return _ANSWERS.get(text, text.replace("_", " ") if re.fullmatch(r"[a-z_]+", text) else text)
