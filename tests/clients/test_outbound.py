"""Where anything may be sent: one reading of a URL, public addresses, and the address that was judged."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest

from clients import outbound
from clients.bounds import Bounds, within
from clients.http_lines import BoundedBackend
from clients.outbound import LOOPBACK, PUBLIC, NotReachable, judge_channel, reach_of
from clients.outbound_http import OutboundClient
from rotation.alerts import sending
from rotation.alerts.sending import Message, by_apprise

ODD = [
    "https://good@evil.example/", "https://good:pw@evil.example/", "https://@evil.example/", "https://evil.example\\@good/",
    "https://good.example\\.evil.example/", "http://127.0.0.1@evil.example/", "http://127.0.0.1.evil.example/",
    "http://127.0.0.1:80@evil.example/", "https://2130706433/", "https://0x7f000001/", "https://0177.0.0.1/",
    "https://127.1/", "https://127.0.0.1./", "https://1.2.3.4.5/", "https://example.com./", "https://ex\u00e4mple.com/",
    "https://\uff11\uff12\uff17.0.0.1/", "https://example.com/#x", "https://exa mple.com/", "https://example.com\t/",
    "https://example.com\r\nX: y/", "https://%31%32%37.0.0.1/", "https://[::1%25lo]/", "https:///x", "https:example.com",
    "ftp://example.com/", "file:///etc/passwd", "//example.com/", "https://example.com:99999/", "https://example.com:0/",
    "https://[::ffff:127.0.0.1/", "https://exam[ple.com/", "http://example.com/", "", "https://" + "a" * 3000,
]  # fmt: skip
PRIVATE = [
    "127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "169.254.1.1", "100.64.0.1",
    "100.100.100.200", "0.0.0.0", "255.255.255.255", "224.0.0.1", "168.63.129.16", "192.0.0.192", "198.18.0.1",  # noqa: S104
    "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:169.254.169.254]", "[::ffff:7f00:1]", "[::7f00:1]", "[fe80::1]",
    "[fc00::1]", "[fd00:ec2::254]", "[2002:7f00:1::]", "[64:ff9b::7f00:1]", "[64:ff9b:1::a00:1]", "[ff02::1]",
    "[2001:0:7f00:1::]", "[fec0::1]",
]  # fmt: skip


@pytest.mark.parametrize("url", ODD)
def test_a_url_that_has_two_readings_is_refused(url: str) -> None:
    """User-info, backslashes, numbers that are addresses, other alphabets: none of it names a target."""
    for reach in (PUBLIC, LOOPBACK):
        with pytest.raises(NotReachable):
            reach.judge(url)


@pytest.mark.parametrize("host", PRIVATE)
def test_an_address_that_is_not_public_is_refused_unless_a_setting_names_it(host: str) -> None:
    """Loopback, private, link-local, shared and metadata addresses, and IPv6 that stands for them."""
    with pytest.raises(NotReachable):
        PUBLIC.judge(f"https://{host}/x")
    with pytest.raises(NotReachable):
        PUBLIC.addresses("name.example", 443, lambda *_: [(0, 0, 0, "", (host.strip("[]"), 443))])


@pytest.mark.parametrize(
    "url", ["https://example.com/x?y=z", "https://93.184.216.34:8443/", "https://[2606:2800::1]/"]
)
def test_a_public_target_passes(url: str) -> None:
    """What anybody can reach may be reached, in a live home too."""
    PUBLIC.judge(url)


def test_a_setting_allows_its_networks_and_no_others() -> None:
    """An entry of home.json opens what it names, in every spelling of an address, and nothing beside it."""
    reach = reach_of(["10.1.0.0/16", "::1"], paper=False)
    for url in ("https://10.1.2.3/", "https://[::ffff:10.1.2.3]/", "http://[::1]:8080/"):
        reach.judge(url)
    for url in ("https://10.2.0.1/", "https://127.0.0.1/", "http://10.1.2.3/"):
        with pytest.raises(NotReachable):
            reach.judge(url)
    with pytest.raises(ValueError, match="everything"):
        reach_of(["everything"], paper=False)


@pytest.mark.parametrize(
    "address",
    [
        "jsons://user:pw@good@evil/", "json://good.example\\@10.0.0.1/", "jsons://10.0.0.1/", "jsons://u:p@169.254.169.254/",
        "ntfy://127.0.0.1/topic", "mailtos://u:p@192.168.0.1?to=a@b.example", "jsons://[::1]/", "jsons://2130706433/",
        "jsons://0x7f.0.0.1/", "jsons://localhost/", "jsons://127.1/", "json://h\u00f6st/",
    ],
)  # fmt: skip
def test_a_channel_that_is_odd_or_not_public_is_refused(address: str) -> None:
    """Addresses as Apprise writes them may carry a password, and name one host."""
    with pytest.raises(NotReachable):
        judge_channel(address, PUBLIC)


@pytest.mark.parametrize(
    "address",
    [
        "tgram://123456789:abcdefg/1/", "slack://T1/A1/x", "https://hooks.slack.com/services/T1/A1/x", "ntfys://topic",
        "mailtos://user:p%40ss@mail.example?to=a@b.example", "jsons://user:pw@hooks.example:8443/x", "pagerduty://k@a",
        "discord://123456/token",
    ],
)  # fmt: skip
def test_channels_as_people_write_them_pass(address: str) -> None:
    """Every kind that the guide shows can be added."""
    judge_channel(address, PUBLIC)


class _Sink(BaseHTTPRequestHandler):
    """Notes what it was asked, and sends everybody on to itself by another name."""

    asked: list[str]
    location = ""

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        self.send_response(302 if self.location else 200)
        if self.location:
            self.send_header("Location", self.location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815 - the name that http.server asks for

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def sink() -> Iterator[type[_Sink]]:
    class Sink(_Sink):
        asked: list[str] = []  # noqa: RUF012 - one of each test

    server = HTTPServer(("127.0.0.1", 0), Sink)
    Sink.port = server.server_port  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Sink
    server.shutdown()
    server.server_close()


def test_a_name_that_points_home_is_not_connected_to(sink: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The addresses of a name are judged when it is connected to: nothing reaches a service on this host."""
    here = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", sink.port))]
    monkeypatch.setattr(outbound.socket, "getaddrinfo", lambda *_, **__: here)
    monkeypatch.setattr(outbound.Reach.addresses, "__defaults__", (lambda *_, **__: here,))
    with OutboundClient(PUBLIC, 5) as client, pytest.raises(NotReachable, match="not public"):
        client.send("GET", f"https://rebinding.example:{sink.port}/")
    assert sink.asked == []


