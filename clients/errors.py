"""What can go wrong between us and a venue.

    VenueError            never raised itself
      VenueRefused        definite no: the venue read the request and declined        outcome REFUSED
      VenueUnavailable    nothing was done; may be tried again                        outcome RETRY
      VenueAmbiguous      it may have taken effect; find out before trying again      outcome UNKNOWN

Each error knows its `outcome`; only RETRY may be retried, UNKNOWN must be reconciled. Messages carry
venue, endpoint name, HTTP status and venue code; never a URL, a body or a header, because those hold
signatures and keys.
"""

from enum import StrEnum

VENUE_PAUSE = "venue_pause"
"""Reason of a call that was not sent, because the venue asks everybody behind our way out to wait."""


class Outcome(StrEnum):
    """What is known about the outside world after an error."""

    REFUSED = "refused"
    RETRY = "retry"
    UNKNOWN = "unknown"


class VenueError(Exception):
    """Root of the tree; catch it to handle "the venue did not simply say yes"."""

    outcome: Outcome

    def __init__(
        self,
        venue: str,
        endpoint: str,
        reason: str,
        *,
        status: int | None = None,
        code: str | None = None,
        text: str = "",
    ) -> None:
        """Describe one failed call.

        Args:
            venue: Venue name, as in `binance`.
            endpoint: Our stable name of the endpoint, never a URL.
            reason: Short stable code of ours, as in `bad_signature`.
            status: HTTP status, when there was an answer.
            code: The venue's own code, as text.
            text: The venue's own words, only where they are known to hold no secret.
        """
        self.venue, self.endpoint, self.reason = venue, endpoint, reason
        self.status, self.code, self.text = status, code, text
        parts = [f"{venue} {endpoint}: {reason}"]
        if status is not None:
            parts.append(f"HTTP {status}")
        if code is not None:
            parts.append(f"code {code}")
        if text:
            parts.append(text)
        super().__init__(", ".join(parts))


class VenueRefused(VenueError):
    """The venue read the request and declined it."""

    outcome = Outcome.REFUSED


class VenueUnavailable(VenueError):
    """Nothing was done: not connected, rate limited, or refused before it was read."""

    outcome = Outcome.RETRY


class VenueAmbiguous(VenueError):
    """The request may have taken effect: a timeout or 5xx after it was sent."""

    outcome = Outcome.UNKNOWN
