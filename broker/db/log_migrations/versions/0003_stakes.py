"""Whose account and consumer a slice counts for, and in which asset; what orders executed, by grant."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the table; what a state that was taken down left behind stays."""
    here = sa.inspect(op.get_bind())
    if "asset" not in {column["name"] for column in here.get_columns("slices")}:
        _widen_slices()
    if not here.has_table("fills"):
        _make_fills()


def _widen_slices() -> None:
    for column, length in (("account", 64), ("consumer", 64), ("asset", 20)):
        op.add_column("slices", sa.Column(column, sa.String(length=length), nullable=True))
    for column in ("account", "consumer"):
        op.create_index(op.f(f"ix_slices_{column}"), "slices", [column], unique=False)


def _make_fills() -> None:
    op.create_table(
        "fills",
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("symbol", sa.String(length=40), nullable=False),
        sa.Column("order_id", sa.String(length=64), nullable=False),
        sa.Column("grant", sa.String(length=32), nullable=False),
        sa.Column("base", sa.String(length=20), nullable=False),
        sa.Column("side", sa.String(length=8), nullable=False),
        sa.Column("executed", sa.String(length=40), nullable=False),
        sa.Column("open", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("account", "symbol", "order_id", name=op.f("pk_fills")),
    )
    op.create_index("ix_fills_account_base", "fills", ["account", "base"], unique=False)


def downgrade() -> None:
    """Take them away."""
    op.drop_table("fills")
    for column in ("account", "consumer"):
        op.drop_index(op.f(f"ix_slices_{column}"), table_name="slices")
    for column in ("account", "consumer", "asset"):
        op.drop_column("slices", column)
