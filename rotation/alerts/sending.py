"""One message to one channel by Apprise, which only reaches what `clients.outbound` permits.

Apprise connects by several libraries, each of which resolves names by itself and some of which follow redirects. All of
them ask the system for addresses in one place: there, and only in the thread that sends, each address is judged. What
is judged is what is connected to.
"""

import logging
import socket
import threading
from typing import Any

import apprise

from clients.http import silence
from clients.outbound import LOOPBACK, NotReachable, Reach

_HERE = threading.local()
_SYSTEM = socket.getaddrinfo


def by_apprise(address: str, title: str, body: str, reach: Reach = LOOPBACK) -> bool:
    """Send one message; tell whether it was taken.

    Raises:
        NotReachable: Nothing may be sent there.
    """
    silence()
    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it logs addresses
    channel = apprise.Apprise.instantiate(address, suppress_exceptions=True)
    if not isinstance(channel, apprise.NotifyBase):
        return False
    socket.getaddrinfo = _judged
    _HERE.reach, _HERE.refused = reach, None
    try:
        taken = bool(channel.notify(title=title, body=body))  # of the channel itself: in this thread
        refused: NotReachable | None = _HERE.refused
    finally:
        _HERE.reach, _HERE.refused = None, None
    if refused is not None:
        raise refused
    return taken


def _judged(host: Any, port: Any, *args: Any, **more: Any) -> Any:
    """Resolve a name; in a thread that sends an alert, refuse what may not be reached."""
    found = _SYSTEM(host, port, *args, **more)
    reach: Reach | None = getattr(_HERE, "reach", None)
    if reach is not None:
        try:
            reach.addresses(str(host), 0, lambda *_: found)
        except NotReachable as fault:
            _HERE.refused = fault
            raise socket.gaierror(socket.EAI_FAIL, str(fault)) from None
    return found
