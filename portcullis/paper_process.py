"""The paper exchange as a process of its own, and what its admin API is asked for.

`python -m portcullis.paper_process --port P --admin-token-file F [--seed S] [--state F]` becomes
`python -P -m clients.paper` after it has asked the kernel to be ended with its parent (Linux).

Rules:
1. Its files live in `paper/` of the home: admin token, state, the port of last time.
2. It is asked for its port of last time first, so that accounts find it again; else it gets a free one.
"""

import json
import os
import secrets
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from portcullis import children
from portcullis.children import Child
from portcullis.settings import Home, private_directory, write_private

_BAD = 400
_CONFLICT = 409


class PaperFailed(Exception):
    """The paper exchange's admin API said no. `status` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"the paper exchange said no ({status}): {message}")
        self.status = status

    @property
    def taken(self) -> bool:
        """Whether the thing is there already."""
        return self.status == _CONFLICT


class PaperAdmin:
    """The admin API of a paper exchange on this machine."""

    def __init__(self, base_url: str, token: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=base_url, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=5.0
        )

    async def open_account(self, email: str, balances: Mapping[str, str]) -> Any:
        """Open a sub-account."""
        return await self._ask("POST", "accounts", {"email": email, "balances": dict(balances)})

    async def make_key(self, account: str, *, label: str, ips: Sequence[str]) -> tuple[str, str]:
        """Make a key that may read and trade spot; return id and secret."""
        flags = {"reading": True, "spot": True}
        body = {"account": account, "key_type": "hmac", "flags": flags, "ips": list(ips), "label": label}
        made = await self._ask("POST", "keys", body)
        return made["key_id"], made["secret"]

    async def accounts(self) -> Any:
        """List accounts with balances."""
        return await self._ask("GET", "accounts")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self._client.request(method, f"/paper/{path}", json=body)
        if answer.status_code >= _BAD:
            raise PaperFailed(answer.status_code, str(answer.json().get("error", "")))
        return answer.json()


def admin_token_file(home: Home) -> Path:
    """Return the file of the admin token, made where there is none."""
    private_directory(home.paper)
    path = home.paper / "admin.token"
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32) + "\n")
    return path


async def start(home: Home, *, seed: int = 1) -> Child:
    """Start the paper exchange of a home.

    Raises:
        ChildFailed: It did not get ready.
    """
    token_file = admin_token_file(home)
    arguments = (
        *("--admin-token-file", str(token_file), "--seed", str(seed)),
        *("--state", str(home.paper / "state.json")),
    )
    port = ("--port", str(_last_port(home)))
    child = await children.start("paper exchange", "portcullis.paper_process", (*port, *arguments))
    write_private(home.paper / "port.json", json.dumps({"port": child.port}) + "\n")
    return child


def _last_port(home: Home) -> int:
    """Return the port of last time where it is still free, else 0."""
    try:
        port = int(json.loads((home.paper / "port.json").read_text(encoding="ascii"))["port"])
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return 0
    return port


def main() -> None:
    """Become the paper exchange, ended with our parent."""
    children.end_with_parent()
    command = [sys.executable, *children.SAFE, "-m", "clients.paper", *sys.argv[1:]]
    os.execv(sys.executable, command)  # noqa: S606 - no shell


if __name__ == "__main__":
    main()
