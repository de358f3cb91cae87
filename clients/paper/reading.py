"""The paper exchange's own reading of requests: parameters, signature, time. Shares nothing with the gateway's.

Rules:
1. Parameters come from query and body; a name in both counts as the query has it; a name twice in one part is
   refused (-1101).
2. The signed text is the raw query followed by the raw body, each without its `signature` pair.
3. HMAC signatures are hex in either case; RSA (PKCS#1 v1.5, SHA-256) and Ed25519 are base64.
4. A timestamp of 13 digits is milliseconds, of 16 microseconds.

Source: Binance spot REST docs, "Request Security", state of 2026-07-21.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from urllib.parse import unquote_plus

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from clients.paper.errors import PaperError, illegal, mandatory
from clients.paper.ledger import PaperKey
from clients.venue import KeyType

AHEAD_US = 1_000_000
DEFAULT_WINDOW_US = 5_000_000
LARGEST_WINDOW_US = 60_000_000
_MILLISECONDS, _MICROSECONDS = 13, 16


@dataclass(slots=True)
class Call:
    """One request as it arrived."""

    method: str
    path: str
    query: bytes
    body: bytes
    headers: dict[bytes, bytes]
    peer: str

    @property
    def key_id(self) -> str | None:
        """The API key header."""
        value = self.headers.get(b"x-mbx-apikey")
        return value.decode("ascii", "replace") if value else None


class Params(dict[str, str]):
    """Parameters by name, decoded."""

    def need(self, name: str) -> str:
        """Return one that must be there."""
        value = self.get(name)
        if not value:
            raise mandatory(name)
        return value

    def number(self, name: str) -> Decimal | None:
        """Return an optional positive number."""
        text = self.get(name)
        if text is None:
            return None
        try:
            number = Decimal(text)
        except InvalidOperation:
            raise illegal(name) from None
        if not number.is_finite() or number < 0 or "e" in text.lower():
            raise illegal(name)
        return number

    def whole(self, name: str, default: int | None = None) -> int | None:
        """Return an optional whole number."""
        text = self.get(name)
        if text is None:
            return default
        if not text.isascii() or not text.isdigit():
            raise illegal(name)
        return int(text)


def parameters(call: Call) -> Params:
    """Return the parameters as this exchange understands them."""
    found = Params()
    for part in (call.body, call.query):
        here: set[str] = set()
        try:
            text = part.decode("ascii")
        except UnicodeDecodeError:
            raise PaperError(-1100, "Illegal characters found in a parameter.") from None
        for pair in text.split("&") if text else ():
            name, _, value = pair.partition("=")
            name, value = unquote_plus(name), unquote_plus(value)
            if name in here:
                raise PaperError(-1101, "Too many parameters; duplicate values detected.")
            here.add(name)
            found[name] = value
    return found


def signed_text(call: Call) -> bytes:
    """Return the text that a signature covers."""
    return _without_signature(call.query) + _without_signature(call.body)


def _without_signature(part: bytes) -> bytes:
    if b"signature=" not in part:
        return part
    return b"&".join(pair for pair in part.split(b"&") if not pair.startswith(b"signature="))


def check_signature(key: PaperKey, call: Call, signature: str) -> None:
    """Refuse a signature that this key did not make."""
    text = signed_text(call)
    good = False
    if key.key_type is KeyType.HMAC and key.secret is not None:
        wanted = hmac.new(key.secret.reveal().encode(), text, hashlib.sha256).hexdigest()
        good = signature.isascii() and hmac.compare_digest(wanted, signature.lower())
    elif key.public_key is not None:
        good = _asymmetric(key.public_key, text, signature)
    if not good:
        raise PaperError(-1022, "Signature for this request is not valid.")


def _asymmetric(pem: str, text: bytes, signature: str) -> bool:
    public = load_pem_public_key(pem.encode())
    try:
        raw = base64.b64decode(signature, validate=True)
        if isinstance(public, rsa.RSAPublicKey):
            public.verify(raw, text, padding.PKCS1v15(), hashes.SHA256())
        elif isinstance(public, ed25519.Ed25519PublicKey):
            public.verify(raw, text)
        else:
            return False
    except (binascii.Error, ValueError, InvalidSignature):
        return False
    return True


def check_time(params: Params, now_us: int) -> None:
    """Refuse a request outside of its receive window."""
    text = params.need("timestamp")
    if not text.isascii() or not text.isdigit() or len(text) not in {_MILLISECONDS, _MICROSECONDS}:
        raise illegal("timestamp")
    at_us = int(text) * (1000 if len(text) == _MILLISECONDS else 1)
    window = params.number("recvWindow")
    window_us = DEFAULT_WINDOW_US if window is None else int(window * 1000)
    if window_us > LARGEST_WINDOW_US:
        raise PaperError(-1131, "recvWindow must be less than 60000.")
    if at_us >= now_us + AHEAD_US:
        raise PaperError(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    if now_us - at_us > window_us:
        raise PaperError(-1021, "Timestamp for this request is outside of the recvWindow.")
