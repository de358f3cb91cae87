"""Which orders' states the broker may not have: those whose line it has not said to keep. Pure, in memory.

Rules:
1. A state is unkept from when it is known until the broker keeps the line that tells it.
2. A line that the broker cannot read, or that could not be written, tells it nothing. It may have been the one that
   said whose the order is, and without that the broker drops what later ones tell of it: such an order stays unkept;
   but where all that was lost of it is in a line that was written late.
3. A broker whose record goes back has no longer what it said to keep: lines that go again tell it again, and what they
   told, or a line that is gone, is unkept meanwhile.
4. Orders lie in lanes: by account and base asset, by grant, and by whether the grant placed them as far as is known
   here, or an answer only showed them. So nobody's orders, and no read, stand before what a grant has bought.
"""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain, islice, zip_longest
from operator import itemgetter
from typing import NamedTuple

_Key = tuple[str, str, str]
_EARLIER, _TRIES, _MOST_LANES = 0, 20, 5_000


class Lane(NamedTuple):
    """Where an order lies (rule 4)."""

    account: str
    base: str
    grant: str
    placed: bool


class _Orders:
    """The unkept ones of a lane: in no line yet, in which line, in one of an earlier start; those that were lost."""

    __slots__ = ("earlier", "lane", "lines", "lost", "unwritten")

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.unwritten: dict[_Key, None] = {}
        self.lost: dict[_Key, None] = {}
        self.lines: dict[_Key, int] = {}
        self.earlier: dict[_Key, None] = {}

    def __len__(self) -> int:
        return len(self.unwritten) + len(self.lines) + len(self.earlier) + len(self.lost)

    def drop(self, key: _Key) -> bool:
        """Let go of one; tell whether it was there."""
        if self.lines.pop(key, None) is not None:
            return True
        for orders in (self.unwritten, self.earlier, self.lost):
            if key in orders:
                del orders[key]
                return True
        return False

    def latest(self) -> Iterator[_Key]:
        """Yield what is in no line yet, then the latest first; in turn with what is lost, which never ends.

        And with what an earlier start wrote: of both it is not known what the broker has, so they are best named.
        """
        coming = chain(reversed(self.unwritten), reversed(self.lines))
        return _in_turn([coming, reversed(self.lost), reversed(self.earlier)])

    def oldest(self) -> _Key:
        return next(chain(self.earlier, self.lines, self.unwritten, self.lost))


