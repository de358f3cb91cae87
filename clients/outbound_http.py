"""An httpx client that sends only where `clients.outbound` permits, checked when it connects."""

from collections.abc import Iterable
from ssl import SSLContext, create_default_context
from typing import Any, Self

import httpcore
import httpx

from clients.http import silence
from clients.outbound import NotReachable, Reach


class _Judged(httpcore.NetworkBackend):
    """Connects to addresses that were judged, never to a name."""

    def __init__(self, reach: Reach) -> None:
        self._reach, self._system = reach, httpcore.SyncBackend()
        self.refused = ""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """See httpcore."""
        try:
            addresses = self._reach.addresses(host, port)
        except NotReachable as fault:
            self.refused = str(fault)
            raise httpcore.ConnectError(str(fault)) from None
        except (OSError, UnicodeError):
            raise httpcore.ConnectError("it cannot be resolved") from None
        for address in addresses[:-1]:
            try:
                return self._system.connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore.ConnectError:
                continue
        return self._system.connect_tcp(addresses[-1], port, timeout, local_address, socket_options)


class OutboundClient:
    """One request at a time to what may be reached: no redirect, no proxy of the environment, no cookie."""

    def __init__(self, reach: Reach, timeout_s: float, verify: SSLContext | None = None) -> None:
        silence()
        self._reach, self._backend = reach, _Judged(reach)
        transport = httpx.HTTPTransport(trust_env=False)
        transport._pool = httpcore.ConnectionPool(  # noqa: SLF001 - httpx has no other place for a network backend
            ssl_context=verify or create_default_context(), network_backend=self._backend
        )
        self._client = httpx.Client(
            transport=transport, timeout=timeout_s, trust_env=False, follow_redirects=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def send(self, method: str, url: str, **more: Any) -> httpx.Response:
        """Send a request.

        Raises:
            NotReachable: Nothing may be sent there.
            httpx.HTTPError: It does not answer.
        """
        self._reach.judge(url)
        try:
            return self._client.request(method, url, **more)
        except httpx.ConnectError:
            if self._backend.refused:
                raise NotReachable(self._backend.refused) from None
            raise
