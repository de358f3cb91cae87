"""Alembic's entry for the log store: as that of `migrations`, with a version table of its own."""

from alembic import context

from broker.db.log_tables import LOG

context.configure(
    connection=context.config.attributes["connection"], target_metadata=LOG, render_as_batch=True,
    version_table=context.config.attributes["version_table"],
)  # fmt: skip
with context.begin_transaction():
    context.run_migrations()
