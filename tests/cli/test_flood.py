"""A flood of connections to the API, against a real broker that may open few files: cuts pass all the same."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.started import cli_json, cut_off, running_demo

pytestmark = pytest.mark.process

_FILES, _HELPERS, _EACH = 1024, 5, 220
_HELPER = """
import socket, sys
clients = []
for _ in range(int(sys.argv[2])):
    client = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=120)
    clients.append(client)
    try:
        client.sendall(b"POST /v1/cuts HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\nX-Half: ")
    except ConnectionError:
        pass
print("open", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def _half_sent(port: int) -> Iterator[None]:
    """Keep many connections open that sent half a head: by several processes, as each may open few files."""
    with contextlib.ExitStack() as stack:
        helpers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", _HELPER, str(port), str(_EACH)],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                )
            )
            for _ in range(_HELPERS)
        ]  # fmt: skip
        for helper in helpers:
            assert helper.stdout is not None
            assert helper.stdout.readline() == "open\n"
        yield


def test_a_flood_of_half_sent_requests_stops_no_cut(tmp_path: Path) -> None:
    """1,100 half-sent requests under 1,024 files: cut, read and thaw, by the socket and by TCP."""
    with running_demo(tmp_path / "home", tmp_path / "errors", files=_FILES) as demo:
        running = demo.running()
        assert Path(running["socket"]).is_socket()
        with _half_sent(running["api_port"]):
            cut = cut_off(demo)
            assert cut in {one["id"] for one in cli_json(demo.home, "cuts")["items"]}
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("PORTCULLIS_ADDR", running_api(running["api_port"]))
                patch.setenv("PORTCULLIS_TOKEN", demo.said["operator_token"])
                cli_json(demo.home, "thaw", cut, "--reason", "a test")


def running_api(port: int) -> str:
    """Return the address of an API by TCP."""
    return f"http://127.0.0.1:{port}"
