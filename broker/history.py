"""Histories of the record: what an epoch, a version or a mark was counted in. Pure.

Rules:
1. A number of one history says nothing in another: a database that was put back counts the same epochs anew.
2. A history is told by everything that sets it apart: the instance's generation, which a restore raises; a number,
   raised whenever the record was found to have gone back; the timeline of PostgreSQL; and a random word, because two
   copies of one database may count alike.
3. Of two histories the one with the higher generation, then with the higher number, is newer. Of equal height neither
   is: whoever knows both keeps closed what either has closed.
"""

import json
from dataclasses import dataclass

_PARTS, _LONGEST = 4, 18
_NO_RECORD = 2**63
"""No database counts so far, and none takes a question about more."""


@dataclass(frozen=True, slots=True)
class History:
    """One history. `timeline` is empty where the database has none."""

    generation: int
    number: int = 0
    timeline: str = ""
    word: str = ""

    def __str__(self) -> str:
        """Return it as gates and frames carry it."""
        return f"{self.generation}.{self.number}.{self.timeline}.{self.word}"

    @property
    def height(self) -> tuple[int, int]:
        """What tells a newer one from an older one."""
        return self.generation, self.number


def parse(text: str) -> History:
    """Read what `str` wrote.

    Raises:
        ValueError: It is something else.
    """
    parts = text.split(".")
    if len(parts) != _PARTS:
        raise ValueError("no history")
    generation, number, timeline, word = parts
    if max(len(generation), len(number)) > _LONGEST:
        raise ValueError("no history")
    return History(int(generation), int(number), timeline, word)


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a record had come: its history, and number and digest of the last record of its audit trail.

    A record has one number and one digest for ever, so a database is known again by it.
    """

    history: History
    seq: int
    digest: str


def dump_mark(mark: Mark) -> str:
    """Write a mark down."""
    return json.dumps({"history": str(mark.history), "record": mark.seq, "digest": mark.digest})


def load_mark(document: str) -> Mark:
    """Read a mark.

    Raises:
        ValueError: It is something else.
    """
    found = json.loads(document)
    if not isinstance(found, dict) or type(found.get("record")) is not int:
        raise ValueError("no mark")
    if not 0 <= found["record"] < _NO_RECORD or not isinstance(found.get("digest"), str):
        raise ValueError("no mark")
    found["digest"].encode()  # half a character is none; its error is a ValueError
    history = str(found.get("history"))
    history.encode()
    return Mark(parse(history), found["record"], found["digest"])


def is_older(one: str, than: str) -> bool:
    """Tell whether a history is known to be older than another; what cannot be read is not."""
    try:
        return parse(one).height < parse(than).height
    except ValueError:
        return False
