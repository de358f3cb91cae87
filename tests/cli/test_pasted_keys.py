"""A key that is handed out can be pasted as it is shown: a PEM has lines. No terminal obeys it."""

import io
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from rich.console import Console

from clients.venue import KeyType
from portcullis.cli import destinations
from portcullis.cli.answers import read
from portcullis.cli.rotation_answers import HandedOut
from tests.gateway.world import key_pair


def shown(secret: str | None, *, is_terminal: bool = True) -> list[str]:
    out = io.StringIO()
    document = {
        "key": "main/trade/1", "venue_key_id": "K" * 64, "secret": secret, "passphrase": None, "checkout": None,
        "at": datetime.now(UTC).isoformat(),
    }  # fmt: skip
    console = Console(file=out, force_terminal=is_terminal, width=40, highlight=False, color_system=None)
    destinations._key(console, read(HandedOut, document))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("key_type", [KeyType.ED25519, KeyType.RSA])
def test_a_pem_is_shown_in_its_lines(key_type: KeyType, ends: str, *, is_terminal: bool) -> None:
    pem, _ = key_pair(key_type)
    lines = shown(pem.replace("\n", ends), is_terminal=is_terminal)
    first = lines.index("-----BEGIN PRIVATE KEY-----")
    pasted = "\n".join(lines[first:]) + "\n"
    assert pasted == pem
    load_pem_private_key(pasted.encode(), None)


def test_no_other_control_passes() -> None:
    lines = shown("-----BEGIN\n\x1b]0;x\x07\x0b\x85[/bold]\nEND")
    assert lines[-3:] == ["-----BEGIN", "\\x1b]0;x\\x07\\x0b\\x85[/bold]", "END"]


@pytest.mark.parametrize(
    ("secret", "word"), [("s3cr3t", "s3cr3t"), (None, "not shown again"), ("s\r", "s\\r")]
)
def test_a_secret_of_one_line_stays_beside_its_name(secret: str | None, word: str) -> None:
    assert any(line.startswith(f"  secret  {word}") for line in shown(secret))
