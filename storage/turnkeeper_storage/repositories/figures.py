"""How much there is to do, over all tenants: what gauges show. Takes no locks, reads only what is open."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, func, literal_column, or_, select

from turnkeeper_storage.model import ApprovalStatus, RunStatus
from turnkeeper_storage.sql_types import now
from turnkeeper_storage.tables import OPEN, approvals, runs, sessions
from turnkeeper_storage.unit_of_work import UnitOfWork

S = sessions.c
R = runs.c
A = approvals.c
PENDING = ApprovalStatus.PENDING.value
OPEN_STATUSES = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.AWAITING_APPROVAL)


@dataclass(frozen=True, slots=True)
class Amount:
    """How many there are, and how many seconds ago the first of them began, by the database's clock."""

    count: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """Runs that have not ended, by status; sessions that have work and no worker; approvals that wait."""

    runs: dict[str, Amount]
    waiting: Amount
    approvals: Amount


_RUNS = select(R.status, func.count(), func.min(R.created_at), now()).where(OPEN).group_by(R.status)
_WAITING = select(func.count(), func.min(S.runnable_since), now()).where(
    S.runnable_since.is_not(None),
    S.runnable_since <= now(),
    or_(S.lease_until.is_(None), S.lease_until < now()),
)
# by way of the runs that wait: no index has all tenants' pending approvals
_APPROVALS = (
    select(func.count(), func.min(A.created_at), now())
    .select_from(runs.join(approvals, and_(A.session_key == R.session_key, A.run_id == R.id)))
    # as a literal: a partial index is used for what is known to be in it
    .where(R.status == literal_column(f"'{RunStatus.AWAITING_APPROVAL.value}'"), A.status == PENDING)
)


async def cluster(uow: UnitOfWork) -> Cluster:
    """What there is to do now."""
    found = {row[0]: _amount(row[1], row[2], row[3]) for row in await uow.execute(_RUNS)}
    waiting = (await uow.execute(_WAITING)).one()
    asked = (await uow.execute(_APPROVALS)).one()
    return Cluster(
        {status.value: found.get(status.value, Amount()) for status in OPEN_STATUSES},
        _amount(*waiting),
        _amount(*asked),
    )


def _amount(count: int, since: datetime | None, at: datetime) -> Amount:
    return Amount(int(count), 0.0 if since is None else max((at - since).total_seconds(), 0.0))
