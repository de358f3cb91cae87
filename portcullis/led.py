"""Who has the place of a home whose state other hosts share: asked by a command that finds no broker here."""

from contextlib import closing, suppress

from broker import seat as seats
from broker.db import meta
from broker.errors import BrokerError
from broker.service.host_guard import SEAT
from portcullis.settings import Home, SettingsError
from portcullis.stores import database_of


def leader(home: Home) -> str:
    """Return what who sits there says of itself; empty where nobody does, or that cannot be told.

    It blocks for as long as the database takes to answer, or to be given up.
    """
    if home.database is None:
        return ""
    with suppress(BrokerError, SettingsError, ValueError), closing(database_of(home)) as database:
        with database.read() as connection:
            seat = seats.load(meta.get(connection, SEAT))
        return "" if seat is None or seat.left else seat.who
    return ""
