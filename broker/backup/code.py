"""The recovery code: 160 random bits in words of four, with a checksum. Shown once; it opens every backup. Pure.

From it comes a key pair (X25519). The home keeps the public half only, so that it can make backups without the
code, and whoever takes the home cannot open those made before.
"""

import base64
import os

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from broker.backup.form import BYTES, checksum, drawn
from clients.secret import Secret

_WORD = 4
_INFO = b"portcullis recovery code 1"


class BadCode(ValueError):
    """It is no recovery code, or was mistyped."""


def fresh() -> Secret:
    """Return a new code, as it is shown: nine words of four letters and digits."""
    bare = base64.b32encode(os.urandom(BYTES)).decode("ascii")
    whole = bare + checksum(bare)
    return Secret("-".join(whole[at : at + _WORD] for at in range(0, len(whole), _WORD)))


def private_key(code: Secret) -> X25519PrivateKey:
    """Return the key that opens.

    Raises:
        BadCode: A character is wrong or missing.
    """
    raw = drawn(code.reveal())
    if raw is None:
        raise BadCode("this is no recovery code, or a character of it is wrong")
    key = HKDF(SHA256(), 32, None, _INFO).derive(raw)
    return X25519PrivateKey.from_private_bytes(key)


def public_text(key: X25519PrivateKey) -> str:
    """Return the public half as the home keeps it, base64."""
    return base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode("ascii")


def public_key(text: str) -> X25519PublicKey:
    """Read what `public_text` wrote."""
    return X25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
