"""The tables of operators, what they announced, what was done, and what they are told; see `tables` for the rules."""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, String, Table, Text, text

from broker.db.tables_root import METADATA

OPERATORS = Table(
    "operators",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("prefix", String(16), nullable=False, unique=True),
    Column("digest", String(64), nullable=False),
    Column("scopes", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("ended_us", BigInteger),
    Column("password", Text),
    Column("totp_path", Text),
    Column("totp_since_us", BigInteger),
    Column("totp_last", BigInteger, nullable=False, server_default="0"),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("locked_until_us", BigInteger, nullable=False, server_default="0"),
    Column("base", String(64), nullable=False, server_default=""),
    Column("skew_us", BigInteger, nullable=False, server_default="0"),
)
"""`password` is an argon2 hash; the seed of the one-time codes lies in the secret store, at `totp_path`."""

SESSIONS = Table(
    "sessions",
    METADATA,
    Column("prefix", String(16), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("operator", String(64), ForeignKey("operators.name"), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("expires_us", BigInteger, nullable=False),
    Column("base", String(64), nullable=False, server_default=""),
    Column("skew_us", BigInteger, nullable=False, server_default="0"),
)

ACTS = Table(
    "acts",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("action", String(40), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("operator", String(64), nullable=False),
    Column("created_us", BigInteger, nullable=False, index=True),
    Column("ready_us", BigInteger),
    Column("confirmed_by", String(64)),
    Column("ended_us", BigInteger),
    Column("ended_how", String(16)),
    Column("shows", Text, nullable=False, server_default=""),
    Column("sightings", Text, nullable=False, server_default=""),
)
"""What opens something, announced before it is done. `digest` is of the very request and of `shows`, the lines that say
what it would do; `ended_how` used, cancelled. `sightings`: when each host saw it first, by both of its clocks, as JSON.
"""

IDEMPOTENCY = Table(
    "idempotency",
    METADATA,
    Column("operator", String(64), primary_key=True),
    Column("key", String(128), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("status", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
)

AUDIT = Table(
    "audit",
    METADATA,
    Column("writer", String(64), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("at_us", BigInteger, nullable=False, index=True),
    Column("actor", String(64), nullable=False),
    Column("action", String(40), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("details", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Index(
        "ix_audit_taken_into_use",
        "subject",
        sqlite_where=text("action = 'key.current'"),
        postgresql_where=text("action = 'key.current'"),
    ),
)
"""The audit trail, one chain per writer. Only ever appended to.

Which key version was in use when is read from it while a cut is put on record: by an index of what says that.
"""

AUDIT_CHECKPOINTS = Table(
    "audit_checkpoints",
    METADATA,
    Column("signer", String(64), primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("line", Text, nullable=False),
)
"""Signed statements of how far every chain had come, as anchors keep them."""

REPORTS = Table(
    "reports",
    METADATA,
    Column("source", String(100), primary_key=True),
    Column("kind", String(32), primary_key=True),
    Column("subject", String(200), primary_key=True),
    Column("says", Text, nullable=False),
    Column("step", Text, nullable=False),
    Column("account", String(64), nullable=False),
    Column("until_us", BigInteger, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("base", String(64), nullable=False, server_default=""),
    Column("skew_us", BigInteger, nullable=False, server_default="0"),
)
"""What a process found wrong that the record does not show: a gateway of its keys and ways, a broker of its host."""

ALERT_CHANNELS = Table(
    "alert_channels",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("path", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("removed_us", BigInteger),
    Column("failed", String(200), nullable=False),
)
"""Where alerts go. The address holds a token, so it lies in the secret store, at `path`."""

ALERTS = Table(
    "alerts",
    METADATA,
    Column("kind", String(32), primary_key=True),
    Column("subject", String(200), primary_key=True),
    Column("says", Text, nullable=False),
    Column("step", Text, nullable=False),
    Column("opened_us", BigInteger, nullable=False),
    Column("sent_us", BigInteger),
)
"""What is wrong now; a row goes when it is right again."""
