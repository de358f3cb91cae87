"""Large answers that bots are reading: what is held of them, counted once however many read the same bytes. Pure.

They are written in pieces (`connection.py`), each a copy: a transport that was given all of one would hold it to its
last byte, and say that it holds what is left.
"""

PIECE = 256 * 1024


class Loads:
    """The bodies that connections have not written to their end."""

    def __init__(self) -> None:
        self._readers: dict[int, tuple[bytes, int]] = {}
        self.total = 0
        """Bytes of all of them."""

    def enter(self, body: bytes) -> None:
        """One more connection is going to read this very object."""
        _, readers = self._readers.get(id(body), (body, 0))
        self._readers[id(body)] = body, readers + 1
        if not readers:
            self.total += len(body)

    def leave(self, body: bytes) -> None:
        """A connection needs it no more."""
        _, readers = self._readers.pop(id(body), (body, 0))
        if readers > 1:
            self._readers[id(body)] = body, readers - 1
        elif readers:
            self.total -= len(body)

    def share(self, body: bytes) -> int:
        """Return how much of it is each reader's, where they part it among them."""
        _, readers = self._readers.get(id(body), (body, 0))
        return len(body) // readers if readers else 0
