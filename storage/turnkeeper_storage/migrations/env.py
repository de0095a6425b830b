"""Alembic's environment: runs on the connection that `turnkeeper_storage.migrate` hands over."""

from __future__ import annotations

from alembic import context
from sqlalchemy import text

from turnkeeper_storage.tables import metadata

VERSION_TABLE = "turnkeeper_alembic_version"

config = context.config
connection = config.attributes["connection"]
schema = config.attributes.get("schema")
# each migration commits by itself, so that none keeps the locks of another
is_online = bool(config.attributes.get("online"))
if schema and connection.dialect.name == "postgresql":
    connection = connection.execution_options(schema_translate_map={None: schema})
    # Alembic's ALTER statements are not translated: names mean ours, until the end of the transaction, or of
    # a connection that serves nothing else
    quoted = connection.dialect.identifier_preparer.quote_schema(schema)
    connection.execute(text(f"SET {'SESSION' if is_online else 'LOCAL'} search_path TO {quoted}"))
    if is_online:
        connection.commit()

context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    version_table_schema=schema if connection.dialect.name == "postgresql" else None,
    transactional_ddl=True,
    transaction_per_migration=is_online,
)
with context.begin_transaction():
    context.run_migrations()
