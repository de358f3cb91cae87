"""Who names several things that are not there is told all of them at once; nothing is cut."""

import pytest

from tests.api.desk import Desk


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (["consumer:a", "account:b", "grant:c"], ["no consumer 'a'", "no account 'b'", "no grant 'c'"]),
        (
            ["consumer:A B", "venue:x", "key-version:y"],
            ["no consumer 'A B'", "no venue 'x'", "no key-version 'y'"],
        ),
        (["consumer:A B", "nonsense", "account:main"], ["no consumer 'A B'", "'nonsense' is none"]),
    ],
)
async def test_all_that_is_not_there_is_named(desk: Desk, targets: list[str], said: list[str]) -> None:
    async with desk.client() as client:
        answer = await client.post("/v1/cuts", json={"targets": targets, "reason": "x"})
        assert answer.status_code in {400, 404}
        assert [one for one in said if one not in answer.text] == []
        assert "NOTHING was cut" in answer.text
        assert (await client.get("/v1/cuts")).json()["items"] == []


async def test_what_is_there_is_not_named(desk: Desk) -> None:
    desk.trading()
    async with desk.client() as client:
        answer = await client.post("/v1/cuts", json={"targets": ["consumer:bot", "account:x"], "reason": "x"})
    assert (answer.status_code, "bot" in answer.text) == (404, False)
