"""The record names what nobody answered: of others what brings an asset, as long as it can be found out, own that gives."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from broker.calllog import Answered, Ask, SentLine, parse, write_line
from broker.db import calls, unheard
from broker.db.database import Database
from tests.places import database_at

PAIRS = {"BTCUSDT", "ETHBTC>"}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = database_at(tmp_path)
    found.upgrade()
    yield found
    found.close()


def ask(
    database: Database, number: int, grant: str, *sent: SentLine, symbol: str = "BTCUSDT", base: str = "BTC",
    quote: str = "", boot: str = "b1", at_us: int = 100, frees: str = "",
) -> None:  # fmt: skip
    line = Ask(
        number, 1, grant, "bot", "main", "key", "POST", "spot.order.place", "place", symbol, "BUY", None, ("x",), None,
        "allow", None, 0, (), "", False, sent=sent, window_us=(at_us, at_us + 1), base=base, quote=quote, frees=frees,
    )  # fmt: skip
    with database.log.write() as connection:
        calls.add_lines(connection, "edge", boot, [line])


def tell(database: Database, line: Answered, gateway: str = "local") -> None:
    read = parse(write_line(line))
    assert read == line
    with database.log.write() as connection:
        calls.add_lines(connection, gateway, "b9", [line])


def named(database: Database, base: str = "BTC", since_us: int = 0) -> tuple[list[tuple[str, ...]], bool]:
    with database.log.read() as connection:
        found, more = unheard.named(connection, "main", base, PAIRS, {"one"}, {"gone"}, "b2", since_us)
    return [(one.grant, one.symbol, one.name, one.side, one.base, one.quote) for one in found], more


BUYS: SentLine = ("x", "BUY", "0.5", "", True)
SELLS: SentLine = ("y", "SELL", "5", "0.05", True)


def test_what_brings_the_asset_is_named_and_nothing_else(database: Database) -> None:
    ask(database, 1, "two", ("@", "", "", "", True), BUYS, SELLS)
    ask(database, 2, "two", BUYS, SELLS, symbol="ETHBTC", base="ETH", quote="BTC")
    ask(database, 3, "two", BUYS, SELLS, symbol="BTCEUR", base="BTC", quote="EUR")
    ask(database, 4, "two", BUYS, SELLS, symbol="WBTCUSDT", base="WBTC")
    ask(database, 5, "two", BUYS, SELLS, symbol="ETHBTC", base="", quote="")  # of before that was kept
    found = [
        ("two", "BTCUSDT", "x", "BUY", "BTC", ""),
        ("two", "ETHBTC", "y", "SELL", "ETH", "BTC"),
        ("two", "BTCEUR", "x", "BUY", "BTC", "EUR"),
        ("two", "ETHBTC", "y", "SELL", "", "BTC"),
    ]
    assert named(database) == (found, False)


@pytest.mark.parametrize(
    ("grant", "boot", "at_us"),
    [("one", "b1", 100), ("gone", "b1", 100), ("two", "b2", 100), ("two", "b1", 49)],
    ids=["its own", "of a revoked one that nobody stands for", "sent by who asks", "long ago"],
)
def test_what_is_no_others_or_can_not_be_found_out_is_not_named(
    database: Database, grant: str, boot: str, at_us: int
) -> None:
    ask(database, 1, grant, BUYS, boot=boot, at_us=at_us)
    assert named(database, since_us=50) == ([], False)


def test_its_own_that_gives_the_asset_is_named_however_long_ago_it_was_sent_the_latest_first(
    database: Database,
) -> None:
    sells: SentLine = ("z", "SELL", "0.2", "", True)
    ask(database, 1, "one", BUYS, sells, at_us=10)
    ask(database, 2, "one", BUYS, SELLS, symbol="ETHBTC", base="ETH", quote="BTC", at_us=20)
    ask(database, 3, "one", sells, boot="b2")
    ask(database, 4, "gone", sells)
    found = [("one", "ETHBTC", "x", "BUY", "ETH", "BTC"), ("one", "BTCUSDT", "z", "SELL", "BTC", "")]
    assert named(database, since_us=50) == (found, False)
    for number in range(unheard.MOST_NAMED):
        ask(database, number + 10, "one", sells)
    own, more = named(database)
    assert (len(own), more) == (unheard.MOST_NAMED, False), "what it has of them counts at most"


@pytest.mark.parametrize(
    ("frees", "offered", "listed", "gives"),
    [
        ("5", "0.3", None, "0.1"), ("5", "0.5", None, "0"), ("5", "0", None, "0.4"), ("5", "0.3", "7", "0.4"),
        ("6", "0.3", None, "0.4"), ("", "0.3", None, "0.4"),
    ],
    ids=["beside it", "less than it", "ended", "of a list", "not known", "placed all the same"],
)  # fmt: skip
def test_what_replaces_an_order_gives_what_it_offers_more_than_that(
    database: Database, frees: str, offered: str, listed: str | None, gives: str
) -> None:
    lists = () if listed is None else (("BTCUSDT", "5", listed),)
    old = Answered(
        1, 1, 1, 200, None, 0, "done", (), (), "main", "one", (("BTCUSDT", "#5", "o"),),
        fills=(("main", "BTCUSDT", "5", "BTC", "SELL", "0.1", offered),), lists=lists,
    )  # fmt: skip
    tell(database, old)
    ask(database, 1, "one", ("n", "SELL", "0.4", "", True), frees=frees)
    with database.log.read() as connection:
        found = unheard.unanswered_sales(connection, "main", "BTC", {"BTCUSDT"}, {"one"}, "b2")
        other = unheard.unanswered_sales(connection, "main", "BTC", {"BTCUSDT"}, {"two"}, "b2")
    assert (found, other) == (Decimal(gives), 0)


def test_there_are_more_than_are_named(database: Database) -> None:
    for number in range(unheard.MOST_NAMED):
        ask(database, number + 1, "two", BUYS)
    found, more = named(database)
    assert (len(found), more) == (unheard.MOST_NAMED, False)
    ask(database, 1000, "two", BUYS)
    found, more = named(database)
    assert (len(found), more) == (unheard.MOST_NAMED, True)


def test_what_another_gateway_found_out_is_of_the_request_that_was_sent(database: Database) -> None:
    """By the name of the gateway whose log tells of it: another one's line of this number is none of it."""
    for number in (1, 2):
        ask(database, number, "two", BUYS)
    made = Answered(
        7, 1, 7, 200, None, 0, "done", (), (), "main", "two", (("BTCUSDT", "#4", "x"),),
        fills=(("main", "BTCUSDT", "4", "BTC", "BUY", "0.5", "0"),), boot="b1", lists=(), gateway="edge",
    )  # fmt: skip
    never = Answered(8, 2, 8, 400, None, 0, "refused", (), (), boot="b1", gateway="edge")
    for line in (made, never):
        tell(database, Answered(*[getattr(line, name) for name in line.__struct_fields__[:-1]]))
        assert len(named(database)[0]) == 2, "without a name it is of the gateway that says it"
    for line in (made, never):
        tell(database, line)
    assert named(database) == ([], False)
    with database.log.read() as connection:
        assert calls.owner(connection, "main", "BTCUSDT", "#4") == "two"
        assert [row.known_as for row in calls.sent_as(connection, "main", "BTCUSDT", "x")] == ["#4"]
