"""Sealing a stream to a public key: X25519, HKDF-SHA256, AES-256-GCM in chunks. Only the private key opens it.

A file is: mark, the ephemeral public key, then chunks of four bytes of length and sealed data. Each chunk's nonce is
its number, and the last one says so in what it authenticates: nothing can be left out, exchanged or cut off.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

MARK = b"PORTCULLIS BACKUP 1\n"
CHUNK = 1 << 20
_TAG = 16
_LONGEST_LINE = 16 << 20
_MORE, _LAST = b"more", b"last"


class BadBackup(ValueError):
    """It is no backup, is damaged or cut off, or another code opens it."""


def seal(lines: Iterable[bytes], recipient: X25519PublicKey, out: BinaryIO) -> int:
    """Write lines sealed; return how many bytes were written."""
    ephemeral = X25519PrivateKey.generate()
    public = _raw(ephemeral.public_key())
    cipher = AESGCM(_key(ephemeral.exchange(recipient), public, _raw(recipient)))
    size = out.write(MARK + public)
    number, waiting = 0, bytearray()
    for line in lines:
        waiting += line + b"\n"
        while len(waiting) > CHUNK:
            size += _write(out, cipher.encrypt(_nonce(number), bytes(waiting[:CHUNK]), _MORE))
            del waiting[:CHUNK]
            number += 1
    return size + _write(out, cipher.encrypt(_nonce(number), bytes(waiting), _LAST))


def opened(source: BinaryIO, key: X25519PrivateKey) -> Iterator[bytes]:
    """Yield the lines of a sealed stream.

    Raises:
        BadBackup: See there; lines before it may have been yielded.
    """
    if source.read(len(MARK)) != MARK:
        raise BadBackup("this is no backup of Portcullis, or one of another version")
    public = _exactly(source, 32)
    try:
        shared = key.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise BadBackup("the backup is damaged at its beginning") from None
    cipher = AESGCM(_key(shared, public, _raw(key.public_key())))
    number, waiting = 0, b""
    while True:
        (length,) = struct.unpack(">I", _exactly(source, 4))
        if not _TAG <= length <= CHUNK + _TAG:
            raise BadBackup(f"the backup is damaged in part {number + 1}")
        data = _exactly(source, length)
        plain, last = _decrypted(cipher, number, data)
        *lines, waiting = (waiting + plain).split(b"\n")
        if len(waiting) > _LONGEST_LINE:
            raise BadBackup("the backup holds a line longer than any of ours")
        yield from lines
        if last:
            if waiting or source.read(1):
                raise BadBackup("the backup goes on after its end: it was changed")
            return
        number += 1


def _decrypted(cipher: AESGCM, number: int, data: bytes) -> tuple[bytes, bool]:
    for kind in (_MORE, _LAST):
        try:
            return cipher.decrypt(_nonce(number), data, kind), kind is _LAST
        except InvalidTag:
            continue
    why = "another recovery code opens it, or it is damaged" if number == 0 else "it is damaged"
    raise BadBackup(f"part {number + 1} of the backup does not open: {why}")


def _exactly(source: BinaryIO, size: int) -> bytes:
    data = source.read(size)
    if len(data) != size:
        raise BadBackup("the backup ends too early: it was cut off")
    return data


def _write(out: BinaryIO, data: bytes) -> int:
    return out.write(struct.pack(">I", len(data)) + data)


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def _key(shared: bytes, ephemeral: bytes, recipient: bytes) -> bytes:
    return HKDF(SHA256(), 32, ephemeral + recipient, b"portcullis backup 1").derive(shared)


def _raw(key: X25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)
