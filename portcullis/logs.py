"""How processes of the control plane log: structlog to stderr, one line per event, quiet libraries.

Rules:
1. stdout belongs to answers; logs go to stderr only.
2. HTTP libraries write URLs with signatures and tokens: held at WARNING whatever the level (`clients.http.silence`).
   uvicorn's access log repeats what the call log says better: off.
3. `Secret` redacts itself; keys of an event that name a secret are masked as well, whatever they hold.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from clients.http import silence
from clients.secret import MARK

QUIET = logging.WARNING
_SECRET_NAMES = ("secret", "token", "password", "passphrase", "authorization", "private_key")


def configure(level: int = logging.INFO) -> None:
    """Set logging up for this process. May be called again."""
    silence()
    logging.getLogger("uvicorn.access").disabled = True
    for name in ("uvicorn", "uvicorn.error", "alembic", "sqlalchemy", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.basicConfig(
        stream=sys.stderr, level=level, format="%(levelname)s %(name)s: %(message)s", force=True
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            mask,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_plain_traceback)
            if sys.stderr.isatty()
            else structlog.processors.KeyValueRenderer(key_order=["at", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )


def mask(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace what stands under a name that sounds like a secret."""
    for name in event:
        if any(part in name.lower() for part in _SECRET_NAMES):
            event[name] = MARK
    return event


def _plain_traceback(stream: Any, exc_info: Any) -> None:
    """Write a traceback without local variables: those hold secrets."""
    structlog.dev.plain_traceback(stream, exc_info)
