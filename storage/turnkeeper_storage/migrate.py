"""Migrations, and whether the database fits this code. The version table is our own, beside a user's."""

from __future__ import annotations

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.schema import CreateSchema

from turnkeeper_storage.database import Database
from turnkeeper_storage.engine import is_unavailable, make_engine
from turnkeeper_storage.errors import DatabaseUnavailable, SchemaMismatch
from turnkeeper_storage.tables import metadata

VERSION_TABLE = "turnkeeper_alembic_version"
HEAD = "0001"


def upgrade(url: str, *, schema: str | None = None, revision: str = "head") -> None:
    """Bring the database to `revision`; for use outside of a running loop. Safe to repeat.

    Raises DatabaseUnavailable, and SchemaMismatch when the database is further than this code.
    """
    asyncio.run(upgrade_async(url, schema=schema, revision=revision))


async def upgrade_async(url: str, *, schema: str | None = None, revision: str = "head") -> None:
    """The same, within a loop."""
    engine = make_engine(url)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_upgrade, schema, revision)
            await connection.commit()
    except Exception as error:
        if is_unavailable(error):
            raise DatabaseUnavailable(
                f"the database did not answer ({type(error).__name__}); check TURNKEEPER_DATABASE_URL"
            ) from error
        raise
    finally:
        await engine.dispose()


async def check_schema(database: Database) -> None:
    """Raise SchemaMismatch unless the database is at the revision of this code."""
    found = await current_revision(database)
    _refuse(found)


async def current_revision(database: Database) -> str | None:
    """The revision that the database is at, None when it has none of our tables."""
    async with database.engine.connect() as connection:
        reading = await connection.execution_options(turnkeeper_reads=True)
        return await reading.run_sync(_current, database.schema)


async def ensure_tables(database: Database) -> None:
    """Make the tables where there are none, as the migrations would; else check their revision."""
    async with database.engine.connect() as connection, connection.begin():
        await connection.run_sync(_ensure, database.schema)


def _refuse(found: str | None) -> None:
    if found is None:
        raise SchemaMismatch(None, HEAD, "run `turnkeeper migrate`")
    if found == HEAD:
        return
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found in known:
        raise SchemaMismatch(found, HEAD, "run `turnkeeper migrate`")
    raise SchemaMismatch(found, HEAD, "it was migrated by a newer Turnkeeper: deploy that version here")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def _upgrade(connection: Connection, schema: str | None, revision: str) -> None:
    if schema and connection.dialect.name == "postgresql":
        connection.execute(CreateSchema(schema, if_not_exists=True))
    if connection.dialect.name == "postgresql":
        # two deploys that migrate at once take turns
        connection.execute(text("SELECT pg_advisory_xact_lock(7461235901)"))
        connection.execute(text("SET LOCAL lock_timeout = '30s'"))
    found = _current(connection, schema)
    if found is not None:
        known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
        if found not in known:
            _refuse(found)
    config = _config()
    config.attributes["connection"] = connection
    config.attributes["schema"] = schema
    command.upgrade(config, revision)


def _current(connection: Connection, schema: str | None) -> str | None:
    where = schema if connection.dialect.name == "postgresql" else None
    if not inspect(connection).has_table(VERSION_TABLE, schema=where):
        return None
    name = f'"{where}".{VERSION_TABLE}' if where else VERSION_TABLE
    found: str | None = connection.execute(text(f"SELECT version_num FROM {name}")).scalar_one_or_none()  # noqa: S608
    return found


def _ensure(connection: Connection, schema: str | None) -> None:
    if _current(connection, schema) is None:
        _upgrade(connection, schema, "head")
    _refuse(_current(connection, schema))


__all__ = [
    "HEAD",
    "VERSION_TABLE",
    "check_schema",
    "current_revision",
    "ensure_tables",
    "metadata",
    "upgrade",
    "upgrade_async",
]
