"""Several writes as one statement: on PostgreSQL each but the last becomes a CTE of it.

A round trip costs more than what most of our writes do. All parts see the same snapshot, and their order is
the database's: so the writes must not depend on each other, and no two may change rows of one table, unless
both only insert (https://www.postgresql.org/docs/current/queries-with.html#QUERIES-WITH-MODIFYING).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Delete, Executable, Insert, Update, exists, func, literal_column, select, true
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import BindParameter

Statement: TypeAlias = Insert | Update | Delete
Values: TypeAlias = Mapping[str, Any]
Row: TypeAlias = Sequence[Any]
S = TypeVar("S", bound=Insert | Update | Delete)

# parts of one statement: each different combination is planned by each connection
MOST = 12
# rows of one statement that go along; more are sent as a batch of their own
MOST_ROWS = 4


@dataclass(frozen=True, slots=True)
class Write:
    """A statement with the values of its parameters. The statement is one that stays: of a module."""

    statement: Statement
    values: Values


def may_join(statement: Statement, others: Sequence[Write]) -> bool:
    """Whether a write can go in one statement with these."""
    same = [other.statement for other in others if other.statement.table is statement.table]
    return not same or all(isinstance(one, Insert) for one in (statement, *same))


@dataclass(frozen=True, slots=True)
class Change:
    """A `Write` that is an update, and returns something."""

    statement: Update
    values: Values


def joined(writes: Sequence[Write]) -> tuple[Executable, dict[str, Any]]:
    """One statement for all of them, whose result is that of the last, and its parameters."""
    if len(writes) == 1:
        return writes[0].statement, dict(writes[0].values)
    return _joined(tuple(write.statement for write in writes)), _numbered(writes)


def _numbered(writes: Sequence[Write | Change]) -> dict[str, Any]:
    return {
        f"{place}_{name}": value for place, write in enumerate(writes) for name, value in write.values.items()
    }


@lru_cache(maxsize=512)
def _joined(statements: tuple[Statement, ...]) -> Executable:
    *first, last = [renamed(statement, place) for place, statement in enumerate(statements)]
    whole: Executable = last.add_cte(*(one.cte(f"write_{place}") for place, one in enumerate(first)))
    return whole


def guarded(guard: Write, updates: Sequence[Write]) -> tuple[Executable, dict[str, Any]]:
    """One statement of updates that change nothing unless the guard, an update too, changes a row.

    It gives one row: how many rows each of them changed, the guard first. All are `counted`.
    """
    writes = (guard, *updates)
    return _guarded(tuple(write.statement for write in writes)), _numbered(writes)


def paired(guard: Change, change: Change) -> tuple[Executable, dict[str, Any]]:
    """One statement of two updates, the second of which changes nothing unless the guard changes a row.

    It gives the row of the guard, if there is one, with that of the other: `split` takes them apart. What the
    second returns of other tables is as it was before the guard waited for its row.
    """
    return _paired(guard.statement, change.statement), _numbered((guard, change))


def split(guard: Update, row: Row | None) -> tuple[Row | None, Row | None]:
    """The rows of the guard and of the other in one row of `paired`; None for what changed nothing."""
    if row is None:
        return None, None
    first = len(guard.exported_columns) + 1
    return tuple(row[1:first]), tuple(row[first:]) if row[0] is not None else None


def counted(statement: Update) -> Update:
    """An update with a column to count its rows by. To be made before the other is executed."""
    return statement.returning(literal_column("1").label("changed"))


@lru_cache(maxsize=64)
def _guarded(statements: tuple[Statement, ...]) -> Executable:
    guard, *updates = [renamed(statement, place) for place, statement in enumerate(statements)]
    held = guard.cte("guard")
    there = exists(select(held.c.changed))
    parts = [
        one.where(there).cte(f"write_{place}") for place, one in enumerate(updates) if isinstance(one, Update)
    ]
    counts = [select(func.count()).select_from(part).scalar_subquery() for part in (held, *parts)]
    return select(*(count.label(f"count_{place}") for place, count in enumerate(counts)))


@lru_cache(maxsize=64)
def _paired(guard: Update, change: Update) -> Executable:
    held = renamed(guard, 0).cte("guard")
    done = renamed(counted(change), 1).where(exists(select(held))).cte("change")
    columns = (done.c.changed, *held.c, *(column for column in done.c if column is not done.c.changed))
    named = (column.label(f"column_{place}") for place, column in enumerate(columns))
    return select(*named).select_from(held.outerjoin(done, true()))


def renamed(statement: S, place: int) -> S:
    """The statement with the names of its parameters behind a number, so that others can stand beside it."""

    def rename(parameter: BindParameter[Any]) -> None:
        parameter.key = f"{place}_{parameter.key}"

    return visitors.cloned_traverse(statement, {}, {"bindparam": rename})
