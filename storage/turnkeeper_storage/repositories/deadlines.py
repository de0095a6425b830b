"""Deadlines of runs, on the database's clock."""

from __future__ import annotations

from sqlalchemy import BindParameter, and_, bindparam, or_, select

from turnkeeper_storage.model import RunStatus
from turnkeeper_storage.sessions.stores import DATABASE
from turnkeeper_storage.sql_types import now_once, until
from turnkeeper_storage.tables import WITH_DEADLINE, runs, sessions
from turnkeeper_storage.unit_of_work import UnitOfWork

R = runs.c
_KEY: BindParameter[str] = bindparam("b_key")
_ID: BindParameter[str] = bindparam("b_id")

_SECONDS_LEFT = select(until(R.deadline)).where(R.session_key == _KEY, R.id == _ID)


async def seconds_left(uow: UnitOfWork, key: str, run_id: str) -> float | None:
    """Until the run's deadline, on the database's clock; below 0 when it has passed, None without one."""
    left = (await uow.execute(_SECONDS_LEFT, {"b_key": key, "b_id": run_id})).scalar_one_or_none()
    return None if left is None else float(left)


# Of these a worker ends what is queued: their items live where only a worker writes.
_HANDED_OVER = and_(
    R.status == RunStatus.QUEUED.value,
    R.parked_turn.is_not(None),
    or_(sessions.c.store != DATABASE, sessions.c.hooked),
)
_OVERDUE = (
    select(R.session_key, R.id)
    .join(sessions, sessions.c.session_key == R.session_key)
    .where(WITH_DEADLINE, R.deadline <= now_once(), R.status != RunStatus.RUNNING.value, ~_HANDED_OVER)
    .order_by(R.deadline)
    .limit(bindparam("b_limit"))
)


async def overdue(uow: UnitOfWork, limit: int) -> list[tuple[str, str]]:
    """(session key, id) of runs that wait and whose deadline has passed, longest first."""
    return [(row[0], row[1]) for row in await uow.execute(_OVERDUE, {"b_limit": limit})]
