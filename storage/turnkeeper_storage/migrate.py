"""Migrations, and whether the database fits this code. The version table is our own, beside a user's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from weakref import WeakKeyDictionary

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, column, inspect, select, table, text
from sqlalchemy.schema import CreateSchema

from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import SchemaMismatch
from turnkeeper_storage.tables import REVISION, metadata

VERSION_TABLE = "turnkeeper_alembic_version"
HEAD = REVISION
_TURNS: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


def upgrade(url: str, *, schema: str | None = None, revision: str = "head") -> None:
    """Bring the database to `revision`; for use outside of a running loop. Safe to repeat.

    Raises DatabaseUnavailable, and SchemaMismatch when the database is further than this code.
    """
    asyncio.run(upgrade_async(url, schema=schema, revision=revision))


async def upgrade_async(url: str, *, schema: str | None = None, revision: str = "head") -> None:
    """The same, within a loop."""
    database = Database(url, schema=schema)
    try:
        async with _alone():
            await database.run_sync(lambda connection: _upgrade(connection, database.schema, revision))
    finally:
        await database.aclose()


async def check_schema(database: Database) -> None:
    """Raise SchemaMismatch unless the database is at the revision of this code."""
    _refuse(await current_revision(database))


async def current_revision(database: Database) -> str | None:
    """The revision that the database is at, None when it has none of our tables."""
    return await database.run_sync(lambda connection: _current(connection, database.schema), writes=False)


async def ensure_tables(database: Database) -> None:
    """Make the tables where there are none, as the migrations would; else check their revision."""
    async with _alone():
        await database.run_sync(lambda connection: _ensure(connection, database.schema))


@contextlib.asynccontextmanager
async def _alone() -> AsyncIterator[None]:
    # Alembic keeps what it works on in globals: two migrations in one loop would mix, even of two databases.
    async with _TURNS.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        yield


def _refuse(found: str | None) -> None:
    if found is None:
        raise SchemaMismatch(None, HEAD, "run `turnkeeper migrate`")
    if found == HEAD:
        return
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found in known:
        raise SchemaMismatch(found, HEAD, "run `turnkeeper migrate`")
    raise SchemaMismatch(found, HEAD, "it was migrated by a newer Turnkeeper: deploy that version here")


def alembic_config(connection: Connection, schema: str | None = None) -> Config:
    """What Alembic's commands need to work with our migrations on this connection."""
    config = _config()
    config.attributes["connection"] = connection
    config.attributes["schema"] = schema
    return config


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def _upgrade(connection: Connection, schema: str | None, revision: str) -> None:
    if connection.dialect.name == "postgresql":
        # two deploys that migrate at once take turns
        connection.execute(text("SET LOCAL lock_timeout = '30s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(7461235901)"))
        if schema:
            connection.execute(CreateSchema(schema, if_not_exists=True))
    found = _current(connection, schema)
    if found is not None:
        known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
        if found not in known:
            _refuse(found)
    command.upgrade(alembic_config(connection, schema), revision)


def _current(connection: Connection, schema: str | None) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE, schema=schema):
        return None
    versions = table(VERSION_TABLE, column("version_num"), schema=schema)
    found: str | None = connection.execute(select(versions.c.version_num)).scalar_one_or_none()
    return found


def _ensure(connection: Connection, schema: str | None) -> None:
    if _current(connection, schema) is None:
        _upgrade(connection, schema, "head")
    _refuse(_current(connection, schema))


__all__ = [
    "HEAD",
    "VERSION_TABLE",
    "alembic_config",
    "check_schema",
    "current_revision",
    "ensure_tables",
    "metadata",
    "upgrade",
    "upgrade_async",
]
