"""Claim: the lease, the next epoch and the head of the queue, in one transaction (PROTOCOL 2.3, 2.11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import bindparam, case, func, null, update

from turnkeeper_storage.model import Event, Lease, Run, RunStatus
from turnkeeper_storage.repositories import events, leases, runs
from turnkeeper_storage.repositories.leases import Claimed
from turnkeeper_storage.sql_types import now
from turnkeeper_storage.tables import runs as runs_table
from turnkeeper_storage.transitions import ClaimDecision, decide_claim
from turnkeeper_storage.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class Claimant:
    """Who claims, and on what terms. `lease_id` is fresh for every claim."""

    lease_id: str
    owner: str
    lease_seconds: float
    crash_limit: int


@dataclass(frozen=True, slots=True)
class Job:
    """A run to work on under a lease. `is_poisoned`: fail it, it crashed its workers too often.

    `store` is where the session's items live, as its row said at the claim; "" when nothing is written yet.
    """

    lease: Lease
    run: Run
    is_poisoned: bool = False
    store: str = ""


async def claim(uow: UnitOfWork, key: str, claimant: Claimant) -> Job | None:
    """Take one session and start its head; None when it is leased, parked, empty or unknown."""
    claimed = await leases.claim(uow, key, claimant.lease_id, claimant.owner, claimant.lease_seconds)
    if claimed is None:
        return None
    # A statement of its own: its snapshot is younger than the wait for the row's lock.
    head = await runs.head(uow, key)
    jobs = await _start(uow, [(claimed, head)], claimant.crash_limit)
    return jobs[0] if jobs else None


async def claim_stale(uow: UnitOfWork, limit: int, claimant: Claimant) -> list[Job]:
    """Take up to `limit` sessions that have work and no holder, and start their heads."""
    found = await leases.claim_stale(uow, limit, claimant.lease_id, claimant.owner, claimant.lease_seconds)
    if not found:
        return []
    heads = await runs.heads(uow, [claimed.lease.session_key for claimed in found])
    pairs = [(claimed, heads.get(claimed.lease.session_key)) for claimed in found]
    return await _start(uow, pairs, claimant.crash_limit)


async def start_next(uow: UnitOfWork, lease: Lease, head: Run, crash_limit: int) -> Job | None:
    """Start the next run of a session whose lease is held already; None when it is parked."""
    if head.status is RunStatus.RUNNING:
        # started by an earlier attempt of this transaction, whose answer was lost
        return Job(lease, head, is_poisoned=head.crashes >= crash_limit)
    decision = decide_claim(head, taken_over=False, crash_limit=crash_limit)
    if decision is None:
        return None
    return (await _write(uow, [(lease, head, decision)]))[0]


async def _start(uow: UnitOfWork, pairs: Sequence[tuple[Claimed, Run | None]], crash_limit: int) -> list[Job]:
    started: list[tuple[Lease, Run, ClaimDecision]] = []
    stores: dict[str, str] = {}
    for claimed, head in pairs:
        stores[claimed.lease.session_key] = claimed.store
        decision = None
        if head is not None:
            decision = decide_claim(head, taken_over=claimed.taken_over, crash_limit=crash_limit)
        if head is None or decision is None:
            await leases.release(uow, claimed.lease, runnable=False)
        else:
            started.append((claimed.lease, head, decision))
    jobs = await _write(uow, started)
    return [replace(job, store=stores[job.lease.session_key]) for job in jobs]


_R = runs_table.c
_START = (
    update(runs_table)
    .where(_R.session_key == bindparam("b_key"), _R.id == bindparam("b_id"))
    .values(
        status=bindparam("b_status"),
        crashes=bindparam("b_crashes"),
        next_event=bindparam("b_next_event"),
        started_at=func.coalesce(_R.started_at, now()),
        # a worker that crashed at the run had its agent
        agent_missing_since=case((_R.crashes < bindparam("b_crashes"), null()), else_=_R.agent_missing_since),
    )
)


async def _write(uow: UnitOfWork, started: Sequence[tuple[Lease, Run, ClaimDecision]]) -> list[Job]:
    jobs: list[Job] = []
    rows: list[dict[str, object]] = []
    for lease, head, decision in started:
        next_event = head.next_event + (1 if decision.event else 0)
        run = replace(head, status=decision.status, crashes=decision.crashes, next_event=next_event)
        jobs.append(Job(lease, run, decision.is_poisoned))
        rows.append(
            {
                "b_key": lease.session_key,
                "b_id": run.id,
                "b_status": run.status.value,
                "b_crashes": run.crashes,
                "b_next_event": next_event,
            }
        )
        if decision.event:
            data = {"turn": head.turn + 1, "epoch": lease.epoch}
            event = Event(head.id, head.next_event, decision.event, data)
            await events.add(uow, lease.session_key, [event])
    if rows:
        await uow.execute(_START, rows if len(rows) > 1 else rows[0])
    return jobs
