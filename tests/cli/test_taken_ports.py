"""A port that cannot be had: who has it is found first, and what another one asks of the bots is said."""

import errno
import socket
from pathlib import Path

import pytest
from fastapi import FastAPI

from portcullis.addresses import way_out
from portcullis.api_server import ApiServer
from portcullis.gateway_child import Doorway, _refuse_taken
from portcullis.settings import SettingsError

pytestmark = pytest.mark.sockets


@pytest.mark.parametrize(
    ("number", "platform", "said"),
    [
        (errno.EADDRINUSE, "linux", "`sudo ss -ltnp 'sport = :8700'` names the process"),
        (errno.EADDRINUSE, "darwin", "`sudo lsof -nP -iTCP:8700 -sTCP:LISTEN` names the process"),
        (errno.EACCES, "linux", "from 1024 on"),
        (errno.EADDRNOTAVAIL, "linux", "none of this host's"),
        (errno.ENOBUFS, "linux", "see what is in the way"),
    ],
)
def test_what_is_in_the_way_is_looked_for_first(number: int, platform: str, said: str) -> None:
    assert said in way_out(OSError(number, "x"), 8700, platform)


def test_another_port_of_the_gateway_has_to_be_told_to_the_bots() -> None:
    """It said to use any free one, which no bot finds."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"port {port} cannot be had") as caught:
            _refuse_taken(Doorway(port=port))
        said = str(caught.value)
        assert "--port 0" not in said
        for word in (
            "names the process that has it",
            "gateway_port of home.json",
            "configuration of every bot",
        ):
            assert word in said
        with pytest.raises(SettingsError, match="names the process that has it") as caught:
            ApiServer(FastAPI(), port, Path("/nowhere"))
        assert "PORTCULLIS_ADDR" in str(caught.value)
