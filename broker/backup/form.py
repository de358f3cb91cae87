"""The form of a recovery code: what is drawn, and its checksum. Pure; the command line loads it, too."""

import base64
import binascii
import hashlib

BYTES, CHECK = 20, 4


def drawn(text: str) -> bytes | None:
    """Return the bits of a code, however it is spaced; None where it is none, or a character of it is wrong."""
    bare = "".join(text.split()).replace("-", "").upper()
    body, check = bare[:-CHECK], bare[-CHECK:]
    try:
        raw = base64.b32decode(body)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == BYTES and checksum(body) == check else None


def checksum(body: str) -> str:
    """Return what follows the bits, as letters and digits."""
    return base64.b32encode(hashlib.sha256(body.encode()).digest()).decode("ascii")[:CHECK]
