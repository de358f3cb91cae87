"""What the pair of an order that was sent is quoted in: what nobody answered may have paid it."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it; of the orders that are there nobody said it. What a state that was taken down left behind stays."""
    here = sa.inspect(op.get_bind())
    if "quote" not in {column["name"] for column in here.get_columns("sent_orders")}:
        op.add_column("sent_orders", sa.Column("quote", sa.String(length=20), nullable=True))


def downgrade() -> None:
    """Take it away."""
    op.drop_column("sent_orders", "quote")
