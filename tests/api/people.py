"""Live homes past their first hour, and people with authenticator apps."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pyotp

from broker.model import moment
from clients.secret import Secret
from clients.venue import Credential, Environment, KeyType, Slot
from tests.api.desk import POLICY, SAFE, Desk, opened_desk
from tests.gateway.world import WallClock

PASSWORD = "planted-correct-horse-battery"


class Clock(WallClock):
    """A clock that is moved on by hand, and that somebody may set."""

    def __init__(self) -> None:
        self.ahead_us = self.set_us = 0
        self._stopped_us: tuple[int, int] | None = None

    def stop(self) -> None:
        """Let it go on by hand only, where the seconds count."""
        self._stopped_us = WallClock.now_us(self), WallClock.boot_us(self)

    def now_us(self) -> int:
        real_us = super().now_us() if self._stopped_us is None else self._stopped_us[0]
        return real_us + self.ahead_us + self.set_us

    def boot_us(self) -> int:
        return (super().boot_us() if self._stopped_us is None else self._stopped_us[1]) + self.ahead_us

    def now(self) -> datetime:
        return moment(self.now_us())


class Person:
    """Somebody with an authenticator app."""

    def __init__(self, desk: Desk, clock: Clock, name: str) -> None:
        self._desk, self._clock, self.name = desk, clock, name
        uri = desk.service.credentials.enrol(name, Secret(PASSWORD)).reveal()
        self._totp = pyotp.parse_uri(uri)
        desk.service.credentials.activate(name, self.code())

    def code(self) -> str:
        """Return a code that was not used yet: the clock goes on."""
        self._clock.ahead_us += 60_000_000
        assert isinstance(self._totp, pyotp.TOTP)
        return self._totp.at(self._clock.now_us() // 1_000_000)

    def client(self) -> httpx.AsyncClient:
        session = self._desk.service.credentials.login(self.name, Secret(PASSWORD), self.code())
        transport = httpx.ASGITransport(
            self._desk.app, raise_app_exceptions=False, client=("127.0.0.1", 5000)
        )
        headers = {"Authorization": f"Bearer {session.token.reveal()}"}
        return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers)


def live(directory: Path, clock: Clock, mode: Any) -> Iterator[Desk]:
    """A live home past its first hour, with a key in it, a consumer and a grant."""
    with opened_desk(directory, Environment.LIVE, mode) as desk:
        service = desk.service
        service.desk.clock = clock
        service.accounts.create("main", venue="binance")
        credential = Credential("REAL", Secret("planted-real-secret"), KeyType.HMAC)
        service.keys.import_key("main", slot=Slot.TRADE, credential=credential, facts=SAFE)
        service.grants.create_consumer("bot")
        service.grants.create(consumer="bot", account="main", policy=POLICY)
        yield desk
