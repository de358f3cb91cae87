"""Where a bot reaches the gateway: `run`, `status` and the snippet say the same, and only what is answered there."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from clients.venue import Environment
from portcullis.cli.reached import from_container, show_elsewhere
from portcullis.gateway import parse_listen
from portcullis.running import Running, tell, told
from portcullis.settings import Home, private_directory

NAME, BRIDGE = "host.docker.internal", "172.17.0.1"


def running(host: str, *names: str) -> Running:
    return Running(1, 8701, 8700, 2, gateway_host=host, gateway_names=names)


@pytest.mark.parametrize(
    ("host", "names", "here", "elsewhere", "container"),
    [
        ("127.0.0.1", (), "127.0.0.1", "", NAME),
        ("127.0.0.1", (NAME,), "127.0.0.1", "", NAME),
        ("::1", (), "[::1]", "", NAME),
        ("0.0.0.0", ("portcullis",), "127.0.0.1", "portcullis", "portcullis"),  # noqa: S104 - nobody listens
        ("::", ("portcullis", NAME), "[::1]", "portcullis", "portcullis"),
        (BRIDGE, (NAME,), NAME, NAME, NAME),
        (BRIDGE, (NAME, BRIDGE), BRIDGE, NAME, NAME),
        ("fd00::7", ("fd00::7",), "[fd00::7]", "[fd00::7]", "[fd00::7]"),
    ],
)
def test_an_address_that_is_named_is_listened_on_and_answered(
    host: str, names: tuple[str, ...], here: str, elsewhere: str, container: str
) -> None:
    """Containers were told of loopback, of a name that nobody had allowed, or of an address that is answered by none."""
    one = running(host, *names)
    assert one.gateway == f"http://{here}:8700"
    assert one.gateway_elsewhere == (f"http://{elsewhere}:8700" if elsewhere else "")
    assert from_container(one) == f"http://{container}:8700"
    in_brackets = f"[{host}]" if ":" in host else host
    answered = parse_listen(f"{in_brackets}:8700", list(names)).allowed_hosts
    assert here in answered
    assert not elsewhere or elsewhere in answered
    out = Console(file=io.StringIO(), width=80)
    show_elsewhere(out, one)
    assert (f"http://{elsewhere}:8700" in out.file.getvalue()) is bool(elsewhere)  # type: ignore[attr-defined]


def test_what_runs_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Also where a broker wrote it that did not say its names."""
    home = Home(tmp_path / "home", Environment.PAPER, "solo")
    private_directory(home.root)
    one = running("0.0.0.0", "portcullis")  # noqa: S104 - nobody listens
    tell(home, one)
    assert told(home) == one
    document = json.loads(home.running.read_text())
    del document["gateway_names"]
    home.running.write_text(json.dumps(document))
    found = told(home)
    assert found is not None
    assert found.gateway_names == ()
    for odd in ("[]", "5", '{"gateway_names": 5}'):
        home.running.write_text(odd)
        assert told(home) is None
