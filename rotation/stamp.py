"""The time that a create or delete is signed with: read as the last thing before it is sent.

Rules:
1. Nothing that waits comes between it and the request: who looks for long would send what the exchange refuses as
   stale, and look as long the next time.
2. It lies between the clock that was read for the request, which is on record, and `Limits.signed_for` later, by that
   same clock. Who stood still for longer sends nothing: others may have carried the rotation on. So no request takes
   effect later than that and the receive window, and the record says when that is.
3. Right before it the claim is looked at.
"""

from collections.abc import Callable

from clients.errors import VenueUnavailable
from rotation.fence import Fence
from rotation.state import TOO_LATE, Rotation


class LastStamp:
    """Tells the venue time to sign one request of a rotation with. `at_us`: what it told; None before it was asked."""

    def __init__(self, rotation: Rotation, fence: Fence, now_us: Callable[[], int]) -> None:
        if rotation.stamp_us is None:
            raise RuntimeError("a create or delete is signed after a clock that was saved")
        self._fence, self._now_us, self._venue = fence, now_us, rotation.venue
        self._latest_us = rotation.limits.latest_us(rotation.stamp_us)
        self.at_us: int | None = None

    def __call__(self) -> int:
        """Tell it.

        Raises:
            Lost: Somebody else carries the rotation on.
            StoreUnavailable: Whether that is so cannot be told.
            VenueUnavailable: Too much time has passed; nothing is sent.
        """
        self._fence.ensure()
        at_us = self._now_us()
        if at_us > self._latest_us:
            raise late(self._venue)
        self.at_us = at_us
        return at_us


def late(venue: str) -> VenueUnavailable:
    """Return what is raised where too much time has passed to sign a request."""
    return VenueUnavailable(venue, "key.sign", TOO_LATE)
