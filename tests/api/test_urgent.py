"""A cut through the API: done is answered as done, refused is not done later, and it waits for nobody else."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from broker.api.cuts import DATABASE
from broker.db import cuts as cut_store
from broker.db import rows, turns
from broker.db.database import Database
from broker.db.turns import Urgency
from broker.errors import StoreUnavailable
from broker.service.operators import Role
from portcullis.rehearsal import rehearse
from tests.api.desk import Desk

CUT = {"targets": ["everything"], "mode": "closed", "reason": "leak"}


@contextmanager
def rival(desk: Desk) -> Iterator[ExitStack]:
    """Hold the state's write lock, as a rotator in a transaction would, until that is closed."""
    other = Database(desk.service.desk.database._where)
    with ExitStack() as held:
        held.callback(other.close)
        held.enter_context(other.write())
        yield held


class Unwritten:
    """A connection whose writes go nowhere."""

    def __init__(self, inner: Any) -> None:
        self._inner, self.dialect = inner, inner.dialect

    def execute(self, statement: Any, *more: Any) -> Any:
        return self._inner.execute(statement, *more) if statement.is_select else None

    def exec_driver_sql(self, text: str) -> Any:
        assert text.startswith("SELECT ")
        return self._inner.exec_driver_sql(text)


def made(desk: Desk) -> int:
    with desk.service.desk.database.read() as connection:
        return len(cut_store.page(connection, 2**62, 100, open_only=False))


