"""Signatures of Binance: REST and WebSocket API, three kinds of key. Pure.

Rules:
1. REST signs the query string followed by the body, nothing at the joint, without `signature`, byte for byte
   as sent. Some clients sign the text before encoding it: `variant_text` gives those forms.
2. A decoded variant is refused where the text escapes `&`, `=`, `#` or `%`: the signed text could then be cut
   into other parameters than the wire form. So it is where an escape is none.
3. The WebSocket API signs all parameters but `signature`, sorted by name, `name=value` joined by `&`, as raw
   UTF-8.
4. HMAC-SHA-256 as hex, either case; RSA (PKCS#1 v1.5, SHA-256) and Ed25519 as base64, percent-encoded on
   REST.
5. Comparison takes the same time whatever differs. `cryptography` is imported only where an asymmetric key is
   used, because it costs a gateway several megabytes.
6. Parsed private keys are kept in a bounded `KeyRing` that shows nothing and can be told to forget.

Source: Binance spot REST docs, "Request Security", and WebSocket API docs, "SIGNED request security", read
2026-11-22; variants: observed on the wire of the client libraries named in docs.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from clients.secret import Secret
from clients.venue import Credential, KeyType, Variant, Verifier
from clients.venues.binance.form import percent_decode

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

# Reading a member off its class costs a tenth of a microsecond, several times a request.
_HMAC, _RAW, _DECODED = KeyType.HMAC, Variant.RAW, Variant.DECODED
_RAW_ONLY = (_RAW,)
_HEX_LENGTH = 64
_FORBIDDEN_DECODED = re.compile(r"%(?:26|3[Dd]|23|25|(?![0-9A-Fa-f]{2}))")
_KEPT_KEYS = 64


def rest_text(query: str, body: str) -> str:
    """Return what REST signs, both parts without `signature`."""
    return query + body


def websocket_text(params: Mapping[str, str]) -> str:
    """Return what the WebSocket API signs. Values as they would stand in JSON text: booleans lower case."""
    return "&".join(f"{name}={params[name]}" for name in sorted(params) if name != "signature")


def variant_text(text: str, variant: Variant) -> str:
    """Return the form of a REST text that a client of this variant signs."""
    if variant is _RAW:
        return text
    if variant is Variant.DECODED_PLUS:
        text = text.replace("+", " ")
    if "%" not in text:
        return text
    decoded = percent_decode(text)
    return text if decoded is None else decoded


def variants(text: str) -> tuple[Variant, ...]:
    """Return the variants worth trying: only those whose text differs, and only where rule 2 allows them."""
    if "%" not in text and "+" not in text:
        return _RAW_ONLY
    if _FORBIDDEN_DECODED.search(text):
        return _RAW_ONLY
    if "+" not in text:
        return (_RAW, _DECODED)
    return (_RAW, _DECODED, Variant.DECODED_PLUS)


def hmac_hex(secret: Secret, message: bytes) -> str:
    """Sign with a shared secret."""
    return hmac.digest(secret.reveal().encode(), message, "sha256").hex()


def hmac_matches(secret: Secret, message: bytes, signature: str) -> bool:
    """Compare a hex signature of either case, in constant time."""
    if len(signature) != _HEX_LENGTH or not signature.isascii():
        return False
    return hmac.compare_digest(hmac_hex(secret, message), signature.lower())


class KeyRing:
    """Parsed keys, so that a PEM is read once. Bounded; never shows what it holds."""

    __slots__ = ("_private", "_public")

    def __init__(self) -> None:
        self._private: OrderedDict[tuple[str, bytes], RSAPrivateKey | Ed25519PrivateKey] = OrderedDict()
        self._public: OrderedDict[str, RSAPublicKey | Ed25519PublicKey] = OrderedDict()

    def __repr__(self) -> str:
        return f"KeyRing({len(self._private)} private, {len(self._public)} public)"

    def __reduce_ex__(self, protocol: object) -> str:
        raise TypeError("a KeyRing is not serialised")

    def forget(self, key_id: str | None = None) -> None:
        """Drop the private keys of one key id, or all of them."""
        for kept in [kept for kept in self._private if key_id is None or kept[0] == key_id]:
            del self._private[kept]

    def sign(self, credential: Credential, message: bytes) -> str:
        """Return the signature as text, not yet percent-encoded.

        Raises:
            ValueError: The private key is not a PKCS#8 PEM of the credential's type. Carries no key material.
        """
        if credential.key_type is _HMAC:
            return hmac_hex(credential.secret, message)
        return base64.b64encode(_sign(self._private_key(credential), message)).decode("ascii")

    def matches(self, verifier: Verifier, message: bytes, signature: str) -> bool:
        """Tell whether a signature, percent-decoded already, is the verifier's over a message."""
        if verifier.secret is not None:
            return hmac_matches(verifier.secret, message, signature)
        try:
            given = base64.b64decode(signature, validate=True)
        except (binascii.Error, ValueError):
            return False
        return _verify(self._public_key(verifier), message, given)

    def _private_key(self, credential: Credential) -> "RSAPrivateKey | Ed25519PrivateKey":
        pem = credential.secret.reveal().encode()
        name = (credential.key_id, hashlib.sha256(pem).digest())
        kept = self._private.get(name)
        if kept is None:
            kept = self._private[name] = _load_private(pem, credential.key_type)
            if len(self._private) > _KEPT_KEYS:
                self._private.popitem(last=False)
        return kept

    def _public_key(self, verifier: Verifier) -> "RSAPublicKey | Ed25519PublicKey":
        pem = verifier.public_key or ""
        kept = self._public.get(pem)
        if kept is None:
            kept = _load_public(pem, verifier.key_type)
            self._public[pem] = kept
            if len(self._public) > _KEPT_KEYS:
                self._public.popitem(last=False)
        return kept


