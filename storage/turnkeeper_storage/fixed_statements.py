"""Statements that stay the same, as a PostgreSQL driver takes them: compiled once, not looked up each time.

SQLAlchemy finds a statement that it compiled before by a key that it makes anew of all its parts, for each
execution. Ours are mostly constants of a module: their identity is key enough.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from sqlalchemy import ColumnElement, Dialect, Executable, Float
from sqlalchemy.engine.result import IteratorResult, Result, SimpleResultMetaData
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.sql.selectable import ReturnsRows

Processor: TypeAlias = Callable[[Any], Any] | None
Rows: TypeAlias = Result[*tuple[Any, ...]]
_REQUIRED = object()


@dataclass(frozen=True, slots=True)
class FixedStatement:
    """One statement: its text with numbered parameters, what they are made of, what its rows become.

    `binds` are, by place, the name, the value when none is given, and what makes the driver's value of it.
    `columns` is None when it gives no rows.
    """

    sql: str
    binds: Sequence[tuple[str, object, Processor]]
    columns: SimpleResultMetaData | None
    processors: Sequence[Processor]

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """The driver's parameters, by place. Raises KeyError for a name without a value."""
        found: list[Any] = []
        for name, default, process in self.binds:
            value = values[name] if default is _REQUIRED else values.get(name, default)
            found.append(value if process is None else process(value))
        return found

    def result(self, records: Sequence[Sequence[Any]]) -> Rows:
        """The driver's rows as SQLAlchemy's."""
        if self.columns is None:
            return no_rows()
        rows = [
            tuple(
                value if process is None else process(value)
                for value, process in zip(record, self.processors, strict=True)
            )
            for record in records
        ]
        return cast(Rows, IteratorResult(self.columns, iter(rows)))


_NOTHING = SimpleResultMetaData(())


def no_rows() -> Rows:
    """What a statement gives that was executed for many rows."""
    return cast(Rows, IteratorResult(_NOTHING, iter(())))


class FixedStatements:
    """The statements of one database that were seen before and are still there.

    What is made for one execution is gone before it comes again; what comes a second time is compiled.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._seen: dict[int, weakref.ref[Executable]] = {}
        # with the statement itself, so that its id stays its own
        self._known: dict[int, tuple[Executable, FixedStatement | None]] = {}

    def find(self, statement: Executable) -> FixedStatement | None:
        """The compiled statement; None when it is new, or of a kind that only SQLAlchemy executes."""
        key = id(statement)
        known = self._known.get(key)
        if known is not None:
            return known[1]
        seen = self._seen.get(key)
        if seen is None or seen() is not statement:
            self._seen[key] = weakref.ref(statement, lambda gone: self._forget(key, gone))
            return None
        fixed = compiled(statement, self._dialect)
        self._known[key] = (statement, fixed)
        return fixed

    def _forget(self, key: int, gone: weakref.ref[Executable]) -> None:
        if self._seen.get(key) is gone:
            del self._seen[key]


def compiled(statement: Executable, dialect: Dialect) -> FixedStatement | None:
    """The statement as the driver takes it; None for what needs SQLAlchemy at each execution."""
    if not isinstance(statement, ReturnsRows):
        return None
    made = statement.compile(dialect=dialect)
    if _needs_more(made):
        return None
    binds = {name: bind for bind, name in made.bind_names.items()}
    columns = list(statement.exported_columns)
    return FixedStatement(
        made.string,
        [_bind(name, binds[name], dialect) for name in made.positiontup or ()],
        SimpleResultMetaData(_names(columns)) if columns else None,
        [_reads(column, dialect) for column in columns],
    )


def _names(columns: Sequence[ColumnElement[Any]]) -> list[str]:
    # an expression without a label is read by its place
    return [getattr(column, "name", None) or f"column_{place}" for place, column in enumerate(columns)]


def _reads(column: ColumnElement[Any], dialect: Dialect) -> Processor:
    if isinstance(column.type, Float):
        return None  # ours are floats, as the driver gives them
    return column.type.dialect_impl(dialect).result_processor(dialect, None)


def _needs_more(made: SQLCompiler) -> bool:
    """Whether an execution would add to it: lists of their own length, literals, values made in Python."""
    literal = made.literal_execute_params | made.post_compile_params
    return len(literal) + len(made.insert_prefetch) + len(made.update_prefetch) > 0


def _bind(name: str, bind: BindParameter[Any], dialect: Dialect) -> tuple[str, object, Processor]:
    default = _REQUIRED if bind.required else bind.effective_value
    return name, default, bind.type.dialect_impl(dialect).bind_processor(dialect)
