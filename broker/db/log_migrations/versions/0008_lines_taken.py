"""Up to which line each boot of a gateway is taken in."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it. What a state that was taken down left behind stays."""
    if not sa.inspect(op.get_bind()).has_table("lines_taken"):
        op.create_table(
            "lines_taken",
            sa.Column("gateway", sa.String(length=64), nullable=False),
            sa.Column("boot", sa.String(length=32), nullable=False),
            sa.Column("upto", sa.BigInteger(), nullable=False),
            sa.PrimaryKeyConstraint("gateway", "boot", name=op.f("pk_lines_taken")),
        )


def downgrade() -> None:
    """Take it away."""
    op.drop_table("lines_taken")
