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
from sqlalchemy.ext.asyncio import AsyncConnection

from turnkeeper_storage.errors import InvalidInput
from turnkeeper_storage.unit_of_work import Executor, Rows, SynchronousExecutor, UnitOfWork
from turnkeeper_storage.verbs.enqueue import Enqueued

DIALECTS = ("postgresql", "sqlite")
AfterCommit: TypeAlias = Callable[[list[Enqueued]], None]


class TranslatingExecutor:
    """An executor whose statements find our tables in `schema`; the caller's connection stays as it is."""

    def __init__(self, inner: Executor, schema: str) -> None:
        self._inner = inner
        self._map = {None: schema}

    async def execute(self, statement: Executable, parameters: Any = None, /) -> Rows:
        translated = statement.execution_options(schema_translate_map=self._map)
        return await self._inner.execute(translated, parameters)


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
    return UnitOfWork(TranslatingExecutor(executor, schema) if schema else executor, dialect)


def _wrong(connection: object, remedy: str) -> InvalidInput:
    return InvalidInput("connection", f"is {type(connection).__name__}", remedy)


class CommitWatch:
    """Hands runs over when the transaction that they were enqueued in is about to commit.

    One set of listeners per connection, for as long as the connection lives: a listener that is removed
    while its event is told would break the telling.
    """

    def __init__(self, committing: AfterCommit) -> None:
        self._committing = committing
        self._waiting: WeakKeyDictionary[Connection, list[Enqueued]] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def add(self, connection: Connection, enqueued: Enqueued) -> None:
        """Hand `enqueued` over once `connection` commits; forget it when it rolls back."""
        with self._lock:
            is_new = connection not in self._waiting
            self._waiting.setdefault(connection, []).append(enqueued)
        if is_new:
            event.listen(connection, "commit", self._on_commit)
            event.listen(connection, "commit_twophase", self._on_commit_twophase)
            event.listen(connection, "rollback", self._on_rollback)
            event.listen(connection, "rollback_twophase", self._on_rollback_twophase)

    def _on_commit(self, connection: Connection) -> None:
        runs = self._take(connection)
        if runs:
            self._committing(runs)

    def _on_commit_twophase(self, connection: Connection, xid: object, is_prepared: bool) -> None:
        self._on_commit(connection)

    def _on_rollback(self, connection: Connection) -> None:
        self._take(connection)

    def _on_rollback_twophase(self, connection: Connection, xid: object, is_prepared: bool) -> None:
        self._take(connection)

    def _take(self, connection: Connection) -> list[Enqueued]:
        with self._lock:
            runs = self._waiting.get(connection, [])
            if runs:
                self._waiting[connection] = []
            return runs
