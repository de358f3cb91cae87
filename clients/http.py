"""The one place that makes httpx clients: pinned, quiet, without memory, and honest about what it knows.

Rules:
1. A client speaks to the hosts it was made for, over https; plain http only to loopback. All else is
   refused before a connection is made, so a redirect or a bad base URL cannot carry a key elsewhere.
2. No redirects, cookies, environment proxies or retries: what is sent is what was asked, once.
3. Errors are VenueErrors without a cause: an httpx exception keeps the request, with URL and key header.
   Before the request was written: VenueUnavailable. After: VenueAmbiguous; for calls marked `write: False`
   VenueUnavailable, because a read changes nothing.
4. httpx logs whole URLs, signatures included, at INFO, and httpcore at DEBUG. Both are held at WARNING, by
   level and by filter, so that a root logger at DEBUG does not undo it.
5. A call names its endpoint in `extensions={"endpoint": "spot.account", "write": False}`.
6. Nothing is sent while the venue asks our way out to wait (`clients.pauses`): that would make the wait longer. It is
   VenueUnavailable with the reason `venue_pause`. A client that is opened as `urgent` is let through.
7. A call has bounds in all (`clients.bounds`): an exchange, or a proxy before it, that drips holds nobody for ever.

Checked with httpx 0.28.1 and httpcore 1.0.
"""

import logging
from collections.abc import Callable, Iterable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import ip_address
from ssl import SSLContext
from typing import TypeVar

import httpx

from clients.bounds import MIB, Bounds, OutOfBounds, TookTooLong, within
from clients.egress import DIRECT, Egress, Way
from clients.errors import VENUE_PAUSE, VenueAmbiguous, VenueError, VenueUnavailable
from clients.http_lines import BoundedBackend
from clients.pauses import Pauses

TIMEOUT = httpx.Timeout(connect=5.0, read=10.0, write=5.0, pool=5.0)
"""Seconds. Read: Binance answers "status unknown" after 10 s of its own."""

TOTAL_S = 20.0
"""Of a call, where no part of it has a limit of its own: connecting, sending and reading, each to its last byte."""

_MOST_BYTES = 64 * MIB
"""The longest answer is a spot exchange's list of every pair: some 20 MiB."""

_REFUSED = 400
_LIMITS = httpx.Limits(max_connections=20, max_keepalive_connections=10, keepalive_expiry=30.0)
_LOGGERS = (
    *("httpx", "httpcore", "httpcore.connection", "httpcore.http11", "httpcore.http2"),
    *("httpcore.proxy", "httpcore.socks", "urllib3", "urllib3.connectionpool", "urllib3.connection"),
)
_BEFORE_SENT = (
    *(httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError),
    *(httpx.UnsupportedProtocol, httpx.LocalProtocolError),
)
T = TypeVar("T")


class _Quiet(logging.Filter):
    """Drops what is below WARNING."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING


_QUIET = _Quiet()


def silence() -> None:
    """Hold the log lines of HTTP libraries that would show URLs. May be called again."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)
        if _QUIET not in logger.filters:
            logger.addFilter(_QUIET)


def open_client(
    venue: str,
    base_url: str,
    *,
    egress: Egress = DIRECT,
    also: Iterable[str] = (),
    verify: SSLContext | bool = True,
    timeout: httpx.Timeout = TIMEOUT,
    pauses: Pauses | None = None,
    urgent: bool = False,
) -> httpx.Client:
    """Make a client for one venue.

    Args:
        venue: Its name, for errors.
        base_url: As `https://api.binance.com`; paths of calls are joined to it.
        egress: The way out.
        also: More origins this client may speak to, in the same form.
        verify: TLS context, or True for the system's certificate authorities.
        timeout: See `TIMEOUT`.
        pauses: What the venue asked of this way out before; the client's own where there is none to share.
        urgent: Calls go even while the venue asks to wait: an incident's.

    Raises:
        ValueError: A base URL is not https, nor http to loopback.
        RuntimeError: A SOCKS5 egress, and the package `socksio` is not installed.
    """
    silence()
    origins = frozenset(_origin(url) for url in (base_url, *also))
    inner = _inner(egress, verify)
    inner._pool._network_backend = BoundedBackend()  # noqa: SLF001 - httpx has no other place for one
    total_s = sum(one or 0.0 for one in (timeout.connect, timeout.write, timeout.read)) or TOTAL_S
    jar = CookieJar(DefaultCookiePolicy(allowed_domains=()))
    return httpx.Client(
        base_url=base_url,
        transport=_Pinned(
            venue,
            origins,
            inner,
            _Meter(venue, egress.name, pauses or Pauses(), urgent=urgent),
            Bounds(total_s, _MOST_BYTES),
        ),
        timeout=timeout,
        follow_redirects=False,
        trust_env=False,
        cookies=jar,
    )


