"""A name that others use too leads to its sender's request all the same."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.db import calls
from broker.db import log_tables as t
from broker.db.calls import MOST_NAMESAKES
from broker.db.database import Database
from tests.places import database_at


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = database_at(tmp_path)
    found.upgrade()
    yield found
    found.close()


def send(database: Database, grant: str, first_us: int, count: int, *, answered: bool) -> None:
    rows = [
        {"account": "main", "symbol": "BTCUSDT", "name": "x", "gateway": "g", "boot": grant, "seq": at_us,
         "grant": grant, "sent_us": at_us, "until_us": at_us + 1, "side": "BUY", "quantity": "1", "price": "",
         "exact": True, "known_as": f"#{at_us}" if answered else None}
        for at_us in range(first_us, first_us + count)
    ]  # fmt: skip
    with database.log.write() as connection:
        connection.execute(t.SENT_ORDERS.insert(), rows)


@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.parametrize("count", [MOST_NAMESAKES, 5 * MOST_NAMESAKES])
def test_a_request_without_an_answer_is_claimed_however_often_another_uses_its_name(
    database: Database, count: int, *, answered: bool
) -> None:
    """Its sender could not cancel it, and who speaks for the account could, as nobody's."""
    send(database, "quiet", 1, 1, answered=False)
    send(database, "busy", 10, count, answered=answered)
    with database.log.read() as connection:
        found = calls.sent_as(connection, "main", "BTCUSDT", "x")
    assert "quiet" in {row.grant for row in found if row.known_as is None}
    assert len(found) <= 2 * MOST_NAMESAKES
    assert [row.sent_us for row in found] == sorted((row.sent_us for row in found), reverse=True)


def test_who_had_an_order_of_a_name_last_is_known_however_many_requests_have_no_answer(
    database: Database,
) -> None:
    send(database, "quiet", 1, 1, answered=True)
    send(database, "busy", 10, 5 * MOST_NAMESAKES, answered=False)
    with database.log.read() as connection:
        found = calls.sent_as(connection, "main", "BTCUSDT", "x")
    assert next(row.grant for row in found if row.known_as is not None) == "quiet"
