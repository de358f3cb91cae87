"""What is brought to a destination, and what every kind of destination can do.

Rules:
1. `deliver` may be done again at any time and brings about the same: a crash after it costs nothing.
2. `confirm` says whether the new key is in use there; it changes nothing.
3. Both end within `PATIENCE_S`, beside what the parcel's looks take: a rotator's claim is longer. What takes longer is
   asked about again later.
4. Right before each step by which the key leaves, or is taken into use, `deliver` has the parcel `look`: after all that
   may take long (a connection, a disk), because what was judged before a wait counts no more after it.
5. What goes wrong is a `NotDelivered` with words for the person on call, and never a secret in them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from broker.model import KeyRef
from clients.secret import Secret
from clients.venue import KeyType

PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class Parcel:
    """A key on its way. `look` raises where it must go no further: a gate was shut, or it is not wanted any more."""

    rotation: str
    ref: KeyRef
    venue: str
    key_id: str
    key_type: KeyType
    secret: Secret = field(repr=False)
    look: Callable[[], object] = field(repr=False, compare=False)


class NotDelivered(Exception):
    """It did not get there, or nobody knows whether it did; it is tried again."""


class WrittenOver(NotDelivered):
    """It was there, and is not any more: it is brought again."""


class Place(Protocol):
    """One destination at work."""

    def deliver(self, parcel: Parcel) -> None:
        """Bring a key. Raises NotDelivered, and what the parcel's `look` raises."""
        ...

    def confirm(self, parcel: Parcel) -> str:
        """Return what is still waited for; empty where the key is in use. Raises NotDelivered, WrittenOver."""
        ...
