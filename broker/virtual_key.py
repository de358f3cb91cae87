"""Virtual keys: what a bot holds instead of a real one. Pure, apart from the system's random source.

Shape: 64 letters and digits, as Binance's keys are: `PCLS`, 54 random characters, 6 of checksum. So a scanner
can find a leaked one without asking anybody, and a typing error is not mistaken for a revoked key.
Secrets are 64 random letters and digits. Client order ids that we stamp begin with `pcls-`.
"""

import secrets
import string
import zlib

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
PREFIX = "PCLS"
LENGTH = 64
_CHECKSUM = 6
_RANDOM = LENGTH - len(PREFIX) - _CHECKSUM
STAMP = "pcls-"
_STAMP_BYTES = 13


def _random(count: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(count))


def _checksum(text: str) -> str:
    number, digits = zlib.crc32(text.encode("ascii")), ""
    for _ in range(_CHECKSUM):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits


def new_key_id() -> str:
    """Return a fresh key id."""
    body = PREFIX + _random(_RANDOM)
    return body + _checksum(body)


def new_secret() -> str:
    """Return a fresh secret, about 381 bits. Put it into a `Secret` at once."""
    return _random(LENGTH)


def is_key_id(text: str) -> bool:
    """Tell whether this is one of our key ids, by prefix, shape and checksum."""
    return (
        len(text) == LENGTH
        and text.startswith(PREFIX)
        and text.isascii()
        and text.isalnum()
        and text[-_CHECKSUM:] == _checksum(text[:-_CHECKSUM])
    )


def new_client_order_id() -> str:
    """Return a client order id to stamp: 31 of the 36 characters that venues allow."""
    return STAMP + secrets.token_hex(_STAMP_BYTES)
