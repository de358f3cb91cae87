"""What `portcullis store key` does. Apart from the commands, because it opens the store."""

import getpass
import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console

from broker.errors import BrokerError
from broker.model import moment
from broker.stores.embedded import keyfile
from portcullis import running, stores
from portcullis.cli.face import Face, Stopped, badge
from portcullis.cli.tables import hanging, said
from portcullis.clock import SystemClock
from portcullis.foundation import opened
from portcullis.settings import Home

_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is known of the key. `since` None: the store was made before that was written down."""

    since: datetime | None
    written: datetime
    mode: str


def show(face: Face) -> None:
    """Show where the key lies and since when it is used. Shows nothing of the key itself."""
    home = _embedded(face)
    facts, now = _looked(home), SystemClock().now()
    since = facts.since or facts.written
    days = max(0, int((now - since).total_seconds() // _DAY_S))
    answer = {
        "file": str(home.kek), "mode": facts.mode, "seals": str(home.secrets), "opens": True,
        "since": since.isoformat(timespec="seconds"), "since_is": "recorded" if facts.since else "of the file",
        "age_days": days,
    }  # fmt: skip

    def shown(out: Console) -> None:
        out.print(said("store key {}", badge(home.environment.value)))
        out.print(hanging("  file  ", f"{home.kek} (mode {facts.mode})", 0))
        out.print(hanging("  seals ", f"{home.secrets}; it opens", 0))
        how = "" if facts.since else ", by the date of the file: the store is older than its record of that"
        out.print(
            hanging("  since ", f"{since:%Y-%m-%d %H:%M} UTC, {days} day{'' if days == 1 else 's'}{how}", 0)
        )
        what = "keep a copy of the key file away from this machine: without it the store is lost"
        out.print(hanging("[yellow]![/]", what))
        out.print(said("  [dim]next[/] {}", face.command("store key rotate")), soft_wrap=True)

    face.answer(answer, shown)


def rotate(face: Face) -> None:
    """Rotate the key, whether a broker runs or not."""
    home = _embedded(face)
    at_work = running.holder(home).there
    before = _looked(home)
    done = None
    try:
        with opened(home) as service:
            subject = f"instance:{service.desk.home.instance}"
            with service.desk.database.write() as connection:
                service.audit.record(connection, "store.key-rotate", subject, {"by": _who()})
            store = stores.embedded_store(home)
            try:
                done = keyfile.rotate(store, home.kek, SystemClock().now_us())
            finally:
                store.close()
            with service.desk.database.write() as connection:
                service.audit.record(
                    connection, "store.key-rotated", subject, {"old_seal_gone": done.old_seal_gone}
                )
    except BrokerError as fault:
        if done is not None:
            raise Stopped(
                f"The store's key is rotated, and that could not be put on record: {fault}",
                f"{home.kek} holds the new key and opens the store.",
                "Write it down by hand; the audit trail says that it was begun.", reason="not_recorded",
            ) from None  # fmt: skip
        raise Stopped(
            str(fault), f"The store opens with the key in {home.kek}, or in {home.kek}.next, whichever was in use.",
            "Mend it and run the same command again.", reason=fault.reason,
        ) from None  # fmt: skip
    after = _looked(home)
    answer = {
        "file": str(home.kek), "since": (after.since or after.written).isoformat(timespec="seconds"),
        "before_since": (before.since or before.written).isoformat(timespec="seconds"), "running": at_work,
        "old_seal_gone": done.old_seal_gone, "old_key_overwritten": done.old_key_gone,
    }  # fmt: skip

    def shown(out: Console) -> None:
        out.print(hanging("[green]✓[/]", f"the store is sealed under a new key, in {home.kek}", 0))
        if at_work:
            out.print("    The running broker and its bots go on: the key is needed at a start only.")
        what = "copies of the old key do not open the store any more: replace them by copies of the new one"
        out.print(hanging("[yellow]![/]", what))
        out.print("    Backups of before and after open with the recovery code, as ever.")
        if not (done.old_seal_gone and done.old_key_gone):
            what = (
                "somebody reads the store, so the old seal is still in its write-ahead log"
                if not done.old_seal_gone
                else f"the old key could not be written over before {home.kek} took its place"
            )
            out.print(hanging("[bold yellow]![/]", f"{what}: run this again while nothing runs"))
        what = (
            "if somebody may have copied the old key and the store's files, that copy opens for ever: "
            "rotate the keys at the exchange"
        )
        out.print(hanging("[yellow]![/]", what))

    face.answer(answer, shown)


def _who() -> str:
    """Return whose account on the host it is done from."""
    try:
        return f"{getpass.getuser()} ({os.getuid()})"
    except (KeyError, OSError):
        return str(os.getuid())


def _embedded(face: Face) -> Home:
    home = face.home()
    if home.vault is not None:
        raise Stopped(
            "The keys of this home are in a Vault, which seals them itself: there is no key of a store here.",
            step="Vault's own rotates there: vault operator rotate.", reason="vault",
        )  # fmt: skip
    return home


def _looked(home: Home) -> _Facts:
    try:
        store = stores.embedded_store(home)
    except BrokerError as fault:
        step = "docs/runbooks/RB-03-secret-store.md says what to do."
        raise Stopped(str(fault), step=step, reason=fault.reason) from None
    try:
        since_us = store.key_since_us()
    finally:
        store.close()
    about = home.kek.stat()
    return _Facts(
        None if since_us is None else moment(since_us), datetime.fromtimestamp(about.st_mtime, UTC),
        f"{stat.S_IMODE(about.st_mode):04o}",
    )  # fmt: skip
