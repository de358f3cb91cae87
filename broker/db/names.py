"""Whether something has a name: accounts, consumers, egresses, manager keys, destinations, people, channels, cuts."""

from sqlalchemy import Connection, literal, select, union_all

from broker.db import tables as t

_NAMED = (
    t.ACCOUNTS,
    t.CONSUMERS,
    t.EGRESS,
    t.MANAGERS,
    t.DESTINATIONS,
    t.OPERATORS,
    t.ALERT_CHANNELS,
    t.GATEWAYS,
)


def is_name(connection: Connection, text: str) -> bool:
    """Tell whether something has this name."""
    of_cuts = select(literal(1)).where(t.CUTS.c.id == text)
    found = union_all(of_cuts, *(select(literal(1)).where(table.c.name == text) for table in _NAMED))
    return connection.execute(found.limit(1)).first() is not None
