"""Of which list of the venue an order is: alternatives bind once what only one of them sells."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it; of the orders that are there nobody said it. What a state that was taken down left behind stays."""
    here = sa.inspect(op.get_bind())
    if "listed" not in {column["name"] for column in here.get_columns("fills")}:
        op.add_column("fills", sa.Column("listed", sa.String(length=32), nullable=True, server_default="?"))
    if "ix_fills_listed" not in {index["name"] for index in here.get_indexes("fills")}:
        in_a_list = sa.text("listed IS NOT NULL")
        op.create_index(
            "ix_fills_listed", "fills", ["account", "listed"], unique=False,
            sqlite_where=in_a_list, postgresql_where=in_a_list,
        )  # fmt: skip


def downgrade() -> None:
    """Take it away."""
    op.drop_index("ix_fills_listed", table_name="fills")
    op.drop_column("fills", "listed")
