"""Release: give a session back with its head unfinished (PROTOCOL 2.8, 2.15)."""

from __future__ import annotations

from sqlalchemy import func

from turnkeeper_storage.model import Lease, Run
from turnkeeper_storage.repositories import leases, run_changes, runs
from turnkeeper_storage.sql_types import now
from turnkeeper_storage.tables import runs as runs_table
from turnkeeper_storage.unit_of_work import UnitOfWork


async def release(uow: UnitOfWork, lease: Lease, *, to_the_back: bool = False) -> bool:
    """Give the lease back; True when work is left, so that a wake-up is due. Raises LeaseLost.

    `to_the_back`: behind the sessions that wait, as it cannot go on just now.
    """
    await leases.fence(uow, lease, 1.0)
    head = await runs.active(uow, lease.session_key)
    if head is not None:  # a worker without its agent would have used `release_missing_agent`
        await run_changes.change(uow, lease.session_key, head[0], agent_missing_since=None)
    runnable = await runs.head_is_runnable(uow, lease.session_key)
    await leases.release(uow, lease, runnable=runnable, to_the_back=to_the_back)
    return runnable


async def release_missing_agent(
    uow: UnitOfWork, lease: Lease, run: Run, grace_seconds: float, seconds: float
) -> bool:
    """Give a run back whose agent this worker does not have, for another worker to find.

    True when the grace time is over: the lease is then kept, and the caller fails the run. Not a crash, and
    behind the others that wait, so that it keeps nobody from working. Raises LeaseLost.
    """
    await leases.fence(uow, lease, seconds)
    missing_since = func.coalesce(runs_table.c.agent_missing_since, now())
    await run_changes.change(uow, lease.session_key, run.id, agent_missing_since=missing_since)
    if await runs.is_agent_missing_for(uow, lease.session_key, run.id, grace_seconds):
        return True
    await leases.release(uow, lease, runnable=True, to_the_back=True)
    return False
