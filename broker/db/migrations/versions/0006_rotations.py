"""Rotations with their history, what operators ask of them, who may still use a key, and canaries."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "lease_holds",
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("boot", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=120), nullable=False),
        sa.Column("until_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", "boot", "key", name=op.f("pk_lease_holds")),
    )
    op.create_index(op.f("ix_lease_holds_until_us"), "lease_holds", ["until_us"], unique=False)
    op.create_table(
        "canaries",
        sa.Column("rotation", sa.String(length=32), nullable=False),
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=120), nullable=False),
        sa.Column("asked_us", sa.BigInteger(), nullable=False),
        sa.Column("answered_us", sa.BigInteger(), nullable=True),
        sa.Column("well", sa.Boolean(), nullable=True),
        sa.Column("reason", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("rotation", "gateway", name=op.f("pk_canaries")),
    )
    op.create_table(
        "rotations",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("slot", sa.String(length=16), nullable=False),
        sa.Column("open_slot", sa.String(length=96), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("old_version", sa.Integer(), nullable=True),
        sa.Column("new_version", sa.Integer(), nullable=False),
        sa.Column("why", sa.String(length=40), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("runbook", sa.String(length=16), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("row_version", sa.BigInteger(), nullable=False),
        sa.Column("claimed_by", sa.String(length=64), nullable=True),
        sa.Column("claimed_until_us", sa.BigInteger(), nullable=False),
        sa.Column("due_us", sa.BigInteger(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("entered_us", sa.BigInteger(), nullable=False),
        sa.Column("ended_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name=op.f("fk_rotations_account")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rotations")),
        sa.UniqueConstraint("open_slot", name=op.f("uq_rotations_open_slot")),
    )
    op.create_index(op.f("ix_rotations_account"), "rotations", ["account"], unique=False)
    op.create_index(op.f("ix_rotations_created_us"), "rotations", ["created_us"], unique=False)
    op.create_table(
        "rotation_steps",
        sa.Column("rotation", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.String(length=80), nullable=False),
        sa.Column("was", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("effect", sa.String(length=32), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["rotation"], ["rotations.id"], name=op.f("fk_rotation_steps_rotation")),
        sa.PrimaryKeyConstraint("rotation", "number", name=op.f("pk_rotation_steps")),
    )
    op.create_table(
        "rotation_asks",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("rotation", sa.String(length=32), nullable=False),
        sa.Column("what", sa.String(length=16), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("operator", sa.String(length=64), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("done_us", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rotation_asks")),
    )
    op.create_index(op.f("ix_rotation_asks_rotation"), "rotation_asks", ["rotation"], unique=False)
    op.create_index(op.f("ix_rotation_asks_done_us"), "rotation_asks", ["done_us"], unique=False)


def downgrade() -> None:
    """Remove them."""
    for table in ("rotation_asks", "rotation_steps", "rotations", "canaries", "lease_holds"):
        op.drop_table(table)
