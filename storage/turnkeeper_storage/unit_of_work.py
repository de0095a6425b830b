"""One transaction as repositories see it.

A unit of work only executes; who opened the transaction commits it (`Database.transact`, or the caller of
`enqueue(connection=…)`).
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

from sqlalchemy import Connection, CursorResult, Executable

from turnkeeper_storage.model import Event

T = TypeVar("T")
Rows: TypeAlias = CursorResult[*tuple[Any, ...]]


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

    async def execute(
        self, statement: Executable, parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    ) -> Rows:
        return await self.executor.execute(statement, parameters)


class SynchronousExecutor:
    """A caller's own synchronous connection behind the same method; it never suspends."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def execute(self, statement: Executable, parameters: Any = None, /) -> Rows:
        return self._connection.execute(statement, parameters)


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, on this thread and with no loop: for SynchronousExecutor."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise RuntimeError("a coroutine on a synchronous connection suspended")