def _origin(url: str | httpx.URL) -> tuple[str, str, int]:
    """Return scheme, host and port of an allowed URL.

    Raises:
        ValueError: Not https, nor http to loopback, or a URL with a user in it.
    """
    parsed = httpx.URL(url)
    if parsed.userinfo or not parsed.host:
        raise ValueError("a venue's URL is scheme, host and port")
    if parsed.scheme != "https" and not (parsed.scheme == "http" and _is_loopback(parsed.host)):
        raise ValueError("a venue is spoken to over https; plain http is for loopback only")
    return parsed.scheme, parsed.host, parsed.port or (443 if parsed.scheme == "https" else 80)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _inner(egress: Egress, verify: SSLContext | bool) -> httpx.HTTPTransport:
    if egress.way is Way.DIRECT:
        return httpx.HTTPTransport(
            verify=verify, trust_env=False, limits=_LIMITS, retries=0, local_address=egress.source
        )
    scheme = "http" if egress.way is Way.CONNECT else "socks5h"
    login = None
    if egress.proxy_user is not None and egress.proxy_password is not None:
        login = (egress.proxy_user, egress.proxy_password.reveal())
    host = f"[{egress.proxy_host}]" if ":" in (egress.proxy_host or "") else egress.proxy_host
    proxy = httpx.Proxy(f"{scheme}://{host}:{egress.proxy_port}", auth=login)
    try:
        return httpx.HTTPTransport(verify=verify, trust_env=False, limits=_LIMITS, retries=0, proxy=proxy)
    except ImportError:
        raise RuntimeError(
            f"egress {egress.name}: httpx speaks SOCKS5 only with the package socksio; "
            "install httpx[socks], or use an HTTP CONNECT proxy"
        ) from None


class _Meter:
    """What a venue asked of one way out, asked before each call and told of each answer."""

    def __init__(self, venue: str, egress: str, pauses: Pauses, *, urgent: bool) -> None:
        self._venue, self._egress, self._pauses, self._urgent = venue, egress, pauses, urgent

    def pause_s(self, url: httpx.URL) -> int:
        """Return for how many seconds this call has to wait; 0 where it may go."""
        if self._urgent:
            return 0
        return -int(-self._pauses.left_s(self._way(url), url.path) // 1)

    def heed(self, response: httpx.Response, url: httpx.URL) -> None:
        """Take in what an answer says."""
        if response.status_code >= _REFUSED:
            headers = {name.lower(): value for name, value in response.headers.raw}
            self._pauses.heed(
                self._venue, self._way(url), url.path, response.status_code, headers, response.content
            )

    def _way(self, url: httpx.URL) -> str:
        return f"{self._egress} {url.host}:{url.port}"


class _Pinned(httpx.BaseTransport):
    """Refuses foreign hosts, asks the meter, translates errors, reads the whole body before it returns."""

    def __init__(
        self,
        venue: str,
        origins: frozenset[tuple[str, str, int]],
        inner: httpx.BaseTransport,
        meter: _Meter,
        bounds: Bounds,
    ) -> None:
        self._venue, self._origins, self._inner, self._meter = venue, origins, inner, meter
        self._bounds = bounds

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        endpoint = str(request.extensions.get("endpoint", "unnamed"))
        if not self._allowed(request.url):
            raise VenueUnavailable(self._venue, endpoint, "host_not_pinned")
        pause_s = self._meter.pause_s(request.url)
        if pause_s:
            text = f"the exchange asks this address to wait {pause_s} s; nothing was sent"
            raise VenueUnavailable(self._venue, endpoint, VENUE_PAUSE, text=text)
        outcome = _guarded(lambda: self._fetch(request))
        if isinstance(outcome, httpx.Response):
            self._meter.heed(outcome, request.url)
            return outcome
        raise self._error(endpoint, outcome, write=request.extensions.get("write", True) is not False)

    def close(self) -> None:
        self._inner.close()

    def _allowed(self, url: httpx.URL) -> bool:
        try:
            return _origin(url) in self._origins
        except ValueError:
            return False

    def _fetch(self, request: httpx.Request) -> httpx.Response:
        with within(self._bounds) as call:
            response = self._inner.handle_request(request)
            try:
                parts = []
                for part in response.iter_bytes():
                    call.came(len(part))  # once more: a small one that is compressed may become large
                    parts.append(part)
                response._content = b"".join(parts)  # noqa: SLF001 - what `read` does, but counted
            finally:
                response.close()
            return response

    def _error(self, endpoint: str, error: type[Exception], *, write: bool) -> VenueError:
        if issubclass(error, _BEFORE_SENT):
            return VenueUnavailable(self._venue, endpoint, "not_connected")
        reason = "timed_out" if issubclass(error, httpx.TimeoutException | TookTooLong) else "connection_lost"
        if write:
            return VenueAmbiguous(self._venue, endpoint, reason)
        return VenueUnavailable(self._venue, endpoint, reason)


def _guarded(fetch: Callable[[], T]) -> T | type[Exception]:
    """Run a fetch; of a failure only the kind comes back, so that nothing keeps the request."""
    try:
        return fetch()
    except (httpx.HTTPError, httpx.StreamError, OSError, OutOfBounds) as error:
        return type(error)
