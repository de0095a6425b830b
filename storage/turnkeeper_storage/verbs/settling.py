"""What a park, a decision, an expiry, a deadline and a cancel share: writes that keep approvals and calls
in step.

All of it happens under the session's row lock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from turnkeeper_storage.approvals import Applied
from turnkeeper_storage.items import Item, Json
from turnkeeper_storage.metrics import count_ended
from turnkeeper_storage.model import Approval, Event, EventType, Run, RunError, RunStatus, ToolCall
from turnkeeper_storage.outputs import CANCELLED_TEXT, close, outputs_of
from turnkeeper_storage.repositories import approvals, events, items, run_changes, runs, sessions, turns
from turnkeeper_storage.repositories.sessions import SessionRow
from turnkeeper_storage.sessions.stores import DATABASE
from turnkeeper_storage.sql_types import now
from turnkeeper_storage.transitions import END_EVENTS
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
    """Set columns of the run and write its events, dense; the run as it is then.

    Of the values `now()` is the database's clock, all others are plain. The session's row has been locked
    since before `run` was read: nobody else takes an index.
    """
    numbered = [Event(run.id, run.next_event + i, kind, data) for i, (kind, data) in enumerate(told)]
    await events.add(uow, run.session_key, numbered)
    changed = await run_changes.change_and_read(uow, run, values, events=len(told))
    if changed.next_event != run.next_event + len(told):
        raise RuntimeError(f"run {run.id} was read before its session's row was locked")
    return changed


async def write_call(uow: UnitOfWork, approval: Approval, call: ToolCall, applied: Applied) -> None:
    """Write what a decision made of the call."""
    after = decided_call(call, applied)
    await turns.decide_call(uow, approval.session_key, approval.run_id, after, edited=applied.arguments)


def decided_call(call: ToolCall, applied: Applied) -> ToolCall:
    """What a decision made of the call."""
    return replace(call, status=applied.call_status, output=applied.call_output)


async def end_waiting(
    uow: UnitOfWork,
    session: SessionRow,
    run: Run,
    error: RunError | None = None,
    text: str = CANCELLED_TEXT,
) -> Run:
    """End a run that is queued or parked, as cancelled or as failed with `error`, with a valid history.

    Of a run that was parked the answers to its last calls enter the history: what was done as it is, the
    rest as `text`. The caller holds the lock, and says what is runnable then.
    """
    told = []
    if run.parked_turn is not None:
        told = await _close(uow, run, text)
        await _complete_history(uow, session, run, run.parked_turn)
    status = RunStatus.CANCELLED if error is None else RunStatus.FAILED
    end: dict[str, Json] = {"usage": run.usage.as_json()}
    values: dict[str, object] = {"status": status.value, "finished_at": now(), "merged_input": None}
    if error is None:
        values["cancel_requested"] = True
    else:
        end["error"] = values["error"] = error.as_json()
    told.append((END_EVENTS[status], end))
    ended = await report(uow, run, told, values)
    count_ended(run.agent, status.value, error.code if error else "")
    return ended


async def hand_over(uow: UnitOfWork, run: Run, text: str = CANCELLED_TEXT, *, cancels: bool = False) -> Run:
    """Queue a run that was parked, its calls closed, so that a worker ends it: as cancelled if `cancels`."""
    told = await _close(uow, run, text)
    values: dict[str, object] = {"status": RunStatus.QUEUED.value}
    if cancels:
        values["cancel_requested"] = True
    return await report(uow, run, told, values)


def needs_worker(session: SessionRow, run: Run) -> bool:
    """Whether the run parked, and its session's items live where only a worker writes."""
    return run.parked_turn is not None and (session.store != DATABASE or session.hooked)


async def _close(uow: UnitOfWork, run: Run, text: str) -> list[tuple[EventType, dict[str, Json]]]:
    """Cancel open approvals and close open calls; the events to write."""
    gone = await approvals.cancel_pending(uow, run.session_key, run.id)
    calls = await turns.list_calls(uow, run.session_key, run.id)
    unsettled = [close(call, text) for call in calls if not call.is_settled]
    await turns.close_calls(uow, run.session_key, run.id, unsettled)
    return [decided_event(approval) for approval in gone]


async def _complete_history(uow: UnitOfWork, session: SessionRow, run: Run, turn: int) -> None:
    calls = await turns.list_calls(uow, run.session_key, run.id)
    parked = next(t for t in await turns.list_turns(uow, run.session_key, run.id) if t.turn == turn)
    rest: list[Item] = [*outputs_of(calls, turn), *parked.added]
    uow.origin = Origin(run.id, session.epoch, [turn] * len(rest))
    await items.append(uow, run.session_key, rest)
    uow.origin = None


def is_unparked(session: SessionRow, run: Run, values: Mapping[str, Any]) -> bool:
    """Whether `values` queue the run that is parked in the session: it is the session's head then."""
    return session.parked_run == run.id and values.get("status") == RunStatus.QUEUED.value


async def wake(uow: UnitOfWork, session: SessionRow, run: Run) -> bool:
    """After `run` changed: unpark it, and tell the sweeper what is runnable; whether a wake-up is due."""
    if session.parked_run == run.id:
        await sessions.unpark(uow, run.session_key)
    runnable = await runs.head_is_runnable(uow, run.session_key)
    await sessions.set_runnable(uow, run.session_key, runnable)
    return runnable and not session.is_leased
