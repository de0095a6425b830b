"""Alembic's environment: runs on the connection that `turnkeeper_storage.migrate` hands over."""

from __future__ import annotations

from alembic import context
from sqlalchemy import text

from turnkeeper_storage.tables import metadata

VERSION_TABLE = "turnkeeper_alembic_version"

config = context.config
connection = config.attributes["connection"]
schema = config.attributes.get("schema")
if schema and connection.dialect.name == "postgresql":
    connection = connection.execution_options(schema_translate_map={None: schema})
    # Alembic's ALTER statements are not translated; until the end of the transaction, names mean ours
    quoted = connection.dialect.identifier_preparer.quote_schema(schema)
    connection.execute(text(f"SET LOCAL search_path TO {quoted}"))

context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    version_table_schema=schema if connection.dialect.name == "postgresql" else None,
    transactional_ddl=True,
)
context.run_migrations()
