"""Claim: the lease, the next epoch and the head of the queue, in one transaction (PROTOCOL 2.3, 2.11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import bindparam, case, func, null, update

from turnkeeper_storage.model import Event, Lease, Run, RunStatus
from turnkeeper_storage.repositories import claiming, events, leases, runs, unheld
from turnkeeper_storage.repositories.leases import Claimed
from turnkeeper_storage.sql_types import now
from turnkeeper_storage.tables import runs as runs_table
from turnkeeper_storage.transitions import (
    MOST_SUSPECTS,
    ClaimDecision,
    choose_company,
    decide_claim,
)
from turnkeeper_storage.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class Claimant:
    """Who claims, and on what terms. `lease_id` is fresh for every claim.

    `takes_suspects`: the process works on no run that crashed its workers twice, and so may take some.
    """

    lease_id: str
    owner: str
    lease_seconds: float
    crash_limit: int
    takes_suspects: bool = True


@dataclass(frozen=True, slots=True)
class Job:
    """A run to work on under a lease. `is_poisoned`: fail it, it crashed its workers too often.

    `store` is where the session's items live, as its row said at the claim; "" when nothing is written yet.
    `is_suspect`: it crashed its workers before; few of its kind are in one process at once. `is_taken_over`:
    nobody gave the lease before back.
    """

    lease: Lease
    run: Run
    is_poisoned: bool = False
    store: str = ""
    is_suspect: bool = False
    is_taken_over: bool = False


async def claim(uow: UnitOfWork, key: str, claimant: Claimant, *, is_all: bool = False) -> Job | None:
    """Take one session and start its head; None when it is leased, parked, empty or unknown.

    None as well when its head is a suspect: only a sweep takes those, for it knows of the others. `is_all`:
    the transaction does nothing else, so that one statement may be all of it.
    """
    if is_all:
        started = await claiming.claim_queued(
            uow, key, claimant.lease_id, claimant.owner, claimant.lease_seconds
        )
        if started is not None:
            taken = started.claimed
            return Job(taken.lease, started.run, store=taken.store, is_taken_over=taken.taken_over)
    claimed = await leases.claim(uow, key, claimant.lease_id, claimant.owner, claimant.lease_seconds)
    if claimed is None:
        return None
    # A statement of its own: its snapshot is younger than the wait for the row's lock.
    head = await runs.head(uow, key)
    jobs = await _start(uow, [(claimed, head)], claimant.crash_limit)
    return jobs[0] if jobs else None


@dataclass(frozen=True, slots=True)
class ClaimedMany:
    """What came of claiming several sessions: jobs, and the keys of those that somebody had locked."""

    jobs: list[Job]
    locked: list[str]


async def claim_many(uow: UnitOfWork, keys: Sequence[str], claimant: Claimant) -> ClaimedMany:
    """`claim` for several sessions at once, waiting for nobody: those with locked rows are told only."""
    free = set(await unheld.lock_free(uow, keys, claimant.lease_id))
    # a row that is free, and was not to be had
    locked = await unheld.free(uow, sorted(set(keys) - free), claimant.lease_id)
    wanted = [key for key in keys if key in free]
    found = await leases.claim_these(uow, wanted, claimant.lease_id, claimant.owner, claimant.lease_seconds)
    heads = await runs.heads(uow, wanted) if wanted else {}
    pairs = [(claimed, heads.get(claimed.lease.session_key)) for claimed in found]
    return ClaimedMany(await _start(uow, pairs, claimant.crash_limit), locked)


async def claim_stale(uow: UnitOfWork, limit: int, claimant: Claimant) -> list[Job]:
    """Take up to `limit` sessions that have work and no holder, and start their heads.

    Of suspects as many as may be together in one process, and none unless `claimant.takes_suspects`.
    """
    found = await unheld.claim_stale(uow, limit, claimant.lease_id, claimant.owner, claimant.lease_seconds)
    heads = await runs.heads(uow, [claimed.lease.session_key for claimed in found]) if found else {}
    pairs = [(claimed, heads.get(claimed.lease.session_key)) for claimed in found]
    jobs = await _start(uow, pairs, claimant.crash_limit)
    if claimant.takes_suspects and len(jobs) < limit:
        jobs += await _claim_suspects(uow, limit - len(jobs), claimant)
    return jobs


async def _claim_suspects(uow: UnitOfWork, limit: int, claimant: Claimant) -> list[Job]:
    known = await unheld.lock_suspects(uow, min(limit, MOST_SUSPECTS), claimant.lease_id)
    if not known:
        return []
    heads = await runs.heads(uow, [one.session_key for one in known])
    allowed: list[int] = []
    for one in known:
        head = heads.get(one.session_key)
        decision = _decide(head, one.taken_over, claimant.crash_limit, one.suspect)
        # what is no suspect any more, or is only to be failed, counts for nobody
        allowed.append(MOST_SUSPECTS if decision is None else decision.company or MOST_SUSPECTS)
    keys = [known[place].session_key for place in choose_company(allowed)]
    taken = await leases.claim_these(uow, keys, claimant.lease_id, claimant.owner, claimant.lease_seconds)
    pairs = [(claimed, heads.get(claimed.lease.session_key)) for claimed in taken]
    return await _start(uow, pairs, claimant.crash_limit, company=len(keys))


async def start_next(uow: UnitOfWork, lease: Lease, head: Run, crash_limit: int) -> Job | None:
    """Start the next run of a session whose lease is held already; None when it is parked."""
    if head.status is RunStatus.RUNNING:
        # started by an earlier attempt of this transaction, whose answer was lost
        return Job(lease, head, is_poisoned=head.crashes >= crash_limit)
    decision = decide_claim(head, taken_over=False, crash_limit=crash_limit)
    if decision is None:
        return None
    return (await _write(uow, [(lease, head, decision)]))[0]


def _decide(head: Run | None, taken_over: bool, limit: int, suspect: int | None) -> ClaimDecision | None:
    if head is None:
        return None
    return decide_claim(head, taken_over=taken_over, crash_limit=limit, suspect=suspect)


async def _start(
    uow: UnitOfWork,
    pairs: Sequence[tuple[Claimed, Run | None]],
    crash_limit: int,
    *,
    company: int | None = None,
) -> list[Job]:
    """Start the heads of sessions just leased; give back what cannot run.

    `company`: how many suspects are taken at once, None when none may be: those are noted and given back.
    """
    started: list[tuple[Lease, Run, ClaimDecision]] = []
    noted: list[tuple[Lease, Run, ClaimDecision]] = []
    known = {claimed.lease.session_key: claimed for claimed, _ in pairs}
    for claimed, head in pairs:
        key = claimed.lease.session_key
        decision = _decide(head, claimed.taken_over, crash_limit, claimed.suspect)
        if head is None or decision is None:
            await leases.release(uow, claimed.lease, runnable=False)
            continue
        if decision.company is not None:
            await unheld.set_suspect(uow, key, company or decision.company)
        if decision.company is not None and company is None:
            noted.append((claimed.lease, head, decision))
        else:
            started.append((claimed.lease, head, decision))
    await _write(uow, [(lease, head, replace(decision, event=None)) for lease, head, decision in noted])
    for lease, _, _ in noted:
        await leases.release(uow, lease, runnable=True)
    jobs = await _write(uow, started)
    return [_with(job, known[job.lease.session_key]) for job in jobs]


def _with(job: Job, claimed: Claimed) -> Job:
    return replace(job, store=claimed.store, is_taken_over=claimed.taken_over)


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
        jobs.append(Job(lease, run, decision.is_poisoned, is_suspect=decision.company is not None))
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
    if len(rows) == 1:
        await uow.later(_START, rows[0])
    elif rows:
        await uow.execute(_START, rows)
    return jobs
