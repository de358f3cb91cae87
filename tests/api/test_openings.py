"""Whatever opens something waits for a second person, or ten announced minutes; nothing slips past."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute

from broker.api.opening import Opens
from broker.db import tables as t
from broker.gate import Mode
from broker.service.openings import DAY_US, DELAY_US
from broker.service.operators import Role
from clients.venue import Environment
from tests.api.desk import POLICY, Desk, opened_desk
from tests.api.people import Clock, Person

OPENING = {
    ("POST", "/v1/grants"): "grant.create",
    ("POST", "/v1/grants/{grant}/reissue"): "grant.reissue",
    ("PUT", "/v1/grants/{grant}/policy"): "grant.policy",
    ("POST", "/v1/egress"): "egress.create",
    ("POST", "/v1/keys"): "key.unsafe",
    ("POST", "/v1/managers"): "manager.import",
    ("PUT", "/v1/accounts/{name}/manager"): "account.manage",
    ("POST", "/v1/accounts/{name}/release"): "account.release",
    ("POST", "/v1/thaws"): "cut.thaw",
    ("POST", "/v1/destinations"): "destination.create",
    ("POST", "/v1/destinations/{name}/key"): "destination.key",
    ("POST", "/v1/checkouts"): "checkout.open",
    ("POST", "/v1/operators"): "operator.create",
    ("POST", "/v1/operators/{name}/enrolment"): "operator.enrol",
}
"""What can let somebody do more than before."""

NOT_OPENING = {
    ("POST", "/v1/accounts"): "an account without key and grant lets nobody do anything",
    ("POST", "/v1/consumers"): "a consumer without a grant may do nothing",
    ("POST", "/v1/cuts"): "closes",
    ("POST", "/v1/grants/{grant}/revoke"): "closes",
    ("POST", "/v1/policies/check"): "changes nothing",
    ("POST", "/v1/policies/diff"): "changes nothing",
    ("POST", "/v1/operators/{name}/end"): "closes",
    ("POST", "/v1/operators/{name}/activation"): "ends the enrolment that was let pass",
    ("POST", "/v1/sessions"): "needs password and code",
    ("POST", "/v1/sessions/end"): "closes",
    ("POST", "/v1/acts/{act}/confirmation"): "is the second step",
    ("POST", "/v1/acts/{act}/cancel"): "closes",
    ("POST", "/v1/reconciliations"): "compares; the thaw that follows is what opens",
    ("POST", "/v1/destinations/{name}/remove"): "closes",
    ("POST", "/v1/destinations/{name}/confirm"): "ends a wait",
    ("POST", "/v1/checkouts/{checkout}/close"): "closes",
    ("POST", "/v1/sweeps"): "looks",
    ("POST", "/v1/alert-channels"): "tells somebody what viewers see",
    ("POST", "/v1/alert-channels/{name}/test"): "says hello",
    ("POST", "/v1/alert-channels/{name}/remove"): "closes",
    ("POST", "/v1/keys/{account}/{slot}/{version}/retire"): "closes",
    ("POST", "/v1/rotations"): "puts a key in another's place that may do no more",
    ("POST", "/v1/rotations/{rotation}/pause"): "changes nothing",
    ("POST", "/v1/rotations/{rotation}/resume"): "goes on with what was planned",
    ("POST", "/v1/rotations/{rotation}/rollback"): "takes the key back that was in use",
    ("POST", "/v1/rotations/{rotation}/drop"): "ends a held one on record; no key is touched",
    ("POST", "/v1/rotations/{rotation}/answer"): "names a key that is verified before it is used",
    ("POST", "/v1/rotations/{rotation}/waive"): "ends the wait for somebody else",
    ("PUT", "/v1/schedules/{account}/{slot}"): "says when, not what",
}
"""What cannot, and why."""


def leaves(routes: Iterable[Any]) -> Iterator[APIRoute]:
    """Yield the routes themselves; FastAPI keeps included routers whole."""
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        elif hasattr(route, "original_router"):
            yield from leaves(route.original_router.routes)


def test_every_route_that_changes_something_says_whether_it_opens(desk: Desk) -> None:
    found: dict[tuple[str, str], str | None] = {}
    for route in leaves(desk.app.routes):
        declared = [one.dependency for one in route.dependencies if isinstance(one.dependency, Opens)]
        for method in route.methods - {"GET", "HEAD"}:
            path = route.path if route.path.startswith("/v1") else f"/v1{route.path}"
            found[method, path] = declared[0].action if declared else None
    documented = {
        (method.upper(), path) for path, methods in desk.app.openapi()["paths"].items() for method in methods
    }
    assert set(found) == {(method, path) for method, path in documented if method != "GET"}, "none was missed"
    assert {key: action for key, action in found.items() if action is not None} == OPENING
    assert {key for key, action in found.items() if action is None} == set(NOT_OPENING)


def rows(desk: Desk) -> list[Any]:
    """Return everything that could have been changed."""
    with desk.service.desk.database.read() as connection:
        tables = (
            t.GRANTS, t.EGRESS, t.KEY_VERSIONS, t.MANAGERS, t.ACCOUNTS, t.CUTS, t.OPERATORS, t.POLICIES,
            t.DESTINATIONS, t.CHECKOUTS,
        )  # fmt: skip
        counted = {"failures", "totp_last", "locked_until_us"}
        return [
            [{name: value for name, value in row.items() if name not in counted} for row in
             connection.execute(table.select()).mappings()]
            for table in tables
        ]  # fmt: skip


def requests(desk: Desk) -> list[tuple[str, str, dict[str, Any]]]:
    """Return one request for every route that opens something, which would be carried out at once on paper."""
    (grant,) = desk.service.grants.list().items
    wider = POLICY.replace("1000", "5000")
    key = {
        "account": "main",
        "slot": "read",
        "key_id": "K",
        "secret": "planted",
        "key_type": "hmac",
        "allow_withdraw": True,
    }
    place = {"name": "tool", "account": "main", "kind": "manual", "settings": {"what": "a tool"}}
    cut, _ = desk.service.cuts.close(targets=("consumer:bot",), mode=Mode.CLOSED, reason="x", actor="x")
    return [
        ("POST", "grants", {"consumer": "bot", "account": "main", "policy": POLICY}),
        ("POST", f"grants/{grant.id}/reissue", {}),
        ("PUT", f"grants/{grant.id}/policy", {"policy": wider}),
        ("POST", "egress", {"name": "out"}),
        ("POST", "keys", key),
        ("POST", "managers", {"name": "master", "key_id": "M", "secret": "planted", "upstream": None}),
        ("PUT", "accounts/main/manager", {"manager": "master", "subaccount": "a@b.c"}),
        ("POST", "accounts/main/release", {}),
        ("POST", "thaws", {"cut": cut.id, "reason": "safe"}),
        ("POST", "operators", {"name": "new", "roles": ["admin"]}),
        ("POST", "operators/second/enrolment", {"password": "planted-other-password"}),
        ("POST", "destinations", place),
        ("POST", "destinations/tool/key", {"reason": "x"}),
        ("POST", "checkouts", {"grant": grant.id, "ttl_s": 60, "holder": "me", "reason": "x"}),
    ]


async def test_no_opening_route_does_anything_for_one_person_alone(team: Desk, clock: Clock) -> None:
    ann = Person(team, clock, "owner")
    wanted = requests(team)
    assert len(wanted) == len(OPENING)
    before = rows(team)
    async with ann.client() as client:
        for method, path, body in wanted:
            bare = await client.request(method, f"/v1/{path}", json=body)
            assert (bare.status_code, bare.json()["reason"]) == (403, "code_needed"), path
            wrong = await client.request(
                method, f"/v1/{path}", json=body, headers={"Portcullis-Code": "000000"}
            )
            assert wrong.json()["reason"] == "bad_code", path
            with team.service.desk.database.write() as connection:
                connection.execute(t.OPERATORS.update().values(failures=0, locked_until_us=0))
            announced = await client.request(
                method, f"/v1/{path}", json=body, headers={"Portcullis-Code": ann.code()}
            )
            assert (announced.status_code, announced.json()["reason"]) == (202, "announced"), announced.text
            act = announced.json()["act"]
            early = await client.request(method, f"/v1/{path}", json=body, headers={"Portcullis-Act": act})
            assert (early.status_code, early.json()["reason"]) == (409, "not_confirmed")
            own = await client.post(f"/v1/acts/{act}/confirmation", json={"code": ann.code()})
            assert own.json()["reason"] == "same_person"
    assert rows(team) == before
    assert team.gateways.heard == []


async def test_two_people_open_exactly_what_was_announced_once(team: Desk, clock: Clock) -> None:
    ann, bob = Person(team, clock, "owner"), Person(team, clock, "second")
    body = {"consumer": "bot", "account": "main", "policy": POLICY}
    async with ann.client() as hers, bob.client() as his:
        announced = await hers.post("/v1/grants", json=body, headers={"Portcullis-Code": ann.code()})
        act = announced.json()["act"]
        (listed,) = (await his.get("/v1/acts")).json()["items"]
        (shown,) = (await his.get("/v1/status")).json()["announced"]
        assert (shown["act"], shown["operator"]) == (act, "owner"), "what is announced is seen by everybody"
        assert (listed["operator"], listed["action"], listed["ready_at"]) == ("owner", "grant.create", None)
        assert listed["subject"] == "grants bot"
        with_act = {"Portcullis-Act": act}
        early = (await his.post("/v1/grants", json=body, headers=with_act)).json()
        assert early["reason"] == "other_operator"
        assert f"portcullis act confirm {act}" in early["detail"]
        assert (await his.post(f"/v1/acts/{act}/confirmation", json={"code": bob.code()})).status_code == 200
        other = await hers.post("/v1/grants", json=body | {"policy": POLICY + "\n"}, headers=with_act)
        assert other.json()["reason"] == "other_request"
        his_own = (await his.post("/v1/grants", json=body, headers=with_act)).json()
        assert his_own["reason"] == "other_operator"
        assert "was announced by owner, not by second" in his_own["detail"]
        done = await hers.post("/v1/grants", json=body, headers=with_act)
        assert (done.status_code, bool(done.json()["secret"])) == (201, True)
        again = await hers.post("/v1/grants", json=body, headers=with_act)
        assert again.json()["reason"] == "over"
    actions = [(one.entry.actor, one.entry.action) for one in team.service.audit.list(limit=50).items]
    assert ("owner", "act.announce") in actions
    assert ("second", "act.confirm") in actions
    assert ("owner", "act.use") in actions


async def test_alone_one_waits_ten_announced_minutes(solo: Desk, clock: Clock) -> None:
    ann = Person(solo, clock, "owner")
    async with ann.client() as client:
        announced = await client.post(
            "/v1/egress", json={"name": "out"}, headers={"Portcullis-Code": ann.code()}
        )
        act = announced.json()["act"]
        assert "until then anybody can call it off" in announced.json()["detail"]
        (listed,) = (await client.get("/v1/acts")).json()["items"]
        assert listed["subject"] == "egress out", "it was listed as egress, of which there may be ten"
        with_act = {"Portcullis-Act": act}
        early = await client.post("/v1/egress", json={"name": "out"}, headers=with_act)
        assert early.json()["reason"] == "not_ready"
        clock.ahead_us += DELAY_US
        assert (await client.post("/v1/egress", json={"name": "out"}, headers=with_act)).status_code == 201


async def test_what_is_called_off_or_too_old_is_over(solo: Desk, clock: Clock) -> None:
    ann = Person(solo, clock, "owner")
    async with ann.client() as client:
        for name, spoil in (("called-off", True), ("too-old", False)):
            body = {"name": name}
            announced = await client.post("/v1/egress", json=body, headers={"Portcullis-Code": ann.code()})
            act = announced.json()["act"]
            if spoil:
                assert (await client.post(f"/v1/acts/{act}/cancel")).status_code == 200
            else:
                clock.ahead_us += DAY_US + 1
            async with ann.client() as later:
                late = await later.post("/v1/egress", json=body, headers={"Portcullis-Act": act})
                assert late.json()["reason"] == "over"


async def test_a_policy_that_only_narrows_needs_nobody(team: Desk, clock: Clock) -> None:
    ann = Person(team, clock, "owner")
    (grant,) = team.service.grants.list().items
    async with ann.client() as client:
        narrower = await client.put(
            f"/v1/grants/{grant.id}/policy", json={"policy": POLICY.replace("1000", "10")}
        )
        assert narrower.status_code == 200
        back = await client.put(f"/v1/grants/{grant.id}/policy", json={"policy": POLICY})
        assert back.json()["reason"] == "code_needed"


async def test_closing_needs_one_responder_and_no_code(team: Desk) -> None:
    (grant,) = team.service.grants.list().items
    async with team.client(Role.RESPONDER) as client:
        cut = await client.post(
            "/v1/cuts", json={"targets": ["everything"], "mode": "closed", "reason": "leak"}
        )
        assert cut.status_code == 201
        revoked = await client.post(f"/v1/grants/{grant.id}/revoke", json={"reason": "leak"})
        assert revoked.status_code == 200


async def test_who_came_yesterday_may_confirm_and_who_came_today_may_not(team: Desk, clock: Clock) -> None:
    ann = Person(team, clock, "owner")
    clock.ahead_us += DAY_US
    team.service.operators.create("new", frozenset({Role.ADMIN}))
    new = Person(team, clock, "new")
    async with ann.client() as hers, new.client() as theirs:
        announced = await hers.post(
            "/v1/egress", json={"name": "out"}, headers={"Portcullis-Code": ann.code()}
        )
        path = f"/v1/acts/{announced.json()['act']}/confirmation"
        assert (await theirs.post(path, json={"code": new.code()})).json()["reason"] == "too_new"
    clock.ahead_us += DAY_US
    async with ann.client() as hers, new.client() as theirs:
        announced = await hers.post(
            "/v1/egress", json={"name": "out"}, headers={"Portcullis-Code": ann.code()}
        )
        path = f"/v1/acts/{announced.json()['act']}/confirmation"
        assert (await theirs.post(path, json={"code": new.code()})).status_code == 200


async def test_the_first_hour_of_an_empty_home_needs_no_second_step(tmp_path: Path, clock: Clock) -> None:
    with opened_desk(tmp_path, Environment.LIVE, "team") as desk:
        desk.service.desk.clock = clock
        async with desk.client(Role.ADMIN) as client:
            assert (await client.post("/v1/egress", json={"name": "one"})).status_code == 201
            clock.ahead_us += 3_600_000_001
            assert (await client.post("/v1/egress", json={"name": "two"})).json()["reason"] == "code_needed"


async def test_a_token_of_nobody_enrolled_opens_nothing(team: Desk) -> None:
    async with team.client(Role.ADMIN) as client:
        answer = await client.post("/v1/egress", json={"name": "x"}, headers={"Portcullis-Code": "123456"})
    assert answer.json()["reason"] == "not_enrolled"


@pytest.mark.parametrize("body", ["{}", '{"policy": 1}', "[]", "nonsense", '{"policy": ""}'])
async def test_a_body_that_cannot_be_used_is_refused_and_not_announced(
    team: Desk, clock: Clock, body: str
) -> None:
    ann = Person(team, clock, "owner")
    (grant,) = team.service.grants.list().items
    async with ann.client() as client:
        for path in (f"grants/{grant.id}/policy", "keys"):
            method = "PUT" if path.startswith("grants") else "POST"
            answer = await client.request(
                method, f"/v1/{path}", content=body, headers={"Content-Type": "application/json"}
            )
            assert answer.status_code == 400, answer.text
        assert (await client.get("/v1/acts")).json()["items"] == []
