"""What became of requests whose own lines are not there yet: it was lost where it came first."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it. What a state that was taken down left behind stays."""
    if not sa.inspect(op.get_bind()).has_table("answered_early"):
        op.create_table(
            "answered_early",
            sa.Column("gateway", sa.String(length=64), nullable=False),
            sa.Column("boot", sa.String(length=32), nullable=False),
            sa.Column("seq", sa.BigInteger(), nullable=False),
            sa.Column("symbol", sa.String(length=40), nullable=False),
            sa.Column("name", sa.String(length=64), nullable=False),
            sa.Column("known_as", sa.String(length=64), nullable=True),
            sa.Column("told_us", sa.BigInteger(), nullable=False),
            sa.PrimaryKeyConstraint(
                "gateway", "boot", "seq", "symbol", "name", name=op.f("pk_answered_early")
            ),
        )
        op.create_index("ix_answered_early_told", "answered_early", ["told_us"], unique=False)


def downgrade() -> None:
    """Take it away."""
    op.drop_table("answered_early")
