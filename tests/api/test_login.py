"""Passwords, one-time codes and sessions."""

from datetime import UTC, datetime, timedelta

import pytest

from broker.db import tables as t
from broker.errors import Malformed
from clients.secret import Secret
from tests.api.desk import Desk
from tests.api.people import PASSWORD, Clock, Person


async def test_a_session_is_an_hour_long_and_ends_with_the_operator(team: Desk, clock: Clock) -> None:
    ann, bob = Person(team, clock, "owner"), Person(team, clock, "second")
    async with ann.client() as hers, bob.client() as his:
        assert (await hers.get("/v1/status")).status_code == 200
        assert (await hers.post("/v1/operators/second/end")).status_code == 200
        assert (await his.get("/v1/status")).status_code == 401
        clock.ahead_us += 3_600_000_000
        assert (await hers.get("/v1/status")).status_code == 401


@pytest.mark.parametrize("wrong", ["name", "password", "code", "used code"])
async def test_a_wrong_login_says_not_what_was_wrong(team: Desk, clock: Clock, wrong: str) -> None:
    ann = Person(team, clock, "owner")
    code = ann.code()
    body = {"name": "owner", "password": PASSWORD, "code": code}
    if wrong == "used code":
        team.service.credentials.login("owner", Secret(PASSWORD), code)
    else:
        body[wrong] = {"name": "nobody", "password": "planted-wrong-password", "code": "000000"}[wrong]
    async with team.client(None) as client:
        answer = await client.post("/v1/sessions", json=body)
    assert answer.status_code == 401
    assert "planted" not in answer.text
    told = answer.json()
    assert told["reason"] == "bad_login", "that a password is right is told to nobody who has no code"
    assert told["detail"].startswith("name, password or code is not right"), told["detail"]


async def test_a_no_tells_the_time_that_codes_go_by(team: Desk, clock: Clock) -> None:
    """A host whose clock was off by minutes said: not right, or used before. What it says of the time tells nothing else."""
    ann = Person(team, clock, "owner")
    code = ann.code()
    clock.set_us -= 600_000_000
    tries = [
        {"name": "owner", "password": PASSWORD, "code": code}, {"name": "nobody", "password": PASSWORD, "code": code},
        *[{"name": "owner", "password": "planted-wrong-password", "code": code}] * 6,
    ]  # fmt: skip
    told = []
    async with team.client(None) as client:
        for body in tries:
            before = datetime.fromtimestamp(clock.now_us() / 1_000_000, UTC)
            answer = (await client.post("/v1/sessions", json=body)).json()
            at = datetime.fromisoformat(answer["detail"].split("host has ")[1].split(" UTC")[0]).replace(
                tzinfo=UTC
            )
            assert timedelta(0) <= at - before.replace(microsecond=0) < timedelta(seconds=60)
            told.append(answer["reason"])
    assert told[:2] == ["bad_login", "bad_login"]
    assert told[-1] == "locked"
    clock.set_us += 600_000_000
    async with team.client(None, peer="127.0.0.9") as client:
        right = {"name": "owner", "password": PASSWORD, "code": ann.code()}
        assert (await client.post("/v1/sessions", json=right)).status_code == 201


async def test_who_guesses_is_locked_out_for_longer_each_time(team: Desk, clock: Clock) -> None:
    ann = Person(team, clock, "owner")
    clock.stop()  # a password takes a busy machine longer than a second
    waits = []
    async with team.client(None) as client:
        for _ in range(8):
            body = {"name": "owner", "password": "planted-wrong-password", "code": "000000"}
            answer = await client.post("/v1/sessions", json=body)
            if answer.json()["reason"] == "locked":
                waits.append(int(answer.json()["detail"].split("wait ")[1].split(" ")[0]))
                clock.ahead_us += waits[-1] * 1_000_000
        right = {"name": "owner", "password": PASSWORD, "code": ann.code()}
        if (answer := await client.post("/v1/sessions", json=right)).json().get("reason") == "locked":
            clock.ahead_us += 900_000_000
            answer = await client.post("/v1/sessions", json=right | {"code": ann.code()})
    assert waits == sorted(waits)
    assert waits[0] >= 29
    assert answer.status_code == 201


async def test_status_says_in_red_who_may_open_things_by_a_token_alone(team: Desk, clock: Clock) -> None:
    ann = Person(team, clock, "owner")
    async with ann.client() as client:
        unsafe = " ".join(one["what"] for one in (await client.get("/v1/status")).json()["unsafe"])
    assert "second may open things and has no password and codes" in unsafe
    assert "owner may" not in unsafe


def test_neither_password_nor_seed_is_in_the_database(team: Desk, clock: Clock) -> None:
    Person(team, clock, "owner")
    path = next(path for path in team.service.desk.secrets.paths("operators/"))
    seed = team.service.desk.secrets.read(path)["seed"].reveal()
    with team.service.desk.database.read() as connection:
        found = repr(list(connection.execute(t.OPERATORS.select())))
    assert PASSWORD not in found
    assert seed not in found
    assert "$argon2id$" in found


@pytest.mark.parametrize("password", ["short", "x" * 201, "owner-is-my-own-name"])
async def test_a_password_that_is_easily_guessed_is_refused(team: Desk, password: str) -> None:
    with pytest.raises(Malformed):
        team.service.credentials.enrol("owner", Secret(password))
