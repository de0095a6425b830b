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
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sqlalchemy import Connection, Executable, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from turnkeeper_storage.crash_points import reach
from turnkeeper_storage.engine import lock_limit, make_engine
from turnkeeper_storage.errors import InvalidInput, TurnkeeperError
from turnkeeper_storage.faults import explained, hide_parameters, is_transient
from turnkeeper_storage.fixed_statements import Rows
from turnkeeper_storage.joined_writes import Values
from turnkeeper_storage.model import Event
from turnkeeper_storage.unit_of_work import SynchronousExecutor, UnitOfWork, drive_in_greenlet

if TYPE_CHECKING:
    from turnkeeper_storage.direct import Direct

T = TypeVar("T")
Work = Callable[[UnitOfWork], Awaitable[T]]

ATTEMPTS = 8
BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
BEGIN_LIGHTLY = f"{BEGIN}; SET LOCAL synchronous_commit TO OFF"
# behind a pooler: with the beginning, in one round trip
LIMITS = "; SET LOCAL lock_timeout TO {0}; SET LOCAL idle_in_transaction_session_timeout TO {0}"
_SET_LIMITS = text(
    "SELECT set_config('lock_timeout', :limit, true),"
    " set_config('idle_in_transaction_session_timeout', :limit, true)"
)
log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Progress:
    """How far an attempt got: whether its commit may have been carried out."""

    is_committing: bool = False


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
        on_events: Callable[[Sequence[Event]], None] | None = None,
    ) -> None:
        """`on_events` is called on the loop with each transaction's durable events, once it is committed."""
        if (engine is None) == (url is None):
            raise ValueError("give either url or engine")
        self._owns_engine = engine is None
        made = engine if engine is not None else make_engine(url or "", pool_size, lease_seconds)
        self.dialect = made.dialect.name
        # SQLite has no schemas: the setting is for PostgreSQL
        self.schema = schema if self.dialect == "postgresql" else None
        # the pool as it was given, for migrations; ours sees the schema
        self.engine = made.execution_options(schema_translate_map={None: schema}) if self.schema else made
        self._direct = self._make_direct(made)
        self._lock_limit = lock_limit(lease_seconds)
        self._on_events = on_events
        self._tasks: set[asyncio.Task[object]] = set()
        self._writing = asyncio.Lock()

    async def transact(self, work: Work[T], name: str = "", *, is_lasting: bool = True) -> T:
        """Run `work` in one transaction and commit it; retried whole when the database says so.

        With `is_lasting` False the commit does not wait for PostgreSQL's disk: when the server itself crashes
        soon after, it may not have been, though whoever came later saw it. A later commit that lasts, lasts
        with all before it.

        `work` must be idempotent: a commit whose answer is lost is tried again. Raises DatabaseUnavailable
        when the database cannot be reached, SchemaMismatch when our tables are not there, InvalidInput for
        texts that it cannot store, and what `work` raises. `name` is of its crash points.
        """
        return await self._own(self._attempts(work, writes=True, name=name, is_lasting=is_lasting))

    async def transact_once(self, work: Work[T], name: str = "") -> T:
        """`transact` for work that is not idempotent: retried only while nothing of it can stand.

        When the answer to its commit is lost it raises DatabaseUnavailable, and whether it stands is unknown.
        """
        return await self._own(self._attempts(work, writes=True, repeatable=False, name=name))

    async def read(self, work: Work[T]) -> T:
        """Run `work` in one transaction that only reads."""
        return await self._own(self._attempts(work, writes=False))

    async def run_sync(self, work: Callable[[Connection], T], *, writes: bool = True) -> T:
        """Run a synchronous function on the connection in one transaction, for what Alembic does."""

        async def within(uow: UnitOfWork) -> T:
            return work(cast(SynchronousExecutor, uow.executor).connection)

        return await self._own(self._attempts(within, writes=writes, synchronous=True))

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

    async def _attempts(
        self,
        work: Work[T],
        *,
        writes: bool,
        repeatable: bool = True,
        synchronous: bool = False,
        name: str = "",
        is_lasting: bool = True,
    ) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            progress = _Progress()
            try:
                if self._direct is not None and not synchronous:
                    begin = (BEGIN if is_lasting else BEGIN_LIGHTLY) if writes else None
                    return await self._once_directly(self._direct, work, progress, begin=begin, name=name)
                return await self._once(work, progress, writes=writes, name=name)
            except TurnkeeperError:
                raise
            except (SQLAlchemyError, OSError, UnicodeEncodeError) as error:
                hide_parameters(error)
                may_repeat = repeatable or not progress.is_committing
                if attempt < ATTEMPTS and may_repeat and is_transient(error):
                    log.debug("transaction tried again", extra={"attempt": attempt})
                    await asyncio.sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311 - jitter, no secret
                    continue
                known = explained(error)
                if known is None:
                    raise
                # The chain is cut where the driver's text may quote a parameter.
                raise known from (None if isinstance(known, InvalidInput) else error)
        raise AssertionError("unreachable")

    async def _once(self, work: Work[T], progress: _Progress, *, writes: bool, name: str) -> T:
        async with self._turn(writes), self.engine.connect() as connection:
            result, events = await connection.run_sync(
                lambda sync: self._carry_out(sync, work, progress, writes=writes, name=name)
            )
        if events and self._on_events is not None:
            self._on_events(events)
        return result

    def _carry_out(
        self, connection: Connection, work: Work[T], progress: _Progress, *, writes: bool, name: str
    ) -> tuple[T, list[Event]]:
        """The transaction, whole in one greenlet: to enter one for each statement is dear."""
        connection.execution_options(turnkeeper_reads=not writes)
        if self.dialect == "postgresql":
            connection.execution_options(isolation_level="READ COMMITTED")
        # one of the two places that commit
        with connection.begin():
            if not self._owns_engine or self._is_pooled(connection):
                self._as_ours(connection, writes=writes)
            uow = UnitOfWork(SynchronousExecutor(connection), self.dialect)
            result = drive_in_greenlet(cast(Coroutine[Any, Any, T], work(uow)))
            drive_in_greenlet(uow.flush())
            progress.is_committing = True
            if name:
                reach(f"{name}.committing")
        if name:
            reach(f"{name}.committed")
        return result, uow.events

    def _make_direct(self, engine: AsyncEngine) -> Direct | None:
        """Our own connections to PostgreSQL, used directly; for a schema SQLAlchemy names the tables."""
        if not self._owns_engine or self.dialect != "postgresql" or self.schema:
            return None
        from turnkeeper_storage.direct import Direct  # asyncpg is there with PostgreSQL only

        return Direct(engine)

    async def _once_directly(
        self, direct: Direct, work: Work[T], progress: _Progress, *, begin: str | None, name: str
    ) -> T:
        def committing() -> None:
            progress.is_committing = True
            if name:
                reach(f"{name}.committing")

        async with direct.connected() as connection:

            async def whole(statement: Executable, values: Values) -> Rows:
                if connection.is_open or connection.is_pooled:  # where limits are set for a transaction only
                    return await connection.execute(statement, values)
                committing()  # by itself
                return await connection.execute_alone(statement, values)

            uow = UnitOfWork(connection, self.dialect, whole=whole if begin else None)
            # Reads begin nothing: at READ COMMITTED each statement sees the newest anyhow.
            if begin:
                limits = LIMITS.format(self._lock_limit) if connection.is_pooled else ""
                connection.begin(begin + limits)
            result = await work(uow)
            await uow.flush()
            if connection.is_open:
                committing()
                await connection.commit()  # the other one
            if name:
                reach(f"{name}.committed")
        if uow.events and self._on_events is not None:
            self._on_events(uow.events)
        return result

    def _is_pooled(self, connection: Connection) -> bool:
        if self.dialect != "postgresql":
            return False
        from turnkeeper_storage.pooled import is_pooled  # asyncpg is there with PostgreSQL only

        return is_pooled(connection.connection.driver_connection)

    def _as_ours(self, connection: Connection, *, writes: bool) -> None:
        """What `make_engine` sets for good, for one transaction of another engine, or behind a pooler."""
        if self.dialect == "sqlite":
            raw = connection.connection.driver_connection
            # pysqlite opens a transaction at the first write only: what was read before may be old by then
            if raw is not None and not raw.in_transaction:
                connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
        elif writes:
            connection.execute(_SET_LIMITS, {"limit": self._lock_limit})

    @contextlib.asynccontextmanager
    async def _turn(self, writes: bool) -> AsyncIterator[None]:
        if writes and self.dialect == "sqlite":
            async with self._writing:
                yield
        else:
            yield
