"""A rotation that a restore or a failover found open is held, until a person says what becomes of it."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add why it is held."""
    op.add_column("rotations", sa.Column("held", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    """Remove it."""
    op.drop_column("rotations", "held")
