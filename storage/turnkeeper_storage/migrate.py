"""Migrations, and whether the database fits this code. The version table is our own, beside a user's.

Code works on a database that is further than itself as long as what came since only adds to it: the database
says in `turnkeeper_compatibility` which code is too old for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, column, inspect, select, table, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import CreateSchema

from turnkeeper_storage.database import Database
from turnkeeper_storage.engine import async_url, make_migration_engine
from turnkeeper_storage.errors import ConfigurationError, DatabaseUnavailable, SchemaMismatch
from turnkeeper_storage.faults import explained, is_transient
from turnkeeper_storage.roles import grants
from turnkeeper_storage.tables import REVISION, compatibility, metadata

VERSION_TABLE = "turnkeeper_alembic_version"
HEAD = REVISION
# two that migrate at once take turns; the second one has little to do after the first
TURN_SECONDS = 900.0
# a step that does not get its lock gives way to those who wait behind it, and tries again
STEP_ATTEMPTS = 60
PAUSE_SECONDS = 0.5
# undefined_object
NO_ROLE = "42704"
_TURN_KEY = 7461235901
_TURNS: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a database is. `oldest_code`: of what revision code must be to use it, if that is asked for."""

    revision: str | None
    oldest_code: str | None = None

    @property
    def fits(self) -> bool:
        """Whether this code may use it: at the same revision, or further with nothing taken away."""
        return self.revision == HEAD or (
            self.is_newer and self.oldest_code is not None and self.oldest_code <= HEAD
        )

    @property
    def is_newer(self) -> bool:
        """Whether it was migrated by code that is newer than this."""
        return self.revision not in (None, HEAD) and self.revision not in _known()


def upgrade(url: str, *, schema: str | None = None, revision: str = "head") -> None:
    """Bring the database to `revision`; for use outside of a running loop. Safe to repeat, also while in use.

    A database that is further than this code, and fits it, is left as it is. Raises DatabaseUnavailable, and
    SchemaMismatch when the database is further and does not fit.
    """
    asyncio.run(upgrade_async(url, schema=schema, revision=revision))


async def upgrade_async(url: str, *, schema: str | None = None, revision: str = "head") -> None:
    """The same, within a loop."""
    database = Database(url, schema=schema)
    try:
        async with _alone():
            standing = await read_standing(database)  # and whether it can be reached at all
            if standing.is_newer:
                _refuse(standing)
            elif database.dialect == "postgresql":
                await _upgrade_in_use(url, database.schema, revision)
            else:
                await database.run_sync(lambda connection: _upgrade(connection, None, revision))
    finally:
        await database.aclose()


def grant(url: str, prefix: str, *, schema: str | None = None) -> None:
    """Give the roles of `turnkeeper roles` their rights, and take away what is more.

    For the owner of the tables, on PostgreSQL, after each migration; outside of a running loop. Raises
    ConfigurationError, DatabaseUnavailable.
    """
    asyncio.run(_grant(url, prefix, schema))


async def check_schema(database: Database) -> None:
    """Raise SchemaMismatch unless this code may use the database as it is."""
    _refuse(await read_standing(database))


async def read_standing(database: Database) -> Standing:
    """Where the database is."""
    return await database.run_sync(lambda connection: _standing(connection, database.schema), writes=False)


async def current_revision(database: Database) -> str | None:
    """The revision that the database is at, None when it has none of our tables."""
    return (await read_standing(database)).revision


async def ensure_tables(database: Database) -> None:
    """Make the tables where there are none, as the migrations would; else check their revision."""

    async def attempt() -> bool:
        return await database.run_sync(lambda connection: _ensure(connection, database.schema))

    async with _alone():
        await _in_turn(attempt)
        await check_schema(database)


@contextlib.asynccontextmanager
async def _alone() -> AsyncIterator[None]:
    # Alembic keeps what it works on in globals: two migrations in one loop would mix, even of two databases.
    async with _TURNS.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        yield


async def _grant(url: str, prefix: str, schema: str | None) -> None:
    if async_url(url).get_backend_name() != "postgresql":
        raise ConfigurationError("roles are PostgreSQL's, and TURNKEEPER_DATABASE_URL names another database")
    engine = make_migration_engine(url)
    try:
        async with engine.connect() as connection:
            await _take_turn(connection)  # PostgreSQL refuses two that change the rights of a table at once
            # in one transaction: no process finds itself without a right that it had and keeps
            for statement in grants(prefix, schema or "public"):
                await connection.execute(text(statement))
            await connection.commit()
    except (SQLAlchemyError, OSError) as error:
        if getattr(getattr(error, "orig", None), "sqlstate", None) == NO_ROLE:
            raise ConfigurationError(
                f"the roles {prefix}_worker, {prefix}_web and {prefix}_operator are not all there; "
                "make them with what `turnkeeper roles` prints"
            ) from None
        raise explained(error) or error from error
    finally:
        await engine.dispose()


