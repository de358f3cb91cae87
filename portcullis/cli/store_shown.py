"""What a move of the secrets approves, in lines: every field of the store that they go to, and whom its files trust."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from portcullis.settings import Home
from portcullis.vault_settings import VaultDocument

_CONTENT = ("ca_file", "client_cert")
"""Files that say whom we trust: another content is another store. What proves us is replaced all the time."""


def lines_of(home: Home, to: VaultDocument | None) -> tuple[str, ...]:
    """Return what is approved: where every secret comes from, and all of where it goes to."""
    source = home.vault
    away = f"from: {home.secrets}" if source is None else f"from: vault {', '.join(source.addresses)}"
    if to is None:
        return (away, "to: embedded", f"file: {home.secrets}", f"key: {home.kek}")
    return (away, "to: vault", *_fields("", to.model_dump(mode="json")))


def _fields(above: str, found: Mapping[str, Any]) -> Iterator[str]:
    for name, value in found.items():
        if isinstance(value, Mapping):
            yield from _fields(f"{above}{name}.", value)
        elif isinstance(value, list):
            yield from (
                f"{above}{name} {number} of {len(value)}: {one}" for number, one in enumerate(value, 1)
            )
        elif value is not None:
            yield f"{above}{name}: {value}" + (_digest(Path(value)) if name in _CONTENT else "")


def _digest(path: Path) -> str:
    try:
        content = path.expanduser().read_bytes()
    except OSError:
        return " (cannot be read)"
    return f" (sha256 {hashlib.sha256(content).hexdigest()})"
