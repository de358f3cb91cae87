"""What a test needs of the machine and cannot have: elsewhere the test is left out and says so, in CI it fails."""

import os
from typing import NoReturn

import pytest


def in_ci() -> bool:
    """Tell whether what is missing is a failure."""
    return bool(os.environ.get("CI"))


def lack(what: str) -> NoReturn:
    """Leave the test out; in CI, fail it. `what` says what is missing, what is left out, and what to do."""
    (pytest.fail if in_ci() else pytest.skip)(what)
