"""Signed statements of how far every chain had come: whoever rewrites a chain contradicts one of them. Pure.

Rules:
1. A checkpoint holds the heads of all writers, so each signer also vouches for the chains of the others.
2. Checkpoints of a signer are a chain themselves. They are signed with Ed25519; the signature covers the rest.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

VERSION = 1
_FIELDS = {"version", "signer", "number", "at_us", "heads", "previous", "public_key", "signature"}
Heads = Mapping[str, tuple[int, str]]
"""Number and digest of the last record, by writer."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One statement. Key and signature are base64; `previous` is the digest of the signer's last one."""

    signer: str
    number: int
    at_us: int
    heads: Heads
    previous: str
    public_key: str
    signature: str


def sign(
    key: Ed25519PrivateKey, signer: str, number: int, at_us: int, heads: Heads, previous: str
) -> Checkpoint:
    """Return a signed statement."""
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    bare = Checkpoint(signer, number, at_us, heads, previous, _text(public), "")
    return Checkpoint(signer, number, at_us, heads, previous, bare.public_key, _text(key.sign(_signed(bare))))


def is_signed(checkpoint: Checkpoint) -> bool:
    """Tell whether the signature fits key and content."""
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(checkpoint.public_key, validate=True))
        key.verify(base64.b64decode(checkpoint.signature, validate=True), _signed(checkpoint))
    except (ValueError, InvalidSignature):
        return False
    return True


def fingerprint(key: Ed25519PublicKey) -> str:
    """Return what a signing key is known by."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


def digest(checkpoint: Checkpoint) -> str:
    """Return the digest that the signer's next statement refers to."""
    return hashlib.sha256(dump(checkpoint).encode()).hexdigest()


def dump(checkpoint: Checkpoint) -> str:
    """Return one line of JSON: what anchors keep."""
    return json.dumps(
        {**_fields(checkpoint), "signature": checkpoint.signature}, sort_keys=True, separators=(",", ":")
    )


def load(line: str) -> Checkpoint:
    """Read what `dump` wrote.

    Raises:
        ValueError: It is something else.
    """
    try:
        found = json.loads(line)
    except RecursionError:
        raise ValueError("no checkpoint") from None
    if not isinstance(found, dict) or set(found) != _FIELDS or found["version"] != VERSION:
        raise ValueError("no checkpoint of this version")
    heads = {}
    for writer, head in found["heads"].items():
        seq, value = head
        if type(seq) is not int or not isinstance(value, str):
            raise ValueError("no head")
        heads[str(writer)] = (seq, value)
    if type(found["number"]) is not int or type(found["at_us"]) is not int:
        raise ValueError("no number")
    texts = [str(found[name]) for name in ("signer", "previous", "public_key", "signature")]
    return Checkpoint(texts[0], found["number"], found["at_us"], heads, *texts[1:])


def _fields(checkpoint: Checkpoint) -> dict[str, object]:
    return {
        "version": VERSION, "signer": checkpoint.signer, "number": checkpoint.number, "at_us": checkpoint.at_us,
        "heads": {writer: list(head) for writer, head in checkpoint.heads.items()},
        "previous": checkpoint.previous, "public_key": checkpoint.public_key,
    }  # fmt: skip


def _signed(checkpoint: Checkpoint) -> bytes:
    return json.dumps(_fields(checkpoint), sort_keys=True, separators=(",", ":")).encode()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
