"""How long Binance asks everybody behind an address to wait. Pure: status, headers and body in, seconds out.

Rules:
1. Only 429 and 418 ask for a pause, and `-1003` under another status. `-1015` does not: it counts the unfilled orders
   of one account, and says nothing of the address.
2. `Retry-After` is whole seconds (fact sheet section 10); HTTP allows a date too. The text of `-1003` names the end of
   a ban in milliseconds of the venue's clock. Both are counted from the answer's own `Date`, which is that clock; ours
   counts where it says none. The longest of what is said counts.
3. Where nothing is said, a 429 waits out a minute, which is what weight is counted by, and a 418 the shortest ban.
   What is longer than the longest ban the venue documents is cut to that.

Source: Binance spot REST docs, rest-api.md "IP Limits", state of 2026-07-21.
"""

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

import msgspec

BANNED, TOO_MANY = 418, 429
LONGEST_S = 3 * 86_400.0
DEFAULT_S = {TOO_MANY: 60.0, BANNED: 120.0}

_WEIGHT_CODE, _ORDERS_CODE = -1003, -1015
_UNTIL = re.compile(r"banned until (\d{13})")
_LARGEST_BODY = 64 * 1024
_MS_PER_S, _S_PER_US = 1000, 1_000_000
_LONGEST_NUMBER = 12


class _Error(msgspec.Struct):
    code: int = 0
    msg: str = ""


def number(text: bytes | None) -> int | None:
    """Read a whole number of a header; None where there is none, or one longer than any that means something."""
    if text is None or len(text) > _LONGEST_NUMBER or not text.isdigit():
        return None
    return int(text)


def pause_s(status: int, headers: Mapping[bytes, bytes], body: bytes, now_us: int) -> float | None:
    """Return how long the venue asks to wait, in seconds; None where it does not ask.

    Args:
        status: HTTP status.
        headers: By lower-case name.
        body: The whole body, decompressed.
        now_us: The venue's clock, as far as it is known, in microseconds since the epoch.
    """
    if status < 400:  # noqa: PLR2004 - a yes
        return None
    error = _error(body)
    if error.code == _ORDERS_CODE or (status not in DEFAULT_S and error.code != _WEIGHT_CODE):
        return None
    said_at = _date(headers.get(b"date", b"").decode("latin-1"))
    now_s = now_us / _S_PER_US if said_at is None else said_at
    said = [pause for pause in (_after(headers, now_s), _until(error.msg, now_s)) if pause is not None]
    pause = max(said, default=DEFAULT_S.get(status, DEFAULT_S[TOO_MANY]))
    return min(max(pause, 1.0), LONGEST_S)


def _error(body: bytes) -> _Error:
    if len(body) > _LARGEST_BODY:
        return _Error()
    try:
        return msgspec.json.decode(body, type=_Error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Error()


def _after(headers: Mapping[bytes, bytes], now_s: float) -> float | None:
    """Read `Retry-After`: seconds, or a date."""
    text = headers.get(b"retry-after", b"").strip().decode("latin-1")
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return float(text[:_LONGEST_NUMBER])
    until = _date(text)
    return None if until is None else until - now_s


def _date(text: str) -> float | None:
    if not text:
        return None
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def _until(text: str, now_s: float) -> float | None:
    found = _UNTIL.search(text)
    return None if found is None else int(found[1]) / _MS_PER_S - now_s
