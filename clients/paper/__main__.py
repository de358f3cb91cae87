"""`python -m clients.paper`: the paper exchange as a process of its own.

Prints one line of JSON, `{"port": ..., "pid": ...}`, once it serves; ends on SIGTERM or SIGINT.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import uvloop

from clients.paper import state
from clients.paper.exchange import PaperExchange
from clients.paper.server import PaperServer
from clients.secret import Secret

_SAVE_SECONDS = 1.0


async def _serve(arguments: argparse.Namespace) -> int:
    exchange = PaperExchange(arguments.seed)
    if arguments.state is not None and arguments.state.exists():
        state.load(exchange, arguments.state.read_text(encoding="ascii"))
    token = Secret(arguments.admin_token_file.read_text(encoding="ascii").strip())
    if not token:
        sys.stderr.write("the admin token file is empty: put a long random text into it\n")
        return 1
    server = PaperServer(exchange, token, port=arguments.port)
    await server.start()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    sys.stdout.write(json.dumps({"port": server.port, "pid": os.getpid()}) + "\n")
    sys.stdout.flush()
    while not stop.is_set():
        try:
            async with asyncio.timeout(_SAVE_SECONDS):
                await stop.wait()
        except TimeoutError:
            pass
        if arguments.state is not None and exchange.changed:
            _save(exchange, arguments.state)
    await server.close()
    return 0


def _save(exchange: PaperExchange, path: Path) -> None:
    """Save the state; where that fails it stays changed, and is saved a second later: trading goes on meanwhile."""
    try:
        state.save(exchange, path)
    except OSError as fault:
        sys.stderr.write(f"the state of the paper exchange could not be saved: {fault.strerror}\n")


def main() -> int:
    """Run the paper exchange."""
    parser = argparse.ArgumentParser(prog="portcullis paper")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--admin-token-file", type=Path, required=True)
    parser.add_argument("--state", type=Path)
    return uvloop.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
