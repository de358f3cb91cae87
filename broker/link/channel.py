"""The ways frames travel: through memory in tests, over a stream socket between processes.

Rules:
1. `send` never waits; a peer that leaves `MOST_WAITING` bytes unread is cut off: late control is none.
2. Frames are a length in four bytes and that much JSON. `receive` answers None when the link is over. What is no
   frame raises `BadFrame`; the link goes on with the next one.
3. Memory encodes and decodes too, so that tests travel the same road.
"""

import asyncio
import socket
import struct
from typing import Protocol

from broker.link.codec import BadFrame, decode, encode
from broker.link.frames import Frame

LARGEST_FRAME = 8 * 1024 * 1024
MOST_WAITING = 32 * 1024 * 1024
_LENGTH = struct.Struct(">I")
_PIECE = 65_536


class Channel(Protocol):
    """One end of a link."""

    def send(self, frame: Frame) -> None:
        """Hand a frame over; silently nothing where the link is over."""
        ...

    async def receive(self) -> Frame | None:
        """Wait for the next frame; None where the link is over.

        Raises:
            BadFrame: What came is none; the next one can be received.
        """
        ...

    def close(self) -> None:
        """End the link; the other end's `receive` answers None."""
        ...


class MemoryChannel:
    """One end of a link within one process; make two with `memory_pair`."""

    def __init__(self, inbox: "asyncio.Queue[bytes | None]", outbox: "asyncio.Queue[bytes | None]") -> None:
        self._inbox, self._outbox, self._over = inbox, outbox, False

    def send(self, frame: Frame) -> None:
        """See `Channel`."""
        if not self._over:
            self._outbox.put_nowait(encode(frame))

    async def receive(self) -> Frame | None:
        """See `Channel`."""
        if self._over:
            return None
        data = await self._inbox.get()
        if data is None:
            self._over = True
            return None
        return decode(data)

    def close(self) -> None:
        """See `Channel`."""
        self._over = True
        self._inbox.put_nowait(None)
        self._outbox.put_nowait(None)


def memory_pair() -> tuple[MemoryChannel, MemoryChannel]:
    """Return both ends of a link."""
    there: asyncio.Queue[bytes | None] = asyncio.Queue()
    back: asyncio.Queue[bytes | None] = asyncio.Queue()
    return MemoryChannel(there, back), MemoryChannel(back, there)


class StreamChannel:
    """One end of a link over a connected stream socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def send(self, frame: Frame) -> None:
        """See `Channel`."""
        if self._writer.is_closing():
            return
        data = encode(frame)
        if self._writer.transport.get_write_buffer_size() + len(data) > MOST_WAITING:
            self._writer.transport.abort()
            return
        self._writer.write(_LENGTH.pack(len(data)) + data)

    async def receive(self) -> Frame | None:
        """See `Channel`."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            if length > LARGEST_FRAME:
                await self._pass_over(length)
                raise BadFrame("is too large")
            return decode(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def _pass_over(self, length: int) -> None:
        while length > 0:
            length -= len(await self._reader.readexactly(min(length, _PIECE)))

    def close(self) -> None:
        """See `Channel`."""
        self._writer.close()


async def over_socket(sock: socket.socket) -> StreamChannel:
    """Return a channel over a connected socket, such as one end of a socketpair."""
    reader, writer = await asyncio.open_connection(sock=sock)
    return StreamChannel(reader, writer)
