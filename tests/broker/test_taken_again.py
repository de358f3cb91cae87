"""What was taken away is taken away in another history too, and nothing that was made since by the same name."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.db import Connection
from broker.db import acts as act_store
from broker.db import destinations as destination_store
from broker.db import operators as operator_store
from broker.db import tables as t
from broker.errors import Conflict, NotFound
from broker.service import Service
from broker.service.credentials import MARK
from broker.service.desk import Right
from broker.service.operators import Role
from broker.service.undone import do_again
from clients.secret import Secret
from clients.venue import Slot
from tests.broker.failing import failing_world
from tests.broker.test_two_stores import home, opened

assert home

PREFIX, HOUR_US = "a" * 12, 3_600_000_000


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def log_in(service: Service, name: str, prefix: str = PREFIX) -> Secret:
    """Put a login on record, as `Credentials.login` does once it has seen the code."""
    token, now = Secret(MARK + prefix + "b" * 43), service.desk.spans.now()
    with service.desk.database.write() as connection:
        operator_store.add_session(
            connection, prefix=prefix, digest=digest(token.reveal()), operator=name, created_us=now.wall_us,
            expires_us=now.wall_us + HOUR_US, base=now.base, skew_us=now.wall_us - now.boot_us,
        )  # fmt: skip
    return token


def announce(service: Service, act: str) -> None:
    now_us = service.desk.clock.now_us()
    with service.desk.database.write() as connection:
        act_store.add(
            connection, id=act, action="cut.thaw", subject="cut_1", digest="0" * 64, operator="owner",
            created_us=now_us, ready_us=now_us + 1, shows="", sightings="{}",
        )  # fmt: skip


def place(service: Service, name: str = "their-tool") -> None:
    service.destinations.create(
        name, account="main", slot=Slot.TRADE, kind="manual", settings={"what": "tool"}
    )


@pytest.mark.process
async def test_what_was_taken_away_is_so_after_a_failover(tmp_path: Path) -> None:
    """A destination that was removed got the key in use again; a token that was replaced because it had leaked counted."""
    async with failing_world(tmp_path) as failing:
        service = failing.world.service
        operators = service.operators
        operators.create("owner", frozenset({Role.ADMIN}))
        leaked = operators.create("ann", frozenset({Role.ADMIN}))
        place(service)
        announce(service, "act_1")
        session = log_in(service, "owner")
        operators.learn()
        await failing.forget_what_follows()
        service.destinations.remove("their-tool")
        service.openings.cancel("act_1")
        service.credentials.logout("owner")
        operators.recover("ann", "another process")
        service.desk.taken.pop(Right.OPERATOR, None)
        operators.learn()
        failing.fail_over()
        await failing.looked()
        assert service.destinations.list() == ()
        with pytest.raises(NotFound):
            service.destinations.get("their-tool")
        assert operators.by_token(session) is None
        assert operators.by_token(leaked) is None
        with pytest.raises(Conflict, match="cancelled before"):
            service.openings.cancel("act_1")
        record = [one.entry.action for one in service.audit.list(limit=20).items]
        assert {"destination.remove", "act.cancel", "operator.logout", "operator.end"} <= set(record)


@pytest.fixture
def service(home: Path) -> Iterator[Service]:
    yield from opened(home)


def again(service: Service) -> None:
    with service.desk.database.write() as connection:
        do_again(connection, service.desk, service.audit)


def test_what_was_made_since_by_the_same_name_is_left(service: Service) -> None:
    """The other history never had the first of them."""
    service.operators.create("owner", frozenset({Role.ADMIN}))
    service.operators.create("bob", frozenset({Role.ADMIN}))
    place(service)
    log_in(service, "owner")
    service.destinations.remove("their-tool")
    service.credentials.logout("owner")
    service.operators.end("bob")

    def forget(connection: Connection) -> None:
        connection.execute(t.DESTINATIONS.delete())
        connection.execute(t.OPERATORS.delete().where(t.OPERATORS.c.name == "bob"))

    with service.desk.database.write() as connection:
        forget(connection)
    place(service)
    fresh, login = (
        service.operators.create("bob", frozenset({Role.VIEWER})),
        log_in(service, "owner", "c" * 12),
    )
    again(service)
    assert [one.name for one in service.destinations.list()] == ["their-tool"]
    assert service.operators.by_token(fresh) is not None
    assert service.operators.by_token(login) is not None


def test_who_is_forgotten_by_another_history_is_not_taken_for_ended(service: Service) -> None:
    """An operator whom a failover forgot, and whom the old primary has when it is put back, is nobody's to end."""
    service.operators.create("owner", frozenset({Role.ADMIN}))
    token = service.operators.create("bob", frozenset({Role.VIEWER}))
    service.operators.learn()
    with service.desk.database.write() as connection:
        service.continuity.begin(connection, "put back")
        connection.execute(t.OPERATORS.update().where(t.OPERATORS.c.name == "bob").values(digest="0" * 64))
    service.operators.learn()
    with service.desk.database.write() as connection:
        connection.execute(
            t.OPERATORS.update().where(t.OPERATORS.c.name == "bob").values(digest=digest(token.reveal()))
        )
    again(service)
    assert service.operators.by_token(token) is not None


def test_what_is_kept_in_mind_is_bounded_by_kind(service: Service) -> None:
    service.desk.took(Right.OPERATOR, "0" * 64, "mallory")
    for number in range(2_000):
        service.desk.took(Right.ACT, f"act_{number}")
    assert len(service.desk.taken[Right.ACT]) == 1_000
    assert "act_1999" in service.desk.taken[Right.ACT]
    assert service.desk.taken[Right.OPERATOR] == {"0" * 64: "mallory"}
    with service.desk.database.read() as connection:
        assert destination_store.every(connection) == []
