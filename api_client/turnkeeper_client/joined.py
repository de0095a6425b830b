"""Enqueue inside the caller's own transaction: same database, the caller's connection and commit.

The wake-up must not go out before the commit, and never after a rollback. SQLAlchemy's "commit" event fires
just before the driver commits, so what listens there gets the runs in time to watch for them, not to ring.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Executable, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from turnkeeper_storage.errors import InvalidInput
from turnkeeper_storage.faults import hide_parameters
from turnkeeper_storage.fixed_statements import Rows
from turnkeeper_storage.unit_of_work import Executor, SynchronousExecutor, UnitOfWork
from turnkeeper_storage.verbs.enqueue import Enqueued

DIALECTS = ("postgresql", "sqlite")
Committing: TypeAlias = Callable[[Enqueued], None]


class CallersExecutor:
    """The caller's connection for our statements: they find our tables in `schema`, it stays as it is."""

    def __init__(self, inner: Executor, schema: str | None) -> None:
        self._inner = inner
        self._options = {"schema_translate_map": {None: schema}} if schema else {}

    async def execute(self, statement: Executable, parameters: Any = None, /) -> Rows:
        try:
            return await self._inner.execute(statement.execution_options(**self._options), parameters)
        except SQLAlchemyError as error:
            hide_parameters(error)
            raise


def join(connection: Connection, schema: str | None) -> UnitOfWork:
    """The caller's synchronous transaction as a unit of work. Raises InvalidInput for what it cannot be."""
    if not isinstance(connection, Connection):
        raise _wrong(connection, "give a Connection of SQLAlchemy; AsyncClient takes an AsyncConnection")
    return _unit(SynchronousExecutor(connection), connection, schema)


def join_async(connection: AsyncConnection, schema: str | None) -> UnitOfWork:
    """The caller's asynchronous transaction as a unit of work. Raises InvalidInput for what it cannot be."""
    if not isinstance(connection, AsyncConnection):
        raise _wrong(connection, "give an AsyncConnection of SQLAlchemy; Client takes a Connection")
    return _unit(connection, plain(connection), schema)


def plain(connection: AsyncConnection) -> Connection:
    """The synchronous connection inside, which is where events happen."""
    inner = connection.sync_connection
    if inner is None:
        raise InvalidInput("connection", "is not open", "use it within `async with engine.begin()`")
    return inner


def _unit(executor: Executor, connection: Connection, schema: str | None) -> UnitOfWork:
    dialect = connection.dialect.name
    if dialect not in DIALECTS:
        raise InvalidInput("connection", f"is of {dialect}", "use one of PostgreSQL or SQLite")
    if connection.closed:
        raise InvalidInput("connection", "is closed", "use it within `with engine.begin()`")
    if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
        raise InvalidInput("connection", "has isolation level AUTOCOMMIT", "use one with transactions")
    # SQLite has no schemas: the setting is for PostgreSQL
    return UnitOfWork(CallersExecutor(executor, schema if dialect == "postgresql" else None), dialect)


def _wrong(connection: object, remedy: str) -> InvalidInput:
    return InvalidInput("connection", f"is {type(connection).__name__}", remedy)


class CommitWatch:
    """Hands runs over when the transaction that they were enqueued in is about to commit.

    One set of listeners per connection, for as long as the connection lives: a listener that is removed
    while its event is told would break the telling.
    """

    def __init__(self) -> None:
        self._waiting: WeakKeyDictionary[Connection, list[tuple[Enqueued, Committing]]] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def add(self, connection: Connection, accepted: Enqueued, committing: Committing) -> None:
        """Call `committing` once `connection` commits; forget it when it rolls back."""
        with self._lock:
            is_new = connection not in self._waiting
            self._waiting.setdefault(connection, []).append((accepted, committing))
        if is_new:
            event.listen(connection, "commit", self._on_commit)
            event.listen(connection, "commit_twophase", self._on_commit_twophase)
            event.listen(connection, "rollback", self._on_rollback)
            event.listen(connection, "rollback_twophase", self._on_rollback_twophase)

    def _on_commit(self, connection: Connection) -> None:
        for accepted, committing in self._take(connection):
            committing(accepted)

    def _on_commit_twophase(self, connection: Connection, xid: object, is_prepared: bool) -> None:
        self._on_commit(connection)

    def _on_rollback(self, connection: Connection) -> None:
        self._take(connection)

    def _on_rollback_twophase(self, connection: Connection, xid: object, is_prepared: bool) -> None:
        self._take(connection)

    def _take(self, connection: Connection) -> list[tuple[Enqueued, Committing]]:
        with self._lock:
            waiting = self._waiting.get(connection, [])
            if waiting:
                self._waiting[connection] = []
            return waiting
