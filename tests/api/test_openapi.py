"""The OpenAPI document is true: what is generated from it gets documented answers, never a 500."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from broker.service import Service
from broker.service.operators import Role
from rotation.asks import Asks
from rotation.journal import Journal
from rotation.venues import Venues
from tests.api.desk import Desk, opened_desk


class _OnLoopback:
    """Tells the application that its peer is on loopback; the test client names others."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = [pair for pair in scope["headers"] if pair[0] != b"host"]
            scope |= {"client": ("127.0.0.1", 5000), "headers": [*headers, (b"host", b"127.0.0.1")]}
        await self._app(scope, receive, send)


@contextmanager
def rotator(service: Service) -> Iterator[None]:
    """Let somebody carry out what is asked; without one, those answers are an honest 503."""
    ended = threading.Event()

    def work() -> None:
        journal = Journal(service.desk.database, service.audit, "asks")
        asks = Asks(service, Venues(service), journal, "asks", lambda: datetime.now(UTC))
        while not ended.is_set():
            if not asks.once():
                ended.wait(0.05)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory: Path = tmp_path_factory.mktemp("openapi")
    with opened_desk(directory) as desk:
        body = desk.trading()
        desk.service.grants.create(**body)
        with rotator(desk.service):
            yield desk


@pytest.fixture(scope="module")
def operations(whole: Desk) -> list[Any]:
    api = schemathesis.openapi.from_asgi("/v1/openapi.json", _OnLoopback(whole.app))
    return [result.ok() for result in api.get_all_operations()]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_generated_requests_get_answers_of_ours(
    whole: Desk, operations: list[Any], data: st.DataObject
) -> None:
    """Whatever the document allows to be sent, the answer is a documented one, and a refusal a problem."""
    operation = data.draw(st.sampled_from(operations))
    case = data.draw(operation.as_strategy())
    case.headers = {**(case.headers or {}), "Authorization": f"Bearer {whole.tokens[Role.ADMIN]}"}
    response = case.call()
    assert response.status_code < 500, (case.method, case.path, response.text)
    assert response.status_code in {200, 201, 400, 401, 403, 404, 405, 409, 413}
    if response.status_code >= 400:
        assert response.json()["reason"]
        assert response.json()["instance"].startswith("req_")


async def test_every_route_is_documented_under_v1_and_says_how_it_refuses(desk: Desk) -> None:
    async with desk.client() as client:
        document = (await client.get("/v1/openapi.json")).json()
    assert all(path.startswith("/v1/") for path in document["paths"])
    ids = [one["operationId"] for path in document["paths"].values() for one in path.values()]
    assert len(ids) == len(set(ids))
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert "application/problem+json" in operation["responses"]["401"]["content"], (path, method)
            if path not in {"/v1/health", "/v1/sessions"} or method == "delete":
                assert operation["security"], (path, method)
