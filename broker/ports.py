"""What the broker needs of the world, as protocols. `broker.stores` and `portcullis` implement them."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from clients.secret import Secret


class Clock(Protocol):
    """Time, passed in wherever it is needed."""

    def now(self) -> datetime:
        """Aware UTC."""
        ...

    def now_us(self) -> int:
        """Microseconds since the epoch."""
        ...

    def boot_us(self) -> int:
        """Microseconds on a clock that never goes back and also runs while the machine sleeps."""
        ...


class GateMirror(Protocol):
    """The second place where closed gates are written down: small documents by name, none of them secret.

    Every method may raise `StoreUnavailable`.
    """

    def names(self) -> tuple[str, ...]:
        """Return the names of all documents, sorted."""
        ...

    def read(self, name: str) -> str | None:
        """Return one document; None where there is none."""
        ...

    def change(self, name: str, judge: Callable[[str | None], str | None]) -> None:
        """Read, judge and write as one: `judge` gets what is there and returns what shall be; None leaves it.

        It may be asked more than once, where another writer was faster.
        """
        ...


class SecretStore(Protocol):
    """Immutable secret values by path, with metadata that an offline responder can read.

    Paths are `/`-separated lower-case words, as in `keys/binance-main/trade/1`. Metadata holds no secret.
    Every method may raise `StoreUnavailable`: it cannot answer; after a `write` that means unknown.
    """

    def write(self, path: str, values: Mapping[str, Secret], metadata: Mapping[str, str]) -> None:
        """Write once. Writing the same again is nothing; something else there is `StoreConflict`."""
        ...

    def read(self, path: str) -> Mapping[str, Secret]:
        """Return the values. `NotFound` where nothing is, or no longer is.

        Who asks it for a value that is not there is told `StoreUnavailable`: it was to be there.
        """
        ...

    def metadata(self, path: str) -> Mapping[str, str]:
        """Return the metadata, which outlives `destroy`. `NotFound` where nothing ever was."""
        ...

    def paths(self, prefix: str) -> tuple[str, ...]:
        """Return every path under a prefix, sorted, destroyed ones included."""
        ...

    def destroy(self, path: str) -> None:
        """Destroy the values for good and keep the metadata. Only after proven death. Twice is once."""
        ...

    @property
    def mirror(self) -> GateMirror:
        """The mirror of the gates."""
        ...

    def may_serve_on(self) -> bool:
        """Tell whether running leases may go on: False where the store has been away for too long."""
        ...

    def maintain(self) -> None:
        """Keep the way to the store open; called every few seconds."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...
