"""Fixtures of the API's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.desk import Desk, opened_desk
from tests.api.people import Clock, live


@pytest.fixture
def desk(tmp_path: Path, kind: str) -> Iterator[Desk]:
    """An API over SQLite, and the same over PostgreSQL."""
    del kind
    with opened_desk(tmp_path) as made:
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def team(tmp_path: Path, clock: Clock) -> Iterator[Desk]:
    yield from live(tmp_path, clock, "team")


@pytest.fixture
def solo(tmp_path: Path, clock: Clock) -> Iterator[Desk]:
    yield from live(tmp_path, clock, "solo")
