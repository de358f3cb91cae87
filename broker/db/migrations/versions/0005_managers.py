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
    op.add_column("accounts", sa.Column("manager", sa.String(length=64), nullable=True))
    op.add_column("accounts", sa.Column("subaccount", sa.String(length=255), nullable=True))


def downgrade() -> None:
    """Remove them."""
    op.drop_column("accounts", "subaccount")
    op.drop_column("accounts", "manager")
    op.drop_table("managers")
