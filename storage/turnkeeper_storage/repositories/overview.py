"""What a person sees at a glance of one tenant: what waits, what is in work, with whom. Takes no locks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, bindparam, case, func, literal, or_, select

from turnkeeper_storage.model import ApprovalStatus
from turnkeeper_storage.sql_types import now
from turnkeeper_storage.tables import QUEUED, approvals, runs, sessions
from turnkeeper_storage.unit_of_work import UnitOfWork

S = sessions.c
R = runs.c
A = approvals.c


@dataclass(frozen=True, slots=True)
class Backlog:
    """Queued runs of one agent; `seconds`: how long the oldest has been queued."""

    agent: str
    queued: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Holding:
    """What one worker process holds: `live` sessions in work, `lost` whose lease ran out unreturned."""

    owner: str
    live: int
    lost: int


@dataclass(frozen=True, slots=True)
class Lag:
    """Sessions that have work and no holder; `seconds`: how long the first of them has had none."""

    sessions: int
    seconds: float


_PENDING = (
    select(literal(1))
    .where(A.tenant == bindparam("b_tenant"), A.status == ApprovalStatus.PENDING.value)
    .limit(bindparam("b_limit"))
)
_COUNT_PENDING = select(func.count()).select_from(_PENDING.subquery())
_BACKLOG = (
    select(R.agent, func.count(), func.min(R.created_at), now())
    .where(R.tenant == bindparam("b_tenant"), QUEUED)
    .group_by(R.agent)
    .order_by(R.agent)
)
_HELD = and_(S.lease_until.is_not(None), S.lease_until >= now())
_HOLDINGS = (
    select(S.lease_owner, func.sum(case((_HELD, 1), else_=0)), func.sum(case((_HELD, 0), else_=1)))
    .where(
        S.tenant == bindparam("b_tenant"),
        S.runnable_since.is_not(None),
        S.lease_owner.is_not(None),
        S.lease_until.is_not(None),
    )
    .group_by(S.lease_owner)
    .order_by(S.lease_owner)
)
_LAG = select(func.count(), func.min(S.runnable_since), now()).where(
    S.tenant == bindparam("b_tenant"),
    S.runnable_since.is_not(None),
    S.runnable_since <= now(),
    or_(S.lease_until.is_(None), S.lease_until < now()),
)


async def pending_approvals(uow: UnitOfWork, tenant: str, up_to: int) -> int:
    """How many approvals of the tenant wait for a person, at most `up_to`."""
    found = await uow.execute(_COUNT_PENDING, {"b_tenant": tenant, "b_limit": up_to})
    return int(found.scalar_one())


async def backlogs(uow: UnitOfWork, tenant: str) -> list[Backlog]:
    """The tenant's queued runs by agent."""
    rows = await uow.execute(_BACKLOG, {"b_tenant": tenant})
    return [Backlog(row[0], int(row[1]), _seconds(row[2], row[3])) for row in rows]


async def holdings(uow: UnitOfWork, tenant: str) -> list[Holding]:
    """Who works on the tenant's sessions, by the name of the worker process."""
    rows = await uow.execute(_HOLDINGS, {"b_tenant": tenant})
    return [Holding(row[0], int(row[1]), int(row[2])) for row in rows]


async def lag(uow: UnitOfWork, tenant: str) -> Lag:
    """The tenant's sessions that could be worked on and are not."""
    count, first, at = (await uow.execute(_LAG, {"b_tenant": tenant})).one()
    return Lag(int(count), _seconds(first, at))


def _seconds(since: datetime | None, at: datetime) -> float:
    return 0.0 if since is None else max((at - since).total_seconds(), 0.0)
