"""The second step of what is done with nothing running: the same judge, asked without an API.

What is approved are the lines that are shown, all of them. They are made again when it is done.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from rich.text import Text

from broker.errors import NotGranted
from broker.service import Service
from broker.service.audit import acting
from broker.service.openings import Announced, Wanted
from broker.service.operators import Role
from broker.service.using import Premise, using
from portcullis.cli import session
from portcullis.cli.face import Face, Stopped
from portcullis.settings import Home


@contextmanager
def permitted(
    face: Face, home: Home, service: Service, action: str, subject: str, shows: tuple[str, ...]
) -> Iterator[None]:
    """Let somebody do something that opens, or announce it. What is recorded within this uses the act up.

    Raises:
        Stopped: It is announced; or a code is needed and cannot be asked for.
        NotGranted: Who asks may not.
    """
    token = using.set(_judged(face, home, service, action, subject, shows))
    try:
        yield
    finally:
        using.reset(token)


def _judged(
    face: Face, home: Home, service: Service, action: str, subject: str, shows: tuple[str, ...]
) -> Premise | None:
    operator = service.operators.by_token(session.token_of(home))
    if operator is None or not operator.may(Role.ADMIN):
        raise NotGranted(
            "scope_missing", f"{action} needs an admin of this home: log in, or use its own token"
        )
    acting.set(operator.name)
    digest = hashlib.sha256("\n".join((action, subject, *shows)).encode()).hexdigest()
    wanted = Wanted(action, subject, digest, operator.name, act=face.act, shows=shows)
    try:
        try:
            return service.openings.judge(wanted)
        except NotGranted as fault:
            if fault.reason != "code_needed":
                raise
            code = session.one_time_code(str(fault))
            return service.openings.judge(Wanted(action, subject, digest, operator.name, code, shows=shows))
    except Announced as announced:
        for line in announced.shows:
            face.err.print(Text(f"  {line}"))
        raise Stopped(
            str(announced), "It is announced, and NOT done.",
            f"When it is ready, the same command again with --act {announced.act}.", reason="announced",
        ) from None  # fmt: skip
