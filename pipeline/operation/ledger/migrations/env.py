"""Run by Alembic: migrates over the connection that `database.py` opened, within its transaction."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    version_table=context.config.attributes["version_table"],
    transactional_ddl=True,  # SQLite's too: the connection begins its transactions itself
)
with context.begin_transaction():
    context.run_migrations()
