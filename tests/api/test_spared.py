"""What lets a request pass without a second step is looked at again in the transaction of its deed."""

from pathlib import Path
from typing import Any

import pyotp
import pytest

from broker.errors import Conflict
from broker.service.grants import Issued
from broker.service.operators import Role
from broker.service.using import Spared, using
from clients.secret import Secret
from clients.venue import Credential, Environment, KeyType
from tests.api.desk import POLICY, SAFE, Desk, opened_desk
from tests.api.people import Clock, Person

NARROW = POLICY.replace('"1000"', '"10"')


async def test_a_policy_that_was_narrowed_meanwhile_is_not_widened(
    solo: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever had a token sent the policy in force again and again, and undid the narrowing that it ran beside."""
    (grant,) = solo.service.grants.list().items
    grants = solo.service.grants
    real = grants.set_policy

    def late(grant_id: str, text: str) -> Any:
        token = using.set(None)
        real(grant_id, NARROW)
        using.reset(token)
        return real(grant_id, text)

    monkeypatch.setattr(grants, "set_policy", late)
    async with solo.client(Role.ADMIN) as client:
        answer = await client.put(f"/v1/grants/{grant.id}/policy", json={"policy": POLICY})
    assert (answer.status_code, answer.json()["reason"]) == (409, "changed_meanwhile")
    assert '"10"' in grants.get(grant.id).policy


async def test_who_was_enrolled_meanwhile_is_not_enrolled_anew(
    solo: Desk, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hash takes long: who had the token alone sent an enrolment that was under way as its owner's was activated."""
    name, credentials = "the-admin", solo.service.credentials
    real = credentials.enrol

    def late(who: str, password: Secret) -> Secret:
        token = using.set(None)
        monkeypatch.setattr(credentials, "enrol", real)
        Person(solo, clock, name)
        using.reset(token)
        return real(who, password)

    monkeypatch.setattr(credentials, "enrol", late)
    async with solo.client(Role.ADMIN) as client:
        body = {"password": "planted-long-words-of-a-thief"}
        answer = await client.post(f"/v1/operators/{name}/enrolment", json=body)
        assert (answer.status_code, answer.json()["reason"]) == (409, "changed_meanwhile")
        code = pyotp.TOTP(pyotp.random_base32()).at(clock.now_us() // 1_000_000)
        assert (await client.post(f"/v1/operators/{name}/activation", json={"code": code})).status_code >= 400


def test_a_grant_that_is_revoked_meanwhile_gets_no_key(solo: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the record a secret is written, which takes a while."""
    (grant,) = solo.service.grants.list().items
    desk, real = solo.service.desk, solo.service.desk.secrets.write

    def late(path: str, *rest: Any) -> None:
        real(path, *rest)
        solo.service.grants.revoke(grant.id, "meanwhile")

    monkeypatch.setattr(desk.secrets, "write", late)
    with pytest.raises(Conflict) as refused:
        solo.service.grants.reissue(grant.id)
    assert refused.value.reason == "revoked"
    assert solo.service.grants.get(grant.id).key_id == grant.key_id


def test_two_reissues_at_once_leave_one_key(solo: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    (grant,) = solo.service.grants.list().items
    desk, real, other = solo.service.desk, solo.service.desk.secrets.write, list[Issued]()

    def late(path: str, *rest: Any) -> None:
        real(path, *rest)
        if not other:
            monkeypatch.setattr(desk.secrets, "write", real)
            other.append(solo.service.grants.reissue(grant.id))

    monkeypatch.setattr(desk.secrets, "write", late)
    made = solo.service.grants.reissue(grant.id)
    assert solo.service.grants.get(grant.id).key_id == made.grant.key_id
    assert other[0].grant.key_id != made.grant.key_id


async def test_a_manager_key_is_a_key(tmp_path: Path) -> None:
    """It makes others: in the first hour whoever had the token made admins and destinations beside it."""
    with opened_desk(tmp_path, Environment.LIVE, "solo") as desk:
        async with desk.client(Role.ADMIN) as client:
            assert (await client.post("/v1/egress", json={"name": "free"})).status_code == 201
            _import_manager(desk)
            answer = await client.post("/v1/operators", json={"name": "mallory", "roles": ["admin"]})
            assert answer.json()["reason"] == "code_needed"


async def test_a_first_key_that_comes_meanwhile_ends_the_first_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened_desk(tmp_path, Environment.LIVE, "solo") as desk:
        operators = desk.service.operators
        real = operators.make

        def late(*args: Any) -> Any:
            token = using.set(None)
            _import_manager(desk)
            using.reset(token)
            return real(*args)

        monkeypatch.setattr(operators, "make", late)
        async with desk.client(Role.ADMIN) as client:
            answer = await client.post("/v1/operators", json={"name": "mallory", "roles": ["admin"]})
        assert (answer.status_code, answer.json()["reason"]) == (409, "changed_meanwhile")
        assert "mallory" not in {one.name for one in operators.list()}


def test_a_deed_that_looks_at_nothing_again_is_refused(solo: Desk) -> None:
    """Whoever writes the next condition of a second step cannot forget its other half."""
    token = using.set(Spared(1))
    try:
        with pytest.raises(RuntimeError, match=r"consumer\.create"):
            solo.service.grants.create_consumer("another")
    finally:
        using.reset(token)
    assert "another" not in {one.name for one in solo.service.grants.consumers().items}


def _import_manager(desk: Desk) -> None:
    master = Credential("MASTER", Secret("planted-manager-secret"), KeyType.HMAC)
    desk.service.accounts.create_egress("out", addresses=("127.0.0.7",))
    draft = desk.service.managers.draft("m", venue="binance", egress="out", upstream=None, key=master)
    desk.service.managers.take(draft, master, SAFE)
