"""What a broker does before it is ready, so that its first cut is as quick as any other.

Rules:
1. What is made lazily (statements, routes, the parts of the application) is made now, by doing once what a cut does and
   undoing it. So are the threads that a cut goes through, by whichever door it comes: where a host has none left later,
   these do the work.
2. What was made by then lives as long as the process: the collector of cycles does not walk through it again and again,
   which would hold up everything for as long as a commit takes. It comes more seldom, because a flood makes few cycles.
"""

import asyncio
import gc
import logging
from typing import Any

from fastapi import FastAPI

from broker.api.app import lanes_of
from broker.api.once import answers_of
from broker.background import described
from broker.service import Service
from clients.secret import Secret

_LOG = logging.getLogger("portcullis.run")
_THRESHOLDS = (10_000, 20, 20)
_NOBODY = Secret("pcls_op_" + "0" * 55)


async def rehearse(app: FastAPI, service: Service) -> None:
    """Rehearse a cut. What fails in it is logged: the broker starts without."""
    try:
        lanes_of(app).ready()
        answers_of(app, service).ready()
        service.cuts.closing.ready()
    except RuntimeError:
        _LOG.warning("no thread can be had for cuts to come; each asks for its own")
    try:
        await asyncio.to_thread(service.cuts.closing.rehearse)
        await asyncio.to_thread(service.operators.learn)
        await _ask(app)
    except Exception as fault:  # noqa: BLE001 - it only would have been quicker
        _LOG.warning("a cut could not be rehearsed: %s", described(fault))


async def _ask(app: FastAPI) -> None:
    """Ask the application as somebody who is not known here."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(_: Any) -> None:
        return

    headers = [
        (b"host", b"127.0.0.1"),
        (b"authorization", b"Bearer " + _NOBODY.reveal().encode()),
        (b"content-type", b"application/json"),
    ]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/v1/cuts", "raw_path": b"/v1/cuts", "query_string": b"", "root_path": "", "headers": headers,
        "client": ("127.0.0.1", 0), "server": ("127.0.0.1", 0), "state": {},
    }  # fmt: skip
    await app(scope, receive, send)


def settle() -> None:
    """Leave what is here now out of every later look for cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
