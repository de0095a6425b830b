"""What a park, a decision, an expiry and a cancel share: the writes that keep approvals and calls in step.

All of it happens under the session's row lock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import true

from turnkeeper_storage.approvals import Applied
from turnkeeper_storage.items import Item, Json
from turnkeeper_storage.model import Approval, Event, EventType, Run, RunStatus, ToolCall
from turnkeeper_storage.outputs import close, outputs_of
from turnkeeper_storage.repositories import approvals, events, items, runs, sessions, turns
from turnkeeper_storage.repositories.sessions import SessionRow
from turnkeeper_storage.sql_types import now
from turnkeeper_storage.tables import runs as runs_table
from turnkeeper_storage.unit_of_work import Origin, UnitOfWork


def decided_event(approval: Approval) -> tuple[EventType, dict[str, Json]]:
    """What a reader of the run's events is told about a decision."""
    data: dict[str, Json] = {
        "approval_id": approval.id,
        "call_id": approval.call_id,
        "status": approval.status.value,
        "by": approval.decided_by,
    }
    return EventType.APPROVAL_DECIDED, data


async def report(
    uow: UnitOfWork, run: Run, told: Sequence[tuple[EventType, dict[str, Json]]], values: Mapping[str, Any]
) -> Run:
    """Set columns of the run and write its events, dense; the run as it is then."""
    full = {**values, "next_event": runs_table.c.next_event + len(told)}
    changed = await runs.change_and_read(uow, run.session_key, run.id, full)
    first = changed.next_event - len(told)
    numbered = [Event(run.id, first + i, kind, data) for i, (kind, data) in enumerate(told)]
    await events.add(uow, run.session_key, numbered)
    return changed


async def write_call(uow: UnitOfWork, approval: Approval, call: ToolCall, applied: Applied) -> None:
    """What a decision made of the call."""
    after = replace(call, status=applied.call_status, output=applied.call_output)
    await turns.decide_call(uow, approval.session_key, approval.run_id, after, edited=applied.arguments)


async def end_waiting(uow: UnitOfWork, session: SessionRow, run: Run) -> Run:
    """End a run that is queued or parked, as cancelled, with a valid history.

    Of a run that was parked the answers to its last calls enter the history: what was done as it is, the
    rest as cancelled. The caller holds the lock, and says what is runnable then.
    """
    told = []
    if run.parked_turn is not None:
        told = await _close(uow, run)
        await _complete_history(uow, session, run, run.parked_turn)
    told.append((EventType.CANCELLED, {"usage": run.usage.as_json()}))
    values: dict[str, object] = {
        "status": RunStatus.CANCELLED.value,
        "cancel_requested": true(),
        "finished_at": now(),
        "merged_input": None,
    }
    return await report(uow, run, told, values)


async def hand_over(uow: UnitOfWork, run: Run) -> Run:
    """Flag a run that was parked as cancelled and queue it, so that a worker ends it."""
    told = await _close(uow, run)
    values = {"status": RunStatus.QUEUED.value, "cancel_requested": true()}
    return await report(uow, run, told, values)


async def _close(uow: UnitOfWork, run: Run) -> list[tuple[EventType, dict[str, Json]]]:
    """Cancel open approvals and close open calls; the events to write."""
    gone = await approvals.cancel_pending(uow, run.session_key, run.id)
    calls = await turns.list_calls(uow, run.session_key, run.id)
    unsettled = [close(call) for call in calls if not call.is_settled]
    await turns.close_calls(uow, run.session_key, run.id, unsettled)
    return [decided_event(approval) for approval in gone]


async def _complete_history(uow: UnitOfWork, session: SessionRow, run: Run, turn: int) -> None:
    calls = await turns.list_calls(uow, run.session_key, run.id)
    parked = next(t for t in await turns.list_turns(uow, run.session_key, run.id) if t.turn == turn)
    rest: list[Item] = [*outputs_of(calls, turn), *parked.added]
    uow.origin = Origin(run.id, session.epoch, [turn] * len(rest))
    await items.append(uow, run.session_key, rest)
    uow.origin = None


async def wake(uow: UnitOfWork, session: SessionRow, run: Run) -> bool:
    """After `run` changed: unpark it, and tell the sweeper what is runnable; whether a wake-up is due."""
    if session.parked_run == run.id:
        await sessions.unpark(uow, run.session_key)
    runnable = await runs.head_is_runnable(uow, run.session_key)
    await sessions.set_runnable(uow, run.session_key, runnable)
    return runnable and not session.is_leased
