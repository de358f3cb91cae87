"""The tables, from their rooms: who imports this has all of them. No secret is ever in one of them.

Rules:
1. Instants are whole microseconds since the epoch, money is decimal text: both read the same in SQLite and
   PostgreSQL.
2. Names people chose are keys; nothing is renamed, and nothing but spool leftovers and idempotency keys deleted.
3. A change here comes with a migration in `migrations/versions`; a test compares the two.
4. What grows with the bots' requests (calls, order owners, budget slices) is not here: see `log_tables`.
"""

from broker.db.tables_access import (
    ACCOUNTS,
    CONSUMERS,
    EGRESS,
    GRANTS,
    KEY_VERSIONS,
    MANAGERS,
    OLD_KEYS,
    POLICIES,
    SECRET_INTENTS,
)
from broker.db.tables_gates import (
    CLOSERS,
    CUT_SCOPES,
    CUTS,
    GATES,
    GATEWAYS,
    LEASE_HOLDS,
)
from broker.db.tables_people import (
    ACTS,
    ALERT_CHANNELS,
    ALERTS,
    AUDIT,
    AUDIT_CHECKPOINTS,
    IDEMPOTENCY,
    OPERATORS,
    REPORTS,
    SESSIONS,
)
from broker.db.tables_root import (
    META,
    METADATA,
)
from broker.db.tables_rotations import (
    CANARIES,
    CHECKOUTS,
    DELIVERIES,
    DESTINATIONS,
    FINDINGS,
    ROTATION_ASKS,
    ROTATION_STEPS,
    ROTATIONS,
    SCHEDULES,
)

__all__ = [
    "ACCOUNTS",
    "ACTS",
    "ALERTS",
    "ALERT_CHANNELS",
    "AUDIT",
    "AUDIT_CHECKPOINTS",
    "CANARIES",
    "CHECKOUTS",
    "CLOSERS",
    "CONSUMERS",
    "CUTS",
    "CUT_SCOPES",
    "DELIVERIES",
    "DESTINATIONS",
    "EGRESS",
    "FINDINGS",
    "GATES",
    "GATEWAYS",
    "GRANTS",
    "IDEMPOTENCY",
    "KEY_VERSIONS",
    "LEASE_HOLDS",
    "MANAGERS",
    "META",
    "METADATA",
    "OLD_KEYS",
    "OPERATORS",
    "POLICIES",
    "REPORTS",
    "ROTATIONS",
    "ROTATION_ASKS",
    "ROTATION_STEPS",
    "SCHEDULES",
    "SECRET_INTENTS",
    "SESSIONS",
]
