"""Answers that come compressed although plain ones were asked for: what stands before an exchange may do so.

Rules:
1. What is at most `LARGEST_UNPACKED` when it is plain, and `LARGEST_PACKED` as it came, is unpacked before anybody
   looks at it. It is done between two requests, so both bound what they wait for: packed bytes that yield nothing cost
   time as well.
2. What is larger, or cannot be unpacked, stays as it came, with its `Content-Encoding`: a bot's library reads it.
"""

import zlib

LARGEST_UNPACKED = 1024 * 1024
LARGEST_PACKED = 128 * 1024
"""Answers to orders have a seventh of their plain size, packed in haste: some eight thousand executions."""

_ENCODING = b"content-encoding"
_ANY_HEADER = 32 + zlib.MAX_WBITS
"""gzip or zlib, whichever it says that it is."""

_WINDOWS = {b"gzip": (_ANY_HEADER,), b"x-gzip": (_ANY_HEADER,), b"deflate": (_ANY_HEADER, -zlib.MAX_WBITS)}


def plain(headers: dict[bytes, bytes], body: bytes) -> bytes:
    """Return a body as it is read; where that is not as it came, the header that said so is taken away."""
    encoding = headers[_ENCODING].strip().lower()
    if encoding == b"identity":
        del headers[_ENCODING]
        return body
    for window in _WINDOWS.get(encoding, ()) if len(body) <= LARGEST_PACKED else ():
        unpacking = zlib.decompressobj(window)
        try:
            found = unpacking.decompress(body, LARGEST_UNPACKED)
        except zlib.error:
            continue
        if unpacking.eof and not unpacking.unused_data:
            del headers[_ENCODING]
            return found
    return body


def is_packed(headers: dict[bytes, bytes]) -> bool:
    """Tell whether a body is said to be encoded in any way."""
    return _ENCODING in headers
