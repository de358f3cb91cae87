"""What the file of the embedded store holds, read in one place: SQLite keeps whatever type somebody put there. Pure."""

import json
from typing import Any

from broker.errors import StoreUnavailable


def changed(where: str) -> StoreUnavailable:
    """Return the error for what is not as we wrote it."""
    return StoreUnavailable(
        "tampered", f"{where} in the secret store does not open: it was changed; restore it from a backup"
    )


def text(found: Any, where: str) -> str:
    """Return a text."""
    if not isinstance(found, str):
        raise changed(where)
    return found


def sealed(found: Any, where: str) -> bytes:
    """Return what is sealed."""
    if not isinstance(found, bytes):
        raise changed(where)
    return found


def number(found: Any, where: str) -> int:
    """Return a number that was written as a text."""
    if not (isinstance(found, str) and found.isascii() and found.isdigit() and len(found) <= 18):  # noqa: PLR2004
        raise changed(where)
    return int(found)


def texts(document: Any, where: str) -> dict[str, str]:
    """Return a map of texts out of its document."""
    try:
        found = json.loads(document)
    except (ValueError, TypeError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
        raise changed(where)
    return found
