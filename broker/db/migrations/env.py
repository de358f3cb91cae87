"""Alembic's entry: runs migrations on the connection that `database.py` hands over. No ini file, no URL."""

from alembic import context

from broker.db.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"], target_metadata=METADATA, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
