"""Signed calls of our own to Binance: one call, one request, errors translated. For the control plane.

Rules:
1. Synchronous, over a client of `clients.http.open_client` that is passed in.
2. Everything is signed by `WIRE.own_request`; times are venue time, from the clock that is passed in. It is read as the
   last thing before a call is sent: what waits does so before that.
3. An answer that is not a 2xx becomes a VenueError that carries code and status, never URL, body or header.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import InvalidOperation
from typing import Any, Protocol, TypeVar

from clients.errors import VenueAmbiguous, VenueError, VenueUnavailable
from clients.venue import Credential
from clients.venues.binance import codes, market
from clients.venues.binance.market import Call
from clients.venues.binance.wire import WIRE
from clients.wire import Stamp

T = TypeVar("T")

WINDOW_US = 5_000_000
_REDIRECT = 300


class Response(Protocol):
    """As much of an httpx response as is read here."""

    @property
    def status_code(self) -> int:
        """HTTP status."""
        ...

    @property
    def content(self) -> bytes:
        """Whole body, decompressed."""
        ...


class Http(Protocol):
    """As much of an httpx client as is used here; `clients.http.open_client` makes one."""

    def request(
        self,
        method: str,
        url: str,
        *,
        content: bytes | None = None,
        headers: Sequence[tuple[bytes, bytes]],
        extensions: dict[str, Any],
    ) -> Response:
        """Send one request; raise VenueError where there is no answer."""
        ...


class Asker:
    """Asks with one key.

    Args:
        http: Client whose base URL is the venue's.
        credential: The key to ask with.
        clock: Venue time in microseconds since the epoch.
    """

    def __init__(self, http: Http, credential: Credential, clock: Callable[[], int]) -> None:
        self._http, self._credential, self._clock = http, credential, clock

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"

    def _send(
        self,
        call: Call,
        endpoint: str,
        *,
        body: Sequence[tuple[str, str]] = (),
        stamp: Callable[[], int] | None = None,
    ) -> bytes:
        """Sign and send one call; return the body of a 2xx. `stamp` tells the time to sign with, else the clock."""
        at = Stamp((stamp or self._clock)(), WINDOW_US)
        sealed = WIRE.own_request(self._credential, call.method, call.path, call.params, at, body)
        write = call.method != "GET"
        response = self._http.request(
            sealed.method,
            sealed.target.decode("ascii"),
            content=sealed.body or None,
            headers=sealed.headers,
            extensions={"endpoint": endpoint, "write": write},
        )
        status = response.status_code
        if status >= _REDIRECT:
            raise codes.to_error(endpoint, status, _code(response.content), write=write)
        return response.content

    def _parsed(self, call: Call, endpoint: str, parse: Callable[[bytes], T]) -> T:
        body = self._send(call, endpoint)
        try:
            return parse(body)
        except ValueError:
            raise odd(endpoint) from None

    def _object(self, call: Call, endpoint: str) -> Mapping[str, Any]:
        document: object = self._parsed(call, endpoint, json.loads)
        if not isinstance(document, dict):
            raise odd(endpoint)
        return document

    def _rows(self, call: Call, endpoint: str, build: Callable[[Mapping[str, Any]], Any]) -> tuple[Any, ...]:
        return built(self._parsed(call, endpoint, json.loads), endpoint, build)


def clock_of(http: Http, here: Callable[[], int]) -> Callable[[], int]:
    """Return the venue's clock: ours, moved by how far the venue's was ahead just now. Microseconds.

    Raises:
        VenueError: It could not be asked.
    """
    call = market.venue_time()
    sent_us = here()
    more = {"endpoint": "market.time", "write": False}
    response = http.request(call.method, call.path, headers=[], extensions=more)
    received_us = here()
    if response.status_code >= _REDIRECT:
        raise codes.to_error("market.time", response.status_code, _code(response.content), write=False)
    try:
        offset_us = market.parse_venue_time(response.content) - (sent_us + received_us) // 2
    except ValueError:
        raise VenueUnavailable(
            codes.VENUE, "market.time", "odd_answer", status=response.status_code
        ) from None
    return lambda: here() + offset_us


def built(rows: object, endpoint: str, build: Callable[[Mapping[str, Any]], Any]) -> tuple[Any, ...]:
    """Build values out of the rows of a read.

    Raises:
        VenueUnavailable: They are not what is documented.
    """
    if not isinstance(rows, list):
        raise odd(endpoint)
    try:
        return tuple(build(row) for row in rows)
    except (KeyError, TypeError, ValueError, InvalidOperation):
        raise odd(endpoint) from None


def odd(endpoint: str, *, write: bool = False) -> VenueError:
    """Return the error of a 2xx whose body is not what is documented; a write that answered so may have been done."""
    kind = VenueAmbiguous if write else VenueUnavailable
    return kind(codes.VENUE, endpoint, "odd_answer")


def _code(body: bytes) -> int | None:
    try:
        document = json.loads(body)
    except ValueError:
        return None
    code = document.get("code") if isinstance(document, dict) else None
    return code if isinstance(code, int) else None
