"""Services that take alerts, with the limits and the markup that they have. The product's own process sends to them.

What they refuse, and how: Telegram Bot API, `sendMessage` (text of 1-4096 characters after entities parsing; "all <, >
and & symbols that are not a part of a tag or an HTML entity must be replaced"); Discord, Execute Webhook (`content` up to
2000 characters); PagerDuty, Events API v2 (`summary` up to 1024 characters); ntfy (a message of more than 4096 bytes
is no message, but a file).
"""

import html
import json
import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_string
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from clients.secret import Secret

_TAG = re.compile(r"</?(b|strong|i|em|u|ins|s|strike|del|a|code|pre|tg-spoiler|span|blockquote)(\s[^<>]*)?>")
_ENTITY = re.compile(r"&(?!(?:lt|gt|amp|quot|#\d+|#x[0-9a-fA-F]+);)")


@dataclass
class Messenger:
    """All of them at once. `asked`: status and text of each message, as its readers see it; `sent`: as it came."""

    port: int = 0
    mail_port: int = 0
    minds: Callable[[str], int] = lambda _: 0
    asked: list[tuple[int, str]] = field(default_factory=list)
    sent: list[Any] = field(default_factory=list)

    @property
    def taken(self) -> list[str]:
        """What its readers got."""
        return [text for status, text in self.asked if status < 300]

    @property
    def text(self) -> str:
        return "\n".join(self.taken)

    def address(self, kind: str) -> Secret:
        return Secret(
            {
                "telegram": "tgram://123456789:abcdefg_hijklmnop/12315544/",
                "discord": "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js",
                "embeds": "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js?format=markdown&overflow=truncate",
                "slack": "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
                "pagerduty": f"pagerduty://{'i' * 32}@{'k' * 20}",
                "ntfy": f"ntfy://127.0.0.1:{self.port}/alerts",
                "webhook": f"json://127.0.0.1:{self.port}/json",
                "mail": f"mailto://127.0.0.1:{self.mail_port}?from=a@b.example&to=c@b.example",
            }[kind]
        )

    def takes(self, path: str, said: Any) -> int:
        """Take a message, or refuse it."""
        self.sent.append(said)
        text, most = self._read(path, said)
        status = self.minds(text)
        if path.startswith("/bot") and said.get("parse_mode") == "HTML":
            bare = _TAG.sub("", said["text"])
            status = status or (400 if "<" in bare or _ENTITY.search(bare) else 0)
        status = status or (400 if len(text) > most else 204 if path.startswith("/discord") else 200)
        self.asked.append((status, text))
        return status

    def _read(self, path: str, said: Any) -> tuple[str, int]:
        """Return a message as it is shown, and how long one may be."""
        if path.startswith("/bot"):
            return html.unescape(_TAG.sub("", said["text"])), 4096
        if path.startswith("/discord"):
            embeds = [
                re.sub(r"\\(.)", r"\1", f"{one['title']}\n{one['description']}")
                for one in said.get("embeds", ())
            ]
            return said.get("content", "") + "".join(embeds), 4096 if embeds else 2000
        if path.startswith("/slack"):
            (one,) = said["attachments"]
            return html.unescape(f"{one['title']}\n{one['text']}"), 3000
        if path.startswith("/pagerduty"):
            return said["payload"]["summary"], 1024
        if path.startswith("/json"):
            return f"{said['title']}\n{said['message']}", 100_000
        return f"{said['title']}\n{said['message']}", 4096


@contextmanager
def messenger(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Messenger]:
    """Play the services: the process that sends finds them here, by what Python imports as it begins."""
    here = Messenger()

    class Web(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(here.takes(self.path, said))
            self.end_headers()
            self.wfile.write(b"ok" if self.path.startswith("/slack") else b"{}")

        def log_message(self, *_: object) -> None:
            """Nothing."""

    class Mail(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            while word := self.rfile.readline()[:4].strip().upper():
                if word != b"DATA":
                    self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 yes\r\n")
                    continue
                self.wfile.write(b"354 go on\r\n")
                lines = list(iter(self.rfile.readline, b".\r\n"))
                mail = message_from_string(b"".join(lines).decode(), policy=default)
                text = f"{mail['Subject']}\n{mail.get_content() if not mail.is_multipart() else ''}"
                here.sent.append(mail)
                status = here.minds(text)
                here.asked.append((status, text))
                self.wfile.write(f"{status} no\r\n".encode() if status else b"250 taken\r\n")

    web = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    mail = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail)
    mail.daemon_threads = True
    here.port, here.mail_port = web.server_port, mail.server_address[1]
    (directory / "played").mkdir()
    (directory / "played" / "sitecustomize.py").write_text(
        _PLAYED.format(url=f"http://127.0.0.1:{here.port}")
    )
    monkeypatch.setenv("PYTHONPATH", str(directory / "played"))
    threads = [threading.Thread(target=one.serve_forever, daemon=True) for one in (web, mail)]
    for thread in threads:
        thread.start()
    try:
        yield here
    finally:
        for server in (web, mail):
            server.shutdown()
            server.server_close()
        for thread in threads:
            thread.join()


_PLAYED = """
try:
    from apprise.plugins import discord, pagerduty, slack, telegram
except ImportError:
    pass
else:
    telegram.NotifyTelegram.notify_url = "{url}/bot"
    discord.NotifyDiscord.notify_url = "{url}/discord"
    slack.NotifySlack.webhook_url = "{url}/slack"
    for region in pagerduty.PAGERDUTY_API_LOOKUP:
        pagerduty.PAGERDUTY_API_LOOKUP[region] = "{url}/pagerduty"
"""
