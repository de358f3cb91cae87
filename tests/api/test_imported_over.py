"""Who imports a key over another one is told that the other one lives, in the same answer."""

import io
from typing import Any

import pytest
from rich.console import Console

from clients.secret import Secret
from clients.venue import Slot
from portcullis.cli import access_answers, answers, keys
from portcullis.cli.face import Face
from tests.api.desk import Desk
from tests.api.test_lost_secrets import FRESH, SAME, imported, kept

__all__ = ["kept"]


async def test_an_import_says_which_key_it_took_the_place_of(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, made = await imported(desk, SAME)
    assert (status, made["replaced"]) == (201, [])
    status, made = await imported(desk, FRESH)
    assert (status, made["ref"], made["replaced"]) == (201, "main/trade/2", ["main/trade/1"])
    status, again = await imported(desk, FRESH)
    assert (status, again["replaced"]) == (201, ["main/trade/1"]), "who asks again hears it again"

    class Api:
        def post(self, kind: type[access_answers.ImportedKey], *_: Any) -> access_answers.ImportedKey:
            return answers.read(kind, made)

    monkeypatch.setattr(keys, "connect", lambda _: Api())
    shown = io.StringIO()
    monkeypatch.setattr(keys, "secret_text", lambda *_: Secret("planted-fresh-secret"))
    keys.import_key(Face(out=Console(file=shown, width=100)), account="main", key_id="FRESH", slot=Slot.TRADE)
    text = " ".join(shown.getvalue().split())
    assert "LIVES main/trade/1 was replaced and is not deleted" in text
    assert "portcullis sweep retire main/trade/1" in text
