"""Rotators of tests do in seconds what takes minutes elsewhere, and have the weight and the patience of all those minutes."""

import pytest

from broker.gateway import limits as of_gateways
from clients.paper import limits as of_the_venue
from rotation.destinations import delivery, errands, rounds

MINUTES = 20
PATIENT_S = 20.0
"""So long a busy machine may take for an errand that does what it should. Tests of those that hang say how long."""


@pytest.fixture(autouse=True)
def _weight_of_many_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give address and exchange more weight, so that a bot beside a hasty rotator is not asked to wait."""
    monkeypatch.setitem(of_gateways._POOLS, "ip", MINUTES * of_gateways._POOLS["ip"])
    monkeypatch.setattr(of_the_venue, "API_WEIGHT", MINUTES * of_the_venue.API_WEIGHT)


@pytest.fixture(autouse=True)
def _errands_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for errands longer than a rotator does, which comes again: most tests let it go one round."""
    monkeypatch.setattr(delivery, "WAIT_S", PATIENT_S)
    monkeypatch.setattr(rounds, "WAIT_S", PATIENT_S)


@pytest.fixture
def errands_hang(_errands_waited_for: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for errands as a rotator does: for tests of those that never come back."""
    monkeypatch.setattr(delivery, "WAIT_S", errands.WAIT_S)
    monkeypatch.setattr(rounds, "WAIT_S", errands.WAIT_S)
