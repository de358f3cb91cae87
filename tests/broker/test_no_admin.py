"""That nobody is left who may open anything is told, with the way back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.db import operators as operator_store
from broker.service import Service
from broker.service.conditions import Condition
from broker.service.operators import Role
from tests.broker.failing import failing_world
from tests.broker.test_two_stores import home, opened

assert home

STEP = "on the broker's host: portcullis operator recover --name NAME"


def told(service: Service) -> list[Condition]:
    return [one for one in service.conditions.look() if one.kind == "no-admin"]


@pytest.mark.process
async def test_a_failover_that_forgot_a_recovery_says_that_no_admin_is_left(tmp_path: Path) -> None:
    """The token that counts on record may be the one that leaked: it is ended, and with it the only admin."""
    async with failing_world(tmp_path) as failing:
        service = failing.world.service
        old = service.operators.create("owner", frozenset({Role.ADMIN}))
        service.operators.learn()
        await failing.forget_what_follows()
        service.operators.recover("owner", "owner (1000) on the host")
        service.operators.learn()
        failing.fail_over()
        await failing.looked()
        assert service.operators.by_token(old) is None
        (one,) = told(service)
        assert one.step == STEP
        again = service.operators.recover("owner", "owner (1000) on the host")[0]
        assert told(service) == []
        assert service.operators.by_token(again) is not None


@pytest.fixture
def service(home: Path) -> Iterator[Service]:
    yield from opened(home)


def test_no_admin_is_told_whatever_others_are_there(service: Service) -> None:
    service.operators.create("owner", frozenset({Role.ADMIN}))
    service.operators.create("eve", frozenset({Role.OPERATOR, Role.RESPONDER}))
    assert told(service) == []
    with service.desk.database.write() as connection:
        operator_store.end(connection, "owner", service.desk.clock.now_us())
    (one,) = told(service)
    assert (one.subject, one.step) == ("operators", STEP)
