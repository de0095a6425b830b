"""The database: its engine, its one `commit`, and which of its errors mean 'try again'.

Every transaction runs in a task of its own that the caller's cancellation does not tear: it ends by itself
within the lock time-out, so no connection is left in the middle of a statement. Writers on SQLite take turns
within a process, because waiting in line is cheaper than SQLite's busy polling.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

from turnkeeper_storage.engine import is_transient, is_unavailable, make_engine
from turnkeeper_storage.errors import DatabaseUnavailable
from turnkeeper_storage.unit_of_work import UnitOfWork

T = TypeVar("T")
Work = Callable[[UnitOfWork], Awaitable[T]]

ATTEMPTS = 8
log = logging.getLogger(__name__)


class Database:
    """Transactions on one engine. Make it inside the loop that uses it, and `aclose` it there."""

    def __init__(
        self,
        url: str | None = None,
        *,
        engine: AsyncEngine | None = None,
        schema: str | None = None,
        pool_size: int = 10,
        lease_seconds: float = 30.0,
    ) -> None:
        if (engine is None) == (url is None):
            raise ValueError("give either url or engine")
        self._owns_engine = engine is None
        made = engine if engine is not None else make_engine(url or "", pool_size, lease_seconds)
        # the engine as it was given, for migrations; ours sees the schema
        self.engine = made.execution_options(schema_translate_map={None: schema}) if schema else made
        self.schema = schema
        self.dialect = made.dialect.name
        self._tasks: set[asyncio.Task[object]] = set()
        self._writing = asyncio.Lock()

    async def transact(self, work: Work[T]) -> T:
        """Run `work` in one transaction and commit it; retried whole when the database says so.

        `work` must be idempotent: a commit whose answer is lost is tried again. Raises DatabaseUnavailable
        when the database cannot be reached, and what `work` raises.
        """
        return await self._own(self._attempts(work, writes=True))

    async def read(self, work: Work[T]) -> T:
        """Run `work` in one transaction that only reads."""
        return await self._own(self._attempts(work, writes=False))

    async def aclose(self) -> None:
        """Let running transactions end, then close the pool (unless the engine was given)."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        if self._owns_engine:
            await self.engine.dispose()

    async def _own(self, attempts: Awaitable[T]) -> T:
        task = asyncio.ensure_future(attempts)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    def _forget(self, task: asyncio.Future[T]) -> None:
        self._tasks.discard(task)
        # an abandoned transaction has nobody left to read its error
        if not task.cancelled():
            task.exception()

    async def _attempts(self, work: Work[T], *, writes: bool) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._once(work, writes=writes)
            except (DBAPIError, OSError, TimeoutError) as error:
                if attempt < ATTEMPTS and is_transient(error):
                    log.debug("transaction tried again", extra={"attempt": attempt})
                    await asyncio.sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311 - jitter, no secret
                    continue
                if is_unavailable(error):
                    raise DatabaseUnavailable(_describe(error)) from error
                raise
        raise AssertionError("unreachable")

    async def _once(self, work: Work[T], *, writes: bool) -> T:
        async with self._turn(writes), self.engine.connect() as connection:
            await connection.execution_options(turnkeeper_reads=not writes)
            # the one place that commits
            async with connection.begin():
                return await work(UnitOfWork(connection, self.dialect))

    @contextlib.asynccontextmanager
    async def _turn(self, writes: bool) -> AsyncIterator[None]:
        if writes and self.dialect == "sqlite":
            async with self._writing:
                yield
        else:
            yield


def _describe(error: BaseException) -> str:
    # The text of a driver's error may hold parameters or a URL: its kind is enough.
    inner = error.orig if isinstance(error, (OperationalError, InterfaceError, DBAPIError)) else error
    return (
        f"the database did not answer ({type(inner).__name__}); check TURNKEEPER_DATABASE_URL and the server"
    )
