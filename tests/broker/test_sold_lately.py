"""What others sold so lately that holdings may still have it as free is taken off, and nothing else is."""

from decimal import Decimal

import pytest

from broker.calllog import Answered, SentLine
from broker.db import lately
from broker.db.database import Database
from broker.db.lately import APART_US, HeldAsOf
from broker.policy_facts import UNKNOWN
from tests.broker.test_unheard_named import PAIRS, ask, database, tell

__all__ = ["database"]
S = 1_000_000
HELD = HeldAsOf(100 * S, 100 * S)
SELLS: SentLine = ("y", "SELL", "0.5", "", True)


def sold(database: Database, gateway: str = "local") -> Decimal:
    with database.log.read() as connection:
        found = lately.sold(connection, "main", "BTC", PAIRS, gateway, HELD)
    assert found.any == (found.amount > 0)
    return found.amount


def answer(
    database: Database, at_us: int, executed: str = "0.3", left: str = "0.2", symbol: str = "BTCUSDT"
) -> None:
    own = ((symbol.removesuffix(">"), "#7", "y"),)
    fills = (("main", symbol, "7", "BTC", "SELL", executed, left),)
    tell(
        database,
        Answered(1, 1, at_us, 200, None, 1, "done", (), (), "main", "two", own, fills, "b1", gateway="edge"),
    )


@pytest.mark.parametrize("grant", ["one", "two", "gone"])
def test_a_sale_without_an_answer_counts_whosever_it_is(database: Database, grant: str) -> None:
    ask(database, 1, grant, SELLS, at_us=99 * S)
    assert sold(database) == 0, "the exchange takes it no more: holdings show it, or it never was"
    ask(database, 2, grant, SELLS, at_us=100 * S)
    assert sold(database) == Decimal("0.5")
    assert sold(database, "edge") == 0, "who sent it knows"


def test_one_is_taken_off_until_its_answer_is_older_than_the_holdings(database: Database) -> None:
    ask(database, 1, "two", SELLS, at_us=99 * S)
    answer(database, 100 * S)
    assert sold(database) == Decimal("0.5"), "whole: nobody knows how much of it they have"
    assert sold(database, "edge") == 0


@pytest.mark.parametrize("why", ["answered before", "sent long ago", "another asset"])
def test_what_holdings_show_is_not_taken_off(database: Database, why: str) -> None:
    ask(database, 1, "two", SELLS, at_us=80 * S if why == "sent long ago" else 99 * S)
    answer(database, 100 * S - APART_US if why == "answered before" else 101 * S)
    with database.log.read() as connection:
        base = "ETH" if why == "another asset" else "BTC"
        assert lately.sold(connection, "main", base, set(), "local", HELD).amount == 0


def test_what_a_purchase_pays_is_sold_and_may_have_no_bound(database: Database) -> None:
    ask(
        database,
        1,
        "two",
        ("x", "BUY", "4", "0.05", True),
        symbol="ETHBTC",
        base="ETH",
        quote="BTC",
        at_us=100 * S,
    )
    assert sold(database) == Decimal("0.20")
    ask(
        database,
        2,
        "two",
        ("z", "BUY", "4", "", True),
        symbol="ETHBTC",
        base="ETH",
        quote="BTC",
        at_us=100 * S,
    )
    assert sold(database) == UNKNOWN


def test_what_was_cancelled_elsewhere_since_may_be_bound_in_the_holdings(database: Database) -> None:
    """Also one that had rested for long: it gave nothing, and makes no definite no."""
    ask(database, 1, "two", SELLS, at_us=20 * S)
    answer(database, 101 * S, "0", "0")
    with database.log.read() as connection:
        found = lately.sold(connection, "main", "BTC", PAIRS, "local", HELD)
    assert found == (0, True)
