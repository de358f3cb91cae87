"""Connections by asyncio to whichever of a host's addresses answers (`clients.addresses`): the gateway's, to exchanges.

Rules:
1. An attempt that is not used is closed, whatever ends the wait.
2. What is asked has its end with who asks: nothing here waits beyond a cancellation.
"""

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from clients.addresses import STAGGER_S, Tried, same_family


class Place(NamedTuple):
    """One address of a host, as the system gives it."""

    family: int
    kind: int
    protocol: int
    address: tuple[Any, ...]

    @property
    def name(self) -> tuple[str, int]:
        """Address and port."""
        return str(self.address[0]), int(self.address[1])


async def places(host: str, port: int, source: str | None) -> list[Place]:
    """Return a host's addresses; from a source only those of its own kind.

    Raises:
        OSError: There are none, or the name cannot be resolved.
    """
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )  # waits for nobody
    except socket.gaierror:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    there = [Place(family, kind, protocol, address) for family, kind, protocol, _, address in found]
    if source is not None:
        there = [one for one in there if same_family(one.name[0], source)]
    if not there:
        raise OSError("it has no address that can be reached from here")
    return there


async def dial(there: list[Place], source: str | None, tried: Tried) -> tuple[Place, socket.socket]:
    """Connect to whichever of the places answers first; the attempts at the others end.

    Raises:
        OSError: None answers.
    """
    waiting = deque(tried.ordered(there, lambda one: one.name))
    under_way: dict[asyncio.Task[socket.socket], Place] = {}
    winner: asyncio.Task[socket.socket] | None = None
    fault: BaseException | None = None
    try:
        while winner is None and (waiting or under_way):
            if waiting:
                place = waiting.popleft()
                under_way[asyncio.ensure_future(_reached(place, source))] = place
            await asyncio.wait(
                under_way, timeout=STAGGER_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in [one for one in under_way if one.done()]:
                if task.exception() is None:
                    winner = winner or task
                    continue
                fault = task.exception()
                tried.failed(under_way.pop(task).name)
    finally:
        for task in under_way:
            if task is not winner:
                task.cancel()
                task.add_done_callback(_drop)
    if winner is None:
        raise fault if isinstance(fault, OSError) else OSError("none of its addresses answers")
    for task, place in under_way.items():
        if task is winner:
            break
        tried.failed(place.name)  # it had more time than the winner
    return under_way[winner], winner.result()


def _drop(task: "asyncio.Task[socket.socket]") -> None:
    """Close what nobody waits for any more."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _reached(place: Place, source: str | None) -> socket.socket:
    sock = socket.socket(place.family, place.kind, place.protocol)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source is not None:
            sock.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(sock, place.address)
    except BaseException:
        sock.close()
        raise
    return sock


@contextlib.contextmanager
def judged(place: Place, sock: socket.socket, tried: Tried) -> Iterator[None]:
    """Note whether a place was of use; close the socket where it was not."""
    try:
        yield
    except BaseException:
        sock.close()
        tried.failed(place.name)
        raise
    tried.answered(place.name)
