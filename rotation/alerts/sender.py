"""A process that sends one message by Apprise and ends: `python -m rotation.alerts.sender`, told on stdin.

Apprise connects by several libraries, each with limits of its own or none. What they do ends with this process: whoever
started it kills it when the time is over.

Rules:
1. All of these libraries ask the system for addresses in one place: there each address is judged (`clients.outbound`).
   What is judged is what is connected to. So a name that points home is refused, by whatever library.
2. What goes by HTTP is in the bounds of `clients.bounds`; the memory of this process is bounded as well.
3. The address of a channel holds its secret: it comes on stdin, and nothing of it is written anywhere.
4. A message is as long as its service takes (`_room`). What is more is left to the next message, never to the service.
5. What is sent is plain text. It is made the markup that Apprise sends a service (`_marked_up`), which also takes text
   for markup where it is told that it is text (Telegram, in 2.2.0). Where a service reads markup in plain text all the
   same (Discord), it goes where it reads none (`_literal`).
6. Apprise says whether a message was taken, and nothing else. What the service answered is heard where it is read.
"""

import ctypes
import html
import json
import logging
import re
import resource
import smtplib
import socket
import sys
from collections.abc import Sequence
from ipaddress import ip_network
from typing import Any

import apprise
import requests.sessions
from apprise.conversion import convert_between

from clients.bounds import MIB, Bounds, OutOfBounds, within
from clients.http import silence
from clients.outbound import NotReachable, Reach
from clients.pools import BoundedAdapter
from rotation.alerts.answers import Fault, of_http, of_mail
from rotation.alerts.packing import packed

_MOST_MEMORY = 1024 * MIB
_PR_SET_DUMPABLE = 4

_DISCORD = "discord"
_LESS_ROOM = {"slack": 2900, "ntfys": 4000}
"""Of services that take more in some way only: a block of Slack has 3000 characters, and what is longer than 4096 bytes
is a file to ntfy, which no phone shows. All others take what Apprise knows of them."""

_AS_IT_IS = apprise.OverflowMode.UPSTREAM
"""Whatever the address says of texts that are too long: none is."""

_FENCE = "```"
_CALLS_PEOPLE = re.compile(r"@(?=[\w&!])|<(?=[@#])")
"""Apprise too calls whom it finds in a text, where the address asks for embeds."""

_NOTHING = "\u200b"
_FAILS = 400


def main() -> int:
    """Send what stdin says; answer with one line of JSON."""
    _harden()
    asked = json.load(sys.stdin)
    reach = Reach(tuple(ip_network(one) for one in asked["allowed"]))
    heard: list[_Said] = []
    answer: dict[str, Any]
    try:
        count, taken = _sent(asked, reach, heard)
        fault, code = (None, 0) if taken else _what_was_said(heard)
        answer = {"fault": fault, "count": count, "code": code}
    except NotReachable as fault:
        answer = {"refused": str(fault)}
    except _Unreadable:
        answer = {"fault": Fault.UNREADABLE, "count": 0, "code": 0}
    except OutOfBounds:
        answer = {"fault": Fault.SILENT, "count": 0, "code": 0}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


_Said = tuple[Fault, int]
"""What a service answered, and whose fault that is."""


class _Unreadable(Exception):
    """Apprise reads no address in it."""


