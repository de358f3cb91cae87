"""The gateway process: one end of a socketpair in, bots' requests answered. Imports stay lean.

`python -m portcullis.gateway --link-fd 3 --name local --listen 127.0.0.1:8700 --spool DIR` prints one line of
JSON, `{"port": ..., "pid": ...}`, once bots can connect; nothing waits for its logs on stderr. SIGTERM ends it after
the requests in flight. It ends with the link, or with `--linger` once every lease is over too.
"""

import argparse
import asyncio
import ctypes
import ipaddress
import json
import logging
import os
import resource
import signal
import socket
import sys
from pathlib import Path

import uvloop

from broker.errors import LinkDown
from broker.gateway.process import LOOPBACK_NAMES, Gateway, Listen
from broker.link.channel import over_socket
from broker.threads import Threads
from clients.venues.binance import WIRE
from portcullis.log_writer import take_over

_PR_SET_DUMPABLE = 4
_THREADS = 8
MOST_FILES = 4096


def harden() -> None:
    """Leave no core file, and let no process of our user read our memory (Linux; elsewhere nothing)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def raise_files() -> None:
    """Let this process open as many files as it may; what it does with them is bounded by that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def parse_listen(text: str, allowed: list[str], unix: Path | None = None) -> Listen:
    """Read `HOST:PORT`, with the Unix socket beside it.

    Raises:
        ValueError: It is none, or an address beyond loopback without `--allowed-host`.
    """
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdigit():
        raise ValueError("--listen is HOST:PORT")
    address = ipaddress.ip_address(host)
    if not address.is_loopback and not allowed:
        raise ValueError("--listen beyond loopback needs --allowed-host NAME: the host names bots may use")
    own = {address.compressed, f"[{address.compressed}]"} if address.is_loopback else set()
    given = {spelling for name in allowed for spelling in _spellings(name.lower())}
    names = LOOPBACK_NAMES | own | given
    return Listen(host, int(port), unix, names)


def _spellings(name: str) -> set[str]:
    """Return a host name as requests say it: an IPv6 address stands in brackets."""
    bare = name.strip("[]")
    return {bare, f"[{bare}]"} if ":" in bare else {name}


async def _serve(arguments: argparse.Namespace) -> int:
    listen = parse_listen(arguments.listen, arguments.allowed_host, arguments.socket)
    channel = await over_socket(socket.socket(fileno=arguments.link_fd))
    gateway = Gateway(channel, arguments.name, Path(arguments.spool), {WIRE.name: WIRE})
    loop = asyncio.get_running_loop()
    loop.set_default_executor(Threads(_THREADS, "work"))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    ready: asyncio.Future[int] = loop.create_future()
    ready.add_done_callback(_announce)
    try:
        await gateway.serve(listen, ready, stop, linger=arguments.linger)
    except LinkDown as fault:
        logging.getLogger("portcullis.gateway").error("%s", fault)  # noqa: TRY400 - no traceback of a refusal
        return 1
    return 0


def _announce(ready: "asyncio.Future[int]") -> None:
    sys.stdout.write(json.dumps({"port": ready.result(), "pid": os.getpid()}) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run one gateway."""
    parser = argparse.ArgumentParser(prog="portcullis gateway")
    parser.add_argument("--link-fd", type=int, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--socket", type=Path)
    parser.add_argument("--allowed-host", action="append", default=[])
    parser.add_argument("--spool", required=True)
    parser.add_argument("--linger", action="store_true")
    arguments = parser.parse_args()
    harden()
    raise_files()
    logging.basicConfig(
        stream=take_over("stderr"), level=logging.INFO, format="%(levelname)s %(name)s: %(message)s"
    )
    return uvloop.run(_serve(arguments))


if __name__ == "__main__":
    sys.exit(main())
