"""What an order that was sent trades: a sale that nobody answered counts also where it is the first of its pair."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it; of the orders that are there nobody said it. What a state that was taken down left behind stays."""
    here = sa.inspect(op.get_bind())
    if "base" not in {column["name"] for column in here.get_columns("sent_orders")}:
        op.add_column("sent_orders", sa.Column("base", sa.String(length=20), nullable=True))
    if "ix_sent_orders_open" not in {index["name"] for index in here.get_indexes("sent_orders")}:
        op.create_index("ix_sent_orders_open", "sent_orders", ["account", "known_as"], unique=False)


def downgrade() -> None:
    """Take it away."""
    op.drop_index("ix_sent_orders_open", table_name="sent_orders")
    op.drop_column("sent_orders", "base")
