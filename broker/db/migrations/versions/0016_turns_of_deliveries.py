"""Deliveries say in which order they were written: no clock tells which key a destination got last."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the turn; what was written before has none, and goes by its times."""
    op.add_column("deliveries", sa.Column("turn", sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Remove it."""
    op.drop_column("deliveries", "turn")
