"""Operators: the last admin stays, guessing slows down who guesses and nobody else, and there is a way back."""

import threading
from typing import Any

import httpx
import pytest

from broker.db import operators as operator_store
from broker.errors import Conflict, NotFound, NotGranted
from broker.service import throttle
from broker.service.audit import acting
from broker.service.operators import Role
from broker.service.throttle import FREE, LOCAL, MOST_IN_ALL, Throttle, asking_from
from clients.secret import Secret
from clients.venue import Environment
from tests.api.desk import Desk, opened_desk
from tests.api.people import PASSWORD, Clock, Person

_WRONG = "planted-wrong-password"


def _client(desk: Desk, peer: str, *, local: bool = False) -> httpx.AsyncClient:
    """Return a client that comes from an address, or by the socket in the home."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if local:
            scope = {**scope, "client": None, "state": {"origin": "local"}}
        await desk.app(scope, receive, send)

    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(peer, 5000))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


# --- the last admin -------------------------------------------------------------------------------


async def test_the_last_admin_cannot_be_ended(desk: Desk) -> None:
    """Whoever asks, and in whatever order the others went."""
    for name in ("owner", "second"):
        desk.service.operators.end(name)
    async with desk.client(Role.ADMIN) as client:
        answer = await client.post("/v1/operators/the-admin/end")
        assert (answer.status_code, answer.json()["reason"]) == (409, "last_admin")
        assert (await client.post("/v1/operators/the-viewer/end")).status_code == 200
        assert (await client.get("/v1/status")).status_code == 200


async def test_who_is_nobody_is_not_said_to_be_ended(desk: Desk) -> None:
    """A name with a typing mistake is told, instead of calling the wrong one safe."""
    async with desk.client(Role.ADMIN) as client:
        answer = await client.post("/v1/operators/onwer/end")
    assert (answer.status_code, answer.json()["reason"]) == (404, "no_operator")


def test_admins_that_end_each_other_at_once_leave_one(desk: Desk) -> None:
    """The check and the end are one transaction: of any number of them one stays."""
    names = ["owner", "second", "the-admin"]
    start, refused = threading.Barrier(len(names)), []

    def end(name: str) -> None:
        start.wait(60)
        try:
            desk.service.operators.end(name)
        except Conflict as fault:
            refused.append((name, fault.reason))

    threads = [threading.Thread(target=end, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    left = [one.name for one in desk.service.operators.list() if one.may(Role.ADMIN) and one.ended_at is None]
    assert [(name, "last_admin") for name in left] == refused
    assert len(left) == 1


async def test_the_last_admin_with_codes_is_neither_ended_nor_reset_by_another(
    team: Desk, clock: Clock
) -> None:
    """Admins without codes open nothing in a live home: they are nobody to leave behind."""
    Person(team, clock, "owner")
    with pytest.raises(Conflict, match="last admin with password and codes"):
        team.service.operators.end("owner")
    token = acting.set("second")
    try:
        with pytest.raises(Conflict, match="last admin"):
            team.service.credentials.enrol("owner", Secret("planted-another-password"))
    finally:
        acting.reset(token)
    Person(team, clock, "second")
    assert team.service.operators.end("owner")


async def test_enrolling_anew_keeps_the_old_codes_until_the_new_ones_are_activated(
    team: Desk, clock: Clock
) -> None:
    """Who loses the new seed on the way is not locked out by it."""
    ann = Person(team, clock, "owner")
    token = acting.set("owner")
    try:
        team.service.credentials.enrol("owner", Secret("planted-another-password"))
    finally:
        acting.reset(token)
    assert team.service.credentials.login("owner", Secret(PASSWORD), ann.code()).operator == "owner"
    with pytest.raises(Exception, match="not right"):
        team.service.credentials.activate("owner", "000000")
    assert team.service.credentials.login("owner", Secret(PASSWORD), ann.code()).operator == "owner"


def test_codes_that_were_never_enrolled_are_not_activated(team: Desk) -> None:
    """There is nothing to activate before somebody enrolled, nor twice."""
    with pytest.raises(NotGranted):
        team.service.credentials.activate("owner", "000000")


# --- guessing -------------------------------------------------------------------------------------


async def test_who_guesses_waits_and_the_operator_comes_in_from_elsewhere(team: Desk, clock: Clock) -> None:
    """A source that fails is slowed down for that operator; another address, the socket and other names are not."""
    ann, bob = Person(team, clock, "owner"), Person(team, clock, "second")
    wrong = {"name": "owner", "password": _WRONG, "code": "000000"}
    async with _client(team, "127.0.0.1") as thief, _client(team, "127.0.0.2") as elsewhere:
        reasons = [(await thief.post("/v1/sessions", json=wrong)).json()["reason"] for _ in range(FREE + 3)]
        assert reasons == ["bad_login"] * FREE + ["locked"] * 3
        for _ in range(8):  # codes move the clock on by minutes; the thief's wait is longer
            team.service.credentials._throttle.failed("owner", "127.0.0.1", clock.now_us())
        hers = {"name": "owner", "password": PASSWORD, "code": ann.code()}
        assert (await thief.post("/v1/sessions", json=hers)).json()["reason"] == "locked"
        assert (await elsewhere.post("/v1/sessions", json=hers | {"code": ann.code()})).status_code == 201
        async with _client(team, "127.0.0.1", local=True) as here:
            assert (await here.post("/v1/sessions", json=hers | {"code": ann.code()})).status_code == 201
        his = {"name": "second", "password": PASSWORD, "code": bob.code()}
        assert (await thief.post("/v1/sessions", json=his)).status_code == 201


async def test_a_name_that_nobody_has_is_slowed_down_like_any_other(team: Desk) -> None:
    """Who guesses names learns nothing from how it is refused."""
    wrong = {"name": "nobody", "password": _WRONG, "code": "000000"}
    async with _client(team, "127.0.0.1") as thief:
        reasons = [(await thief.post("/v1/sessions", json=wrong)).json()["reason"] for _ in range(FREE + 1)]
    assert reasons == ["bad_login"] * FREE + ["locked"]


def test_guessing_codes_with_a_stolen_token_does_not_lock_the_person_out(team: Desk, clock: Clock) -> None:
    """Codes are counted by source, too."""
    ann = Person(team, clock, "owner")
    token = asking_from.set("127.0.0.9")
    try:
        for _ in range(FREE):
            with pytest.raises(Exception, match="not right"):
                team.service.credentials.use_code("owner", "000000")
        with pytest.raises(Conflict, match="wait"):
            team.service.credentials.use_code("owner", "000000")
    finally:
        asking_from.reset(token)
    team.service.credentials.use_code("owner", ann.code())


def test_who_changes_sources_is_held_by_the_count_over_all() -> None:
    """A guess from everywhere ends, but for this host and for where the operator came in from before."""
    known = Throttle()
    known.passed("ann", "10.9.9.9")
    for number in range(MOST_IN_ALL):
        known.failed("ann", f"10.0.{number // 250}.{number % 250}", 0)
    assert known.wait_us("ann", "10.3.3.3", 1) > 0
    assert known.wait_us("ann", LOCAL, 1) == known.wait_us("ann", "10.9.9.9", 1) == 0
    assert known.wait_us("bob", "10.3.3.3", 1) == 0
    assert known.wait_us("ann", "10.3.3.3", throttle.IN_ALL_US + 1) == 0


def test_right_codes_set_the_count_of_failures_back(team: Desk, clock: Clock) -> None:
    """Somebody who mistypes now and then is never slowed down: what is counted are failures in a row."""
    ann = Person(team, clock, "owner")
    credentials = team.service.credentials
    for _ in range(4):
        for _ in range(FREE - 1):
            with pytest.raises(Exception, match="not right"):
                credentials.use_code("owner", "000000")
        credentials.use_code("owner", ann.code())
        with team.service.desk.database.read() as connection:
            assert operator_store.by_name(connection, "owner").failures == 0  # type: ignore[union-attr]


def test_right_codes_take_their_own_failures_out_of_the_count_over_all_and_no_others() -> None:
    """Who mistyped a hundred times in an hour, and came in each time, does not lock others' addresses out of it."""
    known = Throttle()
    for _ in range(MOST_IN_ALL):
        known.failed("ann", "10.1.1.1", 0)
        known.passed("ann", "10.1.1.1")
    assert known.wait_us("ann", "10.3.3.3", 1) == 0
    for number in range(MOST_IN_ALL):
        known.failed("ann", f"10.0.0.{number}", 0)
    known.failed("ann", "10.1.1.1", 0)
    known.passed("ann", "10.1.1.1")
    assert known.wait_us("ann", "10.3.3.3", 1) > 0, "a guesser's failures stay counted"


