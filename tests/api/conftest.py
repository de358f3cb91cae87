"""Fixtures of the API's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.desk import Desk, opened_desk


@pytest.fixture
def desk(tmp_path: Path, kind: str) -> Iterator[Desk]:
    """An API over SQLite, and the same over PostgreSQL."""
    del kind
    with opened_desk(tmp_path) as made:
        yield made