async def until(fits: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not fits():  # noqa: ASYNC110 - a commit tells nobody
            await asyncio.sleep(0.01)


async def test_a_cut_waits_a_moment_while_another_process_writes_and_is_answered_as_on_record(
    desk: Desk,
) -> None:
    async with desk.client() as client:
        with rival(desk) as held:
            asked = asyncio.create_task(client.post("/v1/cuts", json=CUT))
            assert await asyncio.to_thread(desk.service.desk.database.turns.urgent.wait, 60)
            assert not asked.done()
            held.close()
            answer = await asked
    assert answer.status_code == 201
    assert DATABASE in answer.json()["durable"] or not answer.json()["on_record"]
    await until(lambda: made(desk) == 1)


@pytest.mark.parametrize(
    "kind", ["sqlite"], indirect=True
)  # for PostgreSQL: tests/broker/test_hung_postgres.py
async def test_what_closes_and_was_given_up_was_not_done_and_is_not_done_later(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cut is in force at once and gets on record later; everything else is done or it is not."""
    body = desk.trading()
    monkeypatch.setitem(turns.PATIENCE_S, Urgency.SAFETY, 0.2)
    async with desk.client() as client:
        grant = (await client.post("/v1/grants", json=body)).json()["id"]
        with rival(desk):
            answer = await client.post(f"/v1/grants/{grant}/revoke", json={"reason": "retired"})
            assert (answer.status_code, answer.json()["reason"]) == (503, "store_busy")
            assert "nothing was changed" in answer.json()["detail"]
        await client.get("/v1/status")
        assert (await client.get(f"/v1/grants/{grant}")).json()["revoked_at"] is None


async def test_a_cut_that_was_made_is_answered_as_made_whatever_fails_after_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise StoreUnavailable("database", "away on purpose")

    monkeypatch.setattr(desk.service.operators, "remember", fails)
    async with desk.client() as client:
        answer = await client.post("/v1/cuts", json=CUT, headers={"Idempotency-Key": "k"})
    assert answer.status_code == 201
    assert made(desk) == 1


@pytest.mark.parametrize(("reason", "there"), [("commit_unknown", True), ("commit_unknown", False)])
async def test_a_commit_whose_answer_was_lost_is_looked_up_and_done_again_where_it_was_not_done(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, reason: str, *, there: bool
) -> None:
    database, real = desk.service.desk.database, desk.service.desk.database.write

    @contextmanager
    def lost(*args: Any, **more: Any) -> Iterator[Any]:
        if there:
            with real(*args, **more) as connection:
                yield connection
        else:
            with database.read() as connection:
                yield Unwritten(connection)
        raise StoreUnavailable(reason, "lost on purpose")

    async with desk.client() as client:
        monkeypatch.setattr(database, "write", lost)
        answer = await client.post("/v1/cuts", json=CUT)
        assert made(desk) == int(there)
        monkeypatch.undo()
    assert (answer.status_code, answer.json()["on_record"]) == (201, there)
    assert (DATABASE in answer.json()["durable"]) == there
    await until(lambda: made(desk) == 1)


@contextmanager
def losing(desk: Desk, patch: pytest.MonkeyPatch, reason: str, *, there: bool) -> Iterator[None]:
    """Lose the answer of every commit to the state; what was asked is `there` or not."""
    database, real = desk.service.desk.database, desk.service.desk.database.write

    @contextmanager
    def lost(*args: Any, **more: Any) -> Iterator[Any]:
        if there:
            with real(*args, **more) as connection:
                yield connection
        else:
            with database.read() as connection:
                yield Unwritten(connection)
        raise StoreUnavailable(reason, "lost on purpose")

    with patch.context() as own:
        own.setattr(database, "write", lost)
        yield


def in_force(desk: Desk) -> int:
    return len(desk.service.cuts.list(open_only=True).items)


@pytest.mark.parametrize(
    ("reason", "there"), [("commit_unknown", True), ("not_replicated", True), ("commit_unknown", False)]
)
async def test_a_thaw_whose_answer_was_lost_is_looked_up(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, reason: str, *, there: bool
) -> None:
    """Who thaws is told what is true: open, open but perhaps forgotten, or closed as before."""
    async with desk.client() as client:
        cut = (await client.post("/v1/cuts", json=CUT)).json()["id"]
        desk.gateways.heard.clear()
        with losing(desk, monkeypatch, reason, there=there):
            answer = await client.post("/v1/thaws", json={"cut": cut, "reason": "over"})
        found = answer.json()
        assert answer.status_code == (200 if there else 503)
        assert in_force(desk) == int(not there)
        if there:
            assert bool(found["notes"]) == (reason == "not_replicated")
            assert [gate.scope for change in desk.gateways.heard for gate in change.gates] == ["everything"]
            return
        assert "NOTHING was opened" in found["detail"]
        assert (found["done"], desk.gateways.heard) == ("no", [])
        again = await client.post("/v1/thaws", json={"cut": cut, "reason": "over"})
        assert (again.status_code, in_force(desk)) == (200, 0)


async def test_a_thaw_that_nobody_can_look_up_says_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk.client() as client:
        cut = (await client.post("/v1/cuts", json=CUT)).json()["id"]
        real = desk.service.cuts.get

        def away(cut_id: str) -> Any:
            found = real(cut_id)
            if found.thawed_at is None:
                return found
            raise StoreUnavailable("database", "away on purpose")

        with losing(desk, monkeypatch, "commit_unknown", there=True), monkeypatch.context() as patch:
            patch.setattr(desk.service.cuts, "get", away)
            answer = await client.post("/v1/thaws", json={"cut": cut, "reason": "over"})
    assert (answer.status_code, answer.json()["reason"]) == (503, "thaw_unknown")
    assert answer.json()["done"] == "unknown"


@pytest.mark.parametrize(("reason", "done"), [("commit_unknown", "unknown"), ("not_replicated", "yes")])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("consumers", {"name": "bot"}),
        ("accounts", {"name": "main", "upstream": "http://127.0.0.1:9"}),
        ("operators", {"name": "eve", "roles": ["viewer"]}),
        ("egress", {"name": "out", "addresses": ["192.0.2.1"]}),
    ],
)
async def test_no_write_whose_answer_was_lost_is_said_to_have_changed_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any], reason: str, done: str
) -> None:
    async with desk.client() as client:
        with losing(desk, monkeypatch, reason, there=True):
            answer = await client.post(f"/v1/{path}", json=body)
    assert (answer.status_code, answer.json()["reason"], answer.json()["done"]) == (503, reason, done)


async def test_slow_requests_of_others_hold_no_cut_up(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    real = desk.service.grants.consumers

    def slow(*args: Any, **more: Any) -> Any:
        go.wait(60)
        return real(*args, **more)

    monkeypatch.setattr(desk.service.grants, "consumers", slow)
    async with desk.client() as client:
        others = [asyncio.create_task(client.get("/v1/consumers")) for _ in range(60)]
        await asyncio.sleep(0.2)
        try:
            answer = await client.post("/v1/cuts", json=CUT)
            assert answer.status_code == 201
            assert not any(one.done() for one in others[:3])
        finally:
            go.set()
            await asyncio.gather(*others)


async def test_a_cut_is_rehearsed_without_a_trace(desk: Desk) -> None:
    """Neither a cut nor a gate nor a line of the audit trail is left, and nothing is closed meanwhile."""
    desk.trading()
    before = desk.service.audit.list().items
    await rehearse(desk.app, desk.service)
    assert made(desk) == 0
    assert desk.service.audit.list().items == before
    with desk.service.desk.database.read() as connection:
        assert rows.gates(connection) == {}
    assert desk.gateways.heard == []
    assert desk.service.cuts.closing.standing() == ()
    async with desk.client() as client:
        assert (await client.post("/v1/cuts", json=CUT)).status_code == 201


async def test_a_cut_is_let_in_by_who_was_known_while_the_database_does_not_say_who_asks(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a cut, only by a known token with the role; a wrong one is not told that it is wrong."""

    def away(*_: Any) -> Any:
        raise StoreUnavailable("database", "away on purpose")

    desk.service.operators.learn()
    monkeypatch.setattr(desk.service.operators, "by_token", away)
    async with desk.client(Role.RESPONDER) as client, desk.client(Role.VIEWER) as viewer:
        answer = await client.post("/v1/cuts", json=CUT, headers={"Idempotency-Key": "k"})
        assert answer.status_code == 201
        assert (await client.get("/v1/cuts")).status_code == 503
        assert (await client.post("/v1/thaws", json={"cut": "cut_1", "reason": "x"})).status_code == 503
        assert (await viewer.post("/v1/cuts", json=CUT)).status_code == 403
        client.headers["Authorization"] = "Bearer pcls_op_" + "0" * 55
        assert (await client.post("/v1/cuts", json=CUT)).status_code == 503


async def test_a_cut_waits_for_no_thread_that_hangs_in_a_read(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many of them there are: each cut is made within its bound."""
    go = threading.Event()
    real = desk.service.operators.by_token

    def hangs(*args: Any) -> Any:
        go.wait(60)
        return real(*args)

    desk.service.operators.learn()
    monkeypatch.setattr(desk.service.operators, "by_token", hangs)
    monkeypatch.setattr(desk.service.operators, "remembered", hangs)
    async with desk.client() as client:
        try:
            async with asyncio.timeout(50):
                answers = await asyncio.gather(
                    *(
                        client.post("/v1/cuts", json=CUT, headers={"Idempotency-Key": f"k{number}"})
                        for number in range(8)
                    )
                )
        finally:
            go.set()
    assert [answer.status_code for answer in answers] == [201] * 8


async def test_no_answer_waits_for_its_own_keeping(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be behind a lock that was retaken after the commit; asked again it is told from memory until then."""
    go = threading.Event()
    real = desk.service.operators.remember

    def slow(*args: Any) -> None:
        go.wait(60)
        real(*args)

    monkeypatch.setattr(desk.service.operators, "remember", slow)
    async with desk.client() as client:
        try:
            async with asyncio.timeout(50):
                cut = await client.post("/v1/cuts", json=CUT, headers={"Idempotency-Key": "a"})
                made_consumer = await client.post(
                    "/v1/consumers", json={"name": "one"}, headers={"Idempotency-Key": "b"}
                )
                again = await client.post("/v1/cuts", json=CUT, headers={"Idempotency-Key": "a"})
                other = await client.post(
                    "/v1/cuts", json=CUT | {"reason": "another"}, headers={"Idempotency-Key": "a"}
                )
        finally:
            go.set()
        assert (cut.status_code, made_consumer.status_code) == (201, 201)
        assert (again.json()["id"], again.json()["replayed"]) == (cut.json()["id"], True)
        assert other.status_code == 201, "no cut is refused for its key"
        assert other.json()["id"] != cut.json()["id"]
        operators = desk.service.operators
        await until(lambda: operators.answered_at("the-admin", "b") is not None)
        later = await client.post("/v1/consumers", json={"name": "one"}, headers={"Idempotency-Key": "b"})
    assert (later.status_code, later.json()["replayed"]) == (201, True)
