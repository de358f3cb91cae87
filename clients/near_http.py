"""HTTP to our own broker, as the command line speaks it: by TCP, TLS or a Unix socket, with bounds in all.

Who answers at an address may be anybody: a tunnel that leads elsewhere, a proxy, a port that was taken since. One call
ends in time and in size, however slowly it is answered (`clients.bounds`).

Rules:
1. The whole answer is read before it is given to anybody. One that is compressed is refused: nobody asked for it.
2. What went out of bounds is an error of httpx, like a connection that is lost: whether it was done is not known.
"""

from ssl import SSLContext

import httpx

from clients.bounds import Bounds, SentTooMuch, TookTooLong, within
from clients.http_lines import BoundedBackend

_PLAIN = frozenset({"", "identity"})


class NearTransport(httpx.BaseTransport):
    """See httpx. `uds`: the path of a Unix socket, in the place of TCP."""

    def __init__(self, bounds: Bounds, *, verify: SSLContext | bool = True, uds: str | None = None) -> None:
        self._bounds = bounds
        self._inner = httpx.HTTPTransport(verify=verify, trust_env=False, retries=0, uds=uds)
        self._inner._pool._network_backend = BoundedBackend()  # noqa: SLF001 - httpx has no other place for one

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx."""
        request.headers["Accept-Encoding"] = "identity"
        try:
            return self._answer(request)
        except TookTooLong as fault:
            raise httpx.ReadTimeout(str(fault), request=request) from None
        except SentTooMuch as fault:
            raise httpx.ReadError(str(fault), request=request) from None

    def _answer(self, request: httpx.Request) -> httpx.Response:
        with within(self._bounds):
            response = self._inner.handle_request(request)
            try:
                if response.headers.get("Content-Encoding", "").lower() not in _PLAIN:
                    raise SentTooMuch("it sent a compressed answer, which nobody asked for")
                response._content = b"".join(response.iter_raw())  # noqa: SLF001 - what `read` does, as it came
            finally:
                response.close()
            return response

    def close(self) -> None:
        """See httpx."""
        self._inner.close()
