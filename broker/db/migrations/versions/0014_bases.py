"""Spans of time that guard a key name the base they are counted on."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_COLUMNS = {
    "lease_holds": ("base", "skew_us", "length_us"),
    "rotations": ("claimed_base", "claimed_skew_us"),
    "checkouts": ("base", "skew_us"),
}


def upgrade() -> None:
    """Add the columns; what was written before has no base, and is counted anew from when it is seen."""
    for table, names in _COLUMNS.items():
        for name in names:
            is_name = name.endswith("base")
            kind = sa.String(length=64) if is_name else sa.BigInteger()
            usual = "" if is_name else "0"
            op.add_column(table, sa.Column(name, kind, nullable=False, server_default=usual))


def downgrade() -> None:
    """Remove them."""
    for table, names in _COLUMNS.items():
        for name in names:
            op.drop_column(table, name)
