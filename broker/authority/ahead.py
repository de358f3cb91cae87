"""Tells gateways which virtual keys they serve, so that each has its lease before a bot's first request.

Rules:
1. A gateway is told after its welcome, and again whenever that may be another list: a grant was made, reissued or
   revoked, an account's key was taken into use. The mark of it all is read at each heartbeat, because another process
   may have changed it, and at once where we heard of a change.
2. Only grants whose account has a key in use are named: for the others there is no lease to be had.
3. What cannot be read now is read at the next heartbeat; a lease is opened on first use, too.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from broker.authority.changes import Changes
from broker.authority.link import Link
from broker.background import Background
from broker.db import served as store
from broker.errors import BrokerError
from broker.link import frames
from broker.service import Change, Desk

_KEYS_A_FRAME = 5_000
Whose = tuple[str, str, str, str]
_LOG = logging.getLogger("portcullis.authority")


class Ahead:
    """Keeps every gateway's list as the record has it."""

    def __init__(
        self,
        desk: Desk,
        changes: Changes,
        beside: Background,
        run: Callable[[Callable[[], Any]], Awaitable[Any]],
    ) -> None:
        self._desk, self._changes, self._beside, self._run = desk, changes, beside, run
        self._mark: tuple[int, ...] = ()
        self._told: dict[Link, tuple[int, ...]] = {}
        self._looking = self._again = False
        desk.listeners.append(self._changed)

    def _changed(self, change: Change) -> None:
        """Hear of a committed change, in whatever thread made it."""
        if change.closing is not None or change.cut:
            return  # what is closed is served as before once it is open again
        if self._changes.loop is not None and self._changes.links:
            self._changes.loop.call_soon_threadsafe(self.look)

    def look(self) -> None:
        """Tell those who have another list, soon; one look at a time."""
        if self._looking:
            self._again = True
            return
        self._looking = True
        self._beside.begin(self._look(), "telling gateways what they serve")

    def forget(self, link: Link) -> None:
        """One has not heard what it was told last: it is told again."""
        self._told.pop(link, None)
        self.look()

    async def _look(self) -> None:
        try:
            while True:
                self._again = False
                links = list(self._changes.links.values())
                self._told = {link: mark for link, mark in self._told.items() if link in links}
                mark = await self._run(self._read_mark)
                behind = [link for link in links if self._told.get(link) != mark]
                if behind:
                    mark, keys = await self._run(self._read)
                    for link in behind:
                        self._tell(link, keys)
                        self._told[link] = mark
                if not self._again:
                    return
        except BrokerError as fault:
            _LOG.warning("what gateways serve could not be read; leases are opened on first use: %s", fault)
        finally:
            self._looking = False

    def _read_mark(self) -> tuple[int, ...]:
        with self._desk.database.read() as connection:
            return store.mark(connection)

    def _read(self) -> tuple[tuple[int, ...], list[tuple[str, Whose]]]:
        with self._desk.database.read() as connection:
            return store.mark(connection), store.keys(connection)

    @staticmethod
    def _tell(link: Link, keys: list[tuple[str, Whose]]) -> None:
        for start in range(0, max(1, len(keys)), _KEYS_A_FRAME):
            part = keys[start : start + _KEYS_A_FRAME]
            more = start + _KEYS_A_FRAME < len(keys)
            link.tell(frames.Serves(tuple(key for key, _ in part), more, tuple(whose for _, whose in part)))
