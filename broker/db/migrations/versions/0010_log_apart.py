"""Calls, order owners and budget slices leave the state for a store of their own.

`broker.db.database` has copied their rows, in this same transaction. In PostgreSQL the tables stay as they are, and
`log_migrations` takes them over.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TABLES = ("slices", "orders", "calls")


def upgrade() -> None:
    """Drop them where they are elsewhere now."""
    if op.get_bind().dialect.name == "sqlite":
        for table in TABLES:
            op.drop_table(table)


def downgrade() -> None:
    """Make them anew, without rows: those stay where they are."""
    if op.get_bind().dialect.name != "sqlite":
        op.create_foreign_key("fk_slices_grant", "slices", "grants", ["grant"], ["id"])
        op.execute("DROP TABLE IF EXISTS alembic_version_log")
        return
    op.create_table(
        "orders",
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("symbol", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("grant", sa.String(length=32), nullable=False),
        sa.Column("seen_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account", "symbol", "name", name=op.f("pk_orders")),
    )
    op.create_table(
        "slices",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("grant", sa.String(length=32), nullable=False),
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("boot", sa.String(length=32), nullable=False),
        sa.Column("amount", sa.String(length=40), nullable=False),
        sa.Column("returned", sa.String(length=40), nullable=False),
        sa.Column("lent_us", sa.BigInteger(), nullable=False),
        sa.Column("closed_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["grant"], ["grants.id"], name=op.f("fk_slices_grant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_slices")),
    )
    for column in ("boot", "closed_us", "grant"):
        op.create_index(op.f(f"ix_slices_{column}"), "slices", [column], unique=False)
    op.create_table(
        "calls",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("boot", sa.String(length=32), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("grant", sa.String(length=32), nullable=False),
        sa.Column("consumer", sa.String(length=64), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=120), nullable=False),
        sa.Column("method", sa.String(length=8), nullable=False),
        sa.Column("endpoint", sa.String(length=80), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("symbol", sa.String(length=40), nullable=True),
        sa.Column("side", sa.String(length=8), nullable=True),
        sa.Column("notional", sa.String(length=60), nullable=True),
        sa.Column("client_ids", sa.Text(), nullable=False),
        sa.Column("target", sa.String(length=64), nullable=True),
        sa.Column("decision", sa.String(length=8), nullable=False),
        sa.Column("reason", sa.String(length=40), nullable=True),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("leaving", sa.Boolean(), nullable=False),
        sa.Column("reserved", sa.Text(), nullable=False),
        sa.Column("released", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("code", sa.String(length=16), nullable=True),
        sa.Column("outcome", sa.String(length=8), nullable=True),
        sa.Column("latency_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("gateway", "boot", "seq", name=op.f("pk_calls")),
    )
    op.create_index(op.f("ix_calls_at_us"), "calls", ["at_us"], unique=False)
    op.create_index("ix_calls_consumer_at", "calls", ["consumer", "at_us"], unique=False)
    op.create_index("ix_calls_grant_at", "calls", ["grant", "at_us"], unique=False)
