"""Which order a replacement that was sent frees for certain: beside that one it gives only what it offers more."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it; of the orders that are there nobody said it. What a state that was taken down left behind stays."""
    here = sa.inspect(op.get_bind()).get_columns("sent_orders")
    if "frees" not in {column["name"] for column in here}:
        op.add_column("sent_orders", sa.Column("frees", sa.String(length=64), nullable=True))


def downgrade() -> None:
    """Take it away."""
    op.drop_column("sent_orders", "frees")
