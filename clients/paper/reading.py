"""The paper exchange's own reading of requests: parameters, signature, time. Shares nothing with the gateway's.

Rules:
1. Parameters come from query and body, those of a GET from the query alone; a name in both counts as the query has it;
   a name twice in one part is refused (-1101).
2. The signed text is the raw query followed by the raw body, each without its `signature` pair.
3. HMAC signatures are hex in either case; RSA (PKCS#1 v1.5, SHA-256) and Ed25519 are base64.
4. A timestamp of 13 digits is milliseconds, of 16 microseconds. A receive window is milliseconds, with up to three
   decimals; on `/sapi` it is documented as whole.

Source: Binance spot REST docs, "Request Security", state of 2026-07-21.
"""

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from decimal import Decimal
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
_LONGEST_NUMBER, _PLACES = 24, 8
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII)
_WINDOW = re.compile(r"[0-9]+(\.[0-9]{1,3})?", re.ASCII)
_RANGE = "^([0-9]{1,20})(\\.[0-9]{1,20})?$"
_RESERVED = frozenset(b":/?#[]@!$'()*,;\"<>{}|^`\\")


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
        if not _NUMBER.fullmatch(text):
            raise illegal(name, _RANGE)
        if len(text) > _LONGEST_NUMBER:
            raise PaperError(-1108, f"Parameter '{name}' overflowed.")
        if len(text.partition(".")[2]) > _PLACES:
            raise PaperError(-1111, f"Parameter '{name}' has too much precision.")
        return Decimal(text)

    def whole(self, name: str, default: int | None = None) -> int | None:
        """Return an optional whole number."""
        text = self.get(name)
        if text is None:
            return default
        if not text.isascii() or not text.isdigit():
            raise illegal(name)
        if len(text) > _LONGEST_NUMBER:
            raise PaperError(-1108, f"Parameter '{name}' overflowed.")
        return int(text)

    def time_us(self, name: str) -> int | None:
        """Return an optional instant, sent in milliseconds or microseconds."""
        number = self.whole(name)
        if number is None:
            return None
        return number if len(str(number)) >= _MICROSECONDS else number * 1000

    def flag(self, name: str, *, default: bool = False) -> bool:
        """Return an optional truth."""
        text = self.get(name)
        if text is None:
            return default
        if text.lower() not in {"true", "false"}:
            raise PaperError(-1130, f"Data sent for parameter '{name}' is not valid.")
        return text.lower() == "true"

    def one_of(self, name: str, values: frozenset[str]) -> str | None:
        """Return an optional word that is one of a few."""
        text = self.get(name)
        if text is not None and text not in values:
            raise PaperError(-1130, f"Data sent for parameter '{name}' is not valid.")
        return text


def parameters(call: Call) -> Params:
    """Return the parameters as this exchange understands them."""
    found = Params()
    for part in (call.query,) if call.method == "GET" else (call.body, call.query):
        here: set[str] = set()
        try:
            text = part.decode("ascii")
        except UnicodeDecodeError:
            raise PaperError(-1100, "Illegal characters found in a parameter.") from None
        for pair in text.split("&") if text else ():
            name, _, value = pair.partition("=")
            name, value = unquote_plus(name), unquote_plus(value)
            if name in here:
                raise PaperError(-1101, "Duplicate values for a parameter detected.")
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


def check_signature(key: PaperKey, call: Call, signature: str, *, raw_reserved: bool = True) -> None:
    """Refuse a signature that this key did not make; with `raw_reserved` off, unencoded text too."""
    text = signed_text(call)
    good = False
    if not raw_reserved and any(byte in _RESERVED for byte in text):
        raise PaperError(-1022, "Signature for this request is not valid.")
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


def check_time(params: Params, now_us: int, *, whole_window: bool = False) -> None:
    """Refuse a request outside of its receive window."""
    text = params.need("timestamp")
    if not text.isascii() or not text.isdigit() or len(text) > _LONGEST_NUMBER:
        raise illegal("timestamp")
    at_us = int(text) * (1 if len(text) == _MICROSECONDS else 1000)
    if _WINDOW.fullmatch(text := params.get("recvWindow", "0")) is None or (whole_window and "." in text):
        raise illegal("recvWindow")
    window = Decimal(text) if "recvWindow" in params else None
    window_us = DEFAULT_WINDOW_US if window is None else int(window * 1000)
    if window_us > LARGEST_WINDOW_US:
        raise PaperError(-1131, "recvWindow must be less than 60000")
    if at_us >= now_us + AHEAD_US:
        raise PaperError(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    if now_us - at_us > window_us:
        raise PaperError(-1021, "Timestamp for this request is outside of the recvWindow.")
