"""The systems that are measured: how each is started, where it listens, which keys its bots hold."""

import asyncio
import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import venv
from dataclasses import dataclass, field
from pathlib import Path

from bench.bot import ORDER_PATH, REAL, Key
from bench.broker import Broker
from bench.processes import NotReady, Process, resident_mb, start, start_module
from broker.link.channel import over_socket
from broker.virtual_key import new_key_id, new_secret

MITMPROXY = "mitmproxy==11.0.2"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "portcullis" / "bench"
HERE = Path(__file__).parent


class LeftOut(Exception):
    """A system cannot be measured here; the text says why, and how to get it."""


@dataclass(slots=True)
class System:
    """One system, running."""

    name: str
    port: int
    keys: list[Key]
    path: str = ORDER_PATH
    place: str = "body"
    process: Process | None = None
    version: str = ""
    idle_mb: float = 0.0
    serving: asyncio.Task[None] | None = None
    broker: Broker | None = None
    files: list[socket.socket] = field(default_factory=list)

    @property
    def pid(self) -> int:
        """The process that is measured; 0 where there is none."""
        return 0 if self.process is None else self.process.pid

    async def end(self) -> None:
        """Stop it."""
        if self.process is not None:
            await self.process.end()
        if self.serving is not None:
            self.serving.cancel()
            await asyncio.gather(self.serving, return_exceptions=True)
        for file in self.files:
            file.close()


async def direct(upstream: int, directory: Path) -> System:
    """Nothing in between: bots hold the real key."""
    del directory
    return System("direct", upstream, [REAL])


async def tcp_relay(upstream: int, directory: Path) -> System:
    """Bytes in, bytes out."""
    del directory
    process = await start_module("bench.relay", str(upstream))
    port = (await process.document())["port"]
    return System("tcp-relay", port, [REAL], process=process, idle_mb=resident_mb(process.pid))


async def portcullis(upstream: int, directory: Path) -> System:
    """The real gateway process, on a socketpair."""
    ours, theirs = socket.socketpair()
    broker = Broker(await over_socket(ours), f"http://127.0.0.1:{upstream}")
    serving = asyncio.create_task(broker.serve())
    with theirs:
        process = await start_module(
            "portcullis.gateway", "--link-fd", str(theirs.fileno()), "--name", "local",
            "--listen", "127.0.0.1:0", "--spool", str(directory / "spool"), pass_fds=[theirs.fileno()],
        )  # fmt: skip
    port = (await process.document())["port"]
    return System(
        "portcullis", port, broker.keys, "/binance" + ORDER_PATH, "body", process,
        idle_mb=resident_mb(process.pid), serving=serving, broker=broker,
    )  # fmt: skip


async def haproxy(upstream: int, directory: Path) -> System:
    """Debian's HAProxy, verifying and re-signing with its own converter."""
    program = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if program is None:
        raise LeftOut("haproxy is not installed (Debian, Ubuntu: `apt-get install haproxy`)")
    virtual = Key(new_key_id(), new_secret())
    listening = socket.create_server(("127.0.0.1", 0), backlog=512)
    words = {
        "LISTEN_FD": str(listening.fileno()),
        "UPSTREAM_PORT": str(upstream),
        "VIRTUAL_ID": virtual.key_id,
        "VIRTUAL_SECRET": base64.b64encode(virtual.secret.encode()).decode(),
        "REAL_ID": REAL.key_id,
        "REAL_SECRET": base64.b64encode(REAL.secret.encode()).decode(),
    }
    text = (HERE / "haproxy.cfg").read_text(encoding="utf-8")
    for name, value in words.items():
        text = text.replace("{" + name + "}", value)
    config = directory / "haproxy.cfg"
    config.write_text(text, encoding="utf-8")
    checked = subprocess.run(
        [program, "-c", "-f", config], capture_output=True, text=True, check=False,
        pass_fds=[listening.fileno()],
    )  # fmt: skip
    if checked.returncode:
        raise LeftOut(f"haproxy refuses its configuration: {checked.stderr.strip()[:300]}")
    version = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stdout.split()[2]
    process = await start([program, "-db", "-f", config], [listening.fileno()], quiet=True)
    port = listening.getsockname()[1]
    system = System("haproxy", port, [virtual], ORDER_PATH, "query", process, version, files=[listening])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    return system


def _mitmdump() -> Path:
    """Return mitmproxy's program, installed into an environment of its own."""
    place = CACHE / "mitmproxy"
    program = place / "bin" / "mitmdump"
    if not program.exists():
        print(f"installing {MITMPROXY} into the cache folder", file=sys.stderr)
        venv.create(place, with_pip=True, clear=True)
        done = subprocess.run(
            [place / "bin" / "python", "-m", "pip", "install", "--quiet", MITMPROXY],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            shutil.rmtree(place, ignore_errors=True)
            raise LeftOut(f"mitmproxy could not be installed with pip: {done.stderr.strip()[-300:]}")
    return program


async def mitmproxy(upstream: int, directory: Path) -> System:
    """Mitmproxy in reverse mode, with an addon that re-signs."""
    del directory
    program = await asyncio.to_thread(_mitmdump)
    virtual = Key(new_key_id(), new_secret())
    keys = {"virtual": [virtual.key_id, virtual.secret], "real": [REAL.key_id, REAL.secret]}
    os.environ["BENCH_KEYS"] = json.dumps(keys)  # inherited by the child, and by nothing after it
    try:
        process = await start(
            [program, "--quiet", "--mode", f"reverse:http://127.0.0.1:{upstream}", "--listen-host", "127.0.0.1",
             "--listen-port", "0", "--set", "flow_detail=0", "-s", HERE / "resign.py"]
        )  # fmt: skip
    finally:
        del os.environ["BENCH_KEYS"]
    try:
        port = (await process.document())["port"]
    except (NotReady, ValueError) as fault:
        await process.end()
        raise LeftOut(f"mitmproxy did not start: {fault}") from None
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    version = said.split()[1] if said.startswith("Mitmproxy") else "?"
    return System(
        "mitmproxy", port, [virtual], process=process, version=version, idle_mb=resident_mb(process.pid)
    )


ALL = {
    "direct": direct,
    "tcp-relay": tcp_relay,
    "portcullis": portcullis,
    "haproxy": haproxy,
    "mitmproxy": mitmproxy,
}
