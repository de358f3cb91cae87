"""What befalls a rotator between two lines: each fault is put into the world while it stands still, and mended later.

A fault is a context manager: entered while the rotator stands (SIGSTOP) right before or right after an effect, left once
the rotator has met it, or came to its end without.
"""

import asyncio
import contextlib
import json
import os
import resource
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from broker.errors import NotFound, StoreUnavailable
from broker.model import KeyRef, Stage
from clients.venue import Slot
from rotation.state import Resume, State
from tests.cli.started import wait_until
from tests.places import NAMED, VAULT
from tests.rotation.deaths import (
    NEVER,
    Scenario,
    _tell_in_time,
    nothing_is_left_over,
    planned,
    release,
    rotator,
    tell,
)
from tests.rotation.forked import Rotator, rotating
from tests.rotation.place import Place
from tests.services.postgres.server import PASSWORD
from tests.services.vault.server import VaultServer

PATIENCE_S = 200.0


@dataclass
class Struck:
    """A rotator that stands still in a world that a fault is about to be put into."""

    here: Place
    pid: int
    state: State
    vault: VaultServer | None

    @property
    def directory(self) -> Path:
        return self.here.world.directory

    def keeps(self, name: str) -> bool:
        return (self.directory / name).exists()

    @contextmanager
    def postgres(self) -> Iterator[psycopg.Connection[Any]]:
        found = json.loads((self.directory / NAMED).read_text())
        with psycopg.connect(
            host="127.0.0.1", port=found["ports"][0], user="portcullis", password=PASSWORD, dbname=found["name"],
            autocommit=True,
        ) as connection:  # fmt: skip
            yield connection

    @property
    def stays(self) -> KeyRef:
        """The version that is to live on, as the rotation has it where it stands."""
        back = {State.ROLLING_BACK, State.DRAINING_NEW, State.DISCARDING_NEW}
        return KeyRef("main", Slot.TRADE, 1 if self.state in back else 2)

    @property
    def token(self) -> Path:
        return self.directory / "vault.token"


# --- the faults -------------------------------------------------------------------------------


@contextmanager
def sealed(it: Struck) -> Iterator[None]:
    assert it.vault is not None
    it.vault.seal()
    yield
    it.vault.unseal()


@contextmanager
def policy_revoked(it: Struck) -> Iterator[None]:
    assert it.vault is not None
    policies, name = it.vault.client().sys, f"of-{it.directory.name}"
    policies.create_or_update_policy(name, 'path "nothing" { capabilities = ["deny"] }')
    yield
    policies.create_or_update_policy(name, EVERYTHING)


@contextmanager
def token_revoked(it: Struck) -> Iterator[None]:
    assert it.vault is not None
    it.vault.client(it.token.read_text()).auth.token.revoke_self()
    yield
    it.token.write_text(fresh_token(it.vault, it.directory))


@contextmanager
def wiped(it: Struck) -> Iterator[None]:
    """The secret of the key that stays is gone, for good."""
    with contextlib.suppress(NotFound):  # not made yet
        it.here.world.service.desk.secrets.destroy(it.stays.path)
    yield


@contextmanager
def deleted_softly(it: Struck) -> Iterator[None]:
    """The same by hand, in Vault, so that it could be taken back; nobody does."""
    assert it.vault is not None
    mount = json.loads((it.directory / VAULT).read_text())["mount"]
    with contextlib.suppress(Exception):  # not made yet
        it.vault.client().secrets.kv.v2.delete_latest_version_of_secret(it.stays.path, mount_point=mount)
    yield


@contextmanager
def locked(it: Struck) -> Iterator[None]:
    """Somebody else holds what it writes, for longer than it waits."""
    if it.keeps(NAMED):
        with it.postgres() as connection, connection.transaction():
            connection.execute("LOCK TABLE rotations, key_versions IN ACCESS EXCLUSIVE MODE")
            yield
        return
    connection = sqlite3.connect(
        it.directory / "state.db", isolation_level=None, timeout=30, check_same_thread=False
    )
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("ROLLBACK")
    connection.close()


@contextmanager
def terminated(it: Struck) -> Iterator[None]:
    """Every connection to its database ends, that moment and a little later."""
    every = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with it.postgres() as connection:
        connection.execute(every)
        yield
        connection.execute(every)


