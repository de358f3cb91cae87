"""The tables of accounts and their keys, and of who may use them; see `tables` for the rules."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Integer, String, Table, Text

from broker.db.tables_root import METADATA

EGRESS = Table(
    "egress",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("way", String(16), nullable=False),
    Column("addresses", Text, nullable=False),
    Column("source", String(64)),
    Column("proxy_host", String(255)),
    Column("proxy_port", Integer),
    Column("proxy_user", String(255)),
    Column("password_path", Text),
    Column("created_us", BigInteger, nullable=False),
)

MANAGERS = Table(
    "managers",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("venue", String(32), nullable=False),
    Column("environment", String(16), nullable=False),
    Column("egress", String(64), ForeignKey("egress.name"), nullable=False),
    Column("upstream", Text),
    Column("venue_key_id", String(128), nullable=False),
    Column("key_type", String(16), nullable=False),
    Column("path", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
)
"""Manager keys: what may make and delete the keys of sub-accounts. Only the rotator reads their secrets."""

ACCOUNTS = Table(
    "accounts",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("venue", String(32), nullable=False),
    Column("environment", String(16), nullable=False),
    Column("egress", String(64), ForeignKey("egress.name"), nullable=False),
    Column("upstream", Text),
    Column("venue_uid", String(64)),
    Column("created_us", BigInteger, nullable=False),
    Column("manager", String(64)),
    Column("subaccount", String(255)),
)
"""`subaccount` is the venue's name for it under its manager; an account without one is looked after by hand.

`manager` names a row of `managers`; no foreign key, because SQLite cannot add one to a table that others refer to.
"""

KEY_VERSIONS = Table(
    "key_versions",
    METADATA,
    Column("account", String(64), ForeignKey("accounts.name"), primary_key=True),
    Column("slot", String(16), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("stage", String(16), nullable=False),
    Column("venue_key_id", String(128), nullable=False),
    Column("key_type", String(16), nullable=False),
    Column("path", Text, nullable=False),
    Column("ip_restricted", Boolean),
    Column("can_withdraw", Boolean),
    Column("created_us", BigInteger, nullable=False),
    Column("death", String(16), nullable=False, server_default=""),
)
"""`death`: what says that it is dead (`broker.model.Death`); no other place does."""

SECRET_INTENTS = Table(
    "secret_intents",
    METADATA,
    Column("path", Text, primary_key=True),
    Column("created_us", BigInteger, nullable=False),
)
"""Secrets that are about to be written, and whose owner is not yet on record."""

CONSUMERS = Table(
    "consumers",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("note", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
)

GRANTS = Table(
    "grants",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("consumer", String(64), ForeignKey("consumers.name"), nullable=False, index=True),
    Column("account", String(64), ForeignKey("accounts.name"), nullable=False, index=True),
    Column("key_id", String(128), nullable=False, unique=True),
    Column("key_type", String(16), nullable=False),
    Column("public_key", Text),
    Column("secret_path", Text),
    Column("policy", Text, nullable=False),
    Column("policy_version", Integer, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("revoked_us", BigInteger),
    Column("revoked_why", Text),
)

OLD_KEYS = Table(
    "old_keys",
    METADATA,
    Column("key_id", String(128), primary_key=True),
    Column("grant", String(32), ForeignKey("grants.id"), nullable=False),
    Column("ended_us", BigInteger, nullable=False),
)
"""Virtual keys that were replaced: so that a leaked one is still recognised."""

POLICIES = Table(
    "policies",
    METADATA,
    Column("grant", String(32), ForeignKey("grants.id"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("text", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
)
