"""The tables of rotations and of who else holds their keys; see `tables` for the rules."""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Integer, String, Table, Text

from broker.db.tables_root import METADATA

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
    Column("claimed_base", String(64), nullable=False, server_default=""),
    Column("claimed_skew_us", BigInteger, nullable=False, server_default="0"),
    Column("due_us", BigInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False, index=True),
    Column("entered_us", BigInteger, nullable=False),
    Column("ended_us", BigInteger),
    Column("todo", Text, nullable=False, server_default=""),
    Column("held", Text, nullable=False, server_default=""),
)
"""`held`: why nobody carries it on before a person has said so; of one that was dropped it stays. `todo`: what a
person has to do now, as JSON. `document` is the rotation as `rotation.journal` writes it; `open_slot` lets an account's
slot have one at a time."""

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
    Column("claimed_base", String(64), nullable=False, server_default=""),
    Column("claimed_skew_us", BigInteger, nullable=False, server_default="0"),
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
    Column("turn", BigInteger, nullable=False, server_default="0"),
)
"""How far a destination is with a key version that a rotation brings, or, rolled back, takes back.

`turn`: of a destination's deliveries the one with the highest was written last.
"""

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
    Column("base", String(64), nullable=False, server_default=""),
    Column("skew_us", BigInteger, nullable=False, server_default="0"),
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
