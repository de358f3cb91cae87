"""Who sets the broker's clock opens nothing early, and keeps nobody out: an hour, in each direction, in every state."""

from pathlib import Path
from typing import Any

import pytest

from broker import steady
from broker.db import meta
from broker.db import tables as t
from broker.errors import Conflict, Unauthenticated
from broker.link.frames import Trouble
from broker.service import throttle
from broker.service.act_times import DAY_US, DELAY_US, FIRST_HOUR_US
from broker.service.operators import Role
from broker.service.service import open_service
from clients.venue import Environment
from tests.api.desk import Desk, opened_desk
from tests.api.people import Clock, Person

S, HOUR = 1_000_000, 3_600_000_000
STEPS = pytest.mark.parametrize("step", [HOUR, -HOUR, DELAY_US, -DELAY_US])


@STEPS
async def test_an_announced_act_can_be_stopped_for_ten_minutes_and_is_done_after_them(
    solo: Desk, clock: Clock, step: int
) -> None:
    """Set forward it was done at once; set back it waited for as long as the step."""
    ann, body = Person(solo, clock, "owner"), {"name": "out"}
    async with ann.client() as client:
        announced = await client.post("/v1/egress", json=body, headers={"Portcullis-Code": ann.code()})
        with_act = {"Portcullis-Act": announced.json()["act"]}
        clock.set_us = step
        early = await client.post("/v1/egress", json=body, headers=with_act)
        if step == HOUR:  # the session's hour is over by one of the clocks
            assert early.status_code == 401
        else:
            assert (early.status_code, early.json()["reason"]) == (409, "not_ready")
    async with Person(solo, clock, "owner").client() as client:
        clock.ahead_us += DELAY_US - 400 * S
        early = await client.post("/v1/egress", json=body, headers=with_act)
        assert (early.status_code, early.json()["reason"]) == (409, "not_ready")
        (listed,) = (await client.get("/v1/acts")).json()["items"]
        assert not listed["ready"]
        clock.ahead_us += 400 * S + (DELAY_US if step == -DELAY_US else 0)  # a step back may cost its length
        (listed,) = (await client.get("/v1/acts")).json()["items"]
        assert listed["ready"]
        assert (await client.post("/v1/egress", json=body, headers=with_act)).status_code == 201


