"""Documents of the mirror that cannot be read or written, in a store that answers: each fails by itself.

One that fails keeps no other back, nor a start, and is told by its name. Its cut holds meanwhile: by the record, or,
where it is on none, because nobody is served before it was read.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from broker.db import faults
from broker.errors import StoreUnavailable
from broker.service.rounds import SOME_PATHS

_MOST_NAMED = 5


class Apart:
    """Remembers who failed when it was tried last. For the thread that merges; others only fail."""

    def __init__(self, answers: Callable[[], object]) -> None:
        self._answers = answers
        """Asks the store something else; raises where it does not answer."""
        self._failing: dict[str, str] = {}

    @contextmanager
    def by_itself(self, name: str) -> Iterator[None]:
        """Do something with one document; that it cannot be done is told later.

        Raises:
            StoreUnavailable: The database, or the store as a whole, cannot answer.
        """
        try:
            yield
        except StoreUnavailable as fault:
            if faults.is_ours(fault.reason):
                raise
            self._failing[name] = str(fault)
            self._answers()
        else:
            self._failing.pop(name, None)

    def in_order(self, names: Iterable[str]) -> list[str]:
        """Return names in their order, with those last that failed before."""
        return sorted(names, key=lambda name: (name in self._failing, name))

    def tell(self, known: Iterable[str]) -> None:
        """Say which of them fail; who is not known any more is forgotten.

        Raises:
            StoreUnavailable: `SOME_PATHS`, where one does.
        """
        for name in self._failing.keys() - set(known):
            self._failing.pop(name, None)
        some = sorted(self._failing.items())
        if some:
            more = f" and {len(some) - _MOST_NAMED} more" if len(some) > _MOST_NAMED else ""
            named = ", ".join(f"gates/{name!a}" for name, _ in some[:_MOST_NAMED])
            raise StoreUnavailable(SOME_PATHS, f"{named}{more}: {some[-1][1]}")
