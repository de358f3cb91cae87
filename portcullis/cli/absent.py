"""What is said where no broker of a home can be spoken to: what is known of it, and how all trading is stopped.

That no bot can trade is said only where nobody runs, here and elsewhere. What cannot be told is not told as that.
"""

from portcullis.cli.face import Face, Stopped
from portcullis.install import UNIT
from portcullis.running import holder, is_nested
from portcullis.settings import Home

_FIND = "pgrep -af portcullis"
_FROM_HOST = "docker compose kill portcullis"


def ended_by(pid: int) -> str:
    """Return how a broker is ended, for good where a unit of ours, or its container, would start it again, uncut.

    Args:
        pid: Which process it is where this is typed (`running.pid_here`); 0 where that is not known.
    """
    if not pid:
        return (
            f" (in a container, from the container's host: {_FROM_HOST}; else {_FIND} lists what runs, kill -9 and its "
            "number ends it)"
        )
    if pid == 1:
        return (
            f" (no kill ends process 1 of a container from within; from the container's host: {_FROM_HOST})"
        )
    if is_nested(pid):
        return f" ({_FROM_HOST}; or kill -9 {pid}, after which its container may start it again)"
    kill = f"kill -9 {pid}"
    return f" (systemctl stop --no-block {UNIT.stem}; {kill})" if UNIT.exists() else f" ({kill})"


def say_late(face: Face, home: Home, pid: int) -> None:
    """Say on stderr that a broker is waited for that does not listen yet: whoever cuts must not wait in silence."""
    face.err.print(
        f"A process holds {home.root} and does not listen: it is starting, or hangs as it starts. This waits on, not "
        f"for long. To stop all trading at once, end it{ended_by(pid)}.",
        soft_wrap=True, markup=False,
    )  # fmt: skip


def _leader(home: Home) -> str:
    from portcullis.led import leader  # noqa: PLC0415 - with a database, and no other command needs one

    return leader(home)


def absent(face: Face, home: Home) -> Stopped:
    """Return what to say where nobody answers."""
    found = holder(home)
    by = ended_by(found.pid)
    if found.there:
        why = f" ({found.why})" if found.why else ""
        return Stopped(
            f"A process holds {home.root} and does not say where it listens{why}.",
            "It is starting, is another user's, or cannot write into its home; its bots may trade. "
            "Nothing was changed.",
            "Ask again in a few seconds, as the user that runs it or as root. If it stays so, to stop all trading end "
            f"that process{by}; then start it anew: {face.command('run')}",
            reason="not_listening",
        )
    if found.there is None:
        return Stopped(
            f"Whether Portcullis runs on {home.root} is not known: {found.why}.",
            "If it runs, its bots trade on. Nothing was changed.",
            "Type the same command as the user that runs it, or as root. To stop all trading, end its broker"
            f"{by}. Where none runs, start it: {face.command('run')}",
            reason="not_known",
        )
    if home.database is not None:
        led = "" if face.closes else _leader(home)
        if led:
            return Stopped(
                f"This is a standby: Portcullis does not run on {home.root}. {led} has this home's place.",
                "Bots trade by that host, if it lives. Nothing was changed.",
                "Type it there. If that host is off for good, take its place: "
                f"{face.command('run')} (it watches the other one for 20 seconds first).",
                reason="not_running",
            )
        return Stopped(
            f"Portcullis does not run on {home.root}.",
            "No bot can trade by this host. Where brokers on other hosts share its database, their bots trade on. "
            "Nothing was changed.",
            f"Type it where one runs, or start this one: {face.command('run')} (bots that are not cut trade from that "
            "moment on).",
            reason="not_running",
        )
    return Stopped(
        f"Portcullis does not run on {home.root}.",
        "No bot of this home can trade: without a broker no gateway serves. Nothing was changed.",
        f"Start it: {face.command('run')} (bots that are not cut trade from that moment on).",
        reason="not_running",
    )