def test_waits_grow_to_their_bound_and_memory_does_not() -> None:
    """The instant before the end of a wait, the instant, and what a flood of names leaves behind."""
    known, waits = Throttle(), []
    for _ in range(FREE + 12):
        known.failed("ann", "a", 0)
        waits.append(known.wait_us("ann", "a", 0))
    assert waits[: FREE - 1] == [0] * (FREE - 1)
    assert waits[FREE - 1] == throttle.FIRST_WAIT_US
    assert waits == sorted(waits)
    assert waits[-1] == throttle.LONGEST_WAIT_US
    assert (known.wait_us("ann", "a", waits[-1] - 1), known.wait_us("ann", "a", waits[-1])) == (1, 0)
    for number in range(10_000):
        known.failed(f"name-{number}", "a", 0)
    assert len(known._by_source) <= 4096
    assert len(known._in_all) <= 4096


def test_a_long_guess_fills_no_trail(team: Desk, clock: Clock) -> None:
    """Each doubling is on record, not each try."""
    Person(team, clock, "owner")
    for _ in range(40):
        clock.ahead_us += throttle.LONGEST_WAIT_US
        with pytest.raises(Exception, match="not right"):
            team.service.credentials.use_code("owner", "000000")
    failed = [one for one in team.service.audit.list(limit=200).items if one.entry.action == "operator.fail"]
    assert FREE < len(failed) < 15