def on_the_wire(signature: str) -> str:
    """Percent-encode a signature for a query or form; hex stays as it is."""
    return signature if signature.isalnum() else quote(signature, safe="")


def from_the_wire(raw: str) -> str:
    """Undo `on_the_wire`; a client that forgot it, and sent base64 raw, is understood too."""
    return unquote(raw) if "%" in raw else raw


def _load_private(pem: bytes, kind: KeyType) -> "RSAPrivateKey | Ed25519PrivateKey":
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa  # noqa: PLC0415 - rule 5
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415 - rule 5

    try:
        key = load_pem_private_key(pem, password=None)
    except Exception:  # noqa: BLE001 - whatever it says may describe the key
        raise ValueError("the private key is not a readable PKCS#8 PEM") from None
    if kind is KeyType.RSA and isinstance(key, rsa.RSAPrivateKey):
        return key
    if kind is KeyType.ED25519 and isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    raise ValueError(f"the private key is not of type {kind}")


def _load_public(pem: str, kind: KeyType) -> "RSAPublicKey | Ed25519PublicKey":
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa  # noqa: PLC0415 - rule 5
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415 - rule 5

    key = load_pem_public_key(pem.encode())
    if kind is KeyType.RSA and isinstance(key, rsa.RSAPublicKey):
        return key
    if kind is KeyType.ED25519 and isinstance(key, ed25519.Ed25519PublicKey):
        return key
    raise ValueError(f"the public key is not of type {kind}")


def _sign(key: "RSAPrivateKey | Ed25519PrivateKey", message: bytes) -> bytes:
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - rule 5
    from cryptography.hazmat.primitives.asymmetric import padding, rsa  # noqa: PLC0415 - rule 5

    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    return key.sign(message)


def _verify(key: "RSAPublicKey | Ed25519PublicKey", message: bytes, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - rule 5
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - rule 5
    from cryptography.hazmat.primitives.asymmetric import padding, rsa  # noqa: PLC0415 - rule 5

    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
        else:
            key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def signed_pairs(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Percent-encode parameters of our own the way the venue documents it."""
    return [f"{name}={quote(value, safe='')}" for name, value in pairs]
