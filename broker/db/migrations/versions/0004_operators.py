"""Operators with a password and one-time codes, their sessions, and acts that need a second step."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns and tables."""
    with op.batch_alter_table("operators") as table:
        table.add_column(sa.Column("password", sa.Text(), nullable=True))
        table.add_column(sa.Column("totp_path", sa.Text(), nullable=True))
        table.add_column(sa.Column("totp_since_us", sa.BigInteger(), nullable=True))
        table.add_column(sa.Column("totp_last", sa.BigInteger(), nullable=False, server_default="0"))
        table.add_column(sa.Column("failures", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("locked_until_us", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_table(
        "sessions",
        sa.Column("prefix", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("operator", sa.String(length=64), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["operator"], ["operators.name"], name=op.f("fk_sessions_operator")),
        sa.PrimaryKeyConstraint("prefix", name=op.f("pk_sessions")),
    )
    op.create_table(
        "acts",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("operator", sa.String(length=64), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("ready_us", sa.BigInteger(), nullable=True),
        sa.Column("confirmed_by", sa.String(length=64), nullable=True),
        sa.Column("ended_us", sa.BigInteger(), nullable=True),
        sa.Column("ended_how", sa.String(length=16), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_acts")),
    )
    op.create_index(op.f("ix_acts_created_us"), "acts", ["created_us"], unique=False)


def downgrade() -> None:
    """Remove them."""
    op.drop_index(op.f("ix_acts_created_us"), table_name="acts")
    op.drop_table("acts")
    op.drop_table("sessions")
    with op.batch_alter_table("operators") as table:
        for name in ("locked_until_us", "failures", "totp_last", "totp_since_us", "totp_path", "password"):
            table.drop_column(name)
