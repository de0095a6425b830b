"""Finish: items, status, usage and events of a run, and the claim of the session's next run, in one
transaction that is fenced (PROTOCOL 2.4, 2.8)."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import bindparam, func, null, update

from turnkeeper_storage.items import Json
from turnkeeper_storage.joined_writes import Change
from turnkeeper_storage.model import Event, EventType, Lease, Run, RunError, RunStatus, Usage
from turnkeeper_storage.repositories import approvals, boundaries, events, leases, run_changes, runs
from turnkeeper_storage.sql_types import now
from turnkeeper_storage.tables import runs as runs_table
from turnkeeper_storage.transitions import END_EVENTS
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.adding import AddItems
from turnkeeper_storage.verbs.claim import Job, start_next
from turnkeeper_storage.verbs.settling import decided_event

BOUNDARY = "finish"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ends. `turn` counts its turns, the last one included; `usage` is the whole run's.

    `deltas` counts those that the last turn gave.
    """

    status: RunStatus
    turn: int
    usage: Usage = field(default_factory=Usage)
    output: Json = None
    error: RunError | None = None
    response_id: str | None = None
    deltas: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """What follows in the session: its next run under the same lease, or the lease was given back.

    `wake`: it was given back with work left, so a wake-up is due.
    """

    next: Job | None
    wake: bool = False


async def finish(
    uow: UnitOfWork,
    lease: Lease,
    run: Run,
    ending: Ending,
    *,
    add: AddItems | None,
    go_on: bool,
    seconds: float,
    crash_limit: int,
    store: str | None = None,
    places: int = 0,
) -> Finished:
    """End a run once, and take the next one when `go_on`. Raises LeaseLost with nothing written.

    `store` names where the items are added; `places` is how many they are, as far as it is known.
    """
    reported = _events_of(run, ending)
    end = _end(run, ending, len(reported))
    last, ended = await leases.fence_and(uow, lease, seconds, end, store=store, progress=True, places=places)
    if ended is not None:
        first = int(ended[0]) - len(reported)
        if ended[1]:  # as of before the fence, so that it may have been decided since
            reported = [*await _cancel_approvals(uow, run, first + len(reported)), *reported]
        if add is not None:  # in this very transaction: where the run has not ended, they are not there
            await boundaries.passed(uow, lease.session_key, run.id, BOUNDARY)
            await add(uow)
        elif not await boundaries.pass_once(uow, lease.session_key, run.id, BOUNDARY):
            await boundaries.mark_done(uow, lease.session_key, run.id, BOUNDARY)
        numbered = [Event(run.id, first + i, kind, data) for i, (kind, data) in enumerate(reported)]
        await events.add(uow, lease.session_key, numbered)
    # after the last one that was accepted there is none, as long as the session's row is locked
    head = await runs.head(uow, lease.session_key) if run.seq < last else None
    if head is not None and go_on:
        job = await start_next(uow, lease, head, crash_limit)
        if job is not None:
            return Finished(job)
    runnable = head is not None and head.status is not RunStatus.AWAITING_APPROVAL
    await leases.release_fenced(uow, lease, runnable=runnable, to_the_back=True)
    return Finished(None, wake=runnable)


_R = runs_table.c
_END = (
    update(runs_table)
    .where(
        _R.session_key == bindparam("b_key"),
        _R.id == bindparam("b_id"),
        _R.status == RunStatus.RUNNING.value,
    )
    .values(
        status=bindparam("b_status"),
        turn=bindparam("b_turn"),
        output=bindparam("b_output"),
        error=bindparam("b_error"),
        usage=bindparam("b_usage"),
        merged_input=null(),
        next_event=_R.next_event + bindparam("b_events"),
        started_at=func.coalesce(_R.started_at, now()),
        finished_at=now(),
    )
    .returning(_R.next_event, approvals.has_pending(bindparam("b_key"), bindparam("b_id")).label("has_open"))
)


def _end(run: Run, ending: Ending, count: int) -> Change:
    """The end of a run that has not ended, with `count` events; gives its next index, and if one is asked."""
    values = {
        "b_key": run.session_key,
        "b_id": run.id,
        "b_status": ending.status.value,
        "b_turn": ending.turn,
        "b_output": ending.output,
        "b_error": ending.error.as_json() if ending.error else None,
        "b_usage": ending.usage.as_json(),
        "b_events": count,
    }
    return Change(_END, values)


async def _cancel_approvals(
    uow: UnitOfWork, run: Run, following: int
) -> list[tuple[EventType, dict[str, Json]]]:
    # none is open when all goes well: a run that ends with one must not leave somebody a dead question
    gone = await approvals.cancel_pending(uow, run.session_key, run.id)
    await run_changes.change(uow, run.session_key, run.id, next_event=following + len(gone))
    return [decided_event(one) for one in gone]


def _events_of(run: Run, ending: Ending) -> list[tuple[EventType, dict[str, Json]]]:
    reported: list[tuple[EventType, dict[str, Json]]] = []
    if ending.turn > run.turn:
        data: dict[str, Json] = {"turn": ending.turn, "response_id": ending.response_id, "calls": []}
        if ending.deltas:
            data["deltas"] = ending.deltas
        reported.append((EventType.TURN_FINISHED, data))
    end: dict[str, Json] = {"usage": ending.usage.as_json()}
    if ending.error:
        end["error"] = ending.error.as_json()
    reported.append((END_EVENTS[ending.status], end))
    return reported
