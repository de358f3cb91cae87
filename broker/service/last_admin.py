"""Nobody takes away the last way in. Judged in the transaction that would do it, so that no two can do it together."""

from collections.abc import Iterable
from typing import Any

from broker.errors import Conflict
from clients.venue import Environment

ADMIN = "admin"


def living_admins(rows: Iterable[Any]) -> list[Any]:
    """Return which of the operators, as the database has them, may open things."""
    return [row for row in rows if row.ended_us is None and ADMIN in row.scopes.split(",")]


def refuse_last_admin(rows: Iterable[Any], name: str, environment: Environment) -> None:
    """Refuse to end an operator, or to take their codes away, where nobody would be left to open anything.

    Args:
        rows: Every operator, as the database has them.
        name: Who would be ended, or lose their codes.
        environment: In a paper home codes open nothing, so they do not count there.

    Raises:
        Conflict: There is no other admin, or no other one with codes.
    """
    admins = living_admins(rows)
    others = [row for row in admins if row.name != name]
    if len(others) == len(admins):
        return
    if not others:
        raise Conflict(
            "last_admin",
            f"{name} is the last admin: nobody could open anything any more. Make another one first: "
            "portcullis operator create --name NAME --scope admin --token-file FILE",
        )
    counts = environment is not Environment.PAPER and any(row.totp_since_us is not None for row in admins)
    if counts and not any(row.totp_since_us is not None for row in others):
        raise Conflict(
            "last_admin",
            f"{name} is the last admin with password and codes: nobody could open anything any more. Let another admin "
            "enrol first: portcullis operator enrol --name NAME",
        )
