"""What a rotation asks a person to do, who works on an operator's ask, and when keys are to be rotated."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the table."""
    op.add_column("rotations", sa.Column("todo", sa.Text(), nullable=False, server_default=""))
    op.add_column("rotation_asks", sa.Column("claimed_by", sa.String(length=64), nullable=True))
    op.add_column(
        "rotation_asks", sa.Column("claimed_until_us", sa.BigInteger(), nullable=False, server_default="0")
    )
    op.create_table(
        "schedules",
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("slot", sa.String(length=16), nullable=False),
        sa.Column("interval_s", sa.BigInteger(), nullable=False),
        sa.Column("jitter_s", sa.BigInteger(), nullable=False),
        sa.Column("windows", sa.Text(), nullable=False),
        sa.Column("zone", sa.String(length=64), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("next_us", sa.BigInteger(), nullable=True),
        sa.Column("why", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name=op.f("fk_schedules_account")),
        sa.PrimaryKeyConstraint("account", "slot", name=op.f("pk_schedules")),
    )


def downgrade() -> None:
    """Remove them."""
    op.drop_table("schedules")
    op.drop_column("rotation_asks", "claimed_until_us")
    op.drop_column("rotation_asks", "claimed_by")
    op.drop_column("rotations", "todo")
