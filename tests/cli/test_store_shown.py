"""What a move of every secret approves: all of the store that they go to."""

from pathlib import Path
from typing import Any

import pytest

from clients.venue import Environment
from portcullis import settings
from portcullis.cli.store_shown import lines_of
from portcullis.settings import Home
from portcullis.vault_settings import VaultDocument

AUTH = {"method": "approle", "role_id": "the-role", "secret_id_file": "/etc/p/secret-id", "mount": "login"}
WHOLE = {
    "addresses": ["https://one.example:8200", "https://two.example:8200"], "auth": AUTH, "mount": "keys",
    "prefix": "team/a", "namespace": "ns1", "timeout_s": 7.5,
}  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return settings.prepare(tmp_path / "home", Environment.PAPER, "solo", api_port=0, gateway_port=0)


def shown(home: Home, **changed: Any) -> tuple[str, ...]:
    return lines_of(home, VaultDocument.model_validate(WHOLE | changed))


def test_every_address_and_every_other_field_is_shown(home: Home) -> None:
    """A second address is where every key goes the first time the first one is away."""
    text = "\n".join(shown(home))
    for part in ("1 of 2: https://one.example:8200", "2 of 2: https://two.example:8200", "the-role", "secret-id",
                 "mount: keys", "auth.mount: login", "prefix: team/a", "namespace: ns1", "7.5"):  # fmt: skip
        assert part in text
    assert str(home.secrets) in text


@pytest.mark.parametrize(
    "changed",
    [
        {"addresses": ["https://one.example:8200", "https://evil.example:8200"]},
        {"addresses": ["https://one.example:8200"]}, {"namespace": "ns2"}, {"namespace": None}, {"prefix": ""},
        {"auth": AUTH | {"role_id": "another"}}, {"auth": AUTH | {"wrapped": True}}, {"max_absence_s": 1.0},
    ],
)  # fmt: skip
def test_another_field_is_another_act(home: Home, changed: dict[str, Any]) -> None:
    """Whatever differs is not what was approved."""
    assert shown(home, **changed) != shown(home)


def test_whom_the_store_is_trusted_by_is_approved_by_content(home: Home, tmp_path: Path) -> None:
    """Another certificate authority under the same name is another store."""
    authority = tmp_path / "ca.pem"
    authority.write_text("one")
    before = shown(home, ca_file=str(authority))
    authority.write_text("two")
    assert shown(home, ca_file=str(authority)) != before


def test_a_move_back_names_the_files_and_every_address_that_it_leaves(home: Home) -> None:
    """Where the keys come from is shown, too."""
    from dataclasses import replace  # noqa: PLC0415 - beside what it makes

    there = replace(home, vault=VaultDocument.model_validate(WHOLE))
    text = "\n".join(lines_of(there, None))
    for part in ("https://one.example:8200", "https://two.example:8200", str(home.secrets), str(home.kek)):
        assert part in text
