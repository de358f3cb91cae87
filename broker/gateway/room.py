"""How much room there is for connections, and who leaves when there is none. Pure.

Rules:
1. Open files decide: lines to the venue and a slack for the link, the spool and accepted sockets come first.
2. Who leaves first, when a new connection needs room: idle ones, longest idle first; then those with half a
   request; then those that do not read their answers. Connections whose requests verified come after all
   others of the same kind, up to `MOST_PER_KEY` of one key. A connection that is being served never leaves, unless
   its key has more than that.
3. A peer or key beyond its share is a stranger with all its connections.
"""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple, Protocol

MOST_CONNECTIONS = 512
MOST_LINES = 128
MOST_PER_KEY = 128
LARGEST_HELD = 48 * 1024 * 1024
"""Bytes of all connections together: requests not yet taken up and answers not yet read."""

_LEAST_LINES, _LEAST_CONNECTIONS = 8, 16
_SLACK = 64

SERVED, UNREAD, HALF, IDLE = 3, 2, 1, 0


class Limits(NamedTuple):
    """What a process may hold open: bots' connections, and lines to one venue."""

    connections: int
    lines: int


def limits_of(open_files: int) -> Limits:
    """Divide the files that the process may open.

    Args:
        open_files: Soft limit of the process (`RLIMIT_NOFILE`); below zero where there is none.
    """
    if open_files < 0:
        return Limits(MOST_CONNECTIONS, MOST_LINES)
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
        most: How many there may be in all; half of that is the share of one peer.
    """
    found = list(guests)
    owners = Counter(guest.owner for guest in found)
    peers = Counter(guest.address for guest in found)
    ranked: list[tuple[bool, bool, int, float, int, Guest]] = []
    for guest in found:
        kind, since = guest.condition()
        within = owners[guest.owner] <= MOST_PER_KEY
        known = bool(guest.owner) and within
        if kind == SERVED and (known or not guest.owner):
            continue
        crowding = peers[guest.address] > most // 2
        ranked.append((known, not crowding, kind, since, len(ranked), guest))
    ranked.sort(key=lambda entry: entry[:5])
    return [entry[5] for entry in ranked[:count]]
