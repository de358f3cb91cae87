"""How much room there is for connections, and who leaves when there is none. Pure.

Rules:
1. Open files decide: lines to the venue and a slack for the link, the spool and accepted sockets come first.
2. Who leaves first, when a new connection needs room: idle ones, longest idle first; then those with half a
   request; then those that do not read their answers. Connections whose requests verified come after all
   others of the same kind, up to a quarter of all of one key. A connection that is being served never leaves, unless
   its key has more than that.
3. A peer or key beyond its share is a stranger with all its connections.
4. Requests that wait hold their connections. So who may wait is a share of the connections, too: strangers never hold
   more than three eighths, however few there are.
"""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple, Protocol

MOST_CONNECTIONS = 512
MOST_LINES = 128
LARGEST_HELD = 48 * 1024 * 1024
"""Bytes of all connections together: requests not yet taken up and answers not yet read."""

_LEAST_LINES, _LEAST_CONNECTIONS, _LEAST_WAITING = 8, 16, 4
_SLACK = 64

SERVED, UNREAD, HALF, IDLE = 3, 2, 1, 0


class Limits(NamedTuple):
    """What a process may hold open: bots' connections, and lines to one venue. All else is a share of these."""

    connections: int
    lines: int

    @property
    def of_a_key(self) -> int:
        """How many connections one key has before it counts as a stranger with all of them."""
        return self.connections // 4

    @property
    def waiting_of_a_key(self) -> int:
        """How many requests of one key may wait."""
        return max(_LEAST_WAITING, self.connections // 8)

    @property
    def waiting_strangers(self) -> int:
        """How many requests may wait in all before any signature on their connection was checked."""
        return self.connections * 3 // 8

    @property
    def sharing(self) -> int:
        """How many requests may wait for an answer that another one asked the same venue for."""
        return max(_LEAST_WAITING, self.connections // 8)

    @property
    def new_keys(self) -> int:
        """How many different keys those may show: each is a question to the broker."""
        return self.connections // 16

    @property
    def waiting_for_lines(self) -> int:
        """How many requests, but exits, may wait for a line to one venue."""
        return self.connections // 2


WHOLE = Limits(MOST_CONNECTIONS, MOST_LINES)


def limits_of(open_files: int) -> Limits:
    """Divide the files that the process may open.

    Args:
        open_files: Soft limit of the process (`RLIMIT_NOFILE`); below zero where there is none.
    """
    if open_files < 0:
        return WHOLE
    lines = min(MOST_LINES, max(_LEAST_LINES, open_files // 8))
    slack = max(_SLACK, open_files // 4)
    return Limits(min(MOST_CONNECTIONS, max(_LEAST_CONNECTIONS, open_files - lines - slack)), lines)


class Guest(Protocol):
    """A connection as it is judged here. `owner` is the key that verified on it; empty for strangers."""

    owner: str
    address: str

    def condition(self) -> tuple[int, float]:
        """Return one of IDLE, HALF, UNREAD, SERVED, and since when."""
        ...


def leaving(guests: Iterable[Guest], count: int, most: int) -> list[Guest]:
    """Return up to `count` connections to close, in the order of rule 2.

    Args:
        guests: All connections.
        count: How many are wanted.
        most: How many there may be in all; half of that is the share of one peer, a quarter that of one key.
    """
    found, of_a_key = list(guests), Limits(most, 0).of_a_key
    owners = Counter(guest.owner for guest in found)
    peers = Counter(guest.address for guest in found)
    ranked: list[tuple[bool, bool, int, float, int, Guest]] = []
    for guest in found:
        kind, since = guest.condition()
        within = owners[guest.owner] <= of_a_key
        known = bool(guest.owner) and within
        if kind == SERVED and (known or not guest.owner):
            continue
        crowding = peers[guest.address] > most // 2
        ranked.append((known, not crowding, kind, since, len(ranked), guest))
    ranked.sort(key=lambda entry: entry[:5])
    return [entry[5] for entry in ranked[:count]]
