"""Claims of asks, acts, pauses, operators and sessions name the base that they are counted on."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_COLUMNS = {
    "rotation_asks": ("claimed_base", "claimed_skew_us"),
    "reports": ("base", "skew_us"),
    "operators": ("base", "skew_us"),
    "sessions": ("base", "skew_us"),
    "acts": ("sightings",),
}


def upgrade() -> None:
    """Add the columns; what was written before has no base, and is counted anew from when it is seen."""
    for table, names in _COLUMNS.items():
        for name in names:
            op.add_column(table, _column(name))


def _column(name: str) -> "sa.Column[object]":
    if name == "sightings":
        return sa.Column(name, sa.Text(), nullable=False, server_default="")
    if name.endswith("base"):
        return sa.Column(name, sa.String(length=64), nullable=False, server_default="")
    return sa.Column(name, sa.BigInteger(), nullable=False, server_default="0")


def downgrade() -> None:
    """Remove them."""
    for table, names in _COLUMNS.items():
        for name in names:
            op.drop_column(table, name)
