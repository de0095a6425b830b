"""Cancel: ends a run that waits, flags one that works (PROTOCOL 2.12)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import true

from turnkeeper_storage.errors import NotFound
from turnkeeper_storage.model import Run
from turnkeeper_storage.repositories import run_changes, runs, sessions
from turnkeeper_storage.repositories.sessions import SessionRow
from turnkeeper_storage.transitions import CancelEffect, decide_cancel
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs import settling


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The run after the cancel. `wake`: the session may go on now, so a wake-up is due."""

    run: Run
    wake: bool


async def cancel(uow: UnitOfWork, key: str, run_id: str, tenant: str) -> Cancelled:
    """Cancel a run of this tenant; one that has ended stays as it is. Raises NotFound."""
    session = await sessions.lock(uow, key)
    run = await runs.get(uow, key, run_id, tenant) if session else None
    if session is None or run is None:
        raise NotFound("run", run_id)
    match decide_cancel(run.status, needs_worker=settling.needs_worker(session, run)):
        case CancelEffect.NOTHING:
            # perhaps by an attempt of this cancel whose answer was lost, and its wake-up with it
            waits = await runs.head_is_runnable(uow, key)
            return Cancelled(run, wake=waits and not session.is_leased)
        case CancelEffect.FLAG:
            await run_changes.change(uow, key, run_id, cancel_requested=true())
            return Cancelled(replace(run, cancel_requested=True), wake=not session.is_leased)
        case CancelEffect.END | CancelEffect.HAND_OVER:
            return await cancel_waiting(uow, session, run)


async def cancel_waiting(uow: UnitOfWork, session: SessionRow, run: Run) -> Cancelled:
    """Cancel a run that is queued or parked, under the session's lock that the caller took.

    It ends here, with the answers to its open calls in the history; when its items live in a store that only
    a worker writes to, it is queued for one to end it.
    """
    if settling.needs_worker(session, run):
        if not run.cancel_requested:
            run = await settling.hand_over(uow, run, cancels=True)
    else:
        run = await settling.end_waiting(uow, session, run)
    return Cancelled(run, wake=await settling.wake(uow, session, run))
