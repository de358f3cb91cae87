"""The form of a request and of an answer on the bots' side. Pure.

Rules:
1. Origin-form targets of printable ASCII only; no `.` or `..` segment, no `%2e`, `%2f`, `%5c`, backslash or
   fragment in the path.
2. Limits in bytes and number; what is over one is `BadForm`, with a short stable reason.
3. A header that decides how a request is read, or who asks, says one thing, once. No other is read or forwarded.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

LARGEST_HEAD = 16 * 1024
LARGEST_BODY = 64 * 1024
MOST_HEADERS = 64

METHODS = frozenset({b"GET", b"POST", b"PUT", b"DELETE"})
_PRINTABLE = re.compile(rb"[\x21-\x7e]*")
DECIMAL = frozenset(b"0123456789")
_REASONS = {
    200: b"OK", 400: b"Bad Request", 401: b"Unauthorized", 403: b"Forbidden", 404: b"Not Found",
    405: b"Method Not Allowed", 408: b"Request Timeout", 409: b"Conflict", 411: b"Length Required",
    413: b"Content Too Large", 417: b"Expectation Failed", 418: b"I'm a teapot", 429: b"Too Many Requests",
    431: b"Request Header Fields Too Large", 500: b"Internal Server Error", 502: b"Bad Gateway",
    503: b"Service Unavailable", 504: b"Gateway Timeout",
}  # fmt: skip

_WORDS = {
    "http": "it is not HTTP/1.1",
    "no_host": "it has no Host header",
    "foreign_host": "its Host is none that this gateway answers to; use the address it listens on, or --allowed-host",
    "repeated_header": "a header that decides how it is read, or who asks, comes twice",
    "header_bytes": "headers have no control characters; those that decide how it is read are ASCII, and have no '_'",
    "too_many_headers": f"it has more than {MOST_HEADERS} headers",
    "head_too_large": f"its head is larger than {LARGEST_HEAD // 1024} KiB; send parameters in the body",
    "body_too_large": f"its body is larger than {LARGEST_BODY // 1024} KiB",
    "method": "GET, POST, PUT and DELETE are served",
    "body_framing": "a body comes with a Content-Length, neither chunked nor compressed: give your library the body as "
    "bytes or text, not as a stream or a reader, and have no proxy before this gateway re-frame it",
    "websocket": "WebSocket streams and the WebSocket API are not served here; use REST",
    "expectation": "the only expectation that is met is 100-continue",
    "target_form": "its target begins with '/': no proxy requests",
    "target_bytes": "its target has characters that have to be percent-encoded, as UTF-8",
    "target_escapes": "its path has an escaped dot, slash or backslash",
    "target_dots": "its path has '.' or '..' in it",
    "incomplete": "the connection was closed in the middle of it",
    "too_slow": "it did not come to its end in time",
    "unknown_mount": "nothing is mounted at its path; base URLs here end in the venue's name, as in /binance",
}

Headers = tuple[tuple[bytes, bytes], ...]
Reply = Callable[[int, Headers, bytes], None]


@dataclass(slots=True)
class Inbound:
    """One request in form. `path` and `query` are raw, header names in lower case.

    `vouched` is the key whose signature verified on this connection; the handler says so.
    """

    method: str
    path: str
    query: bytes
    body: bytes
    headers: dict[bytes, bytes]
    peer: str
    vouched: str = ""


class Handler(Protocol):
    """What answers requests."""

    def handle(self, inbound: Inbound, reply: Reply) -> None:
        """Answer one request, now or later, exactly once."""
        ...

    def refuse_form(self, reason: str, peer: str) -> tuple[int, Headers, bytes]:
        """Return the answer to a request that is not in form."""
        ...


class BadForm(Exception):
    """A request that is not in form; `reason` is short and stable."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


_LISTS = frozenset({b"connection", b"upgrade"})
_DECIDING = _LISTS | {b"host", b"content-length", b"transfer-encoding", b"content-encoding", b"expect"}
_OF_THE_VENUE = b"x-mbx-"
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def headers_of(names: bytes, values: list[bytes]) -> dict[bytes, bytes]:
    """Return the headers by name; `names` are in lower case, joined by line feeds.

    What decides nothing is never forwarded, and passed over where it comes twice or is no ASCII: standard clients and
    proxies send such. What decides is there once, plainly: `Connection` is a list, and the rest may not say two things.

    Raises:
        BadForm: One has control characters, or decides and comes twice, is no ASCII, or has `_` for `-` in its name.
    """
    if _CONTROL.search(b"".join(values)) is not None:
        raise BadForm("header_bytes")
    all_names = names.split(b"\n")
    headers = dict(zip(all_names, values, strict=False))
    if len(headers) == len(values) and names.isascii() and b"_" not in names and b"".join(values).isascii():
        return headers
    if len(all_names) != len(values):
        raise BadForm("header_bytes")
    found: dict[bytes, bytes] = {}
    for name, value in zip(all_names, values, strict=True):
        plain = name.replace(b"_", b"-")
        if plain not in _DECIDING and not plain.startswith(_OF_THE_VENUE):
            continue
        if not name.isascii() or not value.isascii():
            raise BadForm("header_bytes")
        if plain != name:  # others read it as the one with '-'
            raise BadForm("header_bytes")
        if name not in found:
            found[name] = value
        elif name in _LISTS:
            found[name] += b", " + value
        else:
            raise BadForm("repeated_header")
    return found


def check_target(target: bytes) -> tuple[str, bytes]:
    """Split a request target into raw path and raw query.

    Raises:
        BadForm: It is not a plain origin-form target.
    """
    if not target.startswith(b"/"):
        raise BadForm("target_form")
    if _PRINTABLE.fullmatch(target) is None:
        raise BadForm("target_bytes")
    path, _, query = target.partition(b"?")
    if b"#" in target or b"\\" in path:
        raise BadForm("target_bytes")
    if b"%" in path:
        folded = path.lower()
        if b"%2e" in folded or b"%2f" in folded or b"%5c" in folded:
            raise BadForm("target_escapes")
    if b"/." in path and any(part in {b".", b".."} for part in path.split(b"/")):
        raise BadForm("target_dots")
    return path.decode("ascii"), query


def words_for(reason: str) -> str:
    """Say why a request is not in form, to the person who reads a bot's log."""
    return f"Portcullis refused the form of this request: {_WORDS.get(reason, reason)}."


def answer_bytes(
    status: int, headers: Headers, body: bytes, *, close: bool, length: int | None = None
) -> bytes:
    """Write an answer down; `length` is that of a body that is written after it."""
    lines = [b"HTTP/1.1 %d %s\r\n" % (status, _REASONS.get(status, b"Status"))]
    lines += [b"%s: %s\r\n" % pair for pair in headers]
    lines.append(b"Content-Length: %d\r\n" % (len(body) if length is None else length))
    if close:
        lines.append(b"Connection: close\r\n")
    lines.append(b"\r\n")
    lines.append(body)
    return b"".join(lines)
