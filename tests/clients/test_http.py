"""The httpx factory: pinned, quiet, forgetful, honest."""

import gc
import http.server
import logging
import socket
import sys
import threading
import traceback
from collections.abc import Iterator

import httpx
import pytest

from clients import http as venue_http
from clients.egress import Egress, Way
from clients.errors import VenueAmbiguous, VenueError, VenueUnavailable
from clients.pauses import Pauses

URL = "http://127.0.0.1:{}"


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers with what it saw; some paths misbehave."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.startswith("/drop"):
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        if self.path.startswith("/slow"):
            threading.Event().wait(5)  # longer than anybody waits here, on a busy machine too
        body = f"{self.client_address[0]} {self.path} {self.headers.get('Cookie')}".encode()
        self.send_response(302 if self.path.startswith("/redirect") else 200)
        self.send_header("Content-Length", str(len(body) + (5 if self.path.startswith("/short") else 0)))
        self.send_header("Set-Cookie", "a=1; Path=/")
        self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(body)
        if self.path.startswith("/short"):
            self.close_connection = True

    do_POST = do_GET  # noqa: N815 - the name the server looks for

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    "url", ["http://api.binance.com", "http://10.0.0.1", "ftp://x", "https://u:p@x", "api.binance.com", ""]
)
def test_only_https_or_loopback(url: str) -> None:
    with pytest.raises(ValueError, match=r"https|scheme"):
        venue_http.open_client("binance", url)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.test/x",
        "https://api.binance.com:444/x",
        "http://api.binance.com/x",
        "http://127.0.0.1:1/x",
        "https://api.binance.com.evil.test/x",
    ],
)
def test_other_hosts_are_refused_before_connecting(url: str) -> None:
    """A key goes only where the client was made for."""
    with venue_http.open_client("binance", "https://api.binance.com") as client:
        with pytest.raises(VenueUnavailable) as caught:
            client.get(url, extensions={"endpoint": "spot.time"})
        assert (caught.value.reason, caught.value.endpoint) == ("host_not_pinned", "spot.time")


