"""What lives outside a gateway: destinations and their deliveries, and keys that were checked out."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "destinations",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("slot", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("secret_path", sa.Text(), nullable=True),
        sa.Column("patience_s", sa.BigInteger(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("removed_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name=op.f("fk_destinations_account")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_destinations")),
    )
    op.create_index(op.f("ix_destinations_account"), "destinations", ["account"], unique=False)
    op.create_table(
        "deliveries",
        sa.Column("rotation", sa.String(length=32), nullable=False),
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_us", sa.BigInteger(), nullable=False),
        sa.Column("delivered_us", sa.BigInteger(), nullable=True),
        sa.Column("confirmed_us", sa.BigInteger(), nullable=True),
        sa.Column("waived_by", sa.String(length=64), nullable=True),
        sa.Column("says", sa.String(length=300), nullable=False),
        sa.ForeignKeyConstraint(
            ["destination"], ["destinations.name"], name=op.f("fk_deliveries_destination")
        ),
        sa.PrimaryKeyConstraint("rotation", "destination", "version", name=op.f("pk_deliveries")),
    )
    op.create_table(
        "checkouts",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("grant", sa.String(length=32), nullable=False),
        sa.Column("account", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("operator", sa.String(length=64), nullable=False),
        sa.Column("holder", sa.String(length=120), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("opened_us", sa.BigInteger(), nullable=False),
        sa.Column("ends_us", sa.BigInteger(), nullable=False),
        sa.Column("closed_us", sa.BigInteger(), nullable=True),
        sa.Column("rotation", sa.String(length=32), nullable=True),
        sa.Column("dead_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["account"], ["accounts.name"], name=op.f("fk_checkouts_account")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkouts")),
    )
    op.create_index(op.f("ix_checkouts_account"), "checkouts", ["account"], unique=False)


def downgrade() -> None:
    """Remove them."""
    for table in ("checkouts", "deliveries", "destinations"):
        op.drop_table(table)
