"""Which ways the command line has to the API, best first.

    the socket in the home     people on this host: nothing that comes by TCP can be in their way
    TCP on loopback            where the home's disk takes no socket, or who asks may not use it
    $PORTCULLIS_ADDR           nothing else, where it names one: http on loopback (a tunnel), or https

Who falls back to the next way has sent nothing by the one before: it could not be connected to.
"""

import contextlib
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from portcullis.api_socket import NAME, short, who_listens
from portcullis.running import Running
from portcullis.settings import Home, SettingsError, variable

ADDRESS, CA_FILE = "PORTCULLIS_ADDR", "PORTCULLIS_CACERT"
_OPEN = contextlib.ExitStack()
"""Directories of sockets with long paths: open for as long as this program runs."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way: the base URL, and the socket in the home where it is that."""

    base: str
    uds: str | None = None
    verify: ssl.SSLContext | bool = True


def is_plain() -> bool:
    """Tell whether $PORTCULLIS_ADDR names a way over which nobody proves who listens."""
    return (variable(ADDRESS) or "").lower().startswith("http://")


def named(environ: Mapping[str, str] = os.environ) -> Way | None:
    """Return the way that a person has named; None where nobody did.

    Raises:
        SettingsError: It cannot be used: a token would go over the network in the clear, or elsewhere.
    """
    given, ca_file = variable(ADDRESS, environ), variable(CA_FILE, environ)
    if given is None:
        return None
    try:
        parts = urlsplit(given)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise SettingsError(ADDRESS, _ODD) from None
    if not host or parts.username is not None or parts.path.strip("/") or parts.query or parts.fragment:
        raise SettingsError(ADDRESS, _ODD)
    if parts.scheme == "http" and _is_loopback(host):
        return Way(given.rstrip("/"))
    if parts.scheme != "https":
        raise SettingsError(ADDRESS, _ODD)
    try:
        return Way(given.rstrip("/"), verify=ssl.create_default_context(cafile=ca_file))
    except OSError:  # ssl.SSLError is one
        raise SettingsError(CA_FILE, "names no file of certificates that can be used") from None


def ways(running: Running) -> list[Way]:
    """Return the ways to a broker on this host."""
    found = [Way(running.api)]
    if running.socket:
        with contextlib.suppress(OSError):
            name = _OPEN.enter_context(short(Path(running.socket)))
            found.insert(0, Way(running.api, name))
    return found


def by_socket(home: Home) -> tuple[Way, int] | None:
    """Return the way by the socket in a home, and which process listens there; None where none can be met.

    Only who owns the home can listen there, so it may be met whatever is known of the lock; at a port that `run.json`
    names anybody may listen by now.
    """
    try:
        name = _OPEN.enter_context(short(home.root / NAME))
        return Way("http://127.0.0.1", name), who_listens(name)
    except OSError:
        return None


_ODD = "is https://HOST:PORT, or http://127.0.0.1:PORT for a tunnel; nothing before or behind it"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
