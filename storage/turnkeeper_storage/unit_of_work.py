"""One transaction as repositories see it.

A unit of work only executes; who opened the transaction commits it (`Database.transact`, or the caller of
`enqueue(connection=…)`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar

from sqlalchemy import Connection, Executable, Insert
from sqlalchemy.util import await_only

from turnkeeper_storage.fixed_statements import Rows
from turnkeeper_storage.joined_writes import (
    MOST,
    MOST_ROWS,
    Change,
    Row,
    Statement,
    Values,
    Write,
    guarded,
    joined,
    may_join,
    paired,
    split,
)
from turnkeeper_storage.model import Event

T = TypeVar("T")


Whole: TypeAlias = Callable[[Executable, Values], Awaitable[Rows]]


class Executor(Protocol):
    """What a repository needs of a connection: SQLAlchemy's AsyncConnection is one."""

    async def execute(self, statement: Executable, parameters: Any = None, /) -> Rows: ...


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose items are being added: `turns` are parallel to the items, 0 for the input."""

    run_id: str
    epoch: int
    turns: Sequence[int] = ()


@dataclass(slots=True)
class UnitOfWork:
    """A transaction that is open. `origin` is set while a run's items are added.

    `events` are the durable events that it wrote, to be told to readers once it is committed.
    """

    executor: Executor
    dialect: str
    origin: Origin | None = field(default=None)
    events: list[Event] = field(default_factory=list)
    # places in a history that were taken before they were needed: the session's key, the first, how many
    places: tuple[str, int, int] | None = None
    # executes a statement that is the whole transaction; None where none can be
    whole: Whole | None = None
    _waiting: list[Write] = field(default_factory=list)

    async def execute(
        self, statement: Executable, parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    ) -> Rows:
        """Execute now, after what waits."""
        await self.flush()
        return await self.executor.execute(statement, parameters)

    async def later(self, statement: Statement, *rows: Values) -> None:
        """A write, or one for each row, whose result nobody needs: it goes together with others.

        It is executed before the next `execute`, and before the commit at the latest. The statement is one of
        a module, not one made for this call. Writes that wait must not depend on each other.
        """
        if len(rows) > (MOST_ROWS if isinstance(statement, Insert) else 1):
            await self.execute(statement, rows)
            return
        if not may_join(statement, self._waiting) or len(self._waiting) + len(rows) > MOST:
            await self.flush()
        self._waiting += [Write(statement, values) for values in rows]

    async def write(self, statement: Statement, values: Values) -> Rows:
        """Execute now, together with what waits, which must not depend on it, nor it on that."""
        if self.dialect != "postgresql" or not may_join(statement, self._waiting):
            return await self.execute(statement, values)
        waiting, self._waiting = self._waiting, []
        return await self.executor.execute(*joined([*waiting, Write(statement, values)]))

    async def guarded(self, guard: Write, *updates: Write) -> list[int]:
        """Execute updates if the guard, one too, changes a row, else change nothing: the whole transaction.

        How many rows each changed, the guard first. Their statements are `counted`.
        """
        if self.dialect == "postgresql" and self.whole is not None and not self._waiting:
            return list((await self.whole(*guarded(guard, updates))).one())
        counts: list[int] = []
        for write in (guard, *updates):
            held = not counts or counts[0] > 0
            changed = (await self.execute(write.statement, write.values)).all() if held else ()
            counts.append(len(changed))
        return counts

    async def paired(self, guard: Change, change: Change) -> tuple[Row | None, Row | None]:
        """Execute an update if the guard, one too, changes a row; the rows that both return.

        On PostgreSQL it is one statement: what the second returns of other tables may be as it was before the
        guard waited for its row.
        """
        if self.dialect == "postgresql":
            rows = await self.execute(*paired(guard, change))
            return split(guard.statement, rows.one_or_none())
        held = (await self.execute(guard.statement, guard.values)).one_or_none()
        if held is None:
            return None, None
        return held, (await self.execute(change.statement, change.values)).one_or_none()

    async def flush(self) -> None:
        """Execute what waits."""
        waiting, self._waiting = self._waiting, []
        if self.dialect == "postgresql" and waiting:
            await self.executor.execute(*joined(waiting))
            return
        for write in waiting:
            await self.executor.execute(write.statement, write.values)


class SynchronousExecutor:
    """A synchronous connection behind the same method, our own in its greenlet or a caller's.

    It never suspends the coroutine that executes.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def execute(self, statement: Executable, parameters: Any = None, /) -> Rows:
        return self.connection.execute(statement, parameters)


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, on this thread and with no loop: for SynchronousExecutor."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise RuntimeError("a coroutine on a synchronous connection suspended")


def drive_in_greenlet(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a connection that belongs to this greenlet, as SQLAlchemy's `run_sync` makes one.

    Where it suspends for something else than the connection, the greenlet waits with it.
    """
    resume = partial(coroutine.send, None)
    while True:
        try:
            waits_for = resume()
        except StopIteration as stop:
            result: T = stop.value
            return result
        try:
            resume = partial(coroutine.send, await_only(_Relay(waits_for)))
        except BaseException as error:  # noqa: BLE001 - a cancellation too is the coroutine's to see
            resume = partial(coroutine.throw, error)


class _Relay:
    """Yields to the event loop what a coroutine yielded."""

    def __init__(self, waits_for: object) -> None:
        self._waits_for = waits_for

    def __await__(self) -> Generator[object, Any, Any]:
        return (yield self._waits_for)
