"""How long tests let facts and budgets take: a busy machine is no outage, and decides nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from broker.authority import lending
from broker.gateway import asking, forward

PATIENCE_S = 5.0
_OF_THE_BROKER = 0.9
"""The broker gives up before the gateway does, as it does in the product."""


@contextmanager
def patient(seconds: float = PATIENCE_S) -> Iterator[None]:
    """Let a request wait longer than a bot would for facts and for budget, unless a test waits longer still."""
    was = forward.PREPARE_SECONDS, asking.ASK_SECONDS, lending.LOAN_SECONDS
    forward.PREPARE_SECONDS, asking.ASK_SECONDS = (max(one, seconds) for one in was[:2])
    lending.LOAN_SECONDS = max(was[2], seconds * _OF_THE_BROKER)
    try:
        yield
    finally:
        forward.PREPARE_SECONDS, asking.ASK_SECONDS, lending.LOAN_SECONDS = was


@pytest.fixture
def very_patient() -> Iterator[None]:
    """Wait as long as it takes: for tests in which every answer is judged."""
    with patient(30.0):
        yield
