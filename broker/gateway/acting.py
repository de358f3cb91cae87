"""The broker's answers whose an asset is, and who may act on them still: it is told once nobody does any more.

A sale leaves by such an answer a moment after it came. Until then the broker tells no other gateway of the account what
that sale may be about to take (`authority.given`).

Rules:
1. A question belongs to the task that asks it. It is acted on as long as that runs, and as long as a request that
   waited for it has not left or been refused.
2. Once that is over, the broker is told, with the line up to which the log was written then: a sale is among those.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

_Task = asyncio.Task[Any]


class Word:
    """What one task asked, and for how many it is open still: that task, and the requests that it answers."""

    def __init__(self) -> None:
        self.asks: list[int] = []
        self.open_for = 1


class Acting:
    """All words of a gateway."""

    def __init__(self, over: Callable[[tuple[int, ...]], None]) -> None:
        self._over = over
        self._of: dict[_Task, Word] = {}

    def waits(self, task: _Task, words: list[Word]) -> None:
        """A request waits for what a task asks, and acts on it; `words` are those that it has so far."""
        word = self._of.get(task)
        if word is None:
            if task.done():
                return
            word = self._of[task] = Word()
            task.add_done_callback(self._asked)
        if word not in words:
            words.append(word)
            word.open_for += 1

    def asked(self, number: int) -> bool:
        """A task of ours asks the broker; tell whether anybody will say when that is over."""
        task = asyncio.current_task()
        word = None if task is None else self._of.get(task)
        if word is not None:
            word.asks.append(number)
        return word is not None

    def done(self, words: list[Word]) -> None:
        """A request has left, or never will."""
        for word in words:
            self._less(word)
        words.clear()

    def over(self, asks: Iterable[int]) -> None:
        """Say that nobody acts on these any more."""
        if found := tuple(asks):
            self._over(found)

    def _asked(self, task: _Task) -> None:
        self._less(self._of.pop(task))

    def _less(self, word: Word) -> None:
        word.open_for -= 1
        if not word.open_for:
            self.over(word.asks)
