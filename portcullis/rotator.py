"""Composition root of the rotator: `python -m portcullis.rotator --home DIR --who NAME`, until SIGTERM.

It works on the home's database and secret store, and asks the exchanges. It listens nowhere. Started by
`portcullis run` it ends with it; one line of JSON on stdout says that it is ready.
"""

import argparse
import json
import os
import random
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from portcullis import logs
from portcullis.children import end_with_parent
from portcullis.foundation import opened
from portcullis.gateway import harden
from portcullis.seating import look_at
from portcullis.settings import Home, SettingsError, locate, open_home
from portcullis.stopping import Stop
from rotation.schedule import Rotator

SAY_S = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Rotate keys until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m portcullis.rotator")
    parser.add_argument("--home", type=Path)
    parser.add_argument("--who", required=True, help="what it claims work under; nobody else's")
    parser.add_argument("--with-parent", action="store_true", help="end when the starting process does")
    parser.add_argument(
        "--seat", type=int, help="the seat of the home that it works under, held by who starts it"
    )
    parser.add_argument("--start", default="", help="the start of who holds that seat, as it names it")
    given = parser.parse_args(arguments)
    if given.with_parent:
        end_with_parent()
    harden()
    os.umask(0o077)
    logs.configure()
    stop, over = Stop(signal.SIGTERM, signal.SIGINT), threading.Event()
    try:
        home = _as_rotator(open_home(locate(given.home)))
        with opened(home) as service:
            look_at(home, service, given.seat, given.start)
            rotator = Rotator(service, given.who, lambda: datetime.now(UTC), random.SystemRandom())
            rotator.start()
            sys.stdout.write(json.dumps({"ready": given.who}) + "\n")
            sys.stdout.flush()
            if given.with_parent:
                threading.Thread(target=_say, args=(over,), name="say", daemon=True).start()
            stop.wait()
            over.set()
            rotator.stop()
    except SettingsError as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    return 0


def _say(over: threading.Event) -> None:
    """Tell who started us that we live: one that was stopped says nothing, and is missed."""
    with suppress(OSError):
        while not over.wait(SAY_S):
            os.write(1, b".\n")


def _as_rotator(home: Home) -> Home:
    """Return a home as a second process beside the broker opens it."""
    if home.vault is None:
        return home
    own = home.vault.of_rotator()
    if own is None:
        raise SettingsError(
            "vault.auth.rotator_secret_id_file",
            "is missing: a wrapped secret id is used up by the broker, so the rotator needs one of its own; "
            "until then no key is rotated",
        )
    return replace(home, vault=own)


if __name__ == "__main__":
    sys.exit(main())