def _sent(asked: Any, reach: Reach, heard: list[_Said]) -> tuple[int, bool]:
    """Send one message; return how many entries are in it, and whether it was taken. What is answered goes to `heard`.

    Raises:
        _Unreadable: The address is none.
        NotReachable: Nothing may be sent there.
        OutOfBounds: It took too long, or sent too much back.
    """
    silence()
    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # it logs addresses
    channel = apprise.Apprise.instantiate(asked["address"], suppress_exceptions=True)
    if not isinstance(channel, apprise.NotifyBase):
        raise _Unreadable
    title, total_s = str(asked["title"]), float(asked["total_s"])
    entries = [(str(says), str(step)) for says, step in asked["entries"]]
    body, count = _written(channel, title, entries, int(asked["most"]), last=bool(asked["last"]))
    form = _form(channel)
    body = _marked_up(body, form)
    if channel.title_maxlen <= 0:  # it stands in the body
        title = _marked_up(title, form)
    _listen(heard)
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
    socket.setdefaulttimeout(total_s)
    with within(Bounds(total_s, 4 * MIB)):
        taken = bool(channel.notify(title=title, body=body, body_format=form, overflow=_AS_IT_IS))
    if refused:
        raise refused[0]
    return count, taken


def _written(
    channel: apprise.NotifyBase, title: str, entries: Sequence[tuple[str, str]], most: int, *, last: bool
) -> tuple[str, int]:
    """Return the text of a message that the service takes, and how many entries are in it."""
    body, count = packed(
        _literal(channel, entries), _room(channel) - len(title.encode()) - 2, most, last=last
    )
    fenced = _is_discord(channel) and _form(channel) is apprise.NotifyFormat.TEXT
    return (f"{_FENCE}\n{body}\n{_FENCE}" if fenced else body), count


def _room(channel: apprise.NotifyBase) -> int:
    """Return for how many bytes of text there is room in a message, its title included."""
    room = min(int(channel.body_maxlen), _LESS_ROOM.get(str(channel.secure_protocol), sys.maxsize))
    return room - 2 * (len(_FENCE) + 1) if _is_discord(channel) else room


def _literal(channel: apprise.NotifyBase, entries: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return entries in which the service reads no markup of its own."""
    if not _is_discord(channel):
        return list(entries)
    return [(_unfenced(says), _unfenced(step)) for says, step in entries]


def _unfenced(text: str) -> str:
    """Return text that ends no block of Discord's and calls nobody, wherever it stands."""
    return _CALLS_PEOPLE.sub(lambda found: found.group() + _NOTHING, text.replace(_FENCE, "'''"))


def _form(channel: apprise.NotifyBase) -> apprise.NotifyFormat:
    """Return what Apprise sends where it is given text: the address may say that."""
    return apprise.NotifyFormat(channel.resolve_format(apprise.NotifyFormat.TEXT))


def _marked_up(text: str, form: apprise.NotifyFormat) -> str:
    """Return plain text in a markup. Of HTML, Apprise makes each blank one that no shell knows; we do not."""
    if form is apprise.NotifyFormat.HTML:
        return html.escape(text, quote=False).replace("\n", "<br/>")
    return str(convert_between(apprise.NotifyFormat.TEXT, form, text))  # type: ignore[no-untyped-call]


def _is_discord(channel: apprise.NotifyBase) -> bool:
    return bool(channel.secure_protocol == _DISCORD)


def _listen(heard: list[_Said]) -> None:
    """Hear what services answer, by HTTP and by SMTP."""

    class Adapter(BoundedAdapter):
        def send(self, request: requests.PreparedRequest, *args: Any, **more: Any) -> requests.Response:
            answer = super().send(request, *args, **more)
            heard.append((of_http(answer.status_code), answer.status_code))
            return answer

    requests.sessions.HTTPAdapter = Adapter
    reply = smtplib.SMTP.getreply

    def replied(self: smtplib.SMTP) -> tuple[int, bytes]:
        code, said = reply(self)
        if code >= _FAILS:
            heard.append((of_mail(code), code))
        return code, said

    smtplib.SMTP.getreply = replied  # type: ignore[method-assign]


def _what_was_said(heard: Sequence[_Said]) -> tuple[Fault, int]:
    """Return whose fault it is that a message was not taken: by the last answer that is a no, else by the last."""
    no = [one for one in heard if one[1] >= _FAILS] or list(heard)
    if not no:
        return Fault.SILENT, 0
    return no[-1]


def _harden() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
