"""Sessions as a list: a page of them with what they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, Row, bindparam, func, select

from turnkeeper_storage.items import Json
from turnkeeper_storage.tables import session_items, sessions
from turnkeeper_storage.unit_of_work import UnitOfWork

S = sessions.c
_KEY: BindParameter[str] = bindparam("b_key")


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Which sessions to list: all of a tenant by id, in pages that begin past the id `after`."""

    tenant: str
    prefix: str | None = None
    owner: str | None = None
    after: str | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A session and how much is in it. `store` says where its items live; `items` counts ours only."""

    session_key: str
    tenant: str
    id: str
    store: str
    runs: int
    items: int
    created_at: datetime
    updated_at: datetime
    owner: str | None
    metadata: Mapping[str, Json]
    retention_seconds: float | None


_READ = select(
    S.session_key,
    S.tenant,
    S.id,
    S.store,
    (S.next_seq - 1).label("runs"),
    S.created_at,
    S.updated_at,
    S.owner,
    S["metadata"],
    S.retention_seconds,
)


async def get(uow: UnitOfWork, key: str, tenant: str) -> SessionSummary | None:
    """One session of this tenant."""
    rows = (await uow.execute(_READ.where(S.session_key == _KEY, S.tenant == tenant), {"b_key": key})).all()
    return (await _with_counts(uow, rows))[0] if rows else None


async def search(uow: UnitOfWork, wanted: SessionFilter) -> list[SessionSummary]:
    """Sessions by filter, in the order of their ids, each with its counts."""
    statement = _READ.where(S.tenant == wanted.tenant)
    if wanted.owner is not None:
        statement = statement.where(S.owner == wanted.owner)
    if wanted.prefix:
        # not LIKE, which knows no case on SQLite
        statement = statement.where(func.substr(S.id, 1, len(wanted.prefix)) == wanted.prefix)
    if wanted.after is not None:
        statement = statement.where(S.id > wanted.after)
    return await _with_counts(uow, (await uow.execute(statement.order_by(S.id).limit(wanted.limit))).all())


async def _with_counts(uow: UnitOfWork, rows: Sequence[Row[*tuple[Any, ...]]]) -> list[SessionSummary]:
    counts = await _count_items(uow, [row[0] for row in rows])
    return [
        SessionSummary(
            row[0],
            row[1],
            row[2],
            row[3],
            row[4],
            counts.get(row[0], 0),
            row[5],
            row[6],
            row[7],
            row[8] or {},
            row[9],
        )
        for row in rows
    ]


_COUNT_ITEMS = (
    select(session_items.c.session_key, func.count())
    .where(session_items.c.session_key.in_(bindparam("b_keys", expanding=True)))
    .group_by(session_items.c.session_key)
)


async def _count_items(uow: UnitOfWork, keys: Sequence[str]) -> dict[str, int]:
    if not keys:
        return {}
    return {row[0]: row[1] for row in await uow.execute(_COUNT_ITEMS, {"b_keys": list(keys)})}
