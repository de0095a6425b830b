"""Engines as our rules need them (PROTOCOL 1 and 2.10)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, ExceptionContext, event
from sqlalchemy.engine import make_url
from sqlalchemy.engine.url import URL
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from turnkeeper_storage.errors import ConfigurationError
from turnkeeper_storage.faults import UNAVAILABLE_CLASSES, is_transient, is_unavailable
from turnkeeper_storage.tls import database_tls

__all__ = [
    "UNAVAILABLE_CLASSES",
    "async_url",
    "is_transient",
    "is_unavailable",
    "lock_limit",
    "make_engine",
    "make_lock_engine",
    "make_migration_engine",
    "stillness_limit",
]

BUSY_SECONDS = 30.0
CONNECT_SECONDS = 10.0
# invalid_sql_statement_name
NO_SUCH_NAME = "26000"
MIGRATION_LOCK_TIMEOUT = "1000"
# by which the connections of pools are known to each other
APPLICATION_NAME = "turnkeeper"
DRIVERS = {"postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg", "sqlite": "sqlite+aiosqlite"}


def async_url(url: str) -> URL:
    """The URL with our asynchronous driver in it; raises ConfigurationError for what we do not speak."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigurationError(
            "TURNKEEPER_DATABASE_URL is no database URL; use postgresql://user@host/name or sqlite:///file.db"
        ) from None
    backend = parsed.get_backend_name()
    if backend not in DRIVERS:
        raise ConfigurationError(
            f"TURNKEEPER_DATABASE_URL names the database {backend!r}; use postgresql://… or sqlite:///…"
        )
    if backend == "sqlite" and _is_in_memory(parsed):
        raise ConfigurationError(
            "TURNKEEPER_DATABASE_URL names a SQLite database in memory, which nobody else can see; "
            "use a file: sqlite:///turnkeeper.db"
        )
    if backend == "sqlite" and not _folder(parsed).is_dir():
        raise ConfigurationError(
            f"the folder {_folder(parsed)} of TURNKEEPER_DATABASE_URL is not there; make it, or name another"
        )
    return parsed.set(drivername=DRIVERS[backend])


def _folder(url: URL) -> Path:
    return Path((url.database or "").removeprefix("file:")).parent


def _is_in_memory(url: URL) -> bool:
    name = url.database or ":memory:"
    return ":memory:" in name or "mode=memory" in name or url.query.get("mode") == "memory"


def make_engine(url: str, pool_size: int = 10, lease_seconds: float = 30.0) -> AsyncEngine:
    """An engine for one event loop.

    PostgreSQL: READ COMMITTED, and no transaction may hold a lock or sit idle for a third of a lease
    (PROTOCOL 2.10); behind a pooler each transaction says that itself. SQLite: WAL, busy time-out,
    transactions that write begin IMMEDIATE.
    """
    parsed = async_url(url)
    try:
        if parsed.get_backend_name() == "sqlite":
            engine = create_async_engine(
                parsed, pool_size=pool_size, max_overflow=0, pool_timeout=60, hide_parameters=True
            )
            prepare_sqlite(engine)
            return engine
        limit = lock_limit(lease_seconds)
        parsed, tls = database_tls(parsed)
        engine = create_async_engine(
            parsed,
            hide_parameters=True,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=60,
            # the last one used has what it needs at hand, here and in the server
            pool_use_lifo=True,
            # we begin and commit ourselves; a single statement needs neither
            isolation_level="AUTOCOMMIT",
            connect_args={
                **tls,
                **_connector(),
                "timeout": CONNECT_SECONDS,
                "command_timeout": max(10.0, lease_seconds),
                "server_settings": {
                    "lock_timeout": limit,
                    "idle_in_transaction_session_timeout": limit,
                    "application_name": APPLICATION_NAME,
                },
            },
        )
        event.listen(engine.sync_engine, "handle_error", _renew_names)
        return engine
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{error.name} is not installed; install turnkeeper[postgres] for a postgresql:// database"
        ) from None


def make_lock_engine(url: str, lease_seconds: float = 30.0) -> AsyncEngine:
    """An engine for the connection that holds an owner's lock: PostgreSQL only, no pool, no transactions.

    The server notices within seconds when the machine at the other end is gone. Raises PoolerBetween at the
    first use where a pooler is.
    """
    parsed, tls = database_tls(async_url(url))
    return create_async_engine(
        parsed,
        hide_parameters=True,
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={
            **tls,
            **_connector(needs_backend=True),
            "timeout": CONNECT_SECONDS,
            "command_timeout": max(10.0, lease_seconds),
            "server_settings": {
                "lock_timeout": "0",
                "application_name": "turnkeeper owner",
                "tcp_keepalives_idle": "4",
                "tcp_keepalives_interval": "2",
                "tcp_keepalives_count": "3",
            },
        },
    )


def make_migration_engine(url: str) -> AsyncEngine:
    """An engine for migrations of a PostgreSQL database in use: long statements, short waits.

    Whoever waits for the lock of a table holds up all that come after it: so a migration gives up soon, and
    tries again. Raises PoolerBetween at the first use where a pooler is.
    """
    parsed, tls = database_tls(async_url(url))
    return create_async_engine(
        parsed,
        hide_parameters=True,
        poolclass=NullPool,
        isolation_level="READ COMMITTED",
        connect_args={
            **tls,
            **_connector(needs_backend=True),
            "timeout": CONNECT_SECONDS,
            "server_settings": {
                "lock_timeout": MIGRATION_LOCK_TIMEOUT,
                "application_name": "turnkeeper migrate",
            },
        },
    )


def _renew_names(context: ExceptionContext) -> None:
    """Connect anew where the names of statements are gone: a pooler was told to keep none any more."""
    if getattr(context.original_exception, "sqlstate", None) == NO_SUCH_NAME:
        context.is_disconnect = True


def _connector(*, needs_backend: bool = False) -> dict[str, object]:
    from turnkeeper_storage.pooled import Connector  # asyncpg is there with PostgreSQL only

    return {"async_creator_fn": Connector(needs_backend=needs_backend)}


def lock_limit(lease_seconds: float) -> str:
    """`stillness_limit` in milliseconds, as PostgreSQL's settings have it."""
    return str(int(stillness_limit(lease_seconds) * 1000))


def stillness_limit(lease_seconds: float) -> float:
    """How long a transaction may wait for a lock, or for its client, in seconds: below a third of a lease."""
    return max(0.1, lease_seconds / 4)


def prepare_sqlite(engine: AsyncEngine) -> None:
    """WAL, a busy time-out, and BEGIN IMMEDIATE for what writes: pysqlite alone opens none for a SELECT."""

    @event.listens_for(engine.sync_engine, "connect")
    def _connect(connection: Any, record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get("turnkeeper_reads")
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
