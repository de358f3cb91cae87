"""When an order was told of last, and what orders executed that are not kept one by one any more."""

import time

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them; what a state that was taken down left behind stays.

    Of fills that are there it is not known when they were told, so they count as told now.
    """
    here = sa.inspect(op.get_bind())
    if "told_us" not in {column["name"] for column in here.get_columns("fills")}:
        now = sa.text(str(time.time_ns() // 1000))
        op.add_column("fills", sa.Column("told_us", sa.BigInteger(), nullable=False, server_default=now))
        with op.batch_alter_table("fills") as fills:
            fills.alter_column("told_us", server_default=None)
        op.create_index("ix_fills_told", "fills", ["told_us"], unique=False)
    if "ix_sent_orders_known_as" not in {index["name"] for index in here.get_indexes("sent_orders")}:
        op.create_index("ix_sent_orders_known_as", "sent_orders", ["known_as"], unique=False)
    if not here.has_table("fills_before"):
        _make_fills_before()


def _make_fills_before() -> None:
    op.create_table(
        "fills_before",
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("symbol", sa.String(length=40), nullable=False),
        sa.Column("grant", sa.String(length=32), nullable=False),
        sa.Column("base", sa.String(length=20), nullable=False),
        sa.Column("side", sa.String(length=8), nullable=False),
        sa.Column("executed", sa.String(length=40), nullable=False),
        sa.Column("upto", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account", "symbol", "grant", "base", "side", name=op.f("pk_fills_before")),
    )


def downgrade() -> None:
    """Take them away; what was added up is lost."""
    op.drop_table("fills_before")
    op.drop_index("ix_sent_orders_known_as", table_name="sent_orders")
    op.drop_index("ix_fills_told", table_name="fills")
    op.drop_column("fills", "told_us")
