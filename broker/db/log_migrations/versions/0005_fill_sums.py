"""What orders executed, added up: whose an asset is was asked of every order that was ever placed."""

from decimal import Decimal, localcontext

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_KEY = ("account", "base", "symbol", "grant", "side")
_DIGITS = 60


def upgrade() -> None:
    """Add the sums, and one spelling of "nothing of it is open"; sums of an older try are made anew."""
    if sa.inspect(op.get_bind()).has_table("fill_sums"):
        op.drop_table("fill_sums")
    sums = op.create_table(
        "fill_sums",
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("base", sa.String(length=20), nullable=False),
        sa.Column("symbol", sa.String(length=40), nullable=False),
        sa.Column("grant", sa.String(length=32), nullable=False),
        sa.Column("side", sa.String(length=8), nullable=False),
        sa.Column("executed", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(*_KEY, name=op.f("pk_fill_sums")),
    )
    op.drop_index("ix_fills_account_base", table_name="fills")
    _add_up(op.get_bind(), sums)
    op.create_index("ix_fills_account_base", "fills", ["account", "base", "open"], unique=False)


def _add_up(connection: sa.Connection, sums: sa.Table) -> None:
    names = (*_KEY, "executed", "open")
    fills = sa.table("fills", *map(sa.column, names))
    found: dict[tuple[str, ...], Decimal] = {}
    closed = set()
    with localcontext(prec=_DIGITS):
        for row in connection.execute(sa.select(fills), execution_options={"yield_per": 1000}):
            key = tuple(row[:5])
            found[key] = found.get(key, Decimal(0)) + Decimal(row.executed)
            if not Decimal(row.open):
                closed.add(row.open)
        rows = [
            {**dict(zip(_KEY, key, strict=True)), "executed": format(executed, "f")}
            for key, executed in found.items()
        ]
    if closed:
        connection.execute(fills.update().where(fills.c.open.in_(sorted(closed))).values(open="0"))
    if rows:
        connection.execute(sums.insert(), rows)


def downgrade() -> None:
    """Take the sums away: they are in the rows themselves."""
    op.drop_table("fill_sums")
    op.drop_index("ix_fills_account_base", table_name="fills")
    op.create_index("ix_fills_account_base", "fills", ["account", "base"], unique=False)
