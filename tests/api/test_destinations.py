"""A destination that cannot work is refused when it is made, by the field that is at fault."""

from pathlib import Path
from typing import Any

import pytest

from broker.service.operators import Role
from tests.api.desk import UPSTREAM, Desk


async def create(desk: Desk, kind: str, settings: dict[str, Any], **more: Any) -> Any:
    if not desk.service.accounts.list().items:
        desk.service.accounts.create("main", venue="binance", upstream=UPSTREAM)
    body = {"name": "place", "account": "main", "kind": kind, "settings": settings} | more
    async with desk.client(Role.ADMIN) as client:
        return await client.post("/v1/destinations", json=body)


async def refused(desk: Desk, kind: str, settings: dict[str, Any], **more: Any) -> dict[str, str]:
    """Return what is wrong by field; nothing was made."""
    answer = await create(desk, kind, settings, **more)
    assert answer.status_code == 400, answer.text
    assert desk.service.destinations.list() == ()
    return {one["field"]: one["message"] for one in answer.json()["errors"]}


def dotenv(path: Path) -> dict[str, Any]:
    return {"path": str(path), "key_id": "API_KEY", "secret": "API_SECRET"}


async def test_a_file_in_a_directory_that_is_there_is_taken(desk: Desk, tmp_path: Path) -> None:
    """The file itself need not be there yet."""
    assert (await create(desk, "dotenv", dotenv(tmp_path / "bot.env"))).status_code == 201


@pytest.mark.parametrize("kind", ["dotenv", "json"])
async def test_a_file_whose_directory_is_not_there_is_refused(desk: Desk, tmp_path: Path, kind: str) -> None:
    """Every delivery would fail, so the person who names it hears of it."""
    settings = dotenv(tmp_path / "nowhere" / "bot.env")
    if kind == "json":
        settings |= {"key_id": "/key", "secret": "/secret"}
    assert "no directory of this host" in (await refused(desk, kind, settings))["settings.path"]


async def test_a_file_below_a_file_is_refused(desk: Desk, tmp_path: Path) -> None:
    """What lies above is a directory, not merely there."""
    (tmp_path / "file").write_text("x")
    found = await refused(desk, "dotenv", dotenv(tmp_path / "file" / "bot.env"))
    assert "no directory of this host" in found["settings.path"]


async def test_a_link_is_refused_whether_it_leads_anywhere_or_not(desk: Desk, tmp_path: Path) -> None:
    """A delivery refuses links, so naming one is refused at once."""
    (tmp_path / "bot.env").symlink_to(tmp_path / "elsewhere")
    found = await refused(desk, "dotenv", dotenv(tmp_path / "bot.env"))
    assert found["settings.path"].startswith("is a link")


async def test_a_webhook_without_its_secret_is_told_what_is_missing(desk: Desk) -> None:
    """The message names the option that brings it, and all else that is wrong is said with it."""
    found = await refused(desk, "webhook", {"url": "https://example.invalid/keys"}, patience_s=1)
    assert found["secret"].startswith("is missing")
    assert "--secret-file" in found["secret"]
    assert "patience_s" in found


async def test_a_secret_that_nothing_takes_is_refused(desk: Desk) -> None:
    """A secret is never stored where nothing reads it."""
    found = await refused(desk, "manual", {"what": "a tool"}, secret="planted-secret", slot="standby")
    assert found["secret"].endswith("manual has none")
    assert found["slot"].startswith("is trade or read")


@pytest.mark.parametrize("name", ["kek", "operator.token", "bot.env", "spool/bot.env", "home.json"])
async def test_what_belongs_to_the_home_gets_no_key(desk: Desk, tmp_path: Path, name: str) -> None:
    """The home's own files, and new ones among them, are refused when they are named, through links too."""
    home = desk.service.desk.ours.directories[0]
    (tmp_path / "way").symlink_to(home)
    for path in (home / name, tmp_path / "way" / name):
        assert "belongs to Portcullis" in (await refused(desk, "dotenv", dotenv(path)))["settings.path"]


@pytest.mark.parametrize(
    ("kind", "text"),
    [("json", '{"exchange": {} // mine\n}'), ("json", "[]"), ("dotenv", "exchange: binance\n")],
)
async def test_a_file_that_cannot_be_edited_is_refused_at_once(
    desk: Desk, tmp_path: Path, kind: str, text: str
) -> None:
    """Nobody hears only in the drain of a rotation that the file would lose its comments."""
    path = tmp_path / "config"
    path.write_text(text)
    settings = dotenv(path) | ({"key_id": "/key", "secret": "/secret"} if kind == "json" else {})
    assert (await refused(desk, kind, settings))["settings.path"]
    assert path.read_text() == text
    assert [one.name for one in tmp_path.iterdir() if "portcullis" in one.name] == []
