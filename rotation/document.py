"""A rotation as JSON text, and back. Pure; strict on the way in: what cannot be read is not worked on."""

from typing import Any

import msgspec

from rotation.state import Rotation


def dump(rotation: Rotation) -> str:
    """Write a rotation down."""
    return msgspec.json.encode(rotation, enc_hook=_plain).decode()


def load(text: str) -> Rotation:
    """Read a rotation.

    Raises:
        ValueError: It is none, or of a newer program.
    """
    try:
        return msgspec.json.decode(text, type=Rotation, strict=True, dec_hook=_refuse)
    except msgspec.ValidationError as fault:
        raise ValueError(f"this is no rotation of this program: {fault}") from None


def _plain(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} is not written down")


def _refuse(kind: type, _value: object) -> Any:
    raise TypeError(f"{kind.__name__} is not read")
