"""Manager keys, and which account is a sub-account under which."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table, and two columns."""
    op.create_table(
        "managers",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("venue", sa.String(length=32), nullable=False),
        sa.Column("environment", sa.String(length=16), nullable=False),
        sa.Column("egress", sa.String(length=64), nullable=False),
        sa.Column("upstream", sa.Text(), nullable=True),
        sa.Column("venue_key_id", sa.String(length=128), nullable=False),
        sa.Column("key_type", sa.String(length=16), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["egress"], ["egress.name"], name=op.f("fk_managers_egress")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_managers")),
    )
    with op.batch_alter_table("accounts") as table:
        table.add_column(sa.Column("manager", sa.String(length=64), nullable=True))
        table.add_column(sa.Column("subaccount", sa.String(length=255), nullable=True))
        table.create_foreign_key(op.f("fk_accounts_manager"), "managers", ["manager"], ["name"])


def downgrade() -> None:
    """Remove them."""
    with op.batch_alter_table("accounts") as table:
        table.drop_constraint(op.f("fk_accounts_manager"), type_="foreignkey")
        table.drop_column("subaccount")
        table.drop_column("manager")
    op.drop_table("managers")
