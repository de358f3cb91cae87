"""How far each boot's calls were taken away, and whose the closed orders of long ago were."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them. What a state that was taken down left behind stays."""
    here = sa.inspect(op.get_bind())
    if not here.has_table("calls_before"):
        op.create_table(
            "calls_before",
            sa.Column("gateway", sa.String(length=64), nullable=False),
            sa.Column("boot", sa.String(length=32), nullable=False),
            sa.Column("upto", sa.BigInteger(), nullable=False),
            sa.PrimaryKeyConstraint("gateway", "boot", name=op.f("pk_calls_before")),
        )
    if not here.has_table("fills_past"):
        op.create_table(
            "fills_past",
            sa.Column("account", sa.String(length=64), nullable=False),
            sa.Column("symbol", sa.String(length=40), nullable=False),
            sa.Column("order_id", sa.String(length=64), nullable=False),
            sa.Column("grant", sa.String(length=32), nullable=False),
            sa.Column("base", sa.String(length=20), nullable=False),
            sa.Column("side", sa.String(length=8), nullable=False),
            sa.Column("executed", sa.String(length=40), nullable=False),
            sa.Column("told_us", sa.BigInteger(), nullable=False),
            sa.PrimaryKeyConstraint("account", "symbol", "order_id", name=op.f("pk_fills_past")),
        )
        op.create_index("ix_fills_past_told", "fills_past", ["told_us"], unique=False)


def downgrade() -> None:
    """Take them away; whose the closed orders of long ago were is lost."""
    op.drop_table("fills_past")
    op.drop_table("calls_before")
