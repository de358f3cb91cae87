"""Whether anchors hold what they took: emptied, cut off or thinned ones are told from whole ones. Pure.

What is found, and by what:
    emptied   nothing is there, and something was kept
    short     it ends before the last checkpoint that it took
    thinned   checkpoints in the middle are gone
    gone      the file is not there
What cannot be looked at is no contradiction; it is said beside the verdict, with what is therefore not proven.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Runs = tuple[tuple[int, int], ...]
"""Numbers as runs from first to last, ascending, apart from each other."""

_MOST_RUNS = 200
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Copy:
    """What was read of one anchor. `numbers`: the checkpoints in it; None where there is nothing to read.

    `anchor`: which of this home's anchors it is, as in `file:/path`; empty for a copy that somebody names.
    """

    where: str
    numbers: frozenset[int] | None
    anchor: str = ""


def joined(runs: Runs, numbers: Iterable[int]) -> Runs:
    """Return runs with more numbers. Of very many runs the oldest are forgotten."""
    found: list[tuple[int, int]] = []
    for first, last in sorted((*runs, *((number, number) for number in numbers))):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return tuple(found[-_MOST_RUNS:])


def missing(runs: Runs, numbers: frozenset[int]) -> list[int]:
    """Return the numbers of runs that are not among these."""
    return [number for first, last in runs for number in range(first, last + 1) if number not in numbers]


def judged(copies: Sequence[Copy], taken: Mapping[str, Runs], stored: int) -> list[tuple[str, str]]:
    """Return what contradicts that anchors are whole: what it is, and a sentence.

    Args:
        copies: The home's own files, and copies that somebody names.
        taken: What each anchor took, by its name.
        stored: The number of the last checkpoint on record, where it is not known what anchors took.
    """
    found: list[tuple[str, str]] = []
    named = frozenset[int]().union(*(one.numbers or () for one in copies if not one.anchor))
    for one in copies:
        runs = taken.get(one.anchor, ()) if one.anchor else ()
        if one.numbers is None:
            if runs:
                found.append(("gone", f"{one.where} is not there, and took checkpoint {runs[-1][1]}"))
        elif not one.numbers:
            if runs or not one.anchor:
                kept = f"and took checkpoint {runs[-1][1]}" if runs else f"and there are {stored} checkpoints"
                found.append(("emptied", f"{one.where} holds no checkpoint, {kept}"))
        elif runs:
            found += _against(one.where, runs, one.numbers, named)
    copied = [one for one in copies if not one.anchor and one.numbers]
    older = any(one.anchor and one.numbers and max(named, default=0) < min(one.numbers) for one in copies)
    if copied and not older:  # parts of our own that were put away are judged with it
        found += _copies(copied, named, taken, stored)
    return found


def _against(
    where: str, runs: Runs, numbers: frozenset[int], besides: frozenset[int]
) -> list[tuple[str, str]]:
    """Judge one anchor by what it took; older parts of it may be among what somebody names besides."""
    last, ends = runs[-1][1], max(numbers)
    if last not in numbers:
        return [("short", f"{where} ends at checkpoint {ends}, and took {last}: lines at its end are gone")]
    gone = missing(runs, numbers | besides)
    if gone:
        return [("thinned", f"{where} lacks {_words(gone)}, which it took")]
    return []


def _copies(
    copies: Sequence[Copy], numbers: frozenset[int], taken: Mapping[str, Runs], stored: int
) -> list[tuple[str, str]]:
    """Judge copies that somebody names: together they are one anchor, whole, or they are not well."""
    where = ", ".join(one.where for one in copies)
    wanted = [runs for runs in taken.values() if runs] or ([((stored, stored),)] if stored else [])
    if not wanted or any(not missing(runs, numbers) for runs in wanted):
        return []
    nearest = min(wanted, key=lambda runs: len(missing(runs, numbers)))
    kind = "short" if nearest[-1][1] not in numbers else "thinned"
    lacks = f"{where} lacks {_words(missing(nearest, numbers))}, which an anchor took"
    return [
        (
            kind,
            f"{lacks}: it is an older copy, or lines are gone; take a fresh one from its place, look again",
        )
    ]


def _words(gone: Sequence[int]) -> str:
    named = ", ".join(str(number) for number in gone[:_MOST_NAMED])
    more = f" and {len(gone) - _MOST_NAMED} more" if len(gone) > _MOST_NAMED else ""
    return f"checkpoint{'s' if len(gone) > 1 else ''} {named}{more}"
