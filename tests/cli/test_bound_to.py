"""What `ready` says of addresses: whether the key is bound is known, to which ones nobody was told."""

import pytest

from portcullis.cli.oversight_answers import Readiness
from portcullis.cli.readiness import _bound, _new

HERE = ["203.0.113.7"]


def row(*, bound: bool | None, addresses: list[str], age: float | None = 1.0) -> Readiness:
    return Readiness("main", "you", False, age, bound, addresses, [])


@pytest.mark.parametrize(
    ("bound", "age", "says"),
    [
        (True, 1.0, "some addresses"),
        (False, 1.0, "ANY address"),
        (None, 1.0, "not known"),
        (None, None, "not known"),
    ],
)
def test_the_egress_addresses_are_never_said_to_be_the_keys(
    bound: bool | None, age: float | None, says: str
) -> None:
    """A key bound to another host's address was shown as bound to this one's."""
    shown = row(bound=bound, addresses=HERE, age=age)
    assert _bound(shown).plain == says
    assert _new(shown).plain == "203.0.113.7"


def test_an_egress_without_addresses_is_said_of_new_keys() -> None:
    assert _new(row(bound=True, addresses=[])).plain == "no addresses declared"
