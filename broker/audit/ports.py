"""What keeps checkpoints outside, as a protocol."""

from typing import Protocol


class AnchorFailed(Exception):
    """A checkpoint could not be kept there; in one sentence why."""


class Anchor(Protocol):
    """A place that we can add to and not change: off this host, or out of our reach."""

    @property
    def name(self) -> str:
        """What operators call it, as in `file:/var/log/...`."""
        ...

    def keep(self, line: str) -> None:
        """Keep one checkpoint, a line of JSON. Blocks for seconds at most.

        Raises:
            AnchorFailed: It is not kept there.
        """
        ...
