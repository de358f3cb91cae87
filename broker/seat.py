"""Who runs a home: one process at a time holds its seat, a row in what every copy of the home shares. Pure.

Rules:
1. The seat has a number that only rises. Whoever takes it raises it; what was begun under an older number is refused
   (fencing), however long its process stood still.
2. Its holder beats. Who wants it takes it where nobody holds it, where its holder ended, where the holder ran at this
   very place (whose lock we hold, so it is dead), or where it did not beat for `DEAD_S` while we watched by our own
   clock: two hosts have two, so no clock is compared.
3. A seat that went back under its holder (its store was put back) is written anew: of two holders the higher stays.
4. A holder that beats while we watch lives: who wants the seat is refused, and told what runs where.
5. Commands that work in place want no seat: they go where the home's own seat, or nobody's, is.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

DEAD_S = 20.0
"""Beats come every second in a database, every five in a secret store; a server may hang for a dozen."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a home lies: the machine, its boot, the file itself by its inode, and on what; empty what is not known.

    An inode is one of its file system: two of them have the same numbers. `device` names a file system in one boot and
    while it is mounted, `disk` is what it says of itself, which a copy of the whole disk says, too.
    """

    machine: str = ""
    boot: str = ""
    file: str = ""
    device: str = ""
    disk: str = ""

    def is_home_of(self, other: "Place") -> bool:
        """Tell whether it is the same directory of the same machine, whenever that was started."""
        return (
            self.file == other.file
            and _may_be(self.machine, other.machine)
            and (
                not _may_be(self.boot, other.boot)
                or _may_be(self.device, other.device)
                or _may_be(self.disk, other.disk)
            )
        )


def _may_be(one: str, other: str) -> bool:
    return not one or not other or one == other


@dataclass(frozen=True, slots=True)
class Seat:
    """The row. `who` says for people what runs where, since when; `left`: its holder ended in order."""

    number: int
    place: Place
    who: str
    beat: int = 0
    left: bool = False


def dump(seat: Seat) -> dict[str, object]:
    """Write a seat down."""
    return asdict(seat)


def load(found: object) -> Seat | None:
    """Read one; None where there is none.

    Raises:
        ValueError: It cannot be understood.
    """
    if found is None:
        return None
    try:
        if isinstance(found, str):
            found = json.loads(found)
        known: dict[str, Any] = dict(found)  # type: ignore[call-overload] # what is no mapping is refused below
        number, beat = known["number"], known["beat"]
        if type(number) is not int or type(beat) is not int:
            raise TypeError  # noqa: TRY301 - one way out
        who = str(known["who"])
        who.encode()  # half a character can neither be said nor written down
        return Seat(number, Place(**known["place"]), who, beat, bool(known["left"]))
    except (TypeError, ValueError, KeyError, RecursionError):
        raise ValueError("the seat of this home cannot be understood") from None


def who(found: object) -> str:
    """Return who holds one, as it says of itself; empty where there is none, or it cannot be understood."""
    try:
        seat = load(found)
    except ValueError:
        return ""
    return "" if seat is None else seat.who


class Seating:
    """One process's standing towards the seat.

    Args:
        place: Where its home lies; None where that is not known (a home in memory).
        who: What to say of it to others; without, it wants no seat.
        number: The seat it works under, where its parent holds that.
        now_s: A clock that never goes back; without one nobody is watched: the seat lies in the home, and whoever could
            hold it is dead.
    """

    def __init__(
        self, place: Place | None = None, who: str = "", number: int | None = None,
        now_s: Callable[[], float] | None = None,
    ) -> None:  # fmt: skip
        self._place, self._who, self._now_s = place, who, now_s
        self.number = number
        self.usurped = _UNSEATED if who else ""
        """Why this process does nothing; empty while it may."""
        self.lives = False
        """Whether somebody else was seen to hold the seat."""
        self._seen: tuple[int, int] | None = None
        self._seen_s = 0.0

    @property
    def keeps(self) -> bool:
        """Whether it holds the seat itself, and beats."""
        return bool(self._who)

    def look(self, seat: Seat | None) -> Seat | None:
        """Take in how the seat is; return what it shall be, None where that is none of ours."""
        if self.number is not None:
            return self._as_holder(seat)
        if not self.keeps:
            near = (
                seat is None or seat.left or (self._place is not None and self._place.is_home_of(seat.place))
            )
            self.usurped = (
                "" if near or seat is None else f"{seat.who} runs this home, or died there: {_IN_PLACE}"
            )
            return None
        if seat is None or seat.left or seat.place == self._place or self._is_dead(seat):
            return self._taken(seat)
        self.usurped = f"{_UNSEATED}; last it was {seat.who}" if not self.lives else _elsewhere(seat)
        return None

    def peek(self, seat: Seat | None) -> None:
        """Take in how the seat is, and change nothing about it."""
        if self.number is not None or not self.keeps:
            self.look(seat)

    def ended(self, seat: Seat | None) -> Seat | None:
        """Return the seat as its holder leaves it; None where it is none of ours."""
        if seat is None or not self.keeps or seat.number != self.number:
            return None
        return replace(seat, left=True)

    def _as_holder(self, seat: Seat | None) -> Seat | None:
        number = self.number or 0
        if seat is not None and (
            seat.number > number or (seat.number == number and seat.place != self._place)
        ):
            self.usurped, self.lives = _elsewhere(seat), True
            return None
        if not self.keeps and (seat is None or seat.number < number):
            self.usurped = f"the seat of this home went back: its store was put back, or emptied. {_END}"
            return None
        self.usurped = ""
        if not self.keeps:
            return None
        return Seat(number, self._place or Place(), self._who, 0 if seat is None else seat.beat + 1)

    def _taken(self, seat: Seat | None) -> Seat:
        self.number = (0 if seat is None else seat.number) + 1
        self.usurped = ""
        return Seat(self.number, self._place or Place(), self._who)

    def _is_dead(self, seat: Seat) -> bool:
        """Watch a holder: it is dead where it does not beat for long enough."""
        if self._now_s is None:
            return True
        now_s = self._now_s()
        seen = (seat.number, seat.beat)
        if self._seen != seen:
            self.lives = self._seen is not None
            self._seen, self._seen_s = seen, now_s
            return False
        return now_s - self._seen_s >= DEAD_S


_UNSEATED = "who runs this home is being looked at"
_END = "end this process, and look what runs this home"
_IN_PLACE = "do this there; if that host is off for good, portcullis run here finds out and takes over"


def _elsewhere(seat: Seat) -> str:
    return (
        f"{seat.who} runs this home on the same database and secret store. One host runs a home: use that one, or end "
        "it there (systemctl stop portcullis, or SIGTERM to that process) and start this one anew"
    )
