"""What a viewer's token may leave in the stores: next to nothing, however often it asks."""

import json
from typing import Any

import pytest
from fastapi.routing import APIRoute

from broker.api import once
from broker.db import operators as store
from broker.errors import Conflict, NotFound
from broker.service.audit import acting
from broker.service.credentials import MOST_BEGUN
from broker.service.operators import Role
from clients.secret import Secret
from tests.api.desk import POLICY, Desk
from tests.api.test_openings import leaves

pytestmark = pytest.mark.usefixtures("kind")
PASSWORD = "planted correct horse battery"
READS = {
    "/v1/policies/check": {"policy": POLICY},
    "/v1/policies/diff": {"old": POLICY, "new": POLICY},
    "/v1/sessions/end": {},
}


@pytest.mark.parametrize("path", READS)
async def test_what_changes_nothing_is_kept_under_no_key(desk: Desk, path: str) -> None:
    """Each answer of up to 90 KB was kept for a day: a viewer filled the disk at 2 MB a second."""
    headers = {"Idempotency-Key": "again-and-again"}
    async with desk.client(Role.VIEWER) as viewer:
        first = await viewer.post(path, json=READS[path], headers=headers)
        again = await viewer.post(path, json=READS[path], headers=headers)
    assert first.status_code == again.status_code == 200
    assert again.json() == first.json(), "it is read anew, not answered from memory"
    assert "Idempotency-Replayed" not in again.headers
    with desk.service.desk.database.read() as connection:
        assert store.remembered(connection, "the-viewer", "again-and-again") is None


def test_a_viewer_may_post_only_what_is_bounded_or_changes_nothing(desk: Desk) -> None:
    bounded = {"/v1/operators/{name}/enrolment", "/v1/operators/{name}/activation"}
    found = {
        f"/v1{route.path.removeprefix('/v1')}": route.endpoint
        for route in leaves(desk.app.routes)
        if isinstance(route, once.OnceRoute) and route.methods != {"GET"} and _least(route) is Role.VIEWER
    }
    assert found.keys() >= bounded
    assert {path for path in found.keys() - bounded if found[path] not in once._CHANGE_NOTHING} == set()


def _least(route: APIRoute) -> Role | None:
    """Return the one role that a route asks for."""
    found = [_role(one.call) for one in route.dependant.dependencies]
    return next((one for one in found if one is not None), None)


def _role(call: Any) -> Role | None:
    cells = getattr(call, "__closure__", None) or ()
    return next((cell.cell_contents for cell in cells if isinstance(cell.cell_contents, Role)), None)


def seeds(desk: Desk, name: str) -> int:
    """Count the seeds that still lie in the secret store."""
    there = 0
    for path in desk.service.desk.secrets.paths(f"operators/{name}/"):
        try:
            desk.service.desk.secrets.read(path)
        except NotFound:
            continue
        there += 1
    return there


async def test_a_seed_that_another_took_the_place_of_is_tidied_away(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk.client(Role.VIEWER) as viewer:
        for _ in range(3):
            done = await viewer.post("/v1/operators/the-viewer/enrolment", json={"password": PASSWORD})
            assert done.status_code == 200
    monkeypatch.setattr("broker.service.secrets.SETTLED_US", -1)
    desk.service.secrets.tidy()
    assert seeds(desk, "the-viewer") == 1, "the last one still waits for its code"


def test_ones_own_enrolment_is_begun_so_often_and_an_admins_help_is_not_bounded(desk: Desk) -> None:
    desk.service.operators.make("ann", frozenset({Role.VIEWER}))
    credentials, who = desk.service.credentials, acting.set("ann")
    try:
        for _ in range(MOST_BEGUN):
            credentials.enrol("ann", Secret(PASSWORD))
        with pytest.raises(Conflict, match="enter a code of it, or wait") as no:
            credentials.enrol("ann", Secret(PASSWORD))
        assert no.value.reason == "enrolled_too_often"
    finally:
        acting.reset(who)
    who = acting.set("bob")
    try:
        credentials.enrol("ann", Secret(PASSWORD))
    finally:
        acting.reset(who)


async def test_who_has_no_session_writes_nothing_by_ending_them(desk: Desk) -> None:
    """It took the writer's turn before every other change, as what closes something does."""

    def last() -> str:
        with desk.service.desk.database.read() as connection:
            return json.dumps([str(one) for one in connection.exec_driver_sql("select max(seq) from audit")])

    async with desk.client(Role.VIEWER) as viewer:
        before = last()
        done = await viewer.post("/v1/sessions/end")
        assert done.status_code == 200
        assert last() == before
