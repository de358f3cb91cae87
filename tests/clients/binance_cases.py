"""Requests, keys and readers that the Binance tests share."""

import hmac
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_plus

from clients.secret import Secret
from clients.venue import Credential, KeyType, Malformed, Opened, Reading, Request, Variant, Verifier
from clients.venues.binance import WIRE

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors" / "binance.json").read_text())
KEYS = VECTORS["keys"]
SECRET = KEYS["hmac-a"]["secret"]
PRIVATE, PUBLIC = KEYS["ed25519"]["private"], KEYS["ed25519"]["public"]
AT = "1795358627105"

VIRTUAL = Verifier(KeyType.HMAC, Secret(SECRET))
REAL_SECRET = "realsecretrealsecretrealsecretrealsecretrealsecretrealsecretreal"
REAL = Credential("REALKEY", Secret(REAL_SECRET), KeyType.HMAC)


def hmac_hex(secret: str, message: str) -> str:
    """An HMAC computed without the code under test."""
    return hmac.new(secret.encode(), message.encode(), "sha256").hexdigest()


def signed(method: str, path: str, query: str = "", body: str = "", *, stamp: bool = True) -> Request:
    """A request as a bot sends it: `timestamp` added and signed, both at the end of the part in use."""
    part = body or query
    if stamp:
        part = f"{part}&timestamp={AT}" if part else f"timestamp={AT}"
    if body:
        signature = hmac_hex(SECRET, query + part)
        return Request(method, path, query.encode(), f"{part}&signature={signature}".encode(), "VKEY")
    return Request(method, path, f"{part}&signature={hmac_hex(SECRET, part)}".encode(), b"", "VKEY")


def read_request(request: Request) -> Reading | Malformed:
    """Read a request as a gateway does, without checking its signature."""
    opened = WIRE.open(WIRE.find(request))
    return opened if isinstance(opened, Malformed) else WIRE.read(opened)


def verify_request(verifier: Verifier, request: Request) -> Variant | None:
    """Check the signature of a request that can be taken apart."""
    opened = WIRE.open(WIRE.find(request))
    assert isinstance(opened, Opened), opened
    return WIRE.verify(verifier, opened)


def read(method: str, path: str, query: str = "", body: str = "") -> Reading:
    """Read a signed request that must pass."""
    reading = read_request(signed(method, path, query, body))
    assert isinstance(reading, Reading), reading
    return reading


def refused(method: str, path: str, query: str = "", body: str = "") -> tuple[str, str]:
    """Read a signed request that must not pass; its reason and field."""
    reading = read_request(signed(method, path, query, body))
    assert isinstance(reading, Malformed), reading
    return reading.reason, reading.field


# --- six readers, none of them ours -----------------------------------------------------------


def _split(text: str, *, semicolons: bool = False) -> list[tuple[str, str]]:
    if semicolons:
        text = text.replace(";", "&")
    return [tuple(pair.partition("=")[::2]) for pair in text.split("&") if pair]  # type: ignore[misc]


def _first(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pairs:
        found.setdefault(name, value)
    return found


def six_readings(query: str, body: str) -> list[dict[str, str]]:
    """How six kinds of servers read the same form."""
    both, turned = _split(query) + _split(body), _split(body) + _split(query)

    def decoded(pairs: dict[str, str]) -> dict[str, str]:
        return {unquote(name): unquote(value) for name, value in pairs.items()}

    return [
        decoded(_first(both)),
        decoded(dict(both)),
        decoded(_first(both)),
        decoded(_first(turned)),
        {name.lower(): value for name, value in decoded(dict(both)).items()},
        {
            unquote_plus(name): unquote_plus(value)
            for name, value in _split(query, semicolons=True) + _split(body, semicolons=True)
        },
    ]
