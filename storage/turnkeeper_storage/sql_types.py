"""Column types and clock expressions that are one thing on every database.

Instants are `timestamptz` on PostgreSQL and integer milliseconds on SQLite (text of two precisions compares
unequal). `now()` is always the database's clock, and moves within a transaction (PROTOCOL 2.3).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    ARRAY,
    Boolean,
    ColumnElement,
    Dialect,
    Float,
    Integer,
    String,
    Text,
    TypeDecorator,
    any_,
    bindparam,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import TypeEngine

from turnkeeper_storage.items import Json, decode, encode

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Instant(TypeDecorator[datetime]):
    """An aware datetime; milliseconds since 1970 on SQLite."""

    impl = Integer
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(TIMESTAMP(timezone=True))
        return dialect.type_descriptor(Integer())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        return (value - _EPOCH) // timedelta(milliseconds=1)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if isinstance(value, datetime):
            return value.astimezone(UTC)
        return _EPOCH + timedelta(milliseconds=value)


class JsonText(TypeDecorator[Json]):
    """JSON as the text that we wrote: order, numbers and escapes come back as given. SQL NULL is None."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Json, dialect: Dialect) -> str | None:
        return None if value is None else encode(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Json:
        return None if value is None else decode(value)


def key_column_type() -> String:
    """Text that compares by bytes on every database: what ids and keys need."""
    return String().with_variant(String(collation="C"), "postgresql")


class now(FunctionElement[datetime]):  # noqa: N801 - reads as the SQL that it is
    """The database's clock at this moment, not at the start of the transaction."""

    type = Instant()
    inherit_cache = True


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: SQLCompiler, **options: Any) -> str:
    return "clock_timestamp()"


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: SQLCompiler, **options: Any) -> str:
    return "CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)"


class now_once(now):  # noqa: N801
    """The database's clock, read once for all rows of a statement: what an index can be searched with.

    PostgreSQL reads the clock anew for each row that it compares with `now()`, so it looks at all of them.
    """

    inherit_cache = True


@compiles(now_once, "postgresql")
def _now_once_postgresql(element: now_once, compiler: SQLCompiler, **options: Any) -> str:
    return "(SELECT clock_timestamp())"


class after(FunctionElement[datetime]):  # noqa: N801
    """`after(seconds)`: the database's clock plus so many seconds (a float bind; negative is before)."""

    type = Instant()
    inherit_cache = True

    def __init__(self, seconds: ColumnElement[float]) -> None:
        super().__init__(seconds)


@compiles(after, "postgresql")
def _after_postgresql(element: after, compiler: SQLCompiler, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"(clock_timestamp() + make_interval(secs => CAST({seconds} AS double precision)))"


@compiles(after, "sqlite")
def _after_sqlite(element: after, compiler: SQLCompiler, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return (
        "CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0"
        f" + CAST({seconds} AS REAL) * 1000.0) AS INTEGER)"
    )


class until(FunctionElement[float]):  # noqa: N801
    """`until(instant)`: seconds from the database's clock to the instant, below 0 when it has passed."""

    type = Float()
    inherit_cache = True

    def __init__(self, instant: ColumnElement[Any]) -> None:
        super().__init__(instant)


@compiles(until, "postgresql")
def _until_postgresql(element: until, compiler: SQLCompiler, **options: Any) -> str:
    instant = compiler.process(element.clauses, **options)
    return f"CAST(EXTRACT(EPOCH FROM ({instant} - clock_timestamp())) AS double precision)"


@compiles(until, "sqlite")
def _until_sqlite(element: until, compiler: SQLCompiler, **options: Any) -> str:
    instant = compiler.process(element.clauses, **options)
    return f"(({instant}) / 1000.0 - (julianday('now') - 2440587.5) * 86400.0)"


class among(FunctionElement[bool]):  # noqa: N801
    """`among(column, "b_keys")`: the column is one of the texts in that parameter, a list.

    One parameter on PostgreSQL, so that lists of any length are one statement, which is prepared and planned
    once; the usual IN on SQLite.
    """

    type = Boolean()
    inherit_cache = True

    def __init__(self, column: ColumnElement[str], name: str) -> None:
        super().__init__(column, bindparam(name, type_=column.type, expanding=True))

    def self_group(self, against: OperatorType | None = None) -> among:
        # a condition as it is: SQLite would compare it with 1, and then search no index with it
        return self


@compiles(among, "postgresql")
def _among_postgresql(element: among, compiler: SQLCompiler, **options: Any) -> str:
    column, values = element.clauses
    return compiler.process(column == any_(bindparam(values.key, type_=ARRAY(String()))), **options)


@compiles(among, "sqlite")
def _among_sqlite(element: among, compiler: SQLCompiler, **options: Any) -> str:
    column, values = element.clauses
    return compiler.process(column.in_(values), **options)


SECONDS = Float()
