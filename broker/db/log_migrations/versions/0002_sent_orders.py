"""What was sent under a name, apart from whose order is whose: the venue's id decides that, a name only leads there."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, and move the names of orders there; what a state that was taken down left behind stays."""
    if not sa.inspect(op.get_bind()).has_table("sent_orders"):
        _make_sent_orders()
    _move_names()


def _make_sent_orders() -> None:
    op.create_table(
        "sent_orders",
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("symbol", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("boot", sa.String(length=32), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("grant", sa.String(length=32), nullable=False),
        sa.Column("sent_us", sa.BigInteger(), nullable=False),
        sa.Column("until_us", sa.BigInteger(), nullable=False),
        sa.Column("side", sa.String(length=8), nullable=False),
        sa.Column("quantity", sa.String(length=60), nullable=False),
        sa.Column("price", sa.String(length=60), nullable=False),
        sa.Column("exact", sa.Boolean(), nullable=False),
        sa.Column("known_as", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint(
            "account", "symbol", "name", "gateway", "boot", "seq", name=op.f("pk_sent_orders")
        ),
    )
    op.create_index("ix_sent_orders_ask", "sent_orders", ["boot", "seq"], unique=False)


def _move_names() -> None:
    """Move names that stand among the ids: of what was sent under them nothing more is known. None is moved twice."""
    orders = sa.table(
        "orders", *(sa.column(name) for name in ("account", "symbol", "name", "grant", "seen_us"))
    )
    sent = sa.table("sent_orders", *(sa.column(name) for name in _COLUMNS))
    named = sa.func.substr(orders.c.name, 1, 1).not_in(["#", "%"])
    here = sa.exists().where(
        *(sent.c[name] == orders.c[name] for name in ("account", "symbol", "name")),
        sent.c.boot == "",
        sent.c.seq == 0,
    )
    empty = sa.literal("")
    found = sa.select(
        orders.c.account, orders.c.symbol, orders.c.name, empty, empty, sa.literal(0), orders.c.grant,
        orders.c.seen_us, orders.c.seen_us, empty, empty, empty, sa.false(),
    ).where(named, ~here)  # fmt: skip
    op.execute(sent.insert().from_select(list(_COLUMNS), found))
    op.execute(orders.delete().where(named))


_COLUMNS = (
    "account", "symbol", "name", "gateway", "boot", "seq", "grant", "sent_us", "until_us", "side", "quantity", "price",
    "exact",
)  # fmt: skip


def downgrade() -> None:
    """Leave it: its rows belong to nobody else."""
