"""How processes of the control plane log: structlog to stderr, one line per event, quiet libraries.

Rules:
1. stdout belongs to answers; logs go to stderr only, and nobody waits until they are there (`log_writer.py`).
2. HTTP libraries write URLs with signatures and tokens: held at WARNING whatever the level (`clients.http.silence`).
   uvicorn's access log repeats what the call log says better: off.
3. Each line says when. What is said every second while a store is away is said at once, then at growing intervals.
4. `Secret` redacts itself; keys of an event that name a secret are masked as well, whatever they hold.
"""

import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

from clients.http import silence
from clients.secret import MARK
from portcullis.log_writer import take_over

QUIET = logging.WARNING
FIRST_S, LONGEST_S = 10.0, 600.0
"""For how long what was just said is held back at first, and at most."""

_MOST_SAID = 1_000
_FIGURES = re.compile(r"(?<![\w./:-])\d+(?:\.\d+)?(?![\w/:-]|\.\d)")
"""Figures that stand by themselves; those of names, versions and addresses tell of whom it is said."""

_SECRET_NAMES = ("secret", "token", "password", "passphrase", "authorization", "private_key")


def configure(level: int = logging.INFO) -> None:
    """Set logging up for this process. May be called again."""
    silence()
    logging.getLogger("uvicorn.access").disabled = True
    for name in ("uvicorn", "uvicorn.error", "alembic", "sqlalchemy", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    stderr = take_over("stderr")
    logging.basicConfig(stream=stderr, level=level, force=True)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_formatter())
        handler.addFilter(Seldom())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            mask,
            structlog.dev.ConsoleRenderer(colors=True, exception_formatter=_plain_traceback)
            if stderr.isatty()
            else structlog.processors.KeyValueRenderer(key_order=["at", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=stderr),
        cache_logger_on_first_use=False,
    )


def _formatter() -> logging.Formatter:
    """Return lines that begin with when it was, in UTC."""
    lines = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    lines.converter = time.gmtime
    return lines


class Seldom(logging.Filter):
    """Lets what is said again and again pass at growing intervals, with how often it was said meanwhile.

    A store that is away fails something every second. What differs in its figures alone, and not in a name, counts as
    the same; what is critical always passes, and so does what was not said for twice as long as it was held back.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now_s = now_s
        self._said: OrderedDict[tuple[str, int, str], tuple[float, float, float, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a line is to be written."""
        if not logging.WARNING <= record.levelno < logging.CRITICAL:
            return True
        text, now_s = record.getMessage(), self._now_s()
        name = (record.name, record.levelno, _FIGURES.sub("0", text))
        written_s, last_s, pause_s, held = self._said.pop(name, (0.0, 0.0, 0.0, 0))
        if pause_s and now_s - last_s <= 2 * pause_s and now_s - written_s < pause_s:
            self._said[name] = (written_s, now_s, pause_s, held + 1)
            return False
        goes_on = pause_s and now_s - last_s <= 2 * pause_s
        self._said[name] = (now_s, now_s, min(LONGEST_S, 2 * pause_s) if goes_on else FIRST_S, 0)
        while len(self._said) > _MOST_SAID:
            self._said.popitem(last=False)
        if held:
            record.msg, record.args = f"{text} (said {held} more times since)", ()
        return True


def mask(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace what stands under a name that sounds like a secret."""
    for name in event:
        if any(part in name.lower() for part in _SECRET_NAMES):
            event[name] = MARK
    return event


def _plain_traceback(stream: Any, exc_info: Any) -> None:
    """Write a traceback without local variables: those hold secrets."""
    structlog.dev.plain_traceback(stream, exc_info)
