"""A schedule is changed to what can be meant; what is wrong is named by its field, and nothing is changed."""

from datetime import timedelta
from typing import Any

import pytest

from broker.db import schedules as store
from broker.model import Schedule
from broker.service.operators import Role
from clients.venue import Slot
from tests.api.desk import UPSTREAM, Desk

KNOWN = Schedule("main", Slot.TRADE, timedelta(days=90), timedelta(days=1))


async def change(desk: Desk, content: str) -> Any:
    desk.service.accounts.create("main", venue="binance", upstream=UPSTREAM)
    with desk.service.desk.database.write() as connection:
        store.add(connection, KNOWN)
    async with desk.client(Role.ADMIN) as client:
        headers = {"Content-Type": "application/json"}
        return await client.put("/v1/schedules/main/trade", content=content, headers=headers)


@pytest.mark.parametrize("days", ["0", "-5", "0.001", "366", "1e300", "-1e300", "NaN", "Infinity"])
async def test_an_interval_that_is_none_is_refused_in_one_way(desk: Desk, days: str) -> None:
    """Whatever is wrong with a number of days, the answer is what it may be."""
    answer = await change(desk, f'{{"interval_days": {days}}}')
    assert answer.status_code == 400
    assert answer.json()["errors"] == [{"field": "interval_days", "message": "is between 1 and 365 days"}]
    assert desk.service.schedules.list() == (KNOWN,)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ('{"zone": "Mars/Olympus"}', ["zone"]),
        ('{"zone": ""}', ["zone"]),
        ('{"windows": ";;"}', ["windows"]),
        ('{"windows": "Monkey 02:00-03:00", "zone": "Mars/Olympus"}', ["windows", "zone"]),
    ],
)
async def test_what_cannot_be_used_is_named_by_its_own_field(
    desk: Desk, body: str, fields: list[str]
) -> None:
    """A bad zone is not called a bad window, and all that is wrong is said at once."""
    answer = await change(desk, body)
    assert answer.status_code == 400
    assert [one["field"] for one in answer.json()["errors"]] == fields
    assert desk.service.schedules.list() == (KNOWN,)


async def test_what_is_right_is_changed_and_the_rest_stays(desk: Desk) -> None:
    """An interval, windows and a zone are taken; pausing is left as it was."""
    body = '{"interval_days": 1.5, "windows": "Saturday 02:00-04:00", "zone": "Europe/Berlin"}'
    assert (await change(desk, body)).status_code == 200
    (one,) = desk.service.schedules.list()
    assert one.interval_for == timedelta(days=1.5)
    assert (one.windows, one.zone, one.paused) == ("Saturday 02:00-04:00", "Europe/Berlin", False)
