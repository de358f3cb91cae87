"""Where checkpoints are kept outside: a file, syslog, a webhook; signed besides by Vault's transit engine.

Rules:
1. Each checkpoint is one line of JSON, and every line can be read back by `audit verify --anchor`. A file that was left
   in the middle of a line gets a new one first: what is torn spoils nothing after it.
2. An anchor fails loudly and within seconds. It is asked again with the next checkpoint, which covers everything.
"""

import hashlib
import hmac
import json
import logging
import os
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

from broker.audit.ports import AnchorFailed
from clients.bounds import Bounds, OutOfBounds, within
from clients.lines import looked_up
from clients.outbound import LOOPBACK, NotReachable, Reach, read
from clients.outbound_http import NotAnswered, OutboundClient
from clients.secret import Secret

_TIMEOUT_S = 5.0
_AUTHPRIV_NOTICE = 10 * 8 + 5
_MARK = "portcullis-audit: "
_ADDED_TO = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""A pipe in its place holds nobody up."""
SIGNATURE, TIMESTAMP = "X-Portcullis-Signature", "X-Portcullis-Timestamp"


class FileAnchor:
    """A file that is only added to; on another machine's disk, or made append-only by the system."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = f"file:{path}"

    def keep(self, line: str) -> None:
        """See `ports.Anchor`."""
        try:
            fd = os.open(self._path, _ADDED_TO, 0o600)
            try:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise AnchorFailed(f"{self._path} is no file: name one that is only added to")
                data = (b"" if _is_at_a_line(self._path) else b"\n") + line.encode() + b"\n"
                if os.write(fd, data) != len(data):
                    raise AnchorFailed(f"{self._path} took a part of it only: is its disk full?")
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as fault:
            raise AnchorFailed(f"{self._path} cannot be added to ({fault.strerror})") from None


def _is_at_a_line(path: Path) -> bool:
    """Tell whether a file is empty or ends with a line's end; one that we may only add to counts as such."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except PermissionError:
        return True
    try:
        size = os.fstat(fd).st_size
        return size == 0 or os.pread(fd, 1, size - 1) == b"\n"
    finally:
        os.close(fd)


class SyslogAnchor:
    """The system's log, which goes elsewhere from there: a socket's path, or HOST:PORT by UDP."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.name = f"syslog:{address}"

    def keep(self, line: str) -> None:
        """See `ports.Anchor`."""
        host, colon, port = self._address.rpartition(":")
        by_udp = bool(colon) and port.isdigit()
        data = f"<{_AUTHPRIV_NOTICE}>{_MARK}{line}".encode()
        try:
            with socket.socket(socket.AF_INET if by_udp else socket.AF_UNIX, socket.SOCK_DGRAM) as out:
                out.settimeout(_TIMEOUT_S)
                with within(Bounds(_TIMEOUT_S)):
                    out.connect(_datagram(host, int(port)) if by_udp else self._address)
                out.send(data)
        except OutOfBounds as fault:
            raise AnchorFailed(f"syslog at {self._address} does not take it ({fault})") from None
        except OSError as fault:
            raise AnchorFailed(
                f"syslog at {self._address} does not take it ({fault.strerror or fault})"
            ) from None


def _datagram(host: str, port: int) -> tuple[str, int]:
    """Return where a host is; its name is looked up within the call's time."""
    found = looked_up(host, port, socket.AF_INET, socket.SOCK_DGRAM)
    return str(found[0][4][0]), port


class WebhookAnchor:
    """An HTTPS address that keeps what is posted: signed with HMAC-SHA256 over `TIMESTAMP.BODY`."""

    def __init__(
        self, url: str, secret: Secret, now_s: Callable[[], float] = time.time, reach: Reach = LOOPBACK
    ) -> None:
        self._url, self._secret, self._now_s, self._reach = url, secret, now_s, reach
        self.name = f"webhook:{read(url).host}"

    def keep(self, line: str) -> None:
        """See `ports.Anchor`."""
        stamp = str(int(self._now_s()))
        key = self._secret.reveal().encode()
        signature = hmac.new(key, f"{stamp}.{line}".encode(), hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/json", TIMESTAMP: stamp, SIGNATURE: f"sha256={signature}",
            "User-Agent": "portcullis",
        }  # fmt: skip
        try:
            with OutboundClient(self._reach, _TIMEOUT_S) as client:
                answer = client.send("POST", self._url, content=line.encode(), headers=headers)
        except NotReachable as fault:
            raise AnchorFailed(f"nothing is sent to {self.name}: its URL {fault}") from None
        except NotAnswered as fault:
            raise AnchorFailed(f"{self.name} cannot be reached ({fault})") from None
        if not answer.is_success:
            raise AnchorFailed(f"{self.name} answered {answer.status_code}")


class TransitAnchor:
    """A file of checkpoints that Vault has countersigned: Vault's own audit log knows each of them.

    `sign` gives Vault's signature of some bytes, as in `vault:v1:...`.
    """

    def __init__(self, path: Path, sign: Callable[[bytes], str]) -> None:
        self._file, self._sign = FileAnchor(path), sign
        self.name = f"transit:{path}"

    def keep(self, line: str) -> None:
        """See `ports.Anchor`."""
        try:
            signature = self._sign(line.encode())
        except Exception as fault:
            logging.getLogger("portcullis.audit").debug("transit", exc_info=True)
            raise AnchorFailed(f"Vault did not sign it: {fault}") from None
        self._file.keep(json.dumps({"line": line, "signature": signature}, separators=(",", ":")))


def lines_of(text: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Read what an anchor kept: plain lines, lines out of a syslog, or countersigned ones.

    Returns:
        The checkpoints' lines; and those among them that Vault has signed, with its signatures.
    """
    lines, signed = [], []
    for raw in text.splitlines():
        bare = raw.strip()
        if not bare:
            continue
        mark = bare.find(_MARK)
        bare = bare if mark < 0 else bare[mark + len(_MARK) :]
        try:
            found = json.loads(bare)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict) and set(found) == {"line", "signature"}:
            bare = str(found["line"])
            signed.append((bare, str(found["signature"])))
        lines.append(bare)
    return lines, signed
