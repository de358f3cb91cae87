"""What was said of things that do not work, so that each is said once, and again where it is something else.

What is tried every few seconds fails every few seconds: a log that is full of one line shows no other.
"""

import logging
from collections.abc import Container
from itertools import islice

_MOST, _MOST_SHOWN, _MOST_LETTERS = 1_000, 3, 400


class Said:
    """What was said last of each subject that is not well."""

    def __init__(self, log: logging.Logger, level: int = logging.ERROR) -> None:
        self._log, self._level = log, level
        self._of: dict[str, str] = {}

    def say(self, subject: str, words: str) -> None:
        """Say it, unless it was the last that was said of this."""
        if self._of.get(subject) == words or (subject not in self._of and len(self._of) >= _MOST):
            return
        self._of[subject] = words
        self._log.log(self._level, "%s", words)

    def well(self, subject: str) -> None:
        """It works: what is said of it next is news."""
        self._of.pop(subject, None)

    def only(self, subjects: Container[str]) -> None:
        """Nothing is wrong with others: they may be gone."""
        self._of = {subject: words for subject, words in self._of.items() if subject in subjects}

    @property
    def standing(self) -> tuple[str, ...]:
        """What is not well now."""
        return tuple(self._of.values())

    def in_short(self) -> str:
        """Tell what is not well now, the first of it, and how much more there is."""
        shown = [words[:_MOST_LETTERS] for words in islice(self._of.values(), _MOST_SHOWN)]
        more = len(self._of) - len(shown)
        return "; ".join([*shown, *([f"and {more} more like these"] if more else [])])