@contextmanager
def disk_full(it: Struck) -> Iterator[None]:
    """Nothing it writes finds room: its files may not grow, and PostgreSQL says 53100."""
    if it.keeps(NAMED):
        with it.postgres() as connection:
            connection.execute(
                "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100'; END $$"
            )
            tables = ("rotations", "key_versions", "rotation_steps")
            for table in tables:
                connection.execute(
                    f"CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON {table} "
                    "FOR EACH ROW EXECUTE FUNCTION full_disk()".encode()
                )
            yield
            connection.execute("DROP FUNCTION full_disk() CASCADE")
        return
    before = resource.prlimit(it.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(it.pid, resource.RLIMIT_FSIZE, (1, before[1]))
    yield
    resource.prlimit(it.pid, resource.RLIMIT_FSIZE, before)


@contextmanager
def overtaken(it: Struck) -> Iterator[None]:
    """It stands still past its claim; what the others do meanwhile `strike` sees to."""
    del it
    yield


Fault = Callable[[Struck], contextlib.AbstractContextManager[None]]
FAULTS: dict[str, Fault] = {
    "stopped": overtaken, "sealed": sealed, "policy": policy_revoked, "token": token_revoked, "wiped": wiped,
    "soft-deleted": deleted_softly, "locked": locked, "terminated": terminated, "disk-full": disk_full,
}  # fmt: skip
LOSES = frozenset({"wiped", "soft-deleted"})
ONLY_VAULT = frozenset({"sealed", "policy", "token", "soft-deleted"})
ONLY_POSTGRES = frozenset({"terminated"})
EVERYTHING = 'path "*" { capabilities = ["create", "read", "update", "patch", "delete", "list", "sudo"] }'


def fresh_token(vault: VaultServer, directory: Path) -> str:
    """Make a token whose policy can be taken away."""
    name = f"of-{directory.name}"
    vault.client().sys.create_or_update_policy(name, EVERYTHING)
    made = vault.client().auth.token.create(policies=[name], ttl="1h")
    return str(made["auth"]["client_token"])


# --- how one is put into the world ------------------------------------------------------------


async def strike(here: Place, scenario: Scenario, point: str, fault: str, vault: VaultServer | None) -> None:
    """Carry a rotation to a point, let a fault befall it there, and let it, and others, come to an end."""
    rotation = await planned(here, scenario)
    telling = asyncio.create_task(_tell_in_time(here, rotation.id, scenario))
    first = await rotating(here.world.directory, f"pause-{point}")
    runs = True
    try:
        try:
            await asyncio.to_thread(wait_until, lambda: is_stopped(first.pid), "it stopped itself")
        except (AssertionError, OSError):
            first.process.kill()
            trouble = await first.trouble.read()
            known = here.world.service.rotations.get(rotation.id)
            gone = f"{here.history(rotation.id)} ({known.reason})"
            raise AssertionError(f"it never came to {point}: {gone} {trouble.decode()[-2000:]}") from None
        it = Struck(here, first.pid, State(point.split(":")[1]), vault)
        struck = FAULTS[fault](it)
        await asyncio.to_thread(struck.__enter__)
        if fault == "stopped":
            await others_end_it(here, rotation.id)
            known = what_is(here)
        os.kill(first.pid, signal.SIGCONT)
        await met(first)
        await asyncio.to_thread(struck.__exit__, None, None, None)
        async with asyncio.timeout(PATIENCE_S):
            await first.ended()
            runs = False
            await answers(here)
        if fault == "stopped":
            assert what_is(here) == known, "it woke, and changed something"
        if here.world.service.rotations.get(rotation.id).ended_at is None:
            release(here)
            if fault not in LOSES:
                await others_end_it(here, rotation.id)
    finally:
        if runs:
            await first.kill()
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
    if fault in LOSES:
        nothing_is_lost(here, rotation.id)
    else:
        nothing_is_left_over(here, scenario)


async def answers(here: Place) -> None:
    """Wait until the broker's own connections are well again: the fault befell them, too."""
    while True:
        with contextlib.suppress(StoreUnavailable):
            await asyncio.to_thread(here.world.service.rotations.list)
            return
        await asyncio.sleep(0.1)


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


async def met(process: Rotator) -> None:
    """Wait until the rotator met a fault, or ended without."""
    async with asyncio.timeout(PATIENCE_S):
        while line := (await process.trouble.readline()).decode():
            if line.startswith("trouble") or not line.rstrip().endswith(" ok"):
                return


async def others_end_it(here: Place, rotation: str) -> None:
    """Let other rotators carry it to its end, as an operator would who resumes what stalls."""
    release(here)
    for _ in range(6):
        code, said = await rotator(here, NEVER)
        assert code == 0, said
        if here.world.service.rotations.get(rotation).ended_at is not None:
            return
        await tell(here, rotation, Resume())
    raise AssertionError(here.world.service.rotations.get(rotation))


def what_is(here: Place) -> object:
    """Return what a rotator changes: its record, the stages of keys, the keys at the exchange."""
    service = here.world.service
    return (
        [(one.id, one.state, one.reason) for one in service.rotations.list().items],
        [(str(key.ref), key.stage, key.venue_key_id) for key in service.keys.list()],
        sorted(key.key_id for key in here.living()),
        service.desk.secrets.paths("keys/"),
    )


def nothing_is_lost(here: Place, rotation: str) -> None:
    """Some key lives at the exchange whose secret is in the store, and it is on record as no tombstone."""
    service = here.world.service
    living = {key.key_id for key in here.living()}
    kept = [
        key
        for key in service.keys.list("main")
        if key.stage is not Stage.TOMBSTONE and key.venue_key_id in living and _is_kept(here, key.path)
    ]
    known = service.rotations.get(rotation)
    assert kept, f"no living key is left whose secret is kept: {known.state} ({known.reason})"
    if known.state == State.DONE.value:
        assert [key.stage for key in kept] == [Stage.CURRENT], (
            "it is done, and the key in use is in memory only"
        )


def _is_kept(here: Place, path: str) -> bool:
    try:
        return "secret" in here.world.service.desk.secrets.read(path)
    except (NotFound, StoreUnavailable):
        return False
