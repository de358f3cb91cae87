"""With the database away a person sees what the broker knows without it: what is cut, and which gateways are linked."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from broker.errors import StoreUnavailable
from broker.gate import Mode
from broker.service.operators import Role
from clients.secret import Secret
from portcullis.cli import away as words
from portcullis.cli.answers import read
from portcullis.cli.client import Api
from portcullis.cli.face import Face, Stopped
from portcullis.cli.oversight_answers import Standing
from portcullis.upkeep import Upkeep
from tests.api.desk import Desk

CUT = {"targets": ["account:main"], "mode": "closed", "reason": "a leak"}


def away(*_: Any, **__: Any) -> Any:
    raise StoreUnavailable("database", "away on purpose")


async def test_what_is_cut_and_who_is_linked_is_told_while_the_database_is_away(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`status`, `cuts`, `ready` and `alerts list` said only that the database cannot answer."""
    service = desk.service
    desk.trading()
    first, _ = service.cuts.close(targets=("consumer:bot",), mode=Mode.HALT, reason="before", actor="Ann")
    upkeep = Upkeep(service)
    upkeep.once()
    async with desk.client(Role.RESPONDER) as client, desk.client(Role.VIEWER) as viewer:
        assert (await viewer.get("/v1/standing")).json()["away_since"] is None
        database = service.desk.database
        monkeypatch.setattr(type(database), "read", away)
        monkeypatch.setattr(type(database), "write", away)
        upkeep.once()
        made = (await client.post("/v1/cuts", json=CUT)).json()
        assert (await viewer.get("/v1/cuts")).status_code == 503
        told = await viewer.get("/v1/standing")
        assert told.status_code == 200
        found = told.json()
        viewer.headers["Authorization"] = "Bearer pcls_op_" + "0" * 55
        assert (await viewer.get("/v1/standing")).status_code == 503
    monkeypatch.undo()
    assert [(one["id"], one["on_record"]) for one in found["cuts"]] == [(made["id"], False), (first.id, True)]
    assert [one["name"] for one in found["gateways"]] == ["local"]
    assert found["away_since"] is not None
    assert found["why"] == "away on purpose"
    text = "\n".join(words.lines(read(Standing, found)))
    assert f"account:main CUT OFF: {made['id']}, NOT on record" in text
    assert f"consumer:bot HALTED: {first.id}, on record" in text
    assert "away since" in text
    assert "local (1 leases)" in text


@pytest.mark.parametrize("path", ["status", "alerts", "cuts", "ready"])
def test_the_screens_tell_it_beside_the_no(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    document = {"away_since": "2026-01-01T10:00:00Z", "why": "away", "cuts": [], "gateways": []}

    def ask(_: Api, __: str, asked: str, **___: Any) -> Any:
        if asked == "standing":
            return document
        raise Stopped("the database cannot answer", reason="database")

    monkeypatch.setattr(Api, "_ask", ask)
    api = Api(
        Face(), cast("Any", None), cast("Any", SimpleNamespace(api="http://127.0.0.1:9")), who=Secret("x")
    )
    with pytest.raises(Stopped) as raised:
        api.get(Standing, path)
    assert "away since 10:00:00" in raised.value.known[0]
    assert read(Standing, document).document == cast("Standing", raised.value.document).document
