"""Many who ask the same at once share one question.

What was asked before somebody came may be too old for them, so they share the next one: of each question there is one
under way and one that waits for it. It does not wait for long: who waits for a slow answer must not make others late.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

LONGEST_WAIT_S = 0.2

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Question(Generic[T]):
    task: "asyncio.Task[T]"
    begun: bool = False


def has_failed(task: "asyncio.Task[Any]") -> bool:
    """Tell whether a question is over, and had no answer."""
    return task.done() and (task.cancelled() or task.exception() is not None)


class Sharing(Generic[T]):
    """Questions by what they ask."""

    def __init__(self, longest_wait_s: float | None = None) -> None:
        self._longest_wait_s = longest_wait_s
        self._last: dict[Hashable, _Question[T]] = {}

    async def ask(self, what: Hashable, work: Callable[[], Coroutine[None, None, T]]) -> T:
        """Ask, or share a question that has not begun yet; it fails for all who share it."""
        return await asyncio.shield(self.begin(what, work))

    def begin(self, what: Hashable, work: Callable[[], Coroutine[None, None, T]]) -> "asyncio.Task[T]":
        """Return the question that is asked, or shared; who waits for it shields it."""
        question = self._last.get(what)
        if question is None or question.begun:
            question = self._put(what, work, question)
        return question.task

    def _put(
        self, what: Hashable, work: Callable[[], Coroutine[None, None, T]], before: _Question[T] | None
    ) -> _Question[T]:
        async def asked() -> T:
            if before is not None:
                longest_s = LONGEST_WAIT_S if self._longest_wait_s is None else self._longest_wait_s
                await asyncio.wait([before.task], timeout=longest_s)
            question.begun = True
            return await work()

        question = _Question(asyncio.ensure_future(asked()))
        self._last[what] = question
        question.task.add_done_callback(lambda _: self._over(what, question))
        return question

    def _over(self, what: Hashable, question: _Question[T]) -> None:
        if self._last.get(what) is question:
            del self._last[what]
        if not question.task.cancelled():
            question.task.exception()  # whoever waits has it; perhaps nobody does any more
