"""Enqueue: a place in the session's queue and the run's row, in one transaction (PROTOCOL 2.1)."""

from __future__ import annotations

from dataclasses import dataclass

from turnkeeper_storage.admission import check_on_paused
from turnkeeper_storage.errors import ApprovalPending, IdempotencyConflict, NotFound
from turnkeeper_storage.model import Event, EventType, NewRun, OnPaused, Run, RunStatus
from turnkeeper_storage.repositories import approvals, events, runs, sessions
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.cancel import cancel_waiting


@dataclass(frozen=True, slots=True)
class Enqueued:
    """The run that stands. `created`: by this call; `wake`: publish a wake-up after the commit."""

    run: Run
    created: bool
    wake: bool


async def enqueue(uow: UnitOfWork, new: NewRun, *, on_paused: OnPaused | str = OnPaused.QUEUE) -> Enqueued:
    """Accept a run. The same idempotency key, or the same id after a lost answer, gives the same run.

    `on_paused` says what to do when the session's head waits for an approval now: wait behind it, be
    refused, or cancel it (runs accepted earlier still go first). Raises IdempotencyConflict when the key
    belongs to a run with another input, ApprovalPending when refused, InvalidInput for another `on_paused`.
    """
    chosen = check_on_paused(on_paused)
    place = await sessions.take_seq(uow, new.session_key, new.tenant, new.session_id)
    # Under the row's lock, so a concurrent request with the same key is seen or has not begun.
    same = await runs.find_same(uow, new)
    if same is not None:
        await sessions.give_seq_back(uow, new.session_key)
        return await _repeat(uow, new, same, wake=place.wake)
    woken = await _meet_parked(uow, new, chosen) if chosen is not OnPaused.QUEUE else False
    run = await runs.add(uow, new, place.seq)
    await events.add(uow, new.session_key, [Event(run.id, 1, EventType.QUEUED, {"seq": run.seq})])
    if woken:  # the head is gone, and the new run may be the head
        await sessions.set_runnable(uow, new.session_key, True)
    return Enqueued(run, created=True, wake=place.wake or woken)


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
    run_id, input_digest = same
    # before any error: a caller's own transaction may survive it and commit
    await sessions.set_runnable(uow, new.session_key, await runs.head_is_runnable(uow, new.session_key))
    if input_digest != new.input_digest:
        raise IdempotencyConflict(new.idempotency_key or new.id, run_id)
    run = await runs.get(uow, new.session_key, run_id, new.tenant)
    if run is None:
        raise NotFound("run", run_id)
    return Enqueued(run, created=False, wake=wake and not run.status.is_terminal)
