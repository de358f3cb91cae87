"""HTTP to strangers: what webhooks, heartbeats and anchors are sent by, and how much of an answer is read.

Rules:
1. Only where `clients.outbound` permits, asked when it connects. No redirect, no proxy of the environment, no cookie.
2. One call has bounds in all (`clients.bounds`): from the name to the last byte of the answer.
3. An answer is taken as it was sent: nobody here needs one that is compressed, and a small one could become endless.
"""

from dataclasses import dataclass
from ssl import SSLContext, create_default_context
from typing import Any, Self

import httpcore
import httpx

from clients import bounds
from clients.bounds import MIB, Bounds, OutOfBounds
from clients.http import silence
from clients.http_lines import BoundedBackend
from clients.outbound import NotReachable, Reach

_GOOD = range(200, 300)
_PLAIN = {"Accept-Encoding": "identity"}


class NotAnswered(Exception):
    """Nobody knows whether it got there; the message says in a few words why, without the URL."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole."""

    status_code: int
    content: bytes

    @property
    def is_success(self) -> bool:
        """Whether it was taken."""
        return self.status_code in _GOOD


class OutboundClient:
    """Requests to what may be reached, each within the same bounds."""

    def __init__(
        self, reach: Reach, total_s: float, verify: SSLContext | None = None, *, most_bytes: int = MIB
    ) -> None:
        silence()
        self._reach, self._bounds = reach, Bounds(total_s, most_bytes)
        self._refused: NotReachable | None = None
        transport = httpx.HTTPTransport(trust_env=False)
        transport._pool = httpcore.ConnectionPool(  # noqa: SLF001 - httpx has no other place for a network backend
            ssl_context=verify or create_default_context(), network_backend=BoundedBackend(self._judged)
        )
        self._client = httpx.Client(
            transport=transport, timeout=total_s, trust_env=False, follow_redirects=False, headers=_PLAIN
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def send(self, method: str, url: str, **more: Any) -> Answer:
        """Send a request.

        Raises:
            NotReachable: Nothing may be sent there.
            NotAnswered: It does not answer, or not within the bounds.
        """
        self._reach.judge(url)
        self._refused = None
        try:
            with bounds.within(self._bounds), self._client.stream(method, url, **more) as answer:
                return Answer(answer.status_code, b"".join(answer.iter_raw()))
        except OutOfBounds as fault:
            raise NotAnswered(str(fault)) from None
        except httpx.HTTPError as fault:
            if self._refused is not None:
                raise self._refused from None
            raise NotAnswered(type(fault).__name__) from None

    def _judged(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host, all of them judged."""
        try:
            return self._reach.addresses(host, port)
        except NotReachable as fault:
            self._refused = fault
            raise OSError("it may not be reached") from None
