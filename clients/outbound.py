"""Where we may send what we have to say: webhooks, heartbeats, alerts, anchors. One judge for all of them.

Rules:
1. A URL has one reading: scheme, host, port, path. No user-info, no backslash, blank or control character, nothing that
   is not ASCII; a host is a name whose last label is no number, or an address in its one usual form. So
   `https://good@evil/`, `http://2130706433/`, `http://0x7f.1/` and names in other alphabets are refused.
2. An address is public, or a setting allows it: no loopback, private, link-local, shared, multicast or metadata
   address, and none of these inside an IPv6 address.
3. Names are resolved once, at the moment of connecting; every address that comes back is judged, and the connection
   goes to one that was. A name that answers otherwise the second time (DNS rebinding) changes nothing.
4. Plain http only to addresses on loopback. Redirects are followed by nobody who uses this.
"""

import re
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from clients.lines import looked_up

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Lookup = Callable[..., Sequence[tuple[Any, ...]]]

_LONGEST = 2000
_URL = re.compile(r"(https?)://([^/?#]+)((?:[/?][^#]*)?)", re.IGNORECASE)
_NAME = re.compile(
    r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE
)
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[^:\[\]@%\\]{1,253})(?::([0-9]{1,5}))?")
_PRINTED = re.compile(r"[\x21-\x7e]+")
_PORTS = {"https": 443, "http": 80}
_LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_NEVER_PUBLIC: tuple[Network, ...] = tuple(
    map(
        ip_network,
        (
            "168.63.129.16/32", "192.0.0.0/24",  # services that clouds keep for themselves
            "2002::/16", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "::/96",  # other addresses inside of these
            "fec0::/10",
        ),
    )
)  # fmt: skip


class NotReachable(Exception):
    """Nothing may be sent there; the message says why, for people, without the URL's path."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, read once."""

    scheme: str
    host: str
    port: int

    @property
    def address(self) -> Address | None:
        """The host as an address; None where it is a name."""
        return _address(self.host)


@dataclass(frozen=True, slots=True)
class Reach:
    """What may be reached besides public addresses."""

    allowed: tuple[Network, ...] = ()

    def permits(self, address: Address) -> bool:
        """Tell whether something may be sent to an address."""
        plain = _plain(address)
        return is_public(plain) or any(plain.version == net.version and plain in net for net in self.allowed)

    def judge(self, url: str) -> Target:
        """Read a URL, and refuse it where it names what may not be reached. Names are not resolved here.

        Raises:
            NotReachable: See the module's rules.
        """
        target = read(url)
        address = target.address
        if address is None and target.host == "localhost":
            address = IPv4Address("127.0.0.1")
        if target.scheme == "http" and (address is None or not _plain(address).is_loopback):
            raise NotReachable("is https, or http on loopback only")
        if address is not None and not self.permits(address):
            raise NotReachable(f"names {target.host}, which is not public; {_SETTING}")
        return target

    def addresses(self, host: str, port: int, lookup: Lookup = looked_up) -> list[str]:
        """Resolve a host, and return the addresses to connect to.

        Raises:
            NotReachable: One of them may not be reached: then none is.
            OSError: It cannot be resolved.
        """
        found = lookup(host, port, 0, socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for text in addresses:
            address = ip_address(text.partition("%")[0])
            if not self.permits(address):
                raise NotReachable(f"{host} is at {address}, which is not public; {_SETTING}")
        if not addresses:
            raise NotReachable(f"{host} has no address")
        return addresses


_SETTING = "if it is yours, name it in home.json under outbound.allow"
PUBLIC = Reach()
EVERYTHING = Reach((ip_network("0.0.0.0/0"), ip_network("::/0")))
"""For what only has to be a URL: who sends judges again."""

LOOPBACK = Reach(_LOOPBACK)
"""What a paper home reaches, which has no real keys to send: its own host, too."""


def reach_of(allow: Iterable[str], *, paper: bool) -> Reach:
    """Return what a home's setting allows.

    Raises:
        ValueError: An entry is neither an address nor a network.
    """
    return Reach((*(_LOOPBACK if paper else ()), *(ip_network(one) for one in allow)))


def is_public(address: Address) -> bool:
    """Tell whether an address belongs to the network everybody shares."""
    plain = _plain(address)
    return (
        plain.is_global
        and not (plain.is_multicast or plain.is_reserved or plain.is_unspecified or plain.is_link_local)
        and not any(plain.version == net.version and plain in net for net in _NEVER_PUBLIC)
    )


def read(url: str) -> Target:
    """Read a URL in the one way that is left when everything odd is refused.

    Raises:
        NotReachable: It can be read in more than one way, or in none.
    """
    found = _URL.fullmatch(url) if len(url) <= _LONGEST and _PRINTED.fullmatch(url) else None
    if found is None or "\\" in url:
        raise NotReachable("is https://HOST/PATH, in plain ASCII, without a fragment")
    scheme, authority = found.group(1).lower(), found.group(2)
    if "@" in authority:
        raise NotReachable(
            "has something before an @: name the host alone, and a secret in the path or by a file"
        )
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise NotReachable("names no host that can be used")
    host, port = parts.group(1).strip("[]").lower(), int(parts.group(2) or _PORTS[scheme])
    if not 0 < port < 2**16:
        raise NotReachable("names no port that can be used")
    if host.endswith(".") or (_address(host) is None and not _NAME.fullmatch(host)):
        raise NotReachable(
            "names no host that can be used: a name in plain letters without a dot at its end, or an address as in "
            "192.0.2.1"
        )
    return Target(scheme, host, port)


def _plain(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for, where it does."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _address(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def judge_channel(address: str, reach: Reach) -> None:
    """Read an address as Apprise writes it (`jsons://USER:PASSWORD@HOST/PATH`), and refuse what has two readings.

    Raises:
        NotReachable: It is odd, or names what may not be reached.
    """
    found = _CHANNEL.fullmatch(address) if len(address) <= _LONGEST and _PRINTED.fullmatch(address) else None
    if found is None or "\\" in address:
        raise NotReachable("is plain ASCII with one @ at most; write one in a password as %40")
    if found.group(1).lower() not in _WITH_HOST:
        return  # what stands there is a token of a service that everybody knows
    host = found.group(2).strip("[]").lower()
    if _NUMERIC.fullmatch(host) and _address(host) is None:
        raise NotReachable("names no host that can be used: an address is written as in 192.0.2.1")
    numeric = IPv4Address("127.0.0.1") if host in {"localhost", "localhost."} else _address(host)
    if numeric is not None and not reach.permits(numeric):
        raise NotReachable(f"names {host}, which is not public; {_SETTING}")


_WITH_HOST = frozenset({"json", "jsons", "ntfy", "ntfys", "mailto", "mailtos"})
_CHANNEL = re.compile(
    r"([A-Za-z]+)://(?:[^@/?#]*@)?(\[[0-9A-Fa-f:.]+\]|[^:@/?#\[\]]*)(?::[^@/?#]*)?(?:[/?#].*)?"
)
_NUMERIC = re.compile(r"(?:0x[0-9a-f]+|[0-9]+)(?:\.(?:0x[0-9a-f]+|[0-9]+)){0,3}\.?")
