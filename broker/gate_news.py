"""What one process tells another of gates, and what came of it: values of `broker.gates`."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from broker.gate import Gate
from broker.gate_document import NotedCut

MOST_OPENED = 2_000
"""Cuts that were thawed, the latest of them: whoever has missed a thaw asks within seconds."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of news: the gates that rose, and those of another history, which were not taken."""

    risen: tuple[Gate, ...] = ()
    foreign: tuple[Gate, ...] = ()


@dataclass(frozen=True, slots=True)
class Whole:
    """All that is known of the gates, as of one moment.

    `closings` are not on record yet, or of nobody's cut. `kept` are closers that only another history has on record,
    `opened` cuts that a person opened: they stand nowhere any more.
    """

    history: str
    gates: tuple[Gate, ...]
    closings: tuple[NotedCut, ...] = ()
    kept: tuple[NotedCut, ...] = ()
    opened: tuple[str, ...] = ()


class Opened:
    """Cuts that were thawed, the latest `MOST_OPENED` of them."""

    def __init__(self) -> None:
        self._names: dict[str, None] = {}

    def note(self, name: str) -> None:
        """One was thawed just now."""
        self._names.pop(name, None)
        self._names[name] = None
        if len(self._names) > MOST_OPENED:
            del self._names[next(iter(self._names))]

    def forget(self, name: str) -> None:
        """One is closed again."""
        self._names.pop(name, None)

    def __contains__(self, name: str) -> bool:
        """Tell whether one was thawed."""
        return name in self._names

    def before(self, names: Iterable[str]) -> None:
        """Take in what was thawed before all that is known, the last of it last."""
        late, self._names = self._names, {}
        for name in (*names, *late):
            self.note(name)

    def but(self, standing: Collection[str]) -> tuple[str, ...]:
        """Return them without those that stand again."""
        return tuple(name for name in self._names if name not in standing)
