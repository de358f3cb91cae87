"""A home with something to tell, and the phones that are told of it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from broker.db import findings
from broker.db import tables as t
from broker.db.findings import Finding
from broker.service import Service
from clients.secret import Secret
from clients.venue import Credential, Environment, KeyFacts, KeyType, Slot
from portcullis.foundation import found, opened
from rotation.journal import Journal
from rotation.plan import draw_up
from tests.places import database_document

TOKEN = "planted-token-of-a-channel"


@dataclass
class Phone:
    """Somebody's phone, or a dead man's switch."""

    port: int = 0
    status: int = 200
    got: list[dict[str, str]] = field(default_factory=list)
    beats: int = 0

    @property
    def address(self) -> Secret:
        return Secret(f"json://127.0.0.1:{self.port}/{TOKEN}")

    @property
    def text(self) -> str:
        return "\n".join(one["message"] for one in self.got)


@contextmanager
def phone() -> Iterator[Phone]:
    here = Phone()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if here.status == 200:
                here.got.append(json.loads(body))
            self.send_response(here.status)
            self.end_headers()

        def do_GET(self) -> None:
            here.beats += 1
            self.send_response(here.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    here.port = server.server_port
    try:
        yield here
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Clock:
    us: int

    def __call__(self) -> int:
        return self.us


@contextmanager
def home_with_a_key(directory: Path) -> Iterator[Service]:
    """Open a home with one account and its trade key."""
    home = found(directory / "home", Environment.PAPER, "solo", database=database_document(directory)).home
    with opened(home) as service:
        service.accounts.create_egress("out", addresses=("127.0.0.7",))
        service.accounts.create("main", venue="binance", egress="out", upstream="http://127.0.0.1:9")
        key = Credential("KEY", Secret("planted-real-secret"), KeyType.HMAC)
        facts = KeyFacts(True, True, False, False, True, "42")
        service.keys.import_key("main", slot=Slot.TRADE, credential=key, facts=facts)
        yield service


def unknown(service: Service, clock: Clock, *ids: str) -> None:
    """Let the sweep have found these, and nothing else."""
    with service.desk.database.write() as connection:
        ones = [Finding("main", one, "unknown", f"a key that is not on record: {one}") for one in ids]
        findings.found(connection, "main", ones, clock())


def planned(service: Service) -> str:
    """Put a rotation of main/trade on record."""
    made = draw_up(service, "main", Slot.TRADE, "asked", service.desk.clock.now())
    Journal(service.desk.database, service.audit, "one").plan(made)
    return made.id


def becomes(service: Service, rotation: str, **values: object) -> None:
    """Let a rotation stand otherwise."""
    with service.desk.database.write() as connection:
        connection.execute(t.ROTATIONS.update().where(t.ROTATIONS.c.id == rotation).values(**values))
