"""A real Vault on loopback: a dev server in memory, or one node on raft that can be sealed and restarted."""

import contextlib
import json
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hvac
import requests

from tests.services import binaries

START_S = 120.0


_BELOW_THE_SYSTEMS_OWN = range(16_000, 32_000)


def free_port() -> int:
    """Return a port for a server that is started next: none that the system gives a client in the meantime."""
    while True:
        port = secrets.choice(_BELOW_THE_SYSTEMS_OWN)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass(slots=True)
class VaultServer:
    """A Vault we started. `root` is its root token."""

    address: str
    folder: Path
    arguments: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    root: str = ""
    unseal_key: str = ""
    process: subprocess.Popen[bytes] | None = None
    http: requests.Session = field(default_factory=requests.Session)

    def client(self, token: str | None = None) -> hvac.Client:
        """Return a client with a token of its own, by default the root token."""
        return hvac.Client(
            url=self.address,
            token=self.root if token is None else token,
            timeout=30,
            session=self.http,
            verify=self.http.verify,
            cert=self.http.cert,
        )

    def start(self) -> None:
        binary = binaries.find("vault")
        assert binary is not None
        with (self.folder / "vault.log").open("ab") as log:
            self.process = subprocess.Popen(
                (binary, "server", *self.arguments),
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env={"HOME": str(self.folder), "PATH": os.environ["PATH"], **self.environment},
            )  # fmt: skip
        self.wait(lambda code: code > 0)

    def wait(self, fits: Any) -> None:
        """Wait until the health code fits: 200 active, 429 standby, 501 not initialised, 503 sealed."""
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            assert self.process is None or self.process.poll() is None, (
                self.folder / "vault.log"
            ).read_text()
            with contextlib.suppress(requests.exceptions.RequestException):
                if fits(self.http.get(f"{self.address}/v1/sys/health", timeout=5).status_code):
                    return
            time.sleep(0.02)
        raise AssertionError((self.folder / "vault.log").read_text()[-2000:])

    def stop(self) -> None:
        self.http.close()
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
            self.process = None

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(60)
        self.process = None

    def initialise(self) -> None:
        """Initialise and unseal a raft node."""
        made = self.client("").sys.initialize(secret_shares=1, secret_threshold=1)
        self.root, self.unseal_key = made["root_token"], made["keys"][0]
        self.unseal()

    def seal(self) -> None:
        self.client().sys.seal()
        self.wait(lambda code: code == 503)

    def unseal(self) -> None:
        self.client("").sys.submit_unseal_key(self.unseal_key)
        self.wait(lambda code: code == 200)


@contextmanager
def dev_vault(folder: Path, plugins: Path | None = None) -> Iterator[VaultServer]:
    """Run a dev server: in memory, unsealed, ready in under a second; with the plugins of a folder."""
    port = free_port()
    server = VaultServer(
        f"http://127.0.0.1:{port}", folder,
        ("-dev", f"-dev-listen-address=127.0.0.1:{port}", "-dev-no-store-token",
         *(() if plugins is None else (f"-dev-plugin-dir={plugins}",))),
        {"VAULT_DEV_ROOT_TOKEN_ID": "root-of-a-test"}, root="root-of-a-test",
    )  # fmt: skip
    try:
        server.start()
        server.wait(lambda code: code == 200)
        yield server
    finally:
        server.stop()


@contextmanager
def raft_vault(
    folder: Path, *, initialise: bool = True, tls: dict[str, Any] | None = None, trust: Path | None = None,
    client_cert: tuple[Path, Path] | None = None,
) -> Iterator[VaultServer]:  # fmt: skip
    """Run one raft node, initialised and unsealed; it keeps its data over restarts.

    `tls` are its listener's settings; `trust` and `client_cert` what we ask it with then.
    """
    scheme = "http" if tls is None else "https"
    api, cluster = free_port(), free_port()
    (folder / "raft").mkdir()
    config = {
        "disable_mlock": True,
        "api_addr": f"{scheme}://127.0.0.1:{api}",
        "cluster_addr": f"https://127.0.0.1:{cluster}",
        "storage": {"raft": {"path": str(folder / "raft"), "node_id": "one"}},
        "listener": [
            {
                "tcp": {
                    "address": f"127.0.0.1:{api}",
                    "cluster_address": f"127.0.0.1:{cluster}",
                    **({"tls_disable": True} if tls is None else tls),
                }
            }
        ],
    }
    (folder / "vault.json").write_text(json.dumps(config))
    server = VaultServer(f"{scheme}://127.0.0.1:{api}", folder, (f"-config={folder / 'vault.json'}",))
    server.http.trust_env = False  # a bundle of the environment would win over ours
    if trust is not None:
        server.http.verify = str(trust)
    if client_cert is not None:
        server.http.cert = (str(client_cert[0]), str(client_cert[1]))
    try:
        server.start()
        if initialise:
            server.initialise()
        yield server
    finally:
        server.stop()
