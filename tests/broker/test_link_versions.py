"""Ends of different versions part at once, and a frame does not change without another version."""

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from broker.authority.authority import LeaseAuthority
from broker.errors import LinkDown
from broker.gateway.book import Book
from broker.gateway.clock import SystemClock
from broker.gateway.link import LinkClient
from broker.gateway.spool import Spool
from broker.link import frames
from broker.link.channel import Channel, memory_pair
from broker.link.codec import encode
from tests.broker import link_shape
from tests.broker.test_put_back import Life, found

HELLO = frames.Hello(frames.VERSION, "local", "b" * 16)
WELCOME = frames.Welcome(frames.VERSION, "paper", 1, (), frames.EgressPart("direct"), ())


def test_frames_do_not_change_without_another_version() -> None:
    """An end refuses what it does not know, so even a field with a default parts old and new."""
    kept = link_shape.kept()
    assert kept["version"] <= frames.VERSION, "versions only rise"
    assert (kept["version"], kept["frames"]) == (frames.VERSION, link_shape.shape()), (
        "raise broker.link.frames.VERSION, then `python -m tests.broker.link_shape`"
    )


@dataclasses.dataclass
class Part:
    size: int = 0


def frame_of(*spec: Any, part: type = Part) -> type:
    return dataclasses.make_dataclass("Frame", [("ask", int), *spec, ("parts", tuple[part, ...], ())])  # type: ignore[valid-type]


CHANGED: dict[str, type] = {
    "a field more": frame_of(("more", str, "")),
    "a field that may be left out": frame_of(("more", str | None, None)),
    "another type": dataclasses.make_dataclass("Frame", [("ask", str), ("parts", tuple[Part, ...], ())]),
    "another default": dataclasses.make_dataclass(
        "Frame", [("ask", int, 1), ("parts", tuple[Part, ...], ())]
    ),
    "a field less": dataclasses.make_dataclass("Frame", [("parts", tuple[Part, ...], ())]),
    "in what it is made of": frame_of(part=dataclasses.make_dataclass("Part", [("size", int, 1)])),
}


@pytest.mark.parametrize("changed", CHANGED.values(), ids=CHANGED)
def test_any_change_of_a_frame_is_another_shape(changed: type) -> None:
    assert link_shape.shape([frame_of()]) == link_shape.shape([frame_of()])
    assert link_shape.shape([changed]) != link_shape.shape([frame_of()])


def sent(channel: Channel, frame: frames.Frame, **more: object) -> None:
    """Send a frame as another version may say it."""
    name, values = json.loads(encode(frame))
    channel._outbox.put_nowait(json.dumps([name, {**values, **more}]).encode())  # type: ignore[attr-defined]


OTHERS: dict[str, dict[str, object]] = {
    "older": {"version": frames.VERSION - 1},
    "newer": {"version": frames.VERSION + 1},
    "newer, and says more": {"version": frames.VERSION + 1, "more": "than we know"},
}
UNREADABLE: dict[str, dict[str, object]] = {
    "says more": {"more": "than we know"},
    "is spoilt": {"version": str(frames.VERSION)},
    "of this version, and spoilt": {"gateway": 7, "environment": 7},
}
"""Of no other version, as far as they say."""
PARTED = [(one, "version") for one in OTHERS.values()] + [(one, "unreadable") for one in UNREADABLE.values()]


@pytest.mark.parametrize(("other", "why"), PARTED, ids=[*OTHERS, *UNREADABLE])
async def test_a_broker_parts_from_a_gateway_of_another_version(
    tmp_path: Path, other: dict[str, object], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    found(tmp_path)
    with Life(tmp_path) as life:
        authority = LeaseAuthority(life.service)
        here, there = memory_pair()
        serving = asyncio.ensure_future(authority.serve(here))
        sent(there, HELLO, **other)
        assert await there.receive() == frames.Goodbye(why)
        assert "systemctl restart portcullis" in caplog.text
        assert await there.receive() is None
        await serving
        assert not authority.changes.links
        authority.close()


@pytest.mark.parametrize(("other", "why"), PARTED, ids=[*OTHERS, *UNREADABLE])
async def test_a_gateway_parts_from_a_broker_of_another_version(
    tmp_path: Path, other: dict[str, object], why: str
) -> None:
    here, there = memory_pair()
    spool, clock = Spool(tmp_path), SystemClock()
    book = Book({})
    link = LinkClient(there, "local", book, spool, clock)
    greeting = asyncio.ensure_future(link.greet())
    assert isinstance(await here.receive(), frames.Hello)
    sent(here, WELCOME, **other)
    with pytest.raises(LinkDown) as caught:
        await greeting
    assert caught.value.reason == why
    assert "Restart the broker" in str(caught.value)
    assert link.welcome is None
    spool.close()


async def test_a_gateway_that_is_turned_down_says_what_leads_out(tmp_path: Path) -> None:
    """Started anew from files that were changed, it parted from the broker that ran on, again and again."""
    here, there = memory_pair()
    spool, clock = Spool(tmp_path), SystemClock()
    link = LinkClient(there, "local", Book({}), spool, clock)
    greeting = asyncio.ensure_future(link.greet())
    assert isinstance(await here.receive(), frames.Hello)
    here.send(frames.Goodbye("version"))
    with pytest.raises(LinkDown, match="Restart the broker"):
        await greeting
    spool.close()


async def test_a_gateway_by_another_name_is_of_no_other_version(tmp_path: Path) -> None:
    found(tmp_path)
    with Life(tmp_path) as life:
        authority = LeaseAuthority(life.service)
        here, there = memory_pair()
        serving = asyncio.ensure_future(authority.serve(here, lambda name: name == "another"))
        there.send(HELLO)
        assert await there.receive() == frames.Goodbye("not_ours")
        await serving
        authority.close()
