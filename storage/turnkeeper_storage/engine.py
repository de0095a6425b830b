"""Engines as our rules need them, and what the errors of their drivers mean."""

from __future__ import annotations

import sqlite3
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.engine import make_url
from sqlalchemy.engine.url import URL
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from turnkeeper_storage.errors import ConfigurationError

BUSY_SECONDS = 30.0
CONNECT_SECONDS = 10.0
DRIVERS = {"postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg", "sqlite": "sqlite+aiosqlite"}
# serialization_failure, deadlock_detected, lock_not_available; feature_not_supported: a plan cached before a
# migration (asyncpg's InvalidCachedStatementError)
TRANSIENT_STATES = frozenset({"40001", "40P01", "55P03", "0A000"})
# connection exceptions, operator intervention, too many connections
UNAVAILABLE_CLASSES = ("08", "57P", "53300")


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
    return parsed.set(drivername=DRIVERS[backend])


def make_engine(url: str, pool_size: int = 10, lease_seconds: float = 30.0) -> AsyncEngine:
    """An engine for one event loop.

    PostgreSQL: READ COMMITTED, and no transaction may hold a lock or sit idle for a third of a lease
    (PROTOCOL 2.10). SQLite: WAL, busy time-out, transactions that write begin IMMEDIATE.
    """
    parsed = async_url(url)
    try:
        if parsed.get_backend_name() == "sqlite":
            engine = create_async_engine(parsed, pool_size=pool_size, max_overflow=0)
            prepare_sqlite(engine)
            return engine
        limit = str(max(100, int(lease_seconds * 1000 / 4)))
        return create_async_engine(
            parsed,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=60,
            isolation_level="READ COMMITTED",
            connect_args={
                "timeout": CONNECT_SECONDS,
                "command_timeout": max(10.0, lease_seconds),
                "server_settings": {
                    "lock_timeout": limit,
                    "idle_in_transaction_session_timeout": limit,
                    "application_name": "turnkeeper",
                },
            },
        )
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{error.name} is not installed; install turnkeeper[postgres] for a postgresql:// database"
        ) from None


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


def is_transient(error: BaseException) -> bool:
    """Whether the same transaction may well succeed at once: conflicts, cached plans, dropped connections."""
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    if isinstance(error.orig, sqlite3.OperationalError):
        return "locked" in str(error.orig) or "busy" in str(error.orig)
    return _state(error) in TRANSIENT_STATES


def is_unavailable(error: BaseException) -> bool:
    """Whether the database could not be reached, or ended the conversation."""
    if isinstance(error, (OSError, TimeoutError)):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    if isinstance(error.orig, sqlite3.OperationalError):
        return any(part in str(error.orig) for part in ("locked", "unable to open", "disk"))
    return _state(error).startswith(UNAVAILABLE_CLASSES)


def _state(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None) or "")
