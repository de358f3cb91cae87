"""Which key version was in use when is read by an index: a cut waited for the whole audit trail to be read."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_WHERE = "action = 'key.current'"


def upgrade() -> None:
    """Add the index, of the few records that say it."""
    op.create_index(
        "ix_audit_taken_into_use", "audit", ["subject"],
        sqlite_where=sa.text(_WHERE), postgresql_where=sa.text(_WHERE),
    )  # fmt: skip


def downgrade() -> None:
    """Remove it."""
    op.drop_index("ix_audit_taken_into_use", "audit")
