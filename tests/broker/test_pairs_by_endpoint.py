"""Of a request whose answer was lost the endpoint tells whether one of its orders excludes another."""

from decimal import Decimal

import pytest

from broker.db import unheard
from clients.venue import Action
from clients.venues.binance.endpoints import ENDPOINTS

LISTS = sorted(
    {row.name for row in ENDPOINTS.values() if "order_list" in row.name and row.action is Action.PLACE}
)
ONE_AFTER_ANOTHER = (".oto", ".opo")


def test_there_are_lists() -> None:
    assert {"spot.order_list.oco", "spot.order_list.oco_old", "spot.order_list.otoco"} <= set(LISTS)


@pytest.mark.parametrize("name", LISTS)
def test_of_alternatives_one_counts(name: str) -> None:
    both = unheard._at_most([Decimal(2), Decimal(2)], name)
    assert both == (4 if name.endswith(ONE_AFTER_ANOTHER) else 2)
