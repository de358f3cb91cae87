"""Who was taken away is told by a record that went on; a copy of an earlier moment lacks people who live."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from broker.db import Connection
from broker.db import operators as operator_store
from broker.db import tables as t
from broker.service import Service
from broker.service.desk import Right
from broker.service.operators import Role
from broker.service.undone import do_again
from tests.broker.test_taken_again import log_in
from tests.broker.test_two_stores import home, opened

assert home

_TABLES = (t.OPERATORS, t.SESSIONS, t.AUDIT)


@dataclass
class Copy:
    """What the record had at some moment."""

    rows: list[list[dict[str, Any]]]

    @classmethod
    def of(cls, connection: Connection) -> "Copy":
        return cls([[dict(row) for row in connection.execute(select(one)).mappings()] for one in _TABLES])

    def put_back(self, connection: Connection) -> None:
        for table in reversed(_TABLES):
            connection.execute(table.delete())
        for table, rows in zip(_TABLES, self.rows, strict=True):
            if rows:
                connection.execute(table.insert(), rows)


@pytest.fixture
def service(home: Path) -> Iterator[Service]:
    for service in opened(home):
        service.operators.create("owner", frozenset({Role.ADMIN}))
        service.operators.create("ann", frozenset({Role.ADMIN}))
        yield service


def copied(service: Service) -> Copy:
    with service.desk.database.read() as connection:
        return Copy.of(connection)


def put_back(service: Service, copy: Copy) -> None:
    with service.desk.database.write() as connection:
        copy.put_back(connection)


def test_who_was_made_after_a_snapshot_is_not_ended_when_the_true_data_is_back(service: Service) -> None:
    """The snapshot was read before the heartbeat had begun another history: for that moment it was the same one."""
    earlier = copied(service)
    token = service.operators.create("bob", frozenset({Role.VIEWER}))
    recovered = service.operators.recover("ann", "ann (1000) on the host")[0]
    login = log_in(service, "owner")
    service.operators.learn()
    true = copied(service)
    put_back(service, earlier)
    service.operators.learn()
    put_back(service, true)
    with service.desk.database.write() as connection:
        do_again(connection, service.desk, service.audit)
    assert [service.operators.by_token(one) is not None for one in (token, recovered, login)] == [True] * 3


def test_who_was_ended_while_the_record_went_on_is_taken_away(service: Service) -> None:
    """Another process ended them: this one has only seen it."""
    bob = service.operators.create("bob", frozenset({Role.VIEWER}))
    login = log_in(service, "owner")
    service.operators.learn()
    before = copied(service)
    with service.desk.database.write() as connection:
        operator_store.end(connection, "bob", service.desk.clock.now_us())
        operator_store.end_sessions(connection, "owner")
        service.audit.record(connection, "operator.end", "operator:bob")
    service.operators.learn()
    service.operators.learn()
    assert set(service.desk.taken[Right.OPERATOR].values()) == {"bob"}
    put_back(service, before)
    with service.desk.database.write() as connection:
        do_again(connection, service.desk, service.audit)
    assert [service.operators.by_token(one) for one in (bob, login)] == [None, None]
