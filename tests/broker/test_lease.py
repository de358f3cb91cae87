"""Leases: both errors of measuring shorten them, none lengthens them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import lease
from broker.lease import LEASE_US, LONGEST_WINDOW_US, SHORTEST_USE_US, Lease
from broker.model import KeyRef
from clients.venue import Slot

US = st.integers(0, 10**9)


@given(began=US, read_for=US, sent=US, travel=US, back=US)
def test_a_lease_never_outlives_the_reading_of_the_gates_by_more_than_its_length(
    began: int, read_for: int, sent: int, travel: int, back: int
) -> None:
    """One clock for both: the gateway asks at `sent`, the broker answers later, the answer travels back."""
    answered = max(began + read_for, sent + travel)
    ttl = lease.granted_us(LEASE_US, began, answered)
    end = lease.expiry_us(sent, ttl)
    assert end <= began + LEASE_US + max(0, sent - began)
    assert end <= sent + LEASE_US
    if ttl:
        assert end <= began + LEASE_US
    del back


def held(expires_us: int, extra_us: int = 0) -> Lease:
    return Lease("l", "g", KeyRef("a", Slot.TRADE, 1), ("everything",), (0,), expires_us, extra_us)


@pytest.mark.parametrize(
    ("left", "window"),
    [
        (SHORTEST_USE_US - 1, None),
        (SHORTEST_USE_US, SHORTEST_USE_US),
        (LONGEST_WINDOW_US - 1, LONGEST_WINDOW_US - 1),
        (LONGEST_WINDOW_US, LONGEST_WINDOW_US),
        (LEASE_US, LONGEST_WINDOW_US),
    ],
)
def test_what_is_signed_dies_with_the_lease_and_after_two_seconds(left: int, window: int | None) -> None:
    assert lease.window_us(60_000_000, left) == window


def test_a_bots_shorter_window_is_kept() -> None:
    assert lease.window_us(700_000, LEASE_US) == 700_000


def test_extra_time_is_for_cancels_and_exits_only() -> None:
    over = held(1_000_000, extra_us=5_000_000)
    assert lease.left_us(over, 2_000_000, leaving=False) == -1_000_000
    assert lease.left_us(over, 2_000_000, leaving=True) == 4_000_000


def test_a_renewal_may_shorten() -> None:
    assert lease.renewed(held(100), 10, 20).expires_us == 30


def test_gates_read_in_the_future_are_our_own_bug() -> None:
    with pytest.raises(ValueError, match="future"):
        lease.granted_us(LEASE_US, 2, 1)
