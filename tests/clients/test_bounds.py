"""Calls to foreign ends have bounds in all: time from the name to the last byte, and bytes."""

import socket
import ssl
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from clients import bounds, lines
from clients.bounds import Bounds, SentTooMuch, TookTooLong, within
from clients.outbound import EVERYTHING, LOOPBACK
from clients.outbound_http import NotAnswered, OutboundClient
from tests.strangers import FINITE, KINDS, ends, stranger

pytestmark = pytest.mark.sockets
TOTAL_S = 1.5


def sends(url: str, total_s: float = TOTAL_S, **more: Any) -> object:
    def work() -> object:
        with OutboundClient(LOOPBACK, total_s) as client:
            return client.send("POST", url, content=more.get("content", b"{}"))

    return ends(work)


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_ends_whatever_a_stranger_does(kind: str) -> None:
    """Each read of a dripping answer is in time; the call is not, and an endless one is cut at its size."""
    with stranger(kind) as here:
        fault = sends(here.url)
        assert isinstance(fault, NotAnswered), fault
        assert here.sent < 64 * 2**20, "no more is taken than anybody needs"


def test_a_redirect_for_ever_is_one_answer() -> None:
    """Nothing follows it."""
    with stranger("redirects for ever") as here:
        assert getattr(sends(here.url, 30), "status_code", None) == 302
        assert here.asked == 1
    assert set(FINITE) == {"redirects for ever", "packs 64 MiB into 64 KiB"}


def test_a_small_answer_does_not_become_a_large_one() -> None:
    """A compressed answer is taken as it was sent: a thousandfold of it never comes to be."""
    with stranger("packs 64 MiB into 64 KiB") as here:
        answer = sends(here.url, 20)
        assert len(getattr(answer, "content", b"")) < 2**20, answer


def test_tls_that_never_comes_about_is_in_the_calls_time() -> None:
    """Who accepts and says nothing holds up a handshake no longer than the rest."""
    with stranger("says nothing") as here:
        fault = sends(f"https://127.0.0.1:{here.port}/")
        assert isinstance(fault, NotAnswered), fault


def test_who_reads_nothing_of_what_is_sent_is_in_the_calls_time() -> None:
    """Writing waits, too, and each write of a little keeps its own limit for ever."""
    with stranger("says nothing") as here:
        fault = sends(here.url, content=bytes(64 * 2**20))
        assert isinstance(fault, NotAnswered), fault


def test_a_name_whose_look_up_hangs_is_in_the_calls_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver knows no end; who asks for the same name again costs no second thread."""
    free, looked = threading.Event(), list[str]()

    def hangs(host: str, *_: Any) -> list[Any]:
        looked.append(host)
        free.wait(60)
        return []

    monkeypatch.setattr(lines.socket, "getaddrinfo", hangs)
    try:
        for _ in range(3):
            fault = sends("https://hangs.example/", 0.5)
            assert isinstance(fault, NotAnswered), fault
        assert looked == ["hangs.example"]
    finally:
        free.set()


def test_nothing_is_sent_outside_of_bounds() -> None:
    """A call without bounds is a fault of ours, and is refused before it connects."""
    with stranger("says nothing") as here:
        with pytest.raises(RuntimeError, match="without bounds"):
            lines.connect("127.0.0.1", here.port)
        assert here.asked == 0


def test_a_call_inside_of_another_ends_no_later() -> None:
    """The inner call may be shorter, never longer."""
    with within(Bounds(10)) as outer:
        with within(Bounds(100)) as inner:
            assert inner.ends_s == outer.ends_s
        with within(Bounds(1)) as inner:
            assert inner.ends_s < outer.ends_s
        assert bounds.current() is outer


def test_what_is_apart_is_in_no_call_and_costs_none_of_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is about another end: what is asked from within a call that is over ends by bounds of its own."""
    now = [0.0]
    monkeypatch.setattr(bounds, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with within(Bounds(10)) as outer, within(Bounds(4)) as inner:
        now[0] = 3.0
        with bounds.apart(), within(Bounds(100)) as call:
            now[0] = 53.0
            assert call.left_s() == 50.0
        with bounds.apart(), pytest.raises(RuntimeError, match="without bounds"):
            bounds.current()
        assert bounds.current() is inner
        assert (inner.left_s(), outer.left_s()) == (1.0, 7.0)
    with bounds.apart(), within(Bounds(1)) as call:
        assert call.left_s() == 1.0


def test_bounds_are_said_in_words() -> None:
    """Who reads the fault learns which bound it was."""
    with within(Bounds(0, 3)) as call:
        with pytest.raises(TookTooLong, match="longer than 0 s in all"):
            call.left_s()
        call.came(3)
        with pytest.raises(SentTooMuch, match="more than 3 bytes"):
            call.came(1)


def test_the_next_address_is_tried_where_one_does_not_answer() -> None:
    """A host with several addresses is reached by the one that lives."""
    with stranger("says nothing") as here, within(Bounds(20)):
        line = lines.connect("some.example", here.port, lambda *_: ["127.9.9.9", "127.0.0.1"])
        assert line.sock.getpeername()[0] == "127.0.0.1"
        line.close()
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with within(Bounds(20)), pytest.raises(OSError, match="refused"):
        lines.connect("127.0.0.1", port)
    assert EVERYTHING.judge("https://some.example/").host == "some.example"
    assert ssl.HAS_TLSv1_3