class Unkept:
    """Orders by account, symbol and id. Lines of this start are written, and kept, in the order of their numbers."""

    def __init__(self, changed: Callable[[_Key], object] = lambda _: None) -> None:
        """Begin; `changed` is told of each order that is one of them, or none of them, from now on."""
        self._changed = changed
        self._lies: dict[_Key, _Orders] = {}
        self._lanes: dict[Lane, _Orders] = {}
        self._of_asset: dict[tuple[str, str], list[_Orders]] = {}
        self._earlier_is_kept = False
        self._kept: dict[_Key, int] = {}
        self._pending: deque[tuple[int, _Key]] = deque()
        self._for_now = set[_Key]()
        """Lost, but for a line that may come late yet."""
        self.placed = 0
        """How many that grants placed are unkept."""

    def add(self, key: _Key, lane: Lane, *, earlier: bool = False) -> None:
        """Something new is known of an order; `earlier`: an earlier start of the gateway wrote it down."""
        lost = self._take_out(key)
        orders = self._lies[key] = self._lane(lane)
        if earlier and self._earlier_is_kept and not lost:
            self._kept[key] = _EARLIER
            return
        into = orders.lost if lost else orders.earlier if earlier else orders.unwritten
        into[key] = None
        self.placed += lane.placed

    def move(self, key: _Key, lane: Lane) -> None:
        """An order lies in another lane from now on; nothing else is new."""
        orders, kept = self._lies.get(key), self._kept.get(key)
        line = None if orders is None else orders.lines.get(key)
        earlier = orders is not None and key in orders.earlier
        lost = self._take_out(key)
        into = self._lies[key] = self._lane(lane)
        if kept is not None:
            self._kept[key] = kept
            return
        if line is not None:
            into.lines[key] = line
        else:
            (into.lost if lost else into.earlier if earlier else into.unwritten)[key] = None
        self.placed += lane.placed

    def written(self, key: _Key, line: int) -> None:
        """A line tells it."""
        orders = self._lies.get(key)
        if orders is not None and key in orders.unwritten:
            del orders.unwritten[key]
            orders.lines[key] = line
            self._pending.append((line, key))

    def lose(self, key: _Key, *, for_now: bool = False) -> None:
        """What was to tell it is lost (rule 2); `for_now`: it may be written late (`regain`)."""
        if not for_now:
            self._for_now.discard(key)
        elif not self.is_lost(key):
            self._for_now.add(key)
        self._take_out(key)
        orders = self._lies[key] = self._lane(self._lies[key].lane)
        orders.lost[key] = None
        self.placed += orders.lane.placed

    def regain(self, key: _Key, line: int) -> bool:
        """All that was lost of it is in this line; tell whether that is so."""
        if key not in self._for_now or not self.is_lost(key):
            return False
        self._for_now.discard(key)
        self._take_out(key)
        orders = self._lies[key]
        orders.lines[key] = line
        self.placed += orders.lane.placed
        self._pending.append((line, key))
        return True

    def kept(self, line: int, unreadable: tuple[int, ...]) -> None:
        """The broker has every line up to this one, but for some."""
        lost = set(unreadable)
        while self._pending and self._pending[0][0] <= line:
            number, key = self._pending.popleft()
            orders = self._lies.get(key)
            if orders is None:
                continue
            if number in lost:
                self.lose(key)  # also where a later line tells more of it
            elif orders.lines.get(key) == number:
                self._take_out(key)
                self._kept[key] = number

    def forgotten(self, first: int, first_again: int) -> None:
        """The broker lost lines from one on; they go again from another one on, those between are gone."""
        lost = {key: line for key, line in self._kept.items() if line >= first}
        for key, line in lost.items():
            if line < first_again:
                self.lose(key)
                continue
            del self._kept[key]
            self._changed(key)
            orders = self._lies[key] = self._lane(self._lies[key].lane)
            orders.lines[key] = line
            self.placed += orders.lane.placed
        for orders in self._lanes.values():
            orders.lines = dict(sorted(orders.lines.items(), key=itemgetter(1)))
        again = ((line, key) for key, line in lost.items() if line >= first_again)
        self._pending = deque(sorted([*again, *self._pending]))

    def earlier_forgotten(self) -> None:
        """The broker lost lines of an earlier start, of which there are none any more."""
        for key in [key for key, line in self._kept.items() if line == _EARLIER]:
            self.lose(key)

    def earlier_again(self) -> None:
        """The broker may have lost lines of earlier starts: until they were sent again nobody knows what it has."""
        for key in [key for key, line in self._kept.items() if line == _EARLIER]:
            del self._kept[key]
            self._changed(key)
            orders = self._lies[key] = self._lane(self._lies[key].lane)
            orders.earlier[key] = None
            self.placed += orders.lane.placed
        self._earlier_is_kept = False

    def earlier_kept(self) -> None:
        """The broker has every line of earlier starts, also of one that is being read yet."""
        for key in [key for orders in self._lanes.values() for key in orders.earlier]:
            self._take_out(key)
            self._kept[key] = _EARLIER
        self._earlier_is_kept = True

    def forget(self, key: _Key) -> None:
        """An order is not of interest any more."""
        self._for_now.discard(key)
        self._take_out(key)
        self._lies.pop(key, None)

    # --- what there is ----------------------------------------------------------------------

    def latest(self, account: str, base: str, grant: str, most: int) -> Iterator[_Key]:
        """Yield those of an asset, `most` at the most, on behalf of a grant: what makes the difference to it first.

        Its own come before the others', which have a quarter of the room all the same: what a grant may sell is what
        it bought, and what nobody else did. Those that were placed come before those that were only shown.
        """
        lanes, others = self._of_asset.get((account, base), ()), most // 4

        def own(*, placed: bool) -> Iterator[_Key]:
            found = self._lanes.get(Lane(account, base, grant, placed))
            return iter(()) if found is None else found.latest()

        def of_others(*, placed: bool) -> Iterator[_Key]:
            return _in_turn(
                [one.latest() for one in lanes if one.lane.placed is placed and one.lane.grant != grant]
            )

        mine, theirs = own(placed=True), of_others(placed=True)
        first = (islice(mine, most - others), islice(theirs, others), mine, theirs)
        return islice(chain(*first, own(placed=False), of_others(placed=False)), most)

    def lane_of(self, key: _Key) -> Lane | None:
        """Return where an order lies; None where it is none of them."""
        return self._lies[key].lane if self.has(key) else None

    def has(self, key: _Key) -> bool:
        """Tell whether an order is one of them."""
        return key in self._lies and key not in self._kept

    def is_lost(self, key: _Key) -> bool:
        """Tell whether a line that told of an order is lost (rule 2)."""
        orders = self._lies.get(key)
        return orders is not None and key in orders.lost

    def spare(self, standing: Callable[[_Key], bool]) -> _Key | None:
        """Return one that can be forgotten before others: the broker has it, or nobody is known to have placed it.

        `standing` tells which of those that the broker has are of interest all the same: others go first.
        """
        for _ in range(min(_TRIES, len(self._kept))):
            key = next(iter(self._kept))
            if not standing(key):
                return key
            self._kept[key] = self._kept.pop(key)
        return self._oldest_of_most(placed=False) or next(iter(self._kept), None)

    def most_placed(self) -> _Key | None:
        """Return the oldest of the grant that has the most."""
        return self._oldest_of_most(placed=True)

    def _oldest_of_most(self, *, placed: bool) -> _Key | None:
        found = [orders for lane, orders in self._lanes.items() if lane.placed is placed and orders]
        return max(found, key=len).oldest() if found else None

    def _lane(self, lane: Lane) -> _Orders:
        found = self._lanes.get(lane)
        if found is None:
            if len(self._lanes) >= _MOST_LANES:
                self._drop_empty()
            found = self._lanes[lane] = _Orders(lane)
            self._of_asset.setdefault((lane.account, lane.base), []).append(found)
        return found

    def _drop_empty(self) -> None:
        self._lanes = {lane: orders for lane, orders in self._lanes.items() if orders}
        self._of_asset.clear()
        for lane, orders in self._lanes.items():
            self._of_asset.setdefault((lane.account, lane.base), []).append(orders)

    def _take_out(self, key: _Key) -> bool:
        """Let go of what is known of an order but where it lies; tell whether it was lost."""
        self._changed(key)
        self._kept.pop(key, 0)
        orders = self._lies.get(key)
        if orders is None:
            return False
        lost = key in orders.lost
        if orders.drop(key):
            self.placed -= orders.lane.placed
        return lost


def _in_turn(lanes: list[Iterator[_Key]]) -> Iterator[_Key]:
    """Yield one of each in turn."""
    return (key for turn in zip_longest(*lanes) for key in turn if key is not None)