@STEPS
async def test_after_a_reboot_the_ten_minutes_begin_anew_and_end(
    solo: Desk, clock: Clock, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows what a wall clock went through while the host was off; another process finds them begun."""
    ann, body = Person(solo, clock, "owner"), {"name": "out"}
    async with ann.client() as client:
        announced = await client.post("/v1/egress", json=body, headers={"Portcullis-Code": ann.code()})
    act = announced.json()["act"]
    monkeypatch.setattr(steady, "base", lambda: "rebooted")
    clock.set_us = step
    solo.service.openings.look()
    clock.ahead_us += DELAY_US - 200 * S
    async with Person(solo, clock, "owner").client() as client:
        early = await client.post("/v1/egress", json=body, headers={"Portcullis-Act": act})
        assert (early.status_code, early.json()["reason"]) == (409, "not_ready")
        clock.ahead_us += 200 * S
        desk = solo.service.desk
        again = open_service(desk.database, desk.secrets, clock)
        assert next(one for one in again.openings.list() if one.id == act).ready, "as another process sees it"
        again.close()
        done = await client.post("/v1/egress", json=body, headers={"Portcullis-Act": act})
        assert done.status_code == 201


async def test_an_act_is_too_old_after_a_day_by_either_clock(solo: Desk, clock: Clock) -> None:
    ann, body = Person(solo, clock, "owner"), {"name": "out"}
    async with ann.client() as client:
        announced = await client.post("/v1/egress", json=body, headers={"Portcullis-Code": ann.code()})
    clock.ahead_us += DAY_US + 1
    clock.set_us = -2 * HOUR
    async with ann.client() as client:
        act = {"Portcullis-Act": announced.json()["act"]}
        assert (await client.post("/v1/egress", json=body, headers=act)).json()["reason"] == "over"


@pytest.mark.parametrize("rebooted", [False, True])
async def test_a_second_person_is_here_for_a_day_by_the_clocks_that_can_tell(
    team: Desk, clock: Clock, monkeypatch: pytest.MonkeyPatch, *, rebooted: bool
) -> None:
    ann = Person(team, clock, "owner")
    clock.ahead_us += DAY_US
    team.service.operators.create("new", frozenset({Role.ADMIN}))
    new = Person(team, clock, "new")
    clock.ahead_us += DAY_US - HOUR + 60 * S
    clock.set_us = HOUR
    if rebooted:
        monkeypatch.setattr(steady, "base", lambda: "rebooted")
    for late, expected in ((0, "too_new"), (2 * HOUR, None)):
        clock.ahead_us += late
        async with ann.client() as hers, new.client() as theirs:
            announced = await hers.post(
                "/v1/egress", json={"name": "x"}, headers={"Portcullis-Code": ann.code()}
            )
            path = f"/v1/acts/{announced.json()['act']}/confirmation"
            answer = await theirs.post(path, json={"code": new.code()})
            assert answer.json().get("reason") == expected, answer.text


async def test_nobody_becomes_one_of_the_founders_by_a_clock_that_is_set_back(
    team: Desk, clock: Clock
) -> None:
    """Who was made in the first hour may confirm at once."""
    ann = Person(team, clock, "owner")
    clock.ahead_us += FIRST_HOUR_US
    clock.set_us = -FIRST_HOUR_US
    team.service.operators.create("late", frozenset({Role.ADMIN}))
    late = Person(team, clock, "late")
    async with ann.client() as hers, late.client() as theirs:
        announced = await hers.post("/v1/egress", json={"name": "x"}, headers={"Portcullis-Code": ann.code()})
        path = f"/v1/acts/{announced.json()['act']}/confirmation"
        assert (await theirs.post(path, json={"code": late.code()})).json()["reason"] == "too_new"


@pytest.mark.parametrize("step", [-HOUR, -24 * 365 * HOUR])
async def test_a_home_is_not_young_again_because_a_clock_is_set_back(
    tmp_path: Path, clock: Clock, step: int
) -> None:
    with opened_desk(tmp_path, Environment.LIVE, "team") as desk:
        desk.service.desk.clock = clock
        clock.ahead_us = HOUR + 60 * S
        clock.set_us = step
        async with desk.client(Role.ADMIN) as client:
            answer = await client.post("/v1/egress", json={"name": "one"})
        assert answer.json()["reason"] == "code_needed"


async def test_a_home_of_an_older_program_is_as_old_as_its_wall_clock_says(
    tmp_path: Path, clock: Clock
) -> None:
    with opened_desk(tmp_path, Environment.LIVE, "team") as desk:
        desk.service.desk.clock = clock
        with desk.service.desk.database.write() as connection:
            meta.remove(connection, "founded_on")
        async with desk.client(Role.ADMIN) as client:
            assert (await client.post("/v1/egress", json={"name": "one"})).status_code == 201
            clock.ahead_us = HOUR + 60 * S
            assert (await client.post("/v1/egress", json={"name": "two"})).json()["reason"] == "code_needed"


async def test_a_session_is_no_longer_than_an_hour_because_a_clock_is_set_back(
    team: Desk, clock: Clock
) -> None:
    ann = Person(team, clock, "owner")
    async with ann.client() as client:
        assert (await client.get("/v1/status")).status_code == 200
        clock.ahead_us += HOUR
        clock.set_us = -HOUR
        assert (await client.get("/v1/status")).status_code == 401
        team.service.operators.learn()
        assert not team.service.operators._known.keys() & {
            one.digest for one in _sessions(team) if one.operator == "owner"
        }


def _sessions(desk: Desk) -> list[Any]:
    with desk.service.desk.database.read() as connection:
        return list(connection.execute(t.SESSIONS.select()))


async def test_a_clock_that_is_set_back_keeps_no_operator_out(team: Desk, clock: Clock) -> None:
    """Who mistyped five times waits for half a minute, not for half a minute and an hour."""
    Person(team, clock, "owner")
    for _ in range(throttle.FREE):
        with pytest.raises(Unauthenticated):
            team.service.credentials.use_code("owner", "000000")
    with pytest.raises(Conflict, match="too many"):
        team.service.credentials.use_code("owner", "000000")
    clock.set_us = -HOUR
    clock.ahead_us += 2 * throttle.FIRST_WAIT_US
    with pytest.raises(Unauthenticated):  # it is looked at again
        team.service.credentials.use_code("owner", "000000")


@pytest.mark.parametrize("step", [HOUR, -HOUR, 120 * S, -120 * S])
@pytest.mark.parametrize("theirs", [HOUR, -HOUR, 0])
def test_a_ban_that_a_gateway_met_stops_the_rotator_for_as_long_as_it_lasts(
    desk: Desk, clock: Clock, step: int, theirs: int
) -> None:
    """The gateway's host has a wall clock of its own, and ours may be set."""
    desk.service.desk.clock, reports = clock, desk.service.reports
    until_us = clock.now_us() + theirs + 120 * S
    reports.of_gateway("local", (), (Trouble("venue-banned", "direct", "", until_us, 120 * S),))
    clock.set_us = step
    assert 60 * S < reports.pause_left_us("direct") <= 120 * S
    clock.ahead_us += (
        1 if abs(step) == HOUR or step > 0 else 2
    ) * 120 * S + 1  # a step back may cost its length
    assert reports.pause_left_us("direct") == 0
    assert reports.standing() == ()
