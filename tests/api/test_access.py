"""Who may come in, and who may do what."""

import re

import pytest

from broker.service.operators import Role
from tests.api.desk import POLICY, Desk

_READS = ["accounts", "egress", "keys", "consumers", "grants", "cuts", "calls", "operators", "status"]
_WRITES = [
    ("accounts", Role.OPERATOR, {"name": "main", "upstream": "http://127.0.0.1:9"}),
    ("consumers", Role.OPERATOR, {"name": "bot"}),
    ("egress", Role.ADMIN, {"name": "out"}),
    ("grants", Role.ADMIN, {"consumer": "bot", "account": "main", "policy": POLICY}),
    ("cuts", Role.RESPONDER, {"targets": ["everything"], "reason": "a test"}),
    ("thaws", Role.ADMIN, {"cut": "cut_0", "reason": "a test"}),
    ("operators", Role.ADMIN, {"name": "someone", "roles": ["viewer"]}),
]


async def test_health_needs_no_token_and_tells_nothing_else(desk: Desk) -> None:
    async with desk.client(None) as client:
        answer = await client.get("/v1/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", _READS)
async def test_every_read_needs_a_token_and_any_role_has_it(desk: Desk, path: str) -> None:
    async with desk.client(None) as client:
        nobody = await client.get(f"/v1/{path}")
    async with desk.client(Role.VIEWER) as client:
        viewer = await client.get(f"/v1/{path}")
    assert nobody.status_code == 401
    assert nobody.headers["www-authenticate"] == "Bearer"
    assert viewer.status_code == 200


@pytest.mark.parametrize(("path", "needed", "body"), _WRITES)
async def test_a_write_needs_its_scope_and_changes_nothing_without(
    desk: Desk, path: str, needed: Role, body: dict[str, object]
) -> None:
    enough = {role for role in Role if _may(role, needed)}
    for role in set(Role) - enough:
        async with desk.client(role) as client:
            answer = await client.post(f"/v1/{path}", json=body)
        assert answer.status_code == 403, role
        assert answer.json()["reason"] == "scope_missing"
        assert needed.value in answer.json()["detail"]
    assert desk.gateways.heard == []
    for role in enough:
        async with desk.client(role) as client:
            assert (await client.post(f"/v1/{path}", json=body)).status_code != 403


def _may(role: Role, needed: Role) -> bool:
    included = {
        Role.VIEWER: {Role.VIEWER},
        Role.RESPONDER: {Role.VIEWER, Role.RESPONDER},
        Role.OPERATOR: {Role.VIEWER, Role.RESPONDER, Role.OPERATOR},
        Role.ADMIN: set(Role),
    }
    return needed in included[role]


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic abc", "Bearer x", "Bearer " + "x" * 5000, "Bearer \xe9"]
)
async def test_a_token_that_is_none_is_401(desk: Desk, header: str) -> None:
    async with desk.client(None) as client:
        answer = await client.get("/v1/status", headers={"Authorization": header.encode("latin-1")})
    assert answer.status_code == 401
    assert answer.json()["reason"] == "unauthenticated"


async def test_an_ended_operator_does_not_come_in(desk: Desk) -> None:
    desk.service.operators.end("the-viewer")
    async with desk.client(Role.VIEWER) as client:
        assert (await client.get("/v1/status")).status_code == 401


async def test_the_api_answers_loopback_only(desk: Desk) -> None:
    async with desk.client(peer="10.1.2.3") as client:
        answer = await client.get("/v1/health")
    assert (answer.status_code, answer.json()["reason"]) == (403, "not_loopback")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8701", "127.0.0.1.evil.example", "", "10.0.0.1"]
)
async def test_a_foreign_host_is_refused(desk: Desk, host: str) -> None:
    async with desk.client() as client:
        answer = await client.get("/v1/health", headers={"Host": host})
    assert (answer.status_code, answer.json()["reason"]) == (403, "foreign_host")


@pytest.mark.parametrize("host", ["127.0.0.1:8701", "localhost", "LOCALHOST:1", "[::1]:8701"])
async def test_loopback_by_any_of_its_names_is_served(desk: Desk, host: str) -> None:
    async with desk.client() as client:
        assert (await client.get("/v1/health", headers={"Host": host})).status_code == 200


async def test_a_body_over_the_limit_is_refused_whatever_it_says_of_its_length(desk: Desk) -> None:
    async def endless() -> object:
        for _ in range(10):
            yield b"x" * 65536

    async with desk.client() as client:
        said = await client.post("/v1/consumers", content=b"x" * 300_000)
        unsaid = await client.post("/v1/consumers", content=endless())  # type: ignore[arg-type]
    assert (said.status_code, unsaid.status_code) == (413, 413)
    assert said.json()["reason"] == "too_large"


async def test_every_answer_has_an_id_and_is_not_kept_by_caches(desk: Desk) -> None:
    async with desk.client() as client:
        answer = await client.get("/v1/nothing-here")
    assert answer.status_code == 404
    assert re.fullmatch(r"req_[0-9a-f]{16}", answer.headers["x-request-id"])
    assert answer.json()["instance"] == answer.headers["x-request-id"]
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/problem+json"
