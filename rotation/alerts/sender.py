"""A process that sends one message by Apprise and ends: `python -m rotation.alerts.sender`, told on stdin.

Apprise connects by several libraries, each with limits of its own or none. What they do ends with this process: whoever
started it kills it when the time is over.

Rules:
1. All of these libraries ask the system for addresses in one place: there each address is judged (`clients.outbound`).
   What is judged is what is connected to. So a name that points home is refused, by whatever library.
2. What goes by HTTP is in the bounds of `clients.bounds`; the memory of this process is bounded as well.
3. The address of a channel holds its secret: it comes on stdin, and nothing of it is written anywhere.
"""

import ctypes
import json
import logging
import resource
import socket
import sys
from ipaddress import ip_network
from typing import Any

import apprise
import requests.sessions

from clients.bounds import MIB, Bounds, OutOfBounds, within
from clients.http import silence
from clients.outbound import NotReachable, Reach
from clients.pools import BoundedAdapter

_MOST_MEMORY = 1024 * MIB
_PR_SET_DUMPABLE = 4


def main() -> int:
    """Send what stdin says; answer with one line of JSON."""
    _harden()
    asked = json.load(sys.stdin)
    reach = Reach(tuple(ip_network(one) for one in asked["allowed"]))
    answer: dict[str, Any]
    try:
        taken = _sent(asked["address"], asked["title"], asked["body"], reach, float(asked["total_s"]))
        answer = {"taken": taken}
    except NotReachable as fault:
        answer = {"refused": str(fault)}
    except OutOfBounds:
        answer = {"taken": False}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


def _sent(address: str, title: str, body: str, reach: Reach, total_s: float) -> bool:
    """Send one message; tell whether it was taken.

    Raises:
        NotReachable: Nothing may be sent there.
        OutOfBounds: It took too long, or sent too much back.
    """
    silence()
    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it logs addresses
    channel = apprise.Apprise.instantiate(address, suppress_exceptions=True)
    if not isinstance(channel, apprise.NotifyBase):
        return False
    refused: list[NotReachable] = []
    system = socket.getaddrinfo

    def judged(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        found = system(host, port, *args, **more)
        try:
            reach.addresses(str(host), 0, lambda *_: found)
        except NotReachable as fault:
            refused.append(fault)
            raise socket.gaierror(socket.EAI_FAIL, str(fault)) from None
        return found

    socket.getaddrinfo = judged
    requests.sessions.HTTPAdapter = BoundedAdapter
    socket.setdefaulttimeout(total_s)
    with within(Bounds(total_s, 4 * MIB)):
        taken = bool(channel.notify(title=title, body=body))
    if refused:
        raise refused[0]
    return taken


def _harden() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
