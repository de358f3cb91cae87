"""Requests taken off the bytes of one connection, one at a time.

Rules:
1. The parser is given one message at a time: the head up to its blank line, then as many bytes as the head
   said. So an offer to upgrade, which ends the parser's interest, leaves the body where it is.
2. A head is judged once all of it is there; until then its size and the number of its headers are bounded.
3. A `BadForm` ends the connection: nobody knows where such a request ends.
"""

import asyncio

import httptools

from broker.gateway.form import (
    DECIMAL,
    LARGEST_BODY,
    LARGEST_HEAD,
    METHODS,
    MOST_HEADERS,
    BadForm,
    Inbound,
    check_target,
    headers_of,
)

UNIX = "unix"

_BLANK = b"\r\n"
_MOST_BLANK = 4
_BLANKS = b" \t"
_PLAIN = b"identity"
_EXPECTED = frozenset({b"", b"100-continue"})
_HEAD_END = b"\r\n\r\n"


def _first(data: bytes, at: int) -> int:
    """Return where a request begins: behind a blank line or two, which old clients send after a body.

    Source: RFC 9112, section 2.2.

    Raises:
        BadForm: There are more of them.
    """
    begins = at
    while begins < len(data) and data[begins] in _BLANK:
        begins += 1
        if begins - at > _MOST_BLANK:
            raise BadForm("http")
    return begins


class Reader:
    """What a connection is made of that reads; the rest is its transport's and its handler's."""

    def __init__(self, hosts: frozenset[str]) -> None:
        self._hosts = hosts
        self._parser = httptools.HttpRequestParser(self)
        self._loop = asyncio.get_running_loop()
        self.peer = ""
        self.owner = ""  # the key whose signature was checked on this connection
        self._ending = False  # nothing more is taken
        self._started = 0.0  # when the request now being read began; zero between requests
        self._reset()

    def _reset(self) -> None:
        self._target = b""
        self._names: list[bytes] = []
        self._values: list[bytes] = []
        self._headers: dict[bytes, bytes] = {}
        self._head_size = 0
        self._last = b""  # the last bytes of a head that came in pieces
        self._in_body = self._body_next = False
        self._owed = 0
        self._body = b""
        self._pieces = bytearray()

    def _may_continue(self) -> None:
        """Tell a client that waits for it that its body may come."""
        raise NotImplementedError

    def _read(self, data: bytes, at: int) -> tuple[int, Inbound | None]:
        """Read on from `at`; return where it ended, and the request if it is whole.

        Raises:
            BadForm: It is not in form.
        """
        if not self._started:
            self._started = self._loop.time()
        if not self._in_body and not self._head_size:
            at = _first(data, at)
            if at == len(data):
                return at, None
        if not self._in_body:
            end = self._head_end(data, at)
            self._head_size += end - at
            if self._head_size > LARGEST_HEAD:
                raise BadForm("head_too_large")
            self._parse(data[at:end])
            at = end
            if not self._head_done():
                return at, None
            self._body_next = True
            if self._owed and self._headers.get(b"expect") and at >= len(data):
                self._may_continue()
        end = min(len(data), at + self._owed)
        if end > at:
            piece = data[at:end]
            self._owed -= end - at
            if not self._owed and not self._pieces:
                self._body = piece
            else:
                self._pieces += piece
            if not self._parser.should_upgrade():
                self._parse(piece)
        return (end, None) if self._owed else (end, self._whole())

    def _head_done(self) -> bool:
        """Tell whether the parser has seen the whole head; it says so by `on_headers_complete`."""
        return self._in_body

    def _head_end(self, data: bytes, at: int) -> int:
        """Return where the head ends, or the bytes do: behind its blank line."""
        if self._last:
            joint = (self._last + data[at : at + 3]).find(_HEAD_END)
            if joint >= 0:
                return at + joint + 4 - len(self._last)
        found = data.find(_HEAD_END, at)
        if found >= 0:
            return found + 4
        self._last = (self._last + data[at:])[-3:]
        return len(data)

    def _parse(self, piece: bytes) -> None:
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            return  # an offer, not taken: it goes on as HTTP/1.1
        except httptools.HttpParserError as fault:
            cause = fault.__context__
            raise BadForm(cause.reason if isinstance(cause, BadForm) else "http") from None

    def _whole(self) -> Inbound:
        inbound = Inbound(
            self._parser.get_method().decode("ascii"),
            self._path,
            self._query,
            bytes(self._pieces) or self._body,
            self._headers,
            self.peer,
            self.owner,
        )
        if b"close" in self._headers.get(b"connection", b"").lower() or not self._parser.should_keep_alive():
            self._ending = True
        self._reset()
        self._started = 0.0
        return inbound

    # --- httptools ------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """See httptools. One message at a time is given to the parser; it may not see another."""
        if self._names or self._in_body:
            raise BadForm("http")

    def on_url(self, url: bytes) -> None:
        """See httptools; a long target comes in pieces."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools. Judged once all are there; until then only their number is bounded, and the head's size.

        Blanks around a value are none of it (RFC 9110, 5.5); those before it the parser takes away.
        """
        names = self._names
        names.append(name)
        self._values.append(value.rstrip(_BLANKS))
        if len(names) > MOST_HEADERS:
            raise BadForm("too_many_headers")

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._headers = headers = headers_of(b"\n".join(self._names).lower(), self._values)
        if self._parser.get_method() not in METHODS:
            raise BadForm("method")
        packed = headers.get(b"content-encoding", _PLAIN).lower() != _PLAIN
        if packed or b"transfer-encoding" in headers:
            raise BadForm("body_framing")
        if b"upgrade" in headers and b"websocket" in headers[b"upgrade"].lower():
            raise BadForm("websocket")
        if headers.get(b"expect", b"").lower() not in _EXPECTED:
            raise BadForm("expectation")
        length = headers.get(b"content-length")
        if length is not None:
            if not length or not DECIMAL.issuperset(length) or len(length) > 8:  # noqa: PLR2004 - digits
                raise BadForm("body_framing")
            self._owed = int(length)
            if self._owed > LARGEST_BODY:
                raise BadForm("body_too_large")
        self._check_host(headers.get(b"host"))
        self._path, self._query = check_target(self._target)
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        """See httptools. Bodies are counted above; one that came with a head was not where it belongs."""
        del body
        if not self._body_next:
            raise BadForm("http")

    def _check_host(self, host: bytes | None) -> None:
        if host is None:
            raise BadForm("no_host")
        if self.peer == UNIX:
            return
        name = host.decode("ascii").lower()
        bare = name.rpartition(":")[0] if not name.endswith("]") and ":" in name else name
        if bare not in self._hosts:
            raise BadForm("foreign_host")
