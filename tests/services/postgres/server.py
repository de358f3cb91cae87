"""A real PostgreSQL on loopback: one server for many databases, or a primary with a standby to promote.

PostgreSQL refuses to run as root; where the tests do, it runs as the user `postgres` of its package.
"""

import json
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from tests import memory
from tests.lacking import lack
from tests.services.vault.server import free_port

START_S = 120.0
STOP_S = 40.0
"""Twice that is less than a test may take: a server that does not stop is told as that, not as a test that hangs."""
PASSWORD = "planted-database-password"
_FOLDERS = "/usr/lib/postgresql"
MISSING = (
    "no PostgreSQL 14 or newer: what runs on it is left out; install your system's `postgresql` package, "
    "or put `initdb` and `postgres` on PATH"
)


def programs() -> Path | None:
    """Return the folder of PostgreSQL's programs."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    versions = sorted(Path(_FOLDERS).glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


def need() -> Path:
    """Skip the test where there is no PostgreSQL; in CI, fail it."""
    found = programs()
    if found is None:
        lack(MISSING)
    return found


def _owner() -> str | None:
    """Return the user to run as: None for ourselves."""
    if os.geteuid() != 0:
        return None
    with suppress(KeyError):
        return pwd.getpwnam("postgres").pw_name
    return "nobody"


@dataclass(slots=True)
class PostgresServer:
    """A server we started."""

    bin: Path
    data: Path
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs to its end."""
        done = subprocess.run(
            [self.bin / program, *arguments], user=_owner(), cwd="/", capture_output=True, text=True, check=False,
            env={"PATH": str(self.bin), "LC_ALL": "C.UTF-8", "PGPASSWORD": PASSWORD, "HOME": "/"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def start(self, **settings: str) -> None:
        """Start it, and wait until it answers."""
        options = {
            "listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": "",
            "max_connections": "60", "shared_buffers": "32MB",
            "max_wal_size": "256MB", "dynamic_shared_memory_type": "mmap",  # a killed server leaves nothing behind
            **settings,
        }  # fmt: skip
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        log = (self.data.parent / f"{self.data.name}.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [self.bin / "postgres", "-D", str(self.data), *arguments], user=_owner(), cwd="/",
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={"PATH": str(self.bin), "LC_ALL": "C.UTF-8"},
            )  # fmt: skip
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            assert self.process.poll() is None, Path(log.name).read_text()
            with suppress(psycopg.OperationalError):
                self.sql("SELECT 1")
                return
            time.sleep(0.05)
        raise AssertionError(Path(log.name).read_text())

    def sql(self, text: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Ask it something, as its superuser."""
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="portcullis", password=PASSWORD, dbname=database,
            autocommit=True, connect_timeout=60,
        ) as connection:  # fmt: skip
            cursor = connection.execute(text.encode())
            return cursor.fetchall() if cursor.description is not None else []

    def promote(self) -> None:
        """Make a standby the primary."""
        self.sql("SELECT pg_promote(true, 30)")

    def stop(self) -> None:
        """End it without waiting for clients."""
        self._end(signal.SIGINT)

    def abandon(self) -> None:
        """End it at once: its last checkpoint takes half a minute where hundreds of databases were made."""
        self._end(signal.SIGQUIT)

    def _end(self, how: signal.Signals) -> None:
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGQUIT)  # a later start recovers from the log
            self.process.wait(STOP_S)
        self.process = None

    def kill(self) -> None:
        """Take it away as a crash does, its children included."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.process.kill()
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        self.process.wait(30)
        self.process = None
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def database(self, name: str, template: str = "template1", more: str = "") -> str:
        """Make a database, empty or as a template is; return what `places` needs to open it."""
        self.sql(f'CREATE DATABASE "{name}" TEMPLATE "{template}" {more}')
        return where(name, self.port)


def where(name: str, *ports: int, single_node: bool = True) -> str:
    """Return the document that `tests.places` opens a database by."""
    return json.dumps({"name": name, "ports": ports, "single_node": single_node})


@contextmanager
def _folder() -> Iterator[Path]:
    """Make a folder the server's user may use; those of pytest are closed to everybody else."""
    with TemporaryDirectory(
        prefix="portcullis-postgres-", dir=memory.folder(), ignore_cleanup_errors=True
    ) as name:
        folder = Path(name)
        _give(folder)
        yield folder


def _give(path: Path) -> None:
    owner = _owner()
    if owner is not None:
        shutil.chown(path, owner)


@contextmanager
def postgres(**settings: str) -> Iterator[PostgresServer]:
    """Run one server; it is gone afterwards."""
    programs_folder = need()
    with _folder() as folder:
        server = PostgresServer(programs_folder, folder / "data")
        word = folder / "password"
        word.write_text(PASSWORD)
        _give(word)
        server.run(
            "initdb", "-D", str(server.data), "-U", "portcullis", "--auth=scram-sha-256", f"--pwfile={word}",
            "--locale=C.UTF-8", "--encoding=UTF8", "--no-sync",
        )  # fmt: skip
        with (server.data / "pg_hba.conf").open("a") as rules:
            rules.write("host replication portcullis 127.0.0.1/32 scram-sha-256\n")
        try:
            server.start(**settings)
            yield server
        finally:
            server.abandon()


@contextmanager
def standby(primary: PostgresServer, name: str = "standby") -> Iterator[PostgresServer]:
    """Run a streaming standby of a primary, under a name that the primary may wait for."""
    with _folder() as folder:
        server = PostgresServer(primary.bin, folder / "data")
        source = (
            f"host=127.0.0.1 port={primary.port} user=portcullis password={PASSWORD} application_name={name}"
        )
        server.run("pg_basebackup", "-D", str(server.data), "-d", source, "-X", "stream", "-c", "fast")
        with (server.data / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"primary_conninfo = '{source}'\n")
        (server.data / "standby.signal").touch()
        _give(server.data / "standby.signal")
        try:
            server.start()
            yield server
        finally:
            server.abandon()
