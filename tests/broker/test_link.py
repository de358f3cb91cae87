"""Frames survive the way over a link; what is no frame is refused without showing its values."""

import asyncio
import socket
from decimal import Decimal

import pytest

from broker.link import frames
from broker.link.channel import memory_pair, over_socket
from broker.link.codec import BadFrame, decode, encode
from clients.secret import Secret

SAMPLES: list[frames.Frame] = [
    frames.Hello(1, "local", "b00t", 7),
    frames.OpenLease(1, "KEY"),
    frames.Renew(2, ("l1", "l2")),
    frames.AskSlice(3, "l1", Decimal("12.50")),
    frames.CloseSlices((("s", Decimal("1.5")),)),
    frames.Calls("b00t", 1, ('{"q":1}',)),
    frames.Material("a/trade/1", "K", "hmac", Secret("planted")),
    frames.LeaseGranted(
        1, "l", "K", "g", "c", "a", "binance", "a/trade/1", ("everything",), (3,), 15_000_000, "{}", 1, True,
        frames.VerifierPart("hmac", Secret("planted")), frames.EgressPart("direct"),
        slice=frames.SlicePart("s", Decimal(5)),
    ),
    frames.Renewed(2, (("l1", 5),), (("l2", "cut"),)),
    frames.GateChanged(9, (frames.GateState("everything", 4, (("cut_1", "closed"),)),), (frames.Successor("l", (4,)),)),
]  # fmt: skip


@pytest.mark.parametrize("frame", SAMPLES, ids=lambda frame: type(frame).__name__)
def test_a_frame_comes_back_as_it_was(frame: frames.Frame) -> None:
    assert decode(encode(frame)) == frame
    assert "planted" not in repr(frame)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"{}", b'["Nope",{}]', b'["Renew",{"ask":1}]', b'["Renew",{"ask":"planted","leases":[]}]',
        b'["Renew",{"ask":true,"leases":[]}]', b'["Ack",{"change":1,"planted":2}]', b'["Ack",3]',
        b'["AskSlice",{"ask":1,"lease":"l","wanted":"planted"}]',
    ],
)  # fmt: skip
def test_what_is_no_frame_is_refused_and_not_shown(data: bytes) -> None:
    with pytest.raises(BadFrame) as caught:
        decode(data)
    assert "planted" not in str(caught.value)


async def test_memory_links_end_for_both() -> None:
    here, there = memory_pair()
    here.send(frames.Ack(1))
    assert await there.receive() == frames.Ack(1)
    there.close()
    assert await here.receive() is None
    assert await there.receive() is None
    here.send(frames.Ack(2))


async def test_frames_travel_over_a_socketpair() -> None:
    one, two = socket.socketpair()
    here, there = await over_socket(one), await over_socket(two)
    for frame in SAMPLES:
        here.send(frame)
    assert [await there.receive() for _ in SAMPLES] == SAMPLES
    here.close()
    assert await there.receive() is None
    there.close()
    await asyncio.sleep(0)
