"""An announced act is used up by its deed, and by nothing else: what failed is sent again, what was done is not."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from broker.db import audit as trail
from broker.errors import StoreUnavailable
from broker.gate import Mode
from broker.service.openings import DELAY_US
from clients.keys import VenueKey
from tests.api.desk import POLICY, Desk
from tests.api.people import Clock, Person
from tests.api.test_openings import OPENING, requests, rows

POLICY_OF_MANY = POLICY + "[checkout]\nmax_seconds = 3600\n"


async def ready(
    client: httpx.AsyncClient, person: Person, clock: Clock, asked: tuple[str, str, Any]
) -> dict[str, str]:
    """Announce something, and let its ten minutes go by; return the header that names the act."""
    method, path, body = asked
    said = await client.request(method, f"/v1/{path}", json=body, headers={"Portcullis-Code": person.code()})
    assert said.status_code == 202, said.text
    clock.ahead_us += DELAY_US
    return {"Portcullis-Act": said.json()["act"]}


def used(desk: Desk) -> list[str]:
    return [
        one.entry.subject for one in desk.service.audit.list(limit=500).items if one.entry.action == "act.use"
    ]


@pytest.mark.parametrize(("path", "deed"), [("egress", "egress.create"), ("thaws", "cut.thaw")])
async def test_what_failed_is_sent_again_and_what_was_done_is_not(
    solo: Desk, clock: Clock, monkeypatch: pytest.MonkeyPatch, path: str, deed: str
) -> None:
    """The database was busy for a moment, and the person had to announce it and wait anew."""
    ann = Person(solo, clock, "owner")
    asked = next(one for one in requests(solo) if one[1] == path)
    real = trail.append

    def busy(connection: Any, chain: str, entry: Any) -> Any:
        if entry.action == deed:
            raise StoreUnavailable("store_busy", "busy on purpose: nothing was changed")
        return real(connection, chain, entry)

    async with ann.client() as client:
        act = await ready(client, ann, clock, asked)
        before = rows(solo)
        with monkeypatch.context() as patch:
            patch.setattr(trail, "append", busy)
            failed = await client.post(f"/v1/{path}", json=asked[2], headers=act)
        assert (failed.status_code, failed.json()["done"]) == (503, "no")
        assert (rows(solo), used(solo)) == (before, [])
        assert (await client.post(f"/v1/{path}", json=asked[2], headers=act)).status_code < 300
        assert used(solo) == list(act.values())
        again = await client.post(f"/v1/{path}", json=asked[2], headers=act)
        assert again.json()["reason"] == "over"
        assert used(solo) == list(act.values())


async def test_what_is_called_off_as_it_is_about_to_be_done_is_not_done(
    solo: Desk, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that use one act at the same time are told apart in just the same way."""
    ann = Person(solo, clock, "owner")
    asked = ("POST", "egress", {"name": "out"})
    real = solo.service.accounts.create_egress
    async with ann.client() as client:
        act = await ready(client, ann, clock, asked)
        before = rows(solo)

        def late(*args: Any, **kwargs: Any) -> Any:
            solo.service.openings.cancel(act["Portcullis-Act"])
            return real(*args, **kwargs)

        monkeypatch.setattr(solo.service.accounts, "create_egress", late)
        answer = await client.post("/v1/egress", json=asked[2], headers=act)
        assert (answer.status_code, answer.json()["reason"]) == (409, "over")
    assert rows(solo) == before


def _turn(asked: tuple[str, str, Any]) -> int:
    """A key is handed out once nothing is cut, and while the policy of before says that it may be."""
    path = asked[1]
    return (
        ("thaws", "checkouts").index(path) + 1
        if path in {"thaws", "checkouts"}
        else 3 * path.endswith("/policy")
    )


async def test_every_deed_uses_its_act_up_exactly_once(solo: Desk, clock: Clock) -> None:
    """One that did not would be done again for a day."""
    ann = Person(solo, clock, "owner")
    solo.warden.keys["a@b.c"] = (VenueKey("REAL", ""), VenueKey("K", ""))
    (grant,) = solo.service.grants.list().items
    solo.service.grants.set_policy(grant.id, POLICY_OF_MANY)
    wanted = {
        (method, path.split("/")[0], path.rpartition("/")[2]): (method, path, body)
        for method, path, body in requests(solo)
    }
    assert len(wanted) == len(OPENING)
    left = set[str]()
    for asked in sorted(wanted.values(), key=_turn):
        async with ann.client() as client:
            known = set(used(solo))
            act = await ready(client, ann, clock, asked)
            answer = await client.request(asked[0], f"/v1/{asked[1]}", json=asked[2], headers=act)
            if answer.status_code >= 300:
                left.add(f"{asked[1]} {answer.json()['reason']} {answer.json()['detail']}")
                assert set(used(solo)) == known, answer.text
                continue
            assert set(used(solo)) - known == set(act.values()), asked[1]
            again = await client.request(asked[0], f"/v1/{asked[1]}", json=asked[2], headers=act)
            narrows = asked[1].endswith("/policy")  # what is in force already needs no act
            assert again.status_code == (200 if narrows else 409), asked[1]
            assert set(used(solo)) - known == set(act.values()), asked[1]
    assert left == set()


async def test_the_thaw_of_a_cut_that_is_on_no_record_uses_its_act_up(
    solo: Desk, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = Person(solo, clock, "owner")
    closing = solo.service.cuts.closing

    def away(*_: object) -> None:
        raise StoreUnavailable("away", "away on purpose")

    with monkeypatch.context() as patch:
        patch.setattr(closing, "_write", away)
        made = closing.begin(targets=("consumer:bot",), mode=Mode.CLOSED, reason="x", actor="x")
        async with ann.client() as client:
            asked = ("POST", "thaws", {"cut": made.noted.id, "reason": "safe"})
            act = await ready(client, ann, clock, asked)
            answer = await client.post("/v1/thaws", json=asked[2], headers=act)
            assert answer.status_code == 200, answer.text
    assert used(solo) == list(act.values())


async def test_the_thaw_of_a_cut_on_no_record_is_sent_again_where_it_failed(
    solo: Desk, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no transaction of its own: its act was used up before it, and stayed so."""
    ann = Person(solo, clock, "owner")
    closing = solo.service.cuts.closing

    def away(*_: object) -> None:
        raise StoreUnavailable("away", "away on purpose")

    monkeypatch.setattr(closing, "_write", away)
    made = closing.begin(targets=("consumer:bot",), mode=Mode.CLOSED, reason="x", actor="x")
    body = {"cut": made.noted.id, "reason": "safe"}
    async with ann.client() as client:
        act = await ready(client, ann, clock, ("POST", "thaws", body))
        with monkeypatch.context() as patch:
            patch.setattr(solo.service.desk.secrets.mirror, "change", away)
            assert (await client.post("/v1/thaws", json=body, headers=act)).status_code == 503
        assert (await client.post("/v1/thaws", json=body, headers=act)).status_code < 300
        again = await client.post("/v1/thaws", json=body, headers=act)
        assert again.status_code >= 400


def test_what_was_handed_out_under_a_grant_ends_with_it(solo: Desk) -> None:
    """The real key stayed with who had it, as long as had been asked for."""
    (grant,) = solo.service.grants.list().items
    solo.service.grants.set_policy(grant.id, POLICY_OF_MANY)
    solo.service.checkouts.open(grant.id, ttl=timedelta(minutes=50), holder="Ann", reason="tax")
    solo.service.grants.revoke(grant.id, "Ann left")
    (one,) = solo.service.checkouts.list()
    assert one.closed_at is not None
