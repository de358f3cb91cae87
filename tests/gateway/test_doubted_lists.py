"""What orders of one list may have done that nobody told counts as one order's, where only one of them can have done it."""

from decimal import Decimal
from typing import Any

import pytest

from broker.gateway.fills import RecentFills
from broker.gateway.followed import Followed
from broker.gateway.sent import Sent
from broker.gateway.settlement import Reservation, Settlement
from broker.gateway.unseen import Asset, Doubt

MINE = Asset("main", "BTC", "mine", "one", "BTCUSDT", "1")
Row = tuple[str, str, str, int]
"""Order id, side, list and what is left."""


def doubt(grant: str, *rows: Row, **more: Any) -> Doubt:
    settlement, recent = Settlement(), RecentFills()
    orders = [
        Sent(
            1, grant, "main", "BTCUSDT", f"n{number}", side, Decimal(abs(left)), Decimal(0), 0, 1,
            order_id=number if listed is not None else None, base="BTC", **more,
        )
        for number, side, listed, left in rows
    ]  # fmt: skip
    settlement.hold(Reservation(1, grant, "main", "BTCUSDT", (), None, tuple(orders)))
    for number, side, listed, left in rows:
        if listed is not None:
            recent.keep(
                ("main", "BTCUSDT", number), grant, "BTC", side, Decimal(0), Decimal(left), listed=listed
            )
    return Followed(settlement, None, recent, lambda: 9).doubt(MINE, 5)  # type: ignore[arg-type]


OTHERS: dict[str, tuple[list[Row], int]] = {
    "two sales": ([("8", "SELL", "7/0", 2), ("9", "SELL", "7/0", 2)], 2),
    "of which nobody said the group": ([("8", "SELL", "7", 2), ("9", "SELL", "7", 2)], 2),
    "of two lists": ([("8", "SELL", "6/0", 2), ("9", "SELL", "7/0", 2)], 4),
    "a sale, and one that waits for it": ([("8", "SELL", "7/0", 2), ("9", "SELL", "7/1", -3)], 2),
    "two purchases": ([("8", "BUY", "7/0", 2), ("9", "BUY", "7/0", 2)], 2),
    "a purchase, and one that waits for it": ([("8", "BUY", "7/0", 2), ("9", "BUY", "7/1", -3)], 5),
    "purchases of which nobody said the group": ([("8", "BUY", "7", 2), ("9", "BUY", "7", 2)], 4),
    "a purchase, and sales that wait for it": (
        [("7", "BUY", "7/0", 2), ("8", "SELL", "7/1", -2), ("9", "SELL", "7/1", -2)],
        2,
    ),
    "of no list": ([("8", "BUY", "", 2), ("9", "SELL", "", 2)], 4),
}


@pytest.mark.parametrize(("rows", "others"), OTHERS.values(), ids=OTHERS)
def test_what_others_may_have_at_worst(rows: list[Row], others: int) -> None:
    found = doubt("other", *rows)
    assert (found.any, found.others, found.replaced) == (True, others, False)


def test_of_what_has_no_id_yet_its_request_says_it() -> None:
    rows: list[Any] = [("8", "BUY", None, 2), ("9", "BUY", None, 2)]
    assert doubt("other", *rows, grouped=True).others == 2
    assert doubt("other", *rows).others == 4


@pytest.mark.parametrize(
    ("rows", "offered"),
    [
        ([("1", "SELL", "7/0", 2), ("9", "SELL", "7/0", 2)], 2),
        ([("1", "SELL", "7/1", -3), ("9", "SELL", "7/0", 2)], 5),
        ([("1", "BUY", "7/0", 2), ("9", "SELL", "7/1", -3)], 1),
    ],
)
def test_what_ends_with_the_order_that_is_replaced_may_be_over(rows: list[Row], offered: int) -> None:
    for known in (rows, rows[1:]):  # of the other one alone it is not known that it ends with it
        found = doubt("mine", *known)
        assert found.replaced == (known is rows)
        assert found.offered == (offered if known is rows else 0)
