"""Cancel: ends a run that waits, flags one that works (PROTOCOL 2.12)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import true

from turnkeeper_storage.errors import NotFound
from turnkeeper_storage.model import Event, EventType, Run, RunStatus
from turnkeeper_storage.repositories import events, runs, sessions
from turnkeeper_storage.sql_types import now
from turnkeeper_storage.tables import runs as runs_table
from turnkeeper_storage.transitions import CancelEffect, decide_cancel
from turnkeeper_storage.unit_of_work import UnitOfWork


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
    match decide_cancel(run.status):
        case CancelEffect.NOTHING:
            return Cancelled(run, wake=False)
        case CancelEffect.FLAG:
            await runs.change(uow, key, run_id, cancel_requested=true())
            return Cancelled(replace(run, cancel_requested=True), wake=not session.is_leased)
        case CancelEffect.END:
            ended = await _end(uow, run)
            if run.status is RunStatus.AWAITING_APPROVAL:
                await sessions.unpark(uow, key)
            runnable = await runs.head_is_runnable(uow, key)
            await sessions.set_runnable(uow, key, runnable)
            return Cancelled(ended, wake=runnable and not session.is_leased)


async def _end(uow: UnitOfWork, run: Run) -> Run:
    values = {
        "status": RunStatus.CANCELLED.value,
        "cancel_requested": true(),
        "finished_at": now(),
        "next_event": runs_table.c.next_event + 1,
    }
    ended = await runs.change_and_read(uow, run.session_key, run.id, values)
    event = Event(run.id, ended.next_event - 1, EventType.CANCELLED, {"usage": run.usage.as_json()})
    await events.add(uow, run.session_key, [event])
    return ended
