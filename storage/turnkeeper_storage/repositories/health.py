"""What `turnkeeper doctor` reads: signs that something does not move. Takes no locks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, FromClause, and_, func, literal, select, text

from turnkeeper_storage.model import ApprovalStatus, RunStatus
from turnkeeper_storage.sql_types import SECONDS, after, now
from turnkeeper_storage.tables import DUE, approvals, runs, sessions
from turnkeeper_storage.unit_of_work import UnitOfWork

S = sessions.c
R = runs.c
A = approvals.c


@dataclass(frozen=True, slots=True)
class Isolation:
    """Isolation levels of PostgreSQL: of this transaction, and of a connection that sets none."""

    here: str
    default: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many there are, and since how many seconds, by the database's clock, the first of them waits."""

    count: int
    seconds: float
    first: str | None


_LEVELS = text(
    "SELECT current_setting('transaction_isolation'), current_setting('default_transaction_isolation')"
)


async def isolation(uow: UnitOfWork) -> Isolation | None:
    """The isolation levels; None on SQLite, which has one only."""
    if uow.dialect != "postgresql":
        return None
    row = (await uow.execute(_LEVELS)).one()
    return Isolation(str(row[0]), str(row[1]))


async def clock(uow: UnitOfWork) -> datetime:
    """What the database's clock says."""
    found: datetime = (await uow.execute(select(now()))).scalar_one()
    return found


async def stuck_sessions(uow: UnitOfWork, seconds: float) -> Waiting:
    """Sessions that can run since so many seconds and that no worker holds; `first` is a session's id."""
    held = and_(S.lease_until.is_not(None), S.lease_until >= _ago(seconds))
    where = and_(S.runnable_since.is_not(None), S.runnable_since < _ago(seconds), ~held)
    return await _waiting(uow, sessions, where, S.id, S.runnable_since)


async def queued_runs(uow: UnitOfWork) -> Waiting:
    """Queued runs of sessions that do not wait for a person; `first` is the id of the oldest."""
    source = runs.join(sessions, S.session_key == R.session_key)
    where = and_(S.runnable_since.is_not(None), R.status == RunStatus.QUEUED.value)
    return await _waiting(uow, source, where, R.id, R.created_at)


async def pending_approvals(uow: UnitOfWork) -> Waiting:
    """Approvals that nobody decided; `first` is the id of the oldest."""
    where = A.status == ApprovalStatus.PENDING.value
    return await _waiting(uow, approvals, where, A.id, A.created_at)


async def overdue_approvals(uow: UnitOfWork, seconds: float) -> Waiting:
    """Approvals whose time is over since so many seconds, and that nobody has expired."""
    where = and_(DUE, A.expires_at < _ago(seconds))
    return await _waiting(uow, approvals, where, A.id, A.expires_at)


async def _waiting(
    uow: UnitOfWork, source: FromClause, where: ColumnElement[bool], id_: Column[Any], since: Column[Any]
) -> Waiting:
    counted = select(func.count(), func.min(since), now()).select_from(source).where(where)
    count, first_at, at = (await uow.execute(counted)).one()
    if not count:
        return Waiting(0, 0.0, None)
    oldest = select(id_).select_from(source).where(where).order_by(since).limit(1)
    return Waiting(count, (at - first_at).total_seconds(), (await uow.execute(oldest)).scalar_one_or_none())


def _ago(seconds: float) -> ColumnElement[Any]:
    return after(literal(-seconds, type_=SECONDS))