@pytest.mark.sockets
def test_no_redirects_no_cookies_no_environment(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with venue_http.open_client("binance", URL.format(port)) as client:
        assert client.get("/redirect").status_code == 302
        assert client.get("/a?b=%40").text == "127.0.0.1 /a?b=%40 None"
        assert not list(client.cookies.jar)


@pytest.mark.sockets
def test_direct_egress_has_its_source_address(port: int) -> None:
    egress = Egress("second", source="127.0.0.9")
    with venue_http.open_client("binance", URL.format(port), egress=egress) as client:
        assert client.get("/").text.startswith("127.0.0.9 ")


def _fails(port: int, path: str, *, write: bool) -> VenueError:
    timeout = httpx.Timeout(0.2 if path == "/slow" else 30.0)
    with (
        venue_http.open_client("binance", URL.format(port), timeout=timeout) as client,
        pytest.raises(VenueError) as caught,
    ):
        client.post(
            path + "?signature=planted",
            headers={"X-MBX-APIKEY": "planted"},
            content=b"planted",
            extensions={"endpoint": "spot.order.place", "write": write},
        )
    return caught.value


@pytest.mark.sockets
@pytest.mark.parametrize(
    ("path", "reason"), [("/drop", "connection_lost"), ("/slow", "timed_out"), ("/short", "connection_lost")]
)
def test_after_sending_nothing_is_known(port: int, path: str, reason: str) -> None:
    """A write that got no whole answer may have taken effect; a read changed nothing either way."""
    lost = _fails(port, path, write=True)
    assert (type(lost), lost.reason) == (VenueAmbiguous, reason)
    read = _fails(port, path, write=False)
    assert (type(read), read.reason) == (VenueUnavailable, reason)


@pytest.mark.sockets
def test_before_sending_nothing_was_done() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        error = _fails(taken.getsockname()[1], "/", write=True)
    assert (type(error), error.reason) == (VenueUnavailable, "not_connected")


@pytest.mark.sockets
def test_an_error_keeps_no_request(port: int) -> None:
    """Neither its text nor what hangs on it holds URL, header or body."""
    error = _fails(port, "/drop", write=True)
    assert (error.__cause__, error.__context__) == (None, None)
    shown = "".join(traceback.format_exception_only(error)) + str(error) + repr(vars(error))
    assert "planted" not in shown
    assert "signature" not in shown
    assert not [value for value in gc.get_referents(error) if isinstance(value, httpx.HTTPError)]


@pytest.mark.sockets
@pytest.mark.parametrize("later", [False, True])
def test_logs_stay_quiet_at_debug(port: int, later: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Httpx logs URLs at INFO and httpcore at DEBUG; neither shows, not even when levels are lowered later."""
    names = [name for name in logging.Logger.manager.loggerDict if name.startswith("http")]
    before = {name: logging.getLogger(name).level for name in names}
    try:
        with caplog.at_level(logging.DEBUG), venue_http.open_client("binance", URL.format(port)) as client:
            if later:
                for name in (*names, "httpx", "httpcore", "httpcore.http11", "httpcore.connection"):
                    logging.getLogger(name).setLevel(logging.DEBUG)
            client.get("/x?signature=planted", headers={"X-MBX-APIKEY": "planted"})
            logging.getLogger("other").debug("heard")
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
    assert "heard" in caplog.text
    assert "planted" not in caplog.text
    assert "HTTP Request" not in caplog.text


def test_a_proxy_egress_is_understood() -> None:
    egress = Egress("p", way=Way.CONNECT, proxy_host="127.0.0.1", proxy_port=9)
    venue_http.open_client("binance", "https://api.binance.com", egress=egress).close()


def test_socks_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra package the error names it."""
    monkeypatch.setitem(sys.modules, "socksio", None)
    egress = Egress("s", way=Way.SOCKS5H, proxy_host="127.0.0.1", proxy_port=9)
    with pytest.raises(RuntimeError, match="socksio"):
        venue_http.open_client("binance", "https://api.binance.com", egress=egress)


# --- the venue's own pauses -------------------------------------------------------------------------------------


@pytest.fixture
def full() -> Iterator[tuple[str, list[str]]]:
    """Serve a venue that refuses everything with the status in its path, and count what it was asked."""
    asked: list[str] = []

    class Full(_Handler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(int(self.path.rpartition("/")[2]))
            self.send_header("Retry-After", "50")
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Full)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield URL.format(server.server_address[1]), asked
    server.shutdown()
    server.server_close()
    thread.join()


def asks(client: httpx.Client, path: str) -> str:
    try:
        return str(client.get(path, extensions={"endpoint": "x", "write": False}).status_code)
    except VenueUnavailable as fault:
        return fault.reason


def test_nothing_is_sent_while_the_venue_asks_to_wait_whoever_asks(full: tuple[str, list[str]]) -> None:
    url, asked = full
    now_us = [1_000_000]
    pauses = Pauses(lambda: now_us[0])
    with venue_http.open_client("binance", url, pauses=pauses) as client:
        assert [asks(client, "/api/418") for _ in range(3)] == ["418", "venue_pause", "venue_pause"]
    with venue_http.open_client("binance", url, pauses=pauses) as another:
        assert asks(another, "/sapi/v1/x/200") == "venue_pause", "a ban stops everything behind the address"
        assert len(asked) == 1
        now_us[0] += 49_999_999
        assert asks(another, "/api/200") == "venue_pause"
        now_us[0] += 1
        assert asks(another, "/api/200") == "200"


def test_an_endpoint_that_is_counted_by_itself_waits_alone(full: tuple[str, list[str]]) -> None:
    url, asked = full
    with venue_http.open_client("binance", url) as client:
        assert [asks(client, "/sapi/v1/x/429") for _ in range(2)] == ["429", "venue_pause"]
        assert asks(client, "/sapi/v1/y/200") == "200"
        assert asks(client, "/api/v3/429") == "429"
        assert asks(client, "/sapi/v1/y/200") == "venue_pause"
    assert len(asked) == 3


def test_an_incident_is_always_tried(full: tuple[str, list[str]]) -> None:
    url, asked = full
    with venue_http.open_client("binance", url, urgent=True) as client:
        assert [asks(client, "/api/418") for _ in range(3)] == ["418"] * 3
    assert len(asked) == 3
