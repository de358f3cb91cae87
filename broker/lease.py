"""Leases: a gateway's short-lived right to use a key version for a grant. Pure arithmetic on two clocks.

Rules:
1. A renewal grants the lease time minus what has passed since the broker *began* the transaction that read
   the gates: what was read late is worth less.
2. The gateway counts from the moment it *sent* the request, on a clock that also runs while the machine
   sleeps. Both errors shorten the lease, none lengthens it.
3. There is no grace. A grant may name `exits_after_end_seconds`: what comes in that time is judged as under a halt.
4. Under `SHORTEST_USE_US` of lease left nothing is sent: the receive window could not be kept inside it.
"""

from dataclasses import dataclass, replace

from broker.model import KeyRef

US = 1_000_000
LEASE_US = 15 * US
"""How long a partition survives, and how long a cut may take through one."""

SHORTEST_USE_US = US // 2
LONGEST_WINDOW_US = 2 * US
"""Receive windows are capped here: what we sign is dead two seconds later, whatever the bot asked."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What a gateway holds. `expires_us` is on the gateway's own boot clock."""

    id: str
    grant: str
    key: KeyRef
    chain: tuple[str, ...]
    epochs: tuple[int, ...]
    expires_us: int
    exits_after_end_us: int = 0


def granted_us(length_us: int, began_us: int, now_us: int) -> int:
    """Return how long a lease that is granted now may live; zero where the gates were read too long ago.

    Args:
        length_us: The grant's lease time.
        began_us: When the transaction that read the gates began, on the broker's monotonic clock.
        now_us: The same clock, now.

    Raises:
        ValueError: The reading lies in the future (caller's bug).
    """
    if began_us > now_us:
        raise ValueError("the gates cannot have been read in the future")
    return max(0, length_us - (now_us - began_us))


def expiry_us(sent_us: int, ttl_us: int) -> int:
    """Return when a lease ends at the gateway, counted from when it asked."""
    return sent_us + ttl_us


def renewed(lease: Lease, sent_us: int, ttl_us: int) -> Lease:
    """Return the lease with a new end; a renewal that says less than is left still counts."""
    return replace(lease, expires_us=expiry_us(sent_us, ttl_us))


def left_us(lease: Lease, now_us: int, *, leaving: bool) -> int:
    """Return how much use is left.

    Args:
        lease: The lease.
        now_us: Now, on the gateway's boot clock.
        leaving: Whether the request is a cancel or an exit, to which the grant's extra time counts.
    """
    return lease.expires_us + (lease.exits_after_end_us if leaving else 0) - now_us


def only_exits(lease: Lease, now_us: int) -> bool:
    """Tell whether the lease is over, but not the time in which cancels and exits pass all the same."""
    left = left_us(lease, now_us, leaving=False)
    return left < SHORTEST_USE_US <= left + lease.exits_after_end_us


def window_us(asked_us: int, left: int) -> int | None:
    """Return the receive window to sign with; None where too little lease is left to send anything."""
    if left < SHORTEST_USE_US:
        return None
    return min(asked_us, LONGEST_WINDOW_US, left)
