"""One thing done to a home, by a child that is killed (-9) before or after its n-th effect.

Effects are the commits of the database and what changes the secret store.
"""

import json
import os
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from broker.db.database import Database
from broker.gate import Mode
from broker.ports import SecretStore
from broker.service import Service
from broker.service.cuts import noted
from broker.service.service import open_service
from broker.stores.embedded.store import EmbeddedStore
from broker.stores.vault.config import TokenAuth, VaultConfig
from broker.stores.vault.session import Session
from broker.stores.vault.values import VaultStore
from clients.secret import Secret
from clients.venue import Credential, KeyFacts, KeyType, Slot
from tests.gateway.world import POLICY, WallClock
from tests.places import database_at

GOOD = KeyFacts(True, True, False, False, True, "1")


def store_at(directory: Path) -> SecretStore:
    """Open the secret store of a folder: a Vault where `vault.json` names one."""
    named = directory / "vault.json"
    if named.exists():
        found = json.loads(named.read_text())
        return VaultStore(
            Session(VaultConfig((found["address"],), TokenAuth(Path(found["token"])), found["mount"]))
        )
    return EmbeddedStore(directory / "secrets.db", Secret((directory / "kek").read_text()))


class Killed:
    """Counts effects, and kills at one."""

    def __init__(self, at: int, *, after: bool) -> None:
        self._left, self._after = at, after

    @contextmanager
    def effect(self) -> Iterator[None]:
        self._left -= 1
        if self._left == 0 and not self._after:
            os.kill(os.getpid(), signal.SIGKILL)
        yield
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class Counting:
    """A secret store whose changes are counted."""

    def __init__(self, inner: SecretStore, killed: Killed) -> None:
        self._inner, self._killed = inner, killed

    def write(self, *args: Any) -> None:
        with self._killed.effect():
            self._inner.write(*args)

    def destroy(self, path: str) -> None:
        with self._killed.effect():
            self._inner.destroy(path)

    @property
    def mirror(self) -> "Counting":
        return Counting(self._inner.mirror, self._killed)  # type: ignore[arg-type]

    def change(self, *args: Any) -> None:
        with self._killed.effect():
            self._inner.change(*args)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class CountingDatabase(Database):
    """A database whose commits are counted."""

    killed: Killed

    @contextmanager
    def write(self, *args: Any, **more: Any) -> Iterator[Any]:
        with self.killed.effect(), super().write(*args, **more) as connection:
            yield connection


def act(service: Service, what: str) -> None:
    """Do one thing. A second word makes it differ from the last time."""
    what, _, more = what.partition(" ")
    match what:
        case "grant":
            service.grants.create(consumer="bot", account="main", policy=POLICY)
        case "reissue":
            service.grants.reissue(service.grants.list().items[0].id)
        case "egress":
            service.accounts.create_egress(
                f"proxy{more.lower()}", way="http-connect", proxy_host="127.0.0.1", proxy_port=1, proxy_user="u",
                proxy_password=Secret("planted-proxy-password"),
            )  # fmt: skip
        case "import":
            credential = Credential(f"REAL-{more}", Secret("planted-real-secret"), KeyType.HMAC)
            service.keys.import_key("main", slot=Slot.READ, credential=credential, facts=GOOD)
        case "cut":
            cut, _ = service.cuts.close(
                targets=("consumer:bot",), mode=Mode.CLOSED, reason="leak", actor="me"
            )
            service.mirror.note(noted(cut))
        case "thaw":
            service.cuts.thaw(service.cuts.list(open_only=True).items[0].id, reason="safe", actor="me")
        case "tidy":
            service.secrets.tidy()
        case _:
            raise ValueError(what)


def crashed(directory: Path, what: str, at: int, *, after: bool) -> bool:
    """Do something in a child that is killed at its n-th effect; tell whether it was.

    A fork, not a new interpreter, because there are hundreds; it opens its own files and connections.
    """
    child = os.fork()
    if child == 0:
        try:
            killed = Killed(at, after=after)
            CountingDatabase.killed = killed
            database = CountingDatabase(database_at(directory)._where)
            store = Counting(store_at(directory), killed)
            act(open_service(database, store, WallClock()), f"{what} {at}{after}")  # type: ignore[arg-type]
        except BaseException:  # noqa: BLE001 - whatever it is, it must not run on as a second test process
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "see the traceback on stderr"
    return os.WIFSIGNALED(status)
