"""Up to which call-log line each boot of a gateway is taken in: what is read with it is as of that line.

It is written in the transaction that takes the lines in, and goes back only with the record itself: lines that were
lost then are asked for again by who takes them in (`authority.intake`).
"""

from sqlalchemy import Connection, select

from broker.db import log_tables as t
from broker.db.upsert import upsert


def upto(connection: Connection, gateway: str, boot: str) -> int:
    """Return up to which line a boot's lines are taken in; 0 where none are."""
    c = t.LINES_TAKEN.c
    found = connection.execute(select(c.upto).where(c.gateway == gateway, c.boot == boot)).scalar()
    return int(found or 0)


def note(connection: Connection, gateway: str, boot: str, last: int) -> None:
    """Lines are taken in."""
    if last <= upto(connection, gateway, boot):
        return
    put = upsert(connection, t.LINES_TAKEN)
    connection.execute(
        put.on_conflict_do_update(index_elements=["gateway", "boot"], set_={"upto": put.excluded.upto}),
        [{"gateway": gateway, "boot": boot, "upto": last}],
    )


def forget(connection: Connection, gateway: str, boot: str) -> None:
    """A boot is over: nobody asks as of a line of it any more."""
    c = t.LINES_TAKEN.c
    connection.execute(t.LINES_TAKEN.delete().where(c.gateway == gateway, c.boot == boot))
