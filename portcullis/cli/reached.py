"""Where bots reach the gateway, as `run`, `status` and `consumer snippet` say it alike."""

from rich.console import Console

from portcullis.cli.tables import said
from portcullis.running import Running

UNREACHED = "host.docker.internal"
"""What a container calls its host by, where the gateway was not started for it yet."""
BRIDGE = "172.17.0.1"
"""The host in the network that Docker makes by itself on Linux."""


def from_container(running: Running) -> str:
    """Return the gateway's base URL in a container: as it was started, else as it would be if it were."""
    return running.gateway_elsewhere or f"http://{UNREACHED}:{running.gateway_port}"


def show_elsewhere(out: Console, running: Running) -> None:
    """Say where containers and other hosts reach it; nothing where none does."""
    if running.gateway_elsewhere:
        out.print(
            said("[dim]containers and other hosts reach the gateway at {}[/]", running.gateway_elsewhere),
            soft_wrap=True,
        )
