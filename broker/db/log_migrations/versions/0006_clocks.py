"""The clock that windows of money are counted by is on record, so that a restart goes on with it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it; the first process that lends begins it. What a state that was taken down left behind stays."""
    if sa.inspect(op.get_bind()).has_table("clocks"):
        return
    op.create_table(
        "clocks",
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("counted_us", sa.BigInteger(), nullable=False),
        sa.Column("base", sa.String(length=64), nullable=False),
        sa.Column("boot_us", sa.BigInteger(), nullable=False),
        sa.Column("wall_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_clocks")),
    )


def downgrade() -> None:
    """Remove it."""
    op.drop_table("clocks")
