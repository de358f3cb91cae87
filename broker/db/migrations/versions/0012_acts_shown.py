"""An announced act keeps what it would do, in lines for who confirms it."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the lines."""
    op.add_column("acts", sa.Column("shows", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    """Remove them."""
    op.drop_column("acts", "shows")
