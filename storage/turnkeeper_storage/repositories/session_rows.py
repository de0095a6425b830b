"""Whole sessions: what is said about one, all its rows at once, and which are kept no longer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, Select, and_, bindparam, func, select, update
from sqlalchemy import delete as delete_from

from turnkeeper_storage.sql_types import SECONDS, after, now
from turnkeeper_storage.tables import OPEN, metadata, runs, session_edits, sessions
from turnkeeper_storage.unit_of_work import UnitOfWork

S = sessions.c
_KEY: BindParameter[str] = bindparam("b_key")
_DEFAULT: BindParameter[float] = bindparam("b_default", type_=SECONDS)


async def change(uow: UnitOfWork, key: str, values: Mapping[str, object]) -> None:
    """Set columns of the session's row, under its lock."""
    await uow.execute(update(sessions).where(S.session_key == _KEY).values(values), {"b_key": key})


_ROWS = [
    delete_from(table).where(table.c.session_key == _KEY)
    for table in reversed(metadata.sorted_tables)
    if "session_key" in table.c and table not in (sessions, session_edits)
]
_ROW = delete_from(sessions).where(S.session_key == _KEY)


async def delete(uow: UnitOfWork, key: str) -> None:
    """Remove the session's row and all rows that it leads to, but the audit's; under its lock."""
    for statement in (*_ROWS, _ROW):
        await uow.execute(statement, {"b_key": key})


@dataclass(frozen=True, slots=True)
class Kept:
    """A session as the retention sees it. `is_over`: nothing happened in it for its time, or happens now."""

    session_key: str
    tenant: str
    id: str
    store: str
    is_over: bool


# Not EXISTS, for which PostgreSQL may read the open runs of all sessions to look those of a page up: with its
# LIMIT this is searched for each session, by the index of heads.
_HEAD = (
    select(runs.c.seq)
    .where(runs.c.session_key == S.session_key, OPEN)
    .order_by(runs.c.seq)
    .limit(1)
    .scalar_subquery()
)
_IS_FREE = and_(func.coalesce(S.lease_until < now(), True), _HEAD.is_(None))
_IS_OVER = and_(S.updated_at < after(-func.coalesce(S.retention_seconds, _DEFAULT)), _IS_FREE)
_READ = select(S.session_key, S.tenant, S.id, S.store, func.coalesce(_IS_OVER, False).label("is_over"))
_PAGE = _READ.where(S.session_key > bindparam("b_after")).order_by(S.session_key).limit(bindparam("b_limit"))
_PAGE_OF_SET = _PAGE.where(S.retention_seconds.is_not(None))
_ONE = _READ.where(S.session_key == _KEY)


async def page(uow: UnitOfWork, after_key: str, default: float | None, limit: int) -> list[Kept]:
    """The next `limit` sessions in the order of their keys; with `default` None those with a retention only.

    A walk over the primary key, a little at each sweep: an index of its own would cost every run a write.
    """
    values = {"b_after": after_key, "b_limit": limit, "b_default": default}
    return await _kept(uow, _PAGE if default is not None else _PAGE_OF_SET, values)


async def kept(uow: UnitOfWork, key: str, default: float | None) -> Kept | None:
    """One session, for a second look under its lock."""
    found = await _kept(uow, _ONE, {"b_key": key, "b_default": default})
    return found[0] if found else None


async def _kept(uow: UnitOfWork, statement: Select[Any], values: Mapping[str, object]) -> list[Kept]:
    rows = await uow.execute(statement, values)
    return [Kept(row[0], row[1], row[2], row[3], bool(row[4])) for row in rows]
