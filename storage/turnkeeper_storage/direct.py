"""PostgreSQL without SQLAlchemy's execution: its pool and its statements, on asyncpg's own connection.

A statement through SQLAlchemy takes about twice the CPU time that asyncpg needs for it, and much of the time
of a worker is that. Transactions are begun and ended here; the connections themselves commit each statement,
so what is no fixed statement goes through SQLAlchemy on the same connection, in the same transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, TypeVar, cast

import asyncpg
from sqlalchemy import Connection, Executable
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import PoolProxiedConnection
from sqlalchemy.util import greenlet_spawn

from turnkeeper_storage.fixed_statements import FixedStatements, Rows, no_rows
from turnkeeper_storage.pooled import is_pooled

T = TypeVar("T")
Parameters: TypeAlias = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
# what the driver raises, beside OSError; the last one also when the server ended the conversation meanwhile
_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
# the names of its statements are gone: a pooler was told to keep none any more
_SPOILING = (asyncpg.InternalClientError, asyncpg.InvalidSQLStatementNameError)


class DirectConnection:
    """One connection of the pool. `execute` is what a unit of work needs of it."""

    def __init__(
        self, engine: AsyncEngine, pooled: PoolProxiedConnection, statements: FixedStatements
    ) -> None:
        self._engine = engine.sync_engine
        self._pooled = pooled
        self._statements = statements
        self._driver: Any = pooled.driver_connection  # asyncpg's, which has no types
        self._through: Connection | None = None
        self._begin = ""
        self._is_open = self._is_broken = False

    @property
    def is_closed(self) -> bool:
        """Whether the server, or the way to it, is gone."""
        return bool(self._driver.is_closed())

    @property
    def is_pooled(self) -> bool:
        """Whether a pooler is between, so that nothing is set for longer than a transaction."""
        return is_pooled(self._driver)

    def begin(self, begin: str) -> None:
        """Begin a transaction, with this SQL, at the next statement; until then each statement is one."""
        self._begin = begin

    @property
    def is_open(self) -> bool:
        """Whether a statement of the transaction was executed, which is to be committed then."""
        return self._is_open

    async def commit(self) -> None:
        """Commit the transaction."""
        await self._ask(self._driver.execute, "COMMIT")
        self._begin, self._is_open = "", False

    async def execute(self, statement: Executable, parameters: Parameters = None, /) -> Rows:
        """Execute a statement, once or for each of several rows. Raises SQLAlchemy's errors, and OSError."""
        if self._begin and not self._is_open:
            self._is_open = True
            await self._ask(self._driver.execute, self._begin)
        return await self.execute_alone(statement, parameters)

    async def execute_alone(self, statement: Executable, parameters: Parameters = None, /) -> Rows:
        """`execute` without a beginning: outside of a transaction the statement is one."""
        fixed = self._statements.find(statement)
        if fixed is None:
            if self._through is None:
                self._through = Connection(self._engine, cast(Any, self._pooled))
            return cast(Rows, await self._ask(greenlet_spawn, self._through.execute, statement, parameters))
        if parameters is None or isinstance(parameters, Mapping):
            records = await self._ask(self._driver.fetch, fixed.sql, *fixed.arguments(parameters or {}))
            return fixed.result(records)
        await self._ask(self._driver.executemany, fixed.sql, [fixed.arguments(row) for row in parameters])
        return no_rows()

    async def give_back(self) -> None:
        """To the pool, with nothing left open; not to it when that cannot be had."""
        try:
            if self._is_open and not self._is_broken and not self.is_closed:
                await self._driver.execute("ROLLBACK")
            self._is_open = False
        except (*_ERRORS, OSError):
            pass
        finally:
            if not self._pooled.is_valid:
                pass  # SQLAlchemy saw it break
            elif self._is_open or self._is_broken or self.is_closed:
                self._pooled.invalidate()
            else:
                self._pooled.close()

    async def _ask(self, ask: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        try:
            return await ask(*arguments)
        except _ERRORS as error:
            self._is_broken = self.is_closed or isinstance(error, _SPOILING)
            raise DBAPIError(
                None, None, error, hide_parameters=True, connection_invalidated=self._is_broken
            ) from error
        except (asyncio.CancelledError, OSError):
            self._is_broken = True  # whatever it is in the middle of
            raise


class Direct:
    """The connections of an engine of ours, whose isolation level is AUTOCOMMIT."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._statements = FixedStatements(engine.dialect)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[DirectConnection]:
        """A connection that is there, for as long as it is needed. What it has not committed is undone."""
        connection = await self._connect()
        try:
            yield connection
        finally:
            await connection.give_back()

    async def _connect(self) -> DirectConnection:
        while True:
            pooled = await self._take()
            connection = DirectConnection(self._engine, pooled, self._statements)
            if not connection.is_closed:
                return connection
            pooled.invalidate()  # one that broke in the pool; at last one is made anew

    async def _take(self) -> PoolProxiedConnection:
        dialect = self._engine.dialect
        try:
            return await self._engine.raw_connection()
        except cast(type[Exception], dialect.loaded_dbapi.Error) as error:
            raise DBAPIError(None, None, error, hide_parameters=True) from error
