"""Workers of their own for what destinations do: one that is slow holds no rotation's worker.

Rules:
1. An errand touches the destination and changes nothing of ours: what is on record is written after it, by whoever
   holds the claim. So an errand that outlives a claim changes no record. Right before a key goes it looks whether that
   may be, and is wanted, still (`Parcel.look`): it may have hung until its rotation was over, and its key dead.
2. One errand at a time for a destination, and so many for a kind of destination. None waits in a queue: what was judged
   before a wait counts no more after it. Who finds no room comes again.
3. Who begins one waits for a moment: most are quick. What comes later is collected at the next look, for a while.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

WAIT_S = 1.0
_KEPT_S = 60.0
"""What was found so long ago is asked anew."""

_MOST_OF_A_KIND = 16


@dataclass(frozen=True, slots=True)
class Found:
    """What became of an errand: whether the key was brought, who is still waited for, or what went wrong."""

    delivered: bool
    awaited: str = ""
    fault: BaseException | None = None


@dataclass(slots=True)
class _Errand:
    what: object
    kind: str
    began_s: float
    done: threading.Event = field(default_factory=threading.Event)
    found: Found | None = None
    ended_s: float = 0.0


class Errands:
    """The errands of one rotator."""

    def __init__(self) -> None:
        self._lock, self._by_place = threading.Lock(), dict[str, _Errand]()

    def begin(self, place: str, kind: str, what: object, work: Callable[[], Found]) -> str:
        """Send somebody; return why nobody went, empty where somebody did.

        Args:
            place: The destination's name.
            kind: Of it: kinds do not take room from each other.
            what: What it is about, compared when it is collected.
            work: Does it. Whatever it raises is what was found.
        """
        with self._lock:
            nobody = self._full(place, kind)
            if nobody:
                return nobody
            errand = _Errand(what, kind, time.monotonic())
            try:
                threading.Thread(target=_run, args=(errand, work), name="errand", daemon=True).start()
            except RuntimeError:  # nobody is on the way, so nobody is waited for
                return "no thread can be had for it; its turn comes"
            self._by_place[place] = errand
        return ""

    def full(self, place: str, kind: str) -> str:
        """Return why nobody can go there now; empty where somebody can."""
        with self._lock:
            return self._full(place, kind)

    def _full(self, place: str, kind: str) -> str:
        before = self._by_place.get(place)
        if before is not None and not before.done.is_set():
            return f"an earlier call of {time.monotonic() - before.began_s:.0f} s ago is still on its way"
        busy = sum(one.kind == kind and not one.done.is_set() for one in self._by_place.values())
        return f"{busy} others are waited for; its turn comes" if busy >= _MOST_OF_A_KIND else ""

    def collect(self, place: str, what: object, wait_s: float = 0.0) -> Found | None:
        """Return what became of an errand; None where it is on its way, or there was none about that."""
        with self._lock:
            errand = self._by_place.get(place)
        if errand is None or errand.what != what or not errand.done.wait(wait_s):
            return None
        with self._lock:
            if self._by_place.get(place) is errand:
                del self._by_place[place]
        return errand.found if time.monotonic() - errand.ended_s < _KEPT_S else None

    def is_on_its_way(self, place: str, what: object) -> bool:
        """Tell whether somebody was sent there about that, and was not collected."""
        with self._lock:
            errand = self._by_place.get(place)
        return errand is not None and errand.what == what


def _run(errand: _Errand, work: Callable[[], Found]) -> None:
    try:
        errand.found = work()
    except BaseException as fault:  # noqa: BLE001 - whoever collects it hears it
        errand.found = Found(delivered=False, fault=fault)
    finally:
        errand.ended_s = time.monotonic()
        errand.done.set()
