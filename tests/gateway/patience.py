"""How long tests let facts and budgets take: a busy machine is no outage, and decides nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from broker.authority import behind, given, lending
from broker.gateway import asking, depth, fetch, followed, forward, guard

PATIENCE_S = 5.0
_LINES_S = 5.0
_MOST_OF_THE_VENUE_S = 5.0
"""An exit waits no longer for what a venue does not tell of orders: it is judged beside the doubt then."""

_IN_THE_PRODUCT = followed.LONGEST_S, followed.LANDS_S, followed.HELD_S
_OF_THE_BROKER = 0.9
"""The broker gives up before the gateway does, as it does in the product."""


@contextmanager
def patient(seconds: float = PATIENCE_S) -> Iterator[None]:
    """Let a request wait longer than a bot would for facts and for budget, unless a test waits longer still."""
    was = forward.PREPARE_SECONDS, asking.ASK_SECONDS, lending.LOAN_SECONDS
    waits_s, behind.WAIT_S = behind.WAIT_S, max(behind.WAIT_S, min(seconds / 2, _LINES_S))
    open_s, acts_us = given.OPEN_S, guard.ACTS_US
    given.OPEN_S, guard.ACTS_US = max(open_s, 4 * seconds), max(acts_us, int(3_000_000 * seconds))
    looks_us, venue = depth.ASKS_US, (followed.LONGEST_S, followed.LANDS_S, followed.HELD_S)
    depth.ASKS_US = max(looks_us, int(2_000_000 * seconds))  # as in the product: longer than a request waits
    forward.PREPARE_SECONDS, asking.ASK_SECONDS = (max(one, seconds) for one in was[:2])
    lending.LOAN_SECONDS = max(was[2], seconds * _OF_THE_BROKER)
    pages_us, on_us = fetch.PAGES_US, fetch.LOOKS_US
    fetch.PAGES_US, fetch.LOOKS_US = max(pages_us, int(seconds * 1e6)), max(on_us, int(seconds * 1e6))
    if venue == _IN_THE_PRODUCT:  # else a test says how long
        longest_s = min(seconds, _MOST_OF_THE_VENUE_S)
        followed.LONGEST_S, followed.LANDS_S, followed.HELD_S = longest_s, longest_s / 2, longest_s
    try:
        yield
    finally:
        forward.PREPARE_SECONDS, asking.ASK_SECONDS, lending.LOAN_SECONDS = was
        depth.ASKS_US = looks_us
        fetch.PAGES_US, fetch.LOOKS_US = pages_us, on_us
        given.OPEN_S, guard.ACTS_US = open_s, acts_us
        behind.WAIT_S = waits_s
        followed.LONGEST_S, followed.LANDS_S, followed.HELD_S = venue


@pytest.fixture
def very_patient() -> Iterator[None]:
    """Wait as long as it takes: for tests in which every answer is judged."""
    with patient(30.0):
        yield
