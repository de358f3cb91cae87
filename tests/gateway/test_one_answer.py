"""A request has the one answer that is its own: whatever else the venue's side sends ends the connection."""

from collections.abc import Callable
from typing import Any

import pytest

from broker.gateway.venue_line import Broken, Intake, Line, Reply

INTERIM = b"HTTP/1.1 103 Early Hints\r\n\r\n"


class Wire:
    """A transport that takes everything."""

    def __init__(self) -> None:
        self.sent, self.over = list[bytes](), False

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def abort(self) -> None:
        self.over = True


def answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def line() -> tuple[Line, Wire]:
    made, wire = Line(Intake()), Wire()
    taken: Any = wire
    made.connection_made(taken)
    return made, wire


def ask(on: Line, came: list[Reply | Broken], then: Callable[[], None] = lambda: None) -> None:
    on.send(b"GET", lambda result: (came.append(result), then())[1], lambda _: None)


MORE = {
    "a whole one": answer(b"theirs"),
    "its head": b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n",
    "its first byte": b"H",
    "an interim one": INTERIM,
    "no answer at all": b"theirs",
}


@pytest.mark.parametrize("more", MORE.values(), ids=MORE)
async def test_what_comes_behind_an_answer_is_no_answer_to_who_asks_next(more: bytes) -> None:
    """It came in one piece with the answer, and another bot's request was told that its order was somebody else's."""
    made, wire = line()
    first = list[Reply | Broken]()
    ask(made, first)
    made.data_received(INTERIM + answer(b"mine") + more)
    assert [one.body for one in first if isinstance(one, Reply)] == [b"mine"]
    assert wire.over
    assert not made.usable


@pytest.mark.parametrize("more", MORE.values(), ids=MORE)
async def test_nor_to_who_asks_in_the_very_moment_of_it(more: bytes) -> None:
    """What a connection of a bot holds back is sent as soon as the answer before it is there: on the same line."""
    made, wire = line()
    first, second = list[Reply | Broken](), list[Reply | Broken]()
    ask(made, first, lambda: ask(made, second))
    made.data_received(answer(b"mine") + more)
    assert [one.body for one in first if isinstance(one, Reply)] == [b"mine"]
    assert len(wire.sent) == 2
    assert [type(one) for one in second] == [Broken], "what became of it nobody knows"
    assert wire.over


async def test_a_line_goes_on_after_an_answer_that_comes_alone_however_it_is_cut() -> None:
    made, wire = line()
    for size in (1, 7, 1000):
        came = list[Reply | Broken]()
        ask(made, came)
        data = INTERIM + answer(b"mine")
        for start in range(0, len(data), size):
            made.data_received(data[start : start + size])
        assert [one.body for one in came if isinstance(one, Reply)] == [b"mine"]
    assert made.usable
    assert not wire.over
