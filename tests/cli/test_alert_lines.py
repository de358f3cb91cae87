"""`alerts list` says since when only where that was written down."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

from portcullis.cli.alerts import _line
from portcullis.cli.oversight_answers import Alert


def line(*, quiet: bool) -> str:
    opened = datetime.now(UTC) - timedelta(minutes=9)
    row = SimpleNamespace(says="no standby key", quiet=quiet, sent_at=None, opened_at=opened)
    return _line(cast("Alert", row)).plain


def test_a_state_whose_beginning_nobody_wrote_down_is_not_said_to_begin_now() -> None:
    """An account without a standby key for four minutes was listed with `0 s ago`, every time."""
    assert line(quiet=True) == "no standby key"


def test_what_the_rotator_found_is_told_with_its_time_and_whether_anybody_knows() -> None:
    assert line(quiet=False) == "no standby key (9 min ago; nobody was told yet)"
