"""Addresses of this host as people type them, as sockets take them, and as URLs say them."""

import errno
import ipaddress
import sys

_LOCALHOST = "127.0.0.1"


def bindable(text: str) -> str:
    """Return an address to listen on in its one spelling: `[::1]` and `0:0:0:0:0:0:0:1` are `::1`.

    Raises:
        ValueError: It is no address of IPv4 or IPv6.
    """
    bare = text.strip()
    if bare.startswith("[") and bare.endswith("]"):
        bare = bare[1:-1]
    if bare.lower() == "localhost":
        return _LOCALHOST
    return ipaddress.ip_address(bare).compressed


def in_url(host: str) -> str:
    """Return a host as a URL has it: IPv6 stands in brackets."""
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Tell whether what listens there can be reached from this host alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def reached_by(host: str) -> str:
    """Return the address by which this host's own programs reach what listens there: for every address, loopback."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return _LOCALHOST if address.version == 4 else "::1"  # noqa: PLR2004 - IPv4


def way_out(fault: OSError, port: int, platform: str = sys.platform) -> str:
    """Say what to do first about a port that cannot be had: who has it is found, before another one is chosen. Pure."""
    if fault.errno == errno.EADDRINUSE:
        looks = (
            f"ss -ltnp 'sport = :{port}'" if platform == "linux" else f"lsof -nP -iTCP:{port} -sTCP:LISTEN"
        )
        return f"`sudo {looks}` names the process that has it: end that, if it may end"
    if fault.errno == errno.EADDRNOTAVAIL:
        return "the address is none of this host's"
    if fault.errno in {errno.EACCES, errno.EPERM}:
        return "our user may not have it: those from 1024 on it may"
    return "see what is in the way"