def _refuse(standing: Standing) -> None:
    if standing.fits:
        return
    if standing.is_newer:
        remedy = "it was migrated by a newer Turnkeeper: deploy that version here"
        raise SchemaMismatch(standing.revision, HEAD, remedy)
    raise SchemaMismatch(standing.revision, HEAD, "run `turnkeeper migrate`")


def _known() -> frozenset[str]:
    from turnkeeper_storage.revisions import known_revisions

    return known_revisions()


async def _in_turn(attempt: Callable[[], Awaitable[bool]]) -> None:
    """Try until it is our turn. Nobody waits within a statement: an index would wait for that in its turn."""
    limit = time.monotonic() + TURN_SECONDS
    while not await attempt():
        if time.monotonic() > limit:
            raise DatabaseUnavailable(f"another process migrates the database since {TURN_SECONDS:g} s")
        await asyncio.sleep(PAUSE_SECONDS / 5)


async def _take_turn(connection: AsyncConnection) -> None:
    """Wait for our turn, which lasts as long as the connection."""

    async def attempt() -> bool:
        taken = await connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _TURN_KEY})
        is_ours = bool(taken.scalar_one())
        await connection.commit()
        return is_ours

    await _in_turn(attempt)


async def _upgrade_in_use(url: str, schema: str | None, revision: str) -> None:
    engine = make_migration_engine(url)
    try:
        async with engine.connect() as connection:
            await _take_turn(connection)
            await _in_steps(connection, schema, revision)
    finally:
        await engine.dispose()


async def _in_steps(connection: AsyncConnection, schema: str | None, revision: str) -> None:
    for attempt in range(1, STEP_ATTEMPTS + 1):
        try:
            await connection.run_sync(_upgrade_online, schema, revision)
            return
        except (SQLAlchemyError, OSError) as error:
            if attempt == STEP_ATTEMPTS or connection.invalidated or not is_transient(error):
                raise explained(error) or error from error
            await connection.rollback()
        await asyncio.sleep(PAUSE_SECONDS)


def _upgrade_online(connection: Connection, schema: str | None, revision: str) -> None:
    is_new = _standing(connection, schema).revision is None
    if is_new:
        _make_schema(connection, schema)
    if not is_new:
        connection.rollback()
    _upgrade_to(connection, schema, revision, online=not is_new)
    connection.commit()


def _upgrade(connection: Connection, schema: str | None, revision: str) -> None:
    _make_schema(connection, schema)
    _upgrade_to(connection, schema, revision)


def _upgrade_to(connection: Connection, schema: str | None, revision: str, *, online: bool = False) -> None:
    from turnkeeper_storage.revisions import upgrade_to

    upgrade_to(connection, schema, revision, online=online)


def _make_schema(connection: Connection, schema: str | None) -> None:
    # PostgreSQL asks for the right to make one also where it is there, and an owner of tables may lack that
    if schema and not inspect(connection).has_schema(schema):
        connection.execute(CreateSchema(schema, if_not_exists=True))


def _standing(connection: Connection, schema: str | None) -> Standing:
    if not inspect(connection).has_table(VERSION_TABLE, schema=schema):
        return Standing(None)
    versions = table(VERSION_TABLE, column("version_num"), schema=schema)
    found: str | None = connection.execute(select(versions.c.version_num)).scalar_one_or_none()
    if found is None or found == HEAD or found in _known():
        return Standing(found)
    if not inspect(connection).has_table(compatibility.name, schema=schema):
        return Standing(found)
    said = table(compatibility.name, column("oldest_code"), schema=schema)
    return Standing(found, connection.execute(select(said.c.oldest_code)).scalar_one_or_none())


def _ensure(connection: Connection, schema: str | None) -> bool:
    """Make the tables if there are none; False when it is another one's turn to do that."""
    if _standing(connection, schema).revision is not None:
        return True
    if connection.dialect.name == "postgresql":
        taken = connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _TURN_KEY})
        if not taken.scalar_one():
            return False
        if _standing(connection, schema).revision is not None:  # made while it was not our turn
            return True
    _upgrade(connection, schema, "head")
    return True


__all__ = [
    "HEAD",
    "VERSION_TABLE",
    "Standing",
    "check_schema",
    "current_revision",
    "ensure_tables",
    "grant",
    "metadata",
    "read_standing",
    "upgrade",
    "upgrade_async",
]