# --- the way back ---------------------------------------------------------------------------------


def test_a_recovered_admin_has_a_new_token_and_nothing_else_of_before(team: Desk, clock: Clock) -> None:
    """Old token, sessions, password and codes count no more; it is on record who did it."""
    ann = Person(team, clock, "owner")
    session = team.service.credentials.login("owner", Secret(PASSWORD), ann.code()).token
    old = Secret((team.root / "operator.token").read_text().strip())
    token, done = team.service.operators.recover("owner", "root on the host")
    operator = team.service.operators.by_token(token)
    assert operator is not None
    assert operator.may(Role.ADMIN)
    assert team.service.operators.by_token(old) is None
    assert team.service.operators.by_token(session) is None
    assert not team.service.credentials.is_enrolled("owner")
    assert any("enrol anew" in one for one in done)
    record = team.service.audit.list(limit=1).items[0].entry
    assert (record.action, record.subject) == ("operator.recover", "operator:owner")
    assert "root on the host" in record.details


def test_recovering_revives_who_was_ended_and_makes_who_is_new(team: Desk) -> None:
    """Any name will do: where everybody left, somebody new is the admin."""
    team.service.operators.end("second")
    for name in ("second", "newcomer", "the-viewer"):
        token, _ = team.service.operators.recover(name, "me")
        operator = team.service.operators.by_token(token)
        assert operator is not None
        assert operator.may(Role.ADMIN), name
    with pytest.raises(NotFound):
        team.service.operators.end("nobody")


async def test_there_is_no_way_back_from_afar(desk: Desk) -> None:
    """No route recovers anybody."""
    assert not [path for path in desk.app.openapi()["paths"] if "recover" in path]


def test_a_live_home_of_one_can_be_recovered_from_nothing(tmp_path: Any, clock: Clock) -> None:
    """After the way back the admin enrols as at first, and opens things again."""
    with opened_desk(tmp_path, Environment.LIVE, "solo") as desk:
        desk.service.desk.clock = clock
        Person(desk, clock, "owner")
        desk.service.operators.recover("owner", "me")
        again = Person(desk, clock, "owner")
        assert desk.service.credentials.login("owner", Secret(PASSWORD), again.code()).operator == "owner"


@pytest.mark.parametrize("text", ["\0" * 60, "pct_" + "\0" * 60, "\u00e9" * 60])
def test_a_token_file_that_a_power_cut_left_is_nobodys(desk: Desk, text: str) -> None:
    """PostgreSQL was asked for it, refused it, and the way back in ended there."""
    assert desk.service.operators.by_token(Secret(text)) is None