def test_what_was_judged_is_what_is_connected_to(sink: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is looked up once; that it answers otherwise the second time changes nothing."""
    looked: list[Any] = []

    def lookup(host: str, port: int, *_: Any) -> Any:
        looked.append(host)
        return [
            (
                socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                ("127.0.0.1" if len(looked) == 1 else "10.0.0.1", port),
            )
        ]

    monkeypatch.setattr(outbound.Reach.addresses, "__defaults__", (lookup,))
    with within(Bounds(5)):
        stream = BoundedBackend(LOOPBACK.addresses).connect_tcp("rebinding.example", sink.port)
    assert stream.get_extra_info("server_addr")[0] == "127.0.0.1"
    stream.close()
    assert looked == ["rebinding.example"]


def test_a_redirect_is_an_answer_and_is_not_followed(sink: Any) -> None:
    """Who redirects us elsewhere gets nothing there."""
    sink.location = "/elsewhere"
    with OutboundClient(LOOPBACK, 30) as client:
        assert client.send("GET", f"http://127.0.0.1:{sink.port}/a").status_code == 302
    assert sink.asked == ["/a"]


def test_an_alert_reaches_nothing_private_by_whatever_library(
    sink: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Apprise resolves names by itself: what it finds is judged in the thread that sends, and in no other."""
    monkeypatch.setattr(sending, "_START_S", 120.0)  # a process begins late on a busy machine
    address, said = f"json://localhost:{sink.port}/x", Message("title", [("body", "")])
    with pytest.raises(NotReachable, match="not public"):
        by_apprise(address, said, PUBLIC)
    assert sink.asked == []
    assert httpx.get(f"http://localhost:{sink.port}/direct", trust_env=False).status_code == 200
    assert by_apprise(address, said, LOOPBACK).why == ""
    assert sink.asked[0] == "/direct"
