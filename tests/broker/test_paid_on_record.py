"""What orders move of their quote asset is on record, in sums and in retention, and belongs to who owns the order."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from broker.calllog import Answered, Ask
from broker.db import calls, fills, retention, unheard
from broker.db.database import Database
from broker.db.weighing import Whose
from tests.places import database_at

ASKS = Whose(frozenset({"one"}))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = database_at(tmp_path)
    found.upgrade()
    yield found
    found.close()


def tell(database: Database, number: int, grant: str, *rows: tuple[str, ...]) -> None:
    own = tuple({(row[0].removesuffix(">"), f"#{row[1]}", "x") for row in rows})
    told = tuple(("main", *row) for row in rows)
    line = Answered(
        number, number, number, 200, None, 1, "done", (), (), account="main", grant=grant, own=own,
        fills=told, lists=(),
    )  # type: ignore[arg-type]  # fmt: skip
    with database.log.write() as connection:
        calls.add_lines(connection, "edge", "b1", [line])


def stake(database: Database) -> tuple[Decimal, Decimal, bool]:
    with database.log.read() as connection:
        found = fills.stake(connection, "main", ASKS, "BTCUSDT", "BTC")
    return found.own, found.others, found.sure


def test_what_is_paid_and_brought_counts_before_and_after_it_is_added_up(database: Database) -> None:
    tell(database, 1, "one", ("BTCUSDT", "1", "BTC", "BUY", "0.5", "0"))
    tell(database, 2, "two", ("BTCUSDT", "2", "BTC", "BUY", "0.5", "0"))
    tell(
        database,
        3,
        "one",
        ("ETHBTC", "3", "ETH", "BUY", "9", "0"),
        ("ETHBTC>", "3", "BTC", "SELL", "0.45", "0"),
    )
    tell(
        database,
        4,
        "two",
        ("ETHBTC", "4", "ETH", "SELL", "2", "0"),
        ("ETHBTC>", "4", "BTC", "BUY", "0.1", "0"),
    )
    counts = (Decimal("0.05"), Decimal("0.6"), True)
    assert stake(database) == counts
    with database.log.write() as connection:
        places = retention.closed_orders(connection, 10**9, retention.START, 100)
        assert retention.forget_orders(connection, places) == 6
    assert stake(database) == counts


@pytest.mark.parametrize("later", ["told", "open"])
def test_an_order_goes_for_both_assets_at_once(database: Database, later: str) -> None:
    """Else the one that was gone already would count anew once somebody reads the order again."""
    paid = ("ETHBTC>", "2", "BTC", "SELL", "0.3", "0")
    left = "1" if later == "open" else "0"
    tell(database, 1, "one", ("BTCUSDT", "1", "BTC", "BUY", "0.5", "0"))
    tell(database, 2, "one", paid)
    tell(database, 900, "one", ("ETHBTC", "2", "ETH", "BUY", "8.99", left))
    counts = (Decimal("0.2"), 0, True)
    with database.log.write() as connection:
        places = retention.closed_orders(connection, 100, retention.START, 100)
        assert len(places) == 2
        assert retention.forget_orders(connection, places) == 1
    tell(database, 901, "one", paid)
    assert stake(database) == counts
    with database.log.write() as connection:
        places = retention.closed_orders(connection, 10**9, retention.START, 100)
        assert retention.forget_orders(connection, places) == (0 if later == "open" else 2)
    assert stake(database) == counts


def test_of_which_nobody_said_how_much_is_in_doubt_until_somebody_does(database: Database) -> None:
    tell(database, 1, "one", ("BTCUSDT", "1", "BTC", "BUY", "0.5", "0"))
    tell(
        database,
        2,
        "one",
        ("ETHBTC", "2", "ETH", "BUY", "9", "0"),
        ("ETHBTC>", "2", "BTC", "SELL", "0", "-0.45"),
    )
    assert stake(database) == (Decimal("0.05"), 0, False)
    with database.log.read() as connection:
        assert fills.resting(connection, "main", "BTC") == (("one", "ETHBTC>", "2", "SELL"),)
    tell(database, 3, "one", ("ETHBTC>", "2", "BTC", "SELL", "0.4", "0"))
    assert stake(database) == (Decimal("0.1"), 0, True)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("side", "price", "size"), [("BUY", "0.05", "0.5"), ("BUY", "", None), ("SELL", "0.05", "0")]
)
def test_a_purchase_that_nobody_answered_pays_what_it_may(
    database: Database, side: str, price: str, size: str | None, known: bool
) -> None:
    """Also where it is the first of its pair: what that is quoted in is on record with it."""
    ask = Ask(
        1, 1, "one", "bot", "main", "key", "POST", "spot.order.place", "place", "ETHBTC", side, None, ("x",), None,
        "allow", None, 0, (), "", False, sent=(("x", side, "10", price, True),), window_us=(1, 2),
        base="ETH", quote="" if known else "BTC",
    )  # fmt: skip
    with database.log.write() as connection:
        calls.add_lines(connection, "edge", "b1", [ask])
    with database.log.read() as connection:
        pairs = {"BTCUSDT", "ETHBTC>"} if known else {"BTCUSDT"}
        found = unheard.unanswered_sales(connection, "main", "BTC", pairs, {"one"}, "b2")
        other = unheard.unanswered_sales(connection, "main", "BNB", {"BNBUSDT"}, {"one"}, "b2")
    assert found == (None if size is None else Decimal(size))
    assert other == 0


@pytest.mark.parametrize(
    ("symbol", "moved", "side", "price", "size"),
    [
        ("BTCEUR", ("BTC", "EUR"), "SELL", "", "10"),
        ("BTCUSDC", ("BTC", ""), "SELL", "", "10"),
        ("BTCEUR", ("BTC", "EUR"), "BUY", "50000", "0"),
        ("BTCSTUSDT", ("BTCST", ""), "SELL", "", "0"),
        ("ETHWBTC", ("ETH", "WBTC"), "BUY", "0.05", "0"),
    ],
)
def test_an_accounts_first_order_of_a_pair_counts_in_what_it_moves(
    database: Database, symbol: str, moved: tuple[str, str], side: str, price: str, size: str
) -> None:
    ask = Ask(
        1, 1, "one", "bot", "main", "key", "POST", "spot.order.place", "place", symbol, side, None, ("x",), None,
        "allow", None, 0, (), "", False, sent=(("x", side, "10", price, True),), window_us=(1, 2), base=moved[0],
        quote=moved[1],
    )  # fmt: skip
    with database.log.write() as connection:
        calls.add_lines(connection, "edge", "b1", [ask])
    with database.log.read() as connection:
        found = unheard.unanswered_sales(connection, "main", "BTC", {"BTCUSDT"}, {"one"}, "b2")
    assert found == Decimal(size)
