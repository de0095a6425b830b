"""The sessions' rows: the counters of their queues and histories, and what waits in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Executable,
    Row,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert

from turnkeeper_storage.sessions.stores import UNKNOWN
from turnkeeper_storage.sql_types import SECONDS, now
from turnkeeper_storage.tables import sessions
from turnkeeper_storage.unit_of_work import UnitOfWork

S = sessions.c
_KEY: BindParameter[str] = bindparam("b_key")
_LEASE: BindParameter[str] = bindparam("b_lease_id")
_SECONDS = bindparam("b_seconds", type_=SECONDS)
_FREE = or_(S.lease_until.is_(None), S.lease_until < now())


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session's row. `is_leased`: a live lease on the database's clock; `hooked`: see the table."""

    session_key: str
    tenant: str
    id: str
    store: str
    is_leased: bool
    parked_run: str | None
    epoch: int = 0
    hooked: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """What an enqueue got: its `seq`, and whether a wake-up is due."""

    seq: int
    wake: bool


def upsert(
    insert: type[postgresql.Insert] | type[sqlite.Insert],
    *,
    takes_seq: bool,
    where: ColumnElement[bool] | None = None,
) -> ReturningInsert[*tuple[Any, ...]]:
    """Make the session's row, or lock and change it: one that is there only `where`, else it gives no row."""
    statement = insert(sessions).values(
        session_key=_KEY,
        tenant=bindparam("b_tenant"),
        id=bindparam("b_session_id"),
        store=bindparam("b_store"),
        next_seq=2 if takes_seq else 1,
        runnable_since=now() if takes_seq else None,
        created_at=now(),
        updated_at=now(),
    )
    changes: dict[str, object] = {"updated_at": now()}
    if takes_seq:
        since = case(
            (S.parked_run.is_not(None), S.runnable_since),
            (S.runnable_since.is_(None), now()),
            else_=S.runnable_since,
        )
        changes |= {"next_seq": S.next_seq + 1, "runnable_since": since}
    known = [S.session_key]
    return statement.on_conflict_do_update(index_elements=known, set_=changes, where=where).returning(
        (S.next_seq - 1).label("seq"), S.store, S.parked_run, and_(~_FREE).label("is_leased")
    )


_ENQUEUE = {
    "postgresql": upsert(postgresql.Insert, takes_seq=True),
    "sqlite": upsert(sqlite.Insert, takes_seq=True),
}
_ENSURE = {
    "postgresql": upsert(postgresql.Insert, takes_seq=False),
    "sqlite": upsert(sqlite.Insert, takes_seq=False),
}


async def take_seq(uow: UnitOfWork, key: str, tenant: str, session_id: str) -> Place:
    """Lock the session's row (made when new) and take the next place in its queue (PROTOCOL 2.1).

    Where a new session's items live is said by the first to write some.
    """
    row = await _lock(uow, _ENQUEUE[uow.dialect], key, tenant, session_id, UNKNOWN)
    return Place(seq=row[0], wake=not row[3] and row[2] is None)


async def ensure(uow: UnitOfWork, key: str, tenant: str, session_id: str, store: str) -> SessionRow:
    """Lock the session's row, made when new."""
    row = await _lock(uow, _ENSURE[uow.dialect], key, tenant, session_id, store)
    return SessionRow(key, tenant, session_id, row[1], bool(row[3]), row[2])


async def _lock(
    uow: UnitOfWork, statement: Executable, key: str, tenant: str, session_id: str, store: str
) -> Row[*tuple[Any, ...]]:
    values = {"b_key": key, "b_tenant": tenant, "b_session_id": session_id, "b_store": store}
    return (await uow.execute(statement, values)).one()


_GIVE_SEQ_BACK = update(sessions).where(S.session_key == _KEY).values(next_seq=S.next_seq - 1)


async def give_seq_back(uow: UnitOfWork, key: str) -> None:
    """Undo `take_seq` under the same lock: the run exists already."""
    await uow.execute(_GIVE_SEQ_BACK, {"b_key": key})


# in the order of the frozen value's fields
SESSION = (S.session_key, S.tenant, S.id, S.store, and_(~_FREE), S.parked_run, S.epoch, S.hooked)
_LOCK = select(*SESSION).where(S.session_key == _KEY)
_LOCK_FOR_UPDATE = _LOCK.with_for_update(key_share=True)


async def lock(uow: UnitOfWork, key: str) -> SessionRow | None:
    """Lock the session's row and read it; None when there is no such session."""
    row = (await uow.execute(_LOCK_FOR_UPDATE, {"b_key": key})).one_or_none()
    return None if row is None else as_session(row)


async def find(uow: UnitOfWork, key: str, tenant: str) -> SessionRow | None:
    """The session's row without a lock."""
    row = (
        await uow.execute(_LOCK.where(S.tenant == bindparam("b_tenant")), {"b_key": key, "b_tenant": tenant})
    ).one_or_none()
    return None if row is None else as_session(row)


def as_session(row: Sequence[Any]) -> SessionRow:
    """The frozen value of the columns of `SESSION`."""
    return SessionRow(row[0], row[1], row[2], row[3], bool(row[4]), row[5], row[6], bool(row[7]))


_TAKE_POSITIONS = (
    update(sessions)
    .where(S.session_key == _KEY)
    .values(next_position=S.next_position + bindparam("b_count"), updated_at=now())
    .returning(S.next_position)
)


async def take_positions(uow: UnitOfWork, key: str, count: int) -> int:
    """The first of `count` positions at the end of the history, under the row's lock."""
    row = (await uow.execute(_TAKE_POSITIONS, {"b_key": key, "b_count": count})).one()
    return int(row[0]) - count


_NAME_STORE = update(sessions).where(S.session_key == _KEY).values(store=bindparam("b_store"))


async def name_store(uow: UnitOfWork, key: str, store: str) -> None:
    """Say where the session's items live, under the row's lock."""
    await uow.execute(_NAME_STORE, {"b_key": key, "b_store": store})


_UNPARK = update(sessions).where(S.session_key == _KEY).values(parked_run=None)


UNPARK_RUNNABLE = (
    update(sessions)
    .where(S.session_key == _KEY)
    .values(parked_run=None, runnable_since=func.coalesce(S.runnable_since, now()))
)


async def unpark_runnable(uow: UnitOfWork, key: str) -> None:
    """The run that was parked in the session can go on; under the row's lock."""
    await uow.later(UNPARK_RUNNABLE, {"b_key": key})


async def unpark(uow: UnitOfWork, key: str) -> None:
    """No run is parked in the session any more, so enqueues wake again; under the row's lock."""
    await uow.execute(_UNPARK, {"b_key": key})


_SET_RUNNABLE = (
    update(sessions)
    .where(S.session_key == _KEY)
    .values(
        runnable_since=case(
            (~bindparam("b_runnable", type_=S.taken_over.type), None),
            (S.runnable_since.is_(None), now()),
            else_=S.runnable_since,
        )
    )
)


async def set_runnable(uow: UnitOfWork, key: str, runnable: bool) -> None:
    """Tell the sweeper whether the head of the session can run, under the row's lock."""
    await uow.execute(_SET_RUNNABLE, {"b_key": key, "b_runnable": runnable})
