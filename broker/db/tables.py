"""The tables. No secret is ever in one of them.

Rules:
1. Instants are whole microseconds since the epoch, money is decimal text: both read the same in SQLite and
   PostgreSQL.
2. Names people chose are keys; nothing is renamed, and nothing but spool leftovers and idempotency keys deleted.
3. A change here comes with a migration in `migrations/versions`; a test compares the two.
4. What grows with the bots' requests (calls, order owners, budget slices) is not here: see `log_tables`.
"""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Integer, MetaData, String, Table, Text

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

META = Table(
    "meta",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
"""Instance id, generation, environment, mode (solo or team), and the heartbeat."""

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
)

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

SECRET_INTENTS = Table(
    "secret_intents",
    METADATA,
    Column("path", Text, primary_key=True),
    Column("created_us", BigInteger, nullable=False),
)
"""Secrets that are about to be written, and whose owner is not yet on record."""

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
)
"""Until when a gateway may use a key version at most. Written before a lease is granted, so that who retires a key
can wait for its last user whatever became of gateway and broker."""

CANARIES = Table(
    "canaries",
    METADATA,
    Column("rotation", String(32), primary_key=True),
    Column("gateway", String(64), primary_key=True),
    Column("key", String(120), nullable=False),
    Column("asked_us", BigInteger, nullable=False),
    Column("answered_us", BigInteger),
    Column("well", Boolean),
    Column("reason", String(64)),
)
"""A new key version that one gateway tries with a signed read before anybody is moved to it."""

ROTATIONS = Table(
    "rotations",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("account", String(64), ForeignKey("accounts.name"), nullable=False, index=True),
    Column("slot", String(16), nullable=False),
    Column("open_slot", String(96), unique=True),
    Column("state", String(16), nullable=False),
    Column("old_version", Integer),
    Column("new_version", Integer, nullable=False),
    Column("why", String(40), nullable=False),
    Column("reason", Text, nullable=False),
    Column("runbook", String(16), nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("document", Text, nullable=False),
    Column("row_version", BigInteger, nullable=False),
    Column("claimed_by", String(64)),
    Column("claimed_until_us", BigInteger, nullable=False),
    Column("due_us", BigInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False, index=True),
    Column("entered_us", BigInteger, nullable=False),
    Column("ended_us", BigInteger),
    Column("todo", Text, nullable=False, server_default=""),
)
"""`todo`: what a person has to do now, as JSON. `document` is the rotation as `rotation.journal` writes it;
`open_slot` lets an account's slot have one at a time."""

ROTATION_STEPS = Table(
    "rotation_steps",
    METADATA,
    Column("rotation", String(32), ForeignKey("rotations.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("event", String(80), nullable=False),
    Column("was", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("effect", String(32), nullable=False),
    Column("note", Text, nullable=False),
)

ROTATION_ASKS = Table(
    "rotation_asks",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("rotation", String(32), nullable=False, index=True),
    Column("what", String(16), nullable=False),
    Column("body", Text, nullable=False),
    Column("operator", String(64), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("done_us", BigInteger, index=True),
    Column("outcome", Text),
    Column("claimed_by", String(64)),
    Column("claimed_until_us", BigInteger, nullable=False, server_default="0"),
)
"""What operators ask of the rotator: start, pause, resume, roll back, an answer. `outcome`: empty where it was done."""

SCHEDULES = Table(
    "schedules",
    METADATA,
    Column("account", String(64), ForeignKey("accounts.name"), primary_key=True),
    Column("slot", String(16), primary_key=True),
    Column("interval_s", BigInteger, nullable=False),
    Column("jitter_s", BigInteger, nullable=False),
    Column("windows", Text, nullable=False),
    Column("zone", String(64), nullable=False),
    Column("paused", Boolean, nullable=False),
    Column("next_us", BigInteger),
    Column("why", String(200), nullable=False),
)
"""When a slot's key is rotated. `jitter_s` was drawn once; `next_us` and `why` are what the rotator last worked out."""

DESTINATIONS = Table(
    "destinations",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("account", String(64), ForeignKey("accounts.name"), nullable=False, index=True),
    Column("slot", String(16), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("settings", Text, nullable=False),
    Column("secret_path", Text),
    Column("patience_s", BigInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("removed_us", BigInteger),
)
"""Who holds a real key outside a gateway. `patience_s`: how long an old key is kept alive for it."""

DELIVERIES = Table(
    "deliveries",
    METADATA,
    Column("rotation", String(32), primary_key=True),
    Column("destination", String(64), ForeignKey("destinations.name"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("tries", Integer, nullable=False),
    Column("next_us", BigInteger, nullable=False),
    Column("delivered_us", BigInteger),
    Column("confirmed_us", BigInteger),
    Column("waived_by", String(64)),
    Column("says", String(300), nullable=False),
)
"""How far a destination is with a key version that a rotation brings, or, rolled back, takes back."""

CHECKOUTS = Table(
    "checkouts",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("grant", String(32), nullable=False),
    Column("account", String(64), ForeignKey("accounts.name"), nullable=False, index=True),
    Column("version", Integer, nullable=False),
    Column("operator", String(64), nullable=False),
    Column("holder", String(120), nullable=False),
    Column("reason", Text, nullable=False),
    Column("opened_us", BigInteger, nullable=False),
    Column("ends_us", BigInteger, nullable=False),
    Column("closed_us", BigInteger),
    Column("rotation", String(32)),
    Column("dead_us", BigInteger),
)
"""Real keys that were handed out. Its end is a rotation: what left cannot be taken back."""

FINDINGS = Table(
    "findings",
    METADATA,
    Column("account", String(64), ForeignKey("accounts.name"), primary_key=True),
    Column("key_id", String(128), primary_key=True),
    Column("what", String(16), primary_key=True),
    Column("ref", String(120)),
    Column("says", Text, nullable=False),
    Column("first_us", BigInteger, nullable=False),
    Column("last_us", BigInteger, nullable=False),
    Column("ended_us", BigInteger),
)
"""What a venue lists otherwise than the record has it. Ended once a sweep did not find it any more."""

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
)
"""What opens something, announced before it is done. `digest` is of the very request and of `shows`, the lines that say
what it would do; `ended_how` used, cancelled.
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
)
"""The audit trail, one chain per writer. Only ever appended to."""

AUDIT_CHECKPOINTS = Table(
    "audit_checkpoints",
    METADATA,
    Column("signer", String(64), primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("line", Text, nullable=False),
)
"""Signed statements of how far every chain had come, as anchors keep them."""
