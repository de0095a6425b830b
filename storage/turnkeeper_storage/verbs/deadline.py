"""Deadlines: runs that wait are ended when theirs has passed, on the database's clock (PROTOCOL 2.11).

A run in work is ended by its worker, and one whose worker died by whoever claims it next.
"""

from __future__ import annotations

from dataclasses import dataclass

from turnkeeper_storage.deadlines import EXCEEDED_TEXT, exceeded
from turnkeeper_storage.model import Run, RunStatus
from turnkeeper_storage.repositories import deadlines, runs, sessions
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs import settling


@dataclass(frozen=True, slots=True)
class Overdue:
    """The run after its deadline. `wake`: the session may go on now, so a wake-up is due."""

    run: Run
    wake: bool


async def overdue(uow: UnitOfWork, limit: int) -> list[tuple[str, str]]:
    """(session key, run id) of at most `limit` waiting runs whose deadline has passed; takes no lock.

    Each is then ended in a transaction of its own, which looks again.
    """
    return await deadlines.overdue(uow, limit)


async def end_overdue(uow: UnitOfWork, key: str, run_id: str) -> Overdue | None:
    """Fail a run that is queued or parked and whose deadline has passed; None when it is not so any more.

    Its open approvals are cancelled and its open calls get their outputs, so its history stays valid. One
    whose items live in a store that only a worker writes to is queued for one to end it.
    """
    session = await sessions.lock(uow, key)
    run = await runs.get(uow, key, run_id, session.tenant) if session else None
    if session is None or run is None or run.status not in (RunStatus.QUEUED, RunStatus.AWAITING_APPROVAL):
        return None
    left = await deadlines.seconds_left(uow, key, run_id)
    if left is None or left > 0:
        return None
    if not settling.needs_worker(session, run):
        run = await settling.end_waiting(uow, session, run, exceeded(run), EXCEEDED_TEXT)
    elif run.status is RunStatus.AWAITING_APPROVAL:
        run = await settling.hand_over(uow, run, EXCEEDED_TEXT)
    return Overdue(run, wake=await settling.wake(uow, session, run))
