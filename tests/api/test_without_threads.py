"""What closes is done where a host has no thread left for us, and is answered as what it is."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from broker.api import once
from broker.api.app import lanes_of
from broker.api.guard import ORIGIN
from broker.api.lanes import LOCAL, NETWORK
from broker.service.operators import Role
from clients.secret import Secret
from portcullis.rehearsal import rehearse
from tests.api.desk import Desk
from tests.broker.test_no_threads import none_left

CUT = {"targets": ["everything"], "reason": "leak"}
KEYED = {"Idempotency-Key": "one"}
FAULTS = [RuntimeError("can't start new thread"), OSError(24, "Too many open files")]


@asynccontextmanager
async def by_door(desk: Desk, door: str) -> AsyncIterator[httpx.AsyncClient]:
    """Come by the socket in the home, as the CLI does, or by TCP."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope.setdefault("state", {})[ORIGIN] = door
        await desk.app(scope, receive, send)

    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=("127.0.0.1", 5000))
    headers = {"Authorization": f"Bearer {desk.tokens[Role.RESPONDER]}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client:
        yield client


def cuts_of(desk: Desk) -> int:
    return len(desk.service.cuts.list(open_only=True).items)


@pytest.mark.parametrize("mode", ["closed", "halt"])
@pytest.mark.parametrize("headers", [{}, KEYED], ids=["bare", "keyed"])
async def test_a_cut_is_made_by_who_is_remembered(desk: Desk, headers: dict[str, str], mode: str) -> None:
    desk.trading()
    desk.service.operators.learn()
    async with desk.client(Role.RESPONDER) as client:
        with none_left():
            found = await client.post("/v1/cuts", json=CUT | {"mode": mode}, headers=headers)
            assert found.status_code == 201
            made = found.json()
            assert made["durable"] == []
            assert "NOT in the database" in made["notes"][0]
            assert "a file of its home" in made["notes"][0]
            assert cuts_of(desk) == 1
            standing = await client.get("/v1/standing")
            assert [one["id"] for one in standing.json()["cuts"]] == [made["id"]]


async def test_who_is_not_remembered_is_told_that_nothing_was_done(desk: Desk) -> None:
    desk.trading()
    async with desk.client(Role.RESPONDER) as client:
        with none_left():
            found = await client.post("/v1/cuts", json=CUT)
    assert (found.status_code, found.json()["reason"], found.json()["done"]) == (503, "no_thread", "no")
    assert cuts_of(desk) == 0


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_fault_of_the_look_at_a_token_is_a_no(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """Only what the database says is: the look asks for files and threads of its own."""

    def broken(_: Secret) -> None:
        raise fault

    desk.trading()
    async with desk.client(Role.RESPONDER) as client:
        monkeypatch.setattr(desk.service.operators, "by_token", broken)
        stranger = await client.post("/v1/cuts", json=CUT)
        assert (stranger.status_code, stranger.json()["done"]) == (503, "no")
        assert cuts_of(desk) == 0
        desk.service.operators.learn()
        assert (await client.post("/v1/cuts", json=CUT)).status_code == 201
    assert cuts_of(desk) == 1


@pytest.mark.parametrize("fault", FAULTS)
async def test_nor_is_one_of_the_look_at_its_key(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def broken(*_: object) -> None:
        raise fault

    desk.trading()
    async with desk.client(Role.RESPONDER) as client:
        monkeypatch.setattr(desk.service.operators, "remembered", broken)
        found = await client.post("/v1/cuts", json=CUT, headers=KEYED)
    assert found.status_code == 201


@pytest.mark.parametrize("path", ["/v1/cuts", "/v1/consumers"])
async def test_what_was_done_is_answered_although_its_answer_cannot_be_kept(desk: Desk, path: str) -> None:
    """It was in force, and answered as "whether something was done is not known"."""
    desk.trading()
    body = CUT if path == "/v1/cuts" else {"name": "another"}
    lanes_of(desk.app).ready()
    async with desk.client(Role.ADMIN) as client:
        assert (await client.get("/v1/consumers")).status_code == 200, (
            "the lane of what is no cut has a thread"
        )
        with none_left():
            first = await client.post(path, json=body, headers=KEYED)
            again = await client.post(path, json=body, headers=KEYED)
    assert first.status_code == 201
    assert again.json() == first.json() | {
        "replayed": True, "first_answered_at": again.json()["first_answered_at"]
    }  # fmt: skip


@pytest.mark.parametrize("door", [LOCAL, NETWORK])
async def test_a_start_has_the_threads_of_the_first_cut_by_each_door(desk: Desk, door: str) -> None:
    desk.trading()
    await rehearse(desk.app, desk.service)
    desk.service.operators._known = {}  # nobody is remembered: the record is looked at
    async with by_door(desk, door) as client:
        with none_left():
            found = await client.post("/v1/cuts", json=CUT, headers=KEYED)
    assert found.status_code == 201
    assert cuts_of(desk) == 1


@pytest.mark.parametrize("door", [LOCAL, NETWORK])
async def test_and_of_the_first_revocation(desk: Desk, door: str) -> None:
    async with desk.client() as client:
        grant = (await client.post("/v1/grants", json=desk.trading())).json()["id"]
    await rehearse(desk.app, desk.service)
    async with by_door(desk, door) as client:
        with none_left():
            found = await client.post(f"/v1/grants/{grant}/revoke", json={"reason": "leak"}, headers=KEYED)
    assert found.status_code == 200
    assert desk.service.grants.get(grant).revoked_at is not None


async def test_a_start_goes_on_where_no_thread_can_be_had(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    with none_left(), caplog.at_level(logging.WARNING):
        await rehearse(desk.app, desk.service)
    assert "no thread can be had" in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/cuts", None),
        ("POST", "/v1/thaws", {"cut": "cut_1", "reason": "over"}),
        ("POST", "/v1/grants/grt_1/revoke", {"reason": "leak"}),
    ],
)
async def test_what_needs_a_thread_says_that_nothing_was_done(
    desk: Desk, method: str, path: str, body: dict[str, str] | None
) -> None:
    """It said that this is not known."""
    desk.service.operators.learn()
    async with desk.client() as client:
        with none_left():
            found = await client.request(method, path, json=body)
    assert (found.status_code, found.json()["reason"], found.json()["done"]) == (503, "no_thread", "no")


async def test_a_cut_that_was_answered_is_answered_again_where_nobody_can_look(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.trading()
    desk.service.operators.learn()
    async with desk.client(Role.RESPONDER) as client:
        with none_left():
            first = await client.post("/v1/cuts", json=CUT, headers=KEYED)
        run = once.run

        async def look(work: Any, *given: Any) -> Any:
            if work == desk.service.cuts.get:
                raise RuntimeError("can't start new thread")
            return await run(work, *given)

        monkeypatch.setattr(once, "run", look)
        again = await client.post("/v1/cuts", json=CUT, headers=KEYED)
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_cannot_be_looked_up_beside_a_cut_in_force_is_said_in_its_answer(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """Any fault but an absent store was answered as "whether something was done is not known"."""

    def broken(*_: object) -> None:
        raise fault

    desk.trading()
    lanes_of(desk.app).ready()
    cuts, key = desk.service.cuts, {"targets": ["key-version:main/trade/1"], "reason": "leak"}
    monkeypatch.setattr(cuts, "made", broken)
    monkeypatch.setattr(cuts, "replaced", broken)
    async with desk.client(Role.RESPONDER) as client:
        with none_left():  # so it is not on record by the time of its answer
            found = await client.post("/v1/cuts", json=key)
            notes = " ".join(found.json()["notes"])
            assert found.status_code == 201
            assert [one.id for one in cuts.known()] == [found.json()["id"]]
    assert "could not be looked up: make sure that the name is right" in notes
    assert "Whether another key version is in use by now could not be looked up" in notes


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_cut_of_what_does_not_exist_is_a_failure_all_the_same(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def broken(*_: object) -> None:
        raise fault

    monkeypatch.setattr(desk.service.cuts, "replaced", broken)
    async with desk.client(Role.RESPONDER) as client:
        found = await client.post("/v1/cuts", json={"targets": ["consumer:nobody"], "reason": "leak"})
    assert (found.status_code, found.json()["done"]) == (404, "no")
    assert cuts_of(desk) == 0
