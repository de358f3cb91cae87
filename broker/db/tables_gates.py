"""The tables of what is closed, and of the gateways and what they may still use; see `tables` for the rules."""

from sqlalchemy import BigInteger, Column, ForeignKey, String, Table, Text

from broker.db.tables_root import METADATA

GATES = Table(
    "gates",
    METADATA,
    Column("scope", String(160), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
)

CUTS = Table(
    "cuts",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("mode", String(8), nullable=False),
    Column("reason", Text, nullable=False),
    Column("actor", String(64), nullable=False),
    Column("opened_us", BigInteger, nullable=False),
    Column("thawed_us", BigInteger),
    Column("thawed_by", String(64)),
    Column("thawed_why", Text),
)

CLOSERS = Table(
    "closers",
    METADATA,
    Column("scope", String(160), ForeignKey("gates.scope"), primary_key=True),
    Column("cut", String(32), ForeignKey("cuts.id"), primary_key=True),
    Column("mode", String(8), nullable=False),
)

CUT_SCOPES = Table(
    "cut_scopes",
    METADATA,
    Column("cut", String(32), ForeignKey("cuts.id"), primary_key=True),
    Column("scope", String(160), primary_key=True),
)

GATEWAYS = Table(
    "gateways",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("boot", String(32), nullable=False),
    Column("seen_us", BigInteger, nullable=False),
)

LEASE_HOLDS = Table(
    "lease_holds",
    METADATA,
    Column("gateway", String(64), primary_key=True),
    Column("boot", String(32), primary_key=True),
    Column("key", String(120), primary_key=True),
    Column("until_us", BigInteger, nullable=False, index=True),
    Column("length_us", BigInteger, nullable=False, server_default="0"),
    Column("base", String(64), nullable=False, server_default=""),
    Column("skew_us", BigInteger, nullable=False, server_default="0"),
)
"""Until when a gateway may use a key version at most. Written before a lease is granted, so that who retires a key
can wait for its last user whatever became of gateway and broker. `base` and the rest: see `broker.steady`."""
