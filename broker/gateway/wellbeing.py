"""How the venue takes the real keys in use, and whether it takes our calls at all: what a gateway sees first. Pure.

Rules:
1. A key is refused where the venue's own code says so of a call signed with it: `REFUSES`. A code that an endpoint may
   answer for want of a permission the key was never given counts only where every trading key has that permission.
2. Reads and writes are told apart: a key that lost the permission to trade still reads. A call that was served ends the
   refusal of its kind; a write that was served ends that of reads too. A no of another kind is served: it was let in.
3. Silence says nothing: what was seen stands until a call shows otherwise.
4. What changes is told at once (`on_change`), and stands in every `Health` after that.
5. A venue is silent where nothing but errors of its own came for a while, or it cannot be reached at all: of questions
   and of writes apart, for order entry can be down alone. One answer ends it; where writes are no more tried, a time.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType

from broker.link.frames import KeyWord, Trouble

REFUSES = frozenset({-2008, -2014, -2015, -1022})
_BY_PERMISSION = -2015
_SIGNATURE = -1022
_LETS_IN = frozenset({-1013, -2010, -2011, -2013})
EVERY_KEY_MAY = frozenset({"account", "trade", "wallet-read"})
"""Groups of endpoints that a key made to trade may use: reading and trading is all that they want."""

CLOCK_OFF_US = 5_000_000
_OK = 200


def refusal_of(code: int | None, group: str, *, as_signed: bool = True) -> int | None:
    """Return the code by which the venue refuses the key itself, and not this one call.

    `as_signed`: it was signed over the bytes as they were sent; else a refused signature may be the encoding's.
    """
    if code not in REFUSES:
        return None
    if code == _BY_PERMISSION and group not in EVERY_KEY_MAY:
        return None
    return None if code == _SIGNATURE and not as_signed else code


class Wellbeing:
    """What the venue says of each real key, by its id there."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, bool], int] = {}
        self.on_change: Callable[[], None] = lambda: None

    def heard(
        self, key_id: str, status: int, code: int | None, *, group: str = "account", write: bool = False,
        as_signed: bool = True,
    ) -> bool:  # fmt: skip
        """Take in what came of a call signed with a key; tell whether the venue refused the key itself."""
        refused = refusal_of(code, group, as_signed=as_signed)
        if refused is not None:
            self._note(key_id, write, refused)
            return True
        if group in EVERY_KEY_MAY and (status == _OK or code in _LETS_IN):
            self._note(key_id, write, 0)
            if write:
                self._note(key_id, False, 0)
        return False

    def _note(self, key_id: str, write: bool, code: int) -> None:
        before = self._said.get((key_id, write))
        if before == code:
            return
        self._said[key_id, write] = code
        if before or code:
            self.on_change()

    def forget(self, key_id: str) -> None:
        """A key is gone from here."""
        for write in (False, True):
            self._said.pop((key_id, write), None)

    def words(self, names: Iterable[tuple[str, str]]) -> tuple[KeyWord, ...]:
        """Return what was said of each key; `names` are key versions with their ids at the venue."""
        return tuple(
            KeyWord(name, write, code)
            for name, key_id in names
            for write in (False, True)
            if (code := self._said.get((key_id, write))) is not None
        )


class Ask(StrEnum):
    """What was asked of a venue; the value is the trouble where it is not answered."""

    QUESTION = "venue-silent"
    WRITE = "orders-unanswered"
    DOOR = "venue-turns-away"
    WRITES_DOOR = "orders-turned-away"


_QUESTIONS = frozenset({Ask.QUESTION, Ask.DOOR})


class Silence:
    """Whether a venue answers, and lets us in, by one way. `on_change` is called where that turns."""

    def __init__(self) -> None:
        self._knocked_s = 0.0
        self.seen: dict[Ask, str] = {}
        self._failed: dict[Ask, tuple[int, float]] = {}
        self._silent: dict[Ask, float] = {}
        self.on_change: Callable[[], None] = lambda: None

    def heard(self, ask: Ask, now_s: float, *, well: bool) -> None:
        """Take in how a call ended; `well`: with an answer that is no error of the venue's own."""
        if well:
            if self._failed.pop(ask, None) is not None and self._silent.pop(ask, None) is not None:
                self.on_change()
            return
        times, since_s = self._failed.get(ask, (0, now_s))
        self._failed[ask] = times + 1, since_s
        if times + 1 >= SILENT_TIMES and now_s - since_s >= SILENT_S:
            before = self._silent.get(ask)
            self._silent[ask] = now_s
            if before is None:
                self.on_change()

    def answered(self, ask: Ask, now_s: float, turned_away: int | None) -> None:
        """Take in an answer: by which status it turned us away, if it did."""
        door = Ask.DOOR if ask is Ask.QUESTION else Ask.WRITES_DOOR
        if turned_away is not None:
            self.seen[door] = str(turned_away)
        self.heard(door, now_s, well=turned_away is None)

    def knock(self, now_s: float) -> bool:
        """Tell whether a question of our own upkeep may go now: where we are turned away, every `KNOCK_S`."""
        if Ask.DOOR not in self._silent:
            return True
        if now_s - self._knocked_s < KNOCK_S:
            return False
        self._knocked_s = now_s
        return True

    def now(self, now_s: float) -> tuple[Ask, ...]:
        """Return what is not answered."""
        return tuple(
            ask for ask, at_s in self._silent.items() if ask in _QUESTIONS or now_s - at_s < WRITES_UNTRIED_S
        )


SILENT_TIMES, SILENT_S, WRITES_UNTRIED_S = 3, 5.0, 600.0
"""So many calls in a row over so long; and how long after the last try an unanswered write says something of now."""

KNOCK_S = 30.0


def troubles(
    egress: str, pause_us: int, now_us: int, banned: bool, offset_us: int, silent: Iterable[Ask] = (),
    seen: Mapping[Ask, str] = MappingProxyType({}),
) -> tuple[Trouble, ...]:  # fmt: skip
    """Return what is wrong with one way to a venue.

    Args:
        egress: The way.
        pause_us: For how long the venue asks to wait; 0 where it does not.
        now_us: Our wall clock.
        banned: It is a ban.
        offset_us: How far the venue's clock is ahead of our wall clock.
        silent: What is not answered, or turned away.
        seen: By which status it was turned away.
    """
    found = [Trouble(ask.value, egress, seen.get(ask, "")) for ask in silent]
    if pause_us:
        kind = "venue-banned" if banned else "venue-pause"
        found.append(Trouble(kind, egress, "", now_us + pause_us, pause_us))
    if abs(offset_us) >= CLOCK_OFF_US:
        found.append(Trouble("clock", egress, f"{offset_us / 1_000_000:+.1f} s"))
    return tuple(found)
