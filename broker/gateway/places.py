"""Places for questions that only help to judge an exit: what a venue does not answer keeps no line from exits.

Rules:
1. They belong to one way to a venue (`upstream.Pool`): what hangs there is no hindrance anywhere else.
2. A key may have an eighth of all lines for them, all keys a quarter. A key that has next to none gets one all the
   same, up to half of all lines: whoever asks much keeps nobody from asking at all.
3. Who waits is served in turn, key by key.
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_FIRST = 2
"""So many a key gets beyond what all have together."""

_Waiting = deque["asyncio.Future[None]"]


class Places:
    """Those of one way to a venue, which has so many lines at most."""

    def __init__(self, lines: int) -> None:
        self._of_a_key, self._of_all, self._most = max(1, lines // 8), max(1, lines // 4), max(1, lines // 2)
        self._taken: Counter[str] = Counter()
        self._all = 0
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()

    @asynccontextmanager
    async def one(self, key: str) -> AsyncIterator[None]:
        """Wait for a place, and have it until the end of the block."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(place)
        self._serve()
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():  # it was given just now
                self._leave(key)
            raise
        try:
            yield
        finally:
            self._leave(key)

    def _free(self, key: str) -> bool:
        own = self._taken[key]
        if own < _FIRST and self._all < self._most:
            return True
        return own < self._of_a_key and self._all < self._of_all

    def _serve(self) -> None:
        """Give places to those who wait, one to each key in turn."""
        given = True
        while given:
            given = False
            for key, waiting in list(self._waiting.items()):
                while waiting and waiting[0].done():  # who waited does no more
                    waiting.popleft()
                if waiting and self._free(key):
                    given = True
                    self._taken[key] += 1
                    self._all += 1
                    waiting.popleft().set_result(None)
                    self._waiting.move_to_end(key)
                if not waiting:
                    del self._waiting[key]

    def _leave(self, key: str) -> None:
        self._all -= 1
        self._taken[key] -= 1
        if not self._taken[key]:
            del self._taken[key]
        self._serve()
