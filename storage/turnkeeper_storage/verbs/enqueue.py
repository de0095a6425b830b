"""Enqueue: a place in the session's queue and the run's row, in one transaction (PROTOCOL 2.1)."""

from __future__ import annotations

from dataclasses import dataclass

from turnkeeper_storage.admission import QueueLimits, check_on_paused
from turnkeeper_storage.errors import ApprovalPending, IdempotencyConflict, NotFound, QueueFull
from turnkeeper_storage.model import NewRun, OnPaused, Run, RunStatus
from turnkeeper_storage.repositories import accepting, approvals, queues, runs, sessions
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.cancel import cancel_waiting

NO_LIMITS = QueueLimits()


@dataclass(frozen=True, slots=True)
class Enqueued:
    """The run that stands. `created`: by this call; `wake`: publish a wake-up after the commit."""

    run: Run
    created: bool
    wake: bool


async def enqueue(
    uow: UnitOfWork,
    new: NewRun,
    *,
    on_paused: OnPaused | str = OnPaused.QUEUE,
    limits: QueueLimits = NO_LIMITS,
    is_all: bool = False,
) -> Enqueued:
    """Accept a run; `is_all`: the transaction does nothing else, so that one statement may be all of it.

    The same idempotency key, or the same id after a lost answer, gives the same run.

    `on_paused` says what to do when the session's head waits for an approval now: wait behind it, be
    refused, or cancel it (runs accepted earlier still go first). Raises IdempotencyConflict when the key
    belongs to a run with another input, ApprovalPending when refused, InvalidInput for another `on_paused`,
    QueueFull when as many runs wait as `limits` allow: exactly for a session, for a tenant give or take the
    enqueues of one moment. All of them leave nothing written, for a caller's own transaction may go on.
    """
    chosen = check_on_paused(on_paused)
    if is_all and chosen is OnPaused.QUEUE and limits.per_tenant is None:
        accepted = await accepting.accept(uow, new, limits.per_session)
        if accepted is not None:
            return Enqueued(accepted.run, created=True, wake=accepted.wake)
    await _check_tenant(uow, new, limits.per_tenant)
    place = await sessions.take_seq(uow, new.session_key, new.tenant, new.session_id)
    is_full = limits.per_session is not None and place.seq > limits.per_session
    if new.idempotency_key is not None or is_full or chosen is not OnPaused.QUEUE:
        # Under the row's lock, so a concurrent request with the same key is seen or has not begun.
        same = await runs.find_same(uow, new)
        if same is not None:
            return await _repeat(uow, new, same, wake=place.wake)
    await _check_session(uow, new, place.seq, limits.per_session)
    woken = await _meet_parked(uow, new, chosen) if chosen is not OnPaused.QUEUE else False
    run = await runs.add(uow, new, place.seq)
    if run is None:  # by an attempt whose answer was lost
        same = await runs.find_same(uow, new)
        return await _repeat(uow, new, same or (new.id, new.input_digest), wake=place.wake)
    if woken:  # the head is gone, and the new run may be the head
        await sessions.set_runnable(uow, new.session_key, True)
    return Enqueued(run, created=True, wake=place.wake or woken)


async def _check_tenant(uow: UnitOfWork, new: NewRun, limit: int | None) -> None:
    # Before the session's row is made or locked: a lock on one session would not keep others out.
    if limit is None or await queues.queued_of_tenant(uow, new.tenant, limit) < limit:
        return
    if await runs.find_same(uow, new) is None:
        raise QueueFull("tenant", new.tenant, limit)


async def _check_session(uow: UnitOfWork, new: NewRun, seq: int, limit: int | None) -> None:
    # A session that never had so many runs has not so many that wait: no need to count.
    if limit is None or seq <= limit:
        return
    if await queues.queued_of_session(uow, new.session_key, limit) >= limit:
        await _undo(uow, new.session_key)
        raise QueueFull("session", new.session_id, limit)


async def _undo(uow: UnitOfWork, key: str) -> None:
    """Leave the session's row as it was before its seq was taken."""
    await sessions.give_seq_back(uow, key)
    await sessions.set_runnable(uow, key, await runs.head_is_runnable(uow, key))


async def _meet_parked(uow: UnitOfWork, new: NewRun, on_paused: OnPaused) -> bool:
    """Refuse, or cancel the parked head: True when the session can go on now."""
    head = await runs.head(uow, new.session_key)
    if head is None or head.status is not RunStatus.AWAITING_APPROVAL:
        return False
    if on_paused is OnPaused.REJECT:
        open_ones = await approvals.pending(uow, new.session_key, head.id)
        # before the error: a caller's own transaction may survive it and commit
        await sessions.give_seq_back(uow, new.session_key)
        raise ApprovalPending(new.session_id, head.id, [approval.id for approval in open_ones])
    session = await sessions.lock(uow, new.session_key)
    if session is None:
        raise NotFound("session", new.session_id)
    await cancel_waiting(uow, session, head)
    return not session.is_leased


async def _repeat(uow: UnitOfWork, new: NewRun, same: tuple[str, str], *, wake: bool) -> Enqueued:
    # before any error: a caller's own transaction may survive it and commit
    await _undo(uow, new.session_key)
    run_id, input_digest = same
    if input_digest != new.input_digest:
        raise IdempotencyConflict(new.idempotency_key or new.id, run_id)
    run = await runs.get(uow, new.session_key, run_id, new.tenant)
    if run is None:
        raise NotFound("run", run_id)
    return Enqueued(run, created=False, wake=wake and not run.status.is_terminal)
