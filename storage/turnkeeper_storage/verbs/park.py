"""Park: a run waits for a person, and nothing is held meanwhile (PROTOCOL 2.7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, update

from turnkeeper_storage.items import Json
from turnkeeper_storage.joined_writes import Change
from turnkeeper_storage.model import (
    Approval,
    ApprovalReason,
    CallStatus,
    Event,
    EventType,
    Lease,
    NewApproval,
    Run,
    RunStatus,
)
from turnkeeper_storage.repositories import approvals as approvals_repository
from turnkeeper_storage.repositories import boundaries, events, leases, run_changes, turns
from turnkeeper_storage.tables import runs as runs_table
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.adding import AddItems


@dataclass(frozen=True, slots=True)
class Parked:
    """The run as it waits, and all that it waits for. The lease is given back."""

    run: Run
    approvals: list[Approval]


def boundary_of(turn: int) -> str:
    """The boundary at which a run that parks in this turn adds to the history."""
    return f"park:{turn}"


async def park(
    uow: UnitOfWork,
    lease: Lease,
    run: Run,
    approvals: Sequence[NewApproval],
    *,
    turn: int,
    add: AddItems | None,
    store: str = "database",
    hooked: bool = False,
    seconds: float,
) -> Parked | None:
    """Ask a person about calls of the committed turn `turn`, and give the lease back.

    None when the run's cancel was asked for: nothing is written, the lease is kept, go on and see the cancel.
    `add` adds the boundary's items, up to and including the calls of the turn and none of its outputs; it is
    not called when the run parked in this turn before. `store`: "database" only when items may be appended
    there by this package as they are; anything else, or `hooked`, leaves the end of a cancelled run to a
    worker.

    A call that was approved and whose tool has changed since is asked about again in just this way: give it
    with the tool's new digest (a call asked about n times has n approvals). A call in doubt cannot be decided
    on before its tool's time-out has passed.

    Raises LeaseLost, also when a retry follows a commit whose answer was lost: the lease is given back then,
    and the run is parked. Raises ValueError for a call that is settled, or under way and not asked about as
    in doubt.
    """
    if not approvals:
        raise ValueError("a run parks for at least one approval")
    _, row = await leases.fence_and(uow, lease, seconds, _awaiting(run, turn, len(approvals)))
    if row is None:
        return None
    parked = run_changes.as_changed(run, {}, row)
    await _pass(uow, lease, run, turn, add)
    deadlines: dict[str, datetime | None] = {}
    for new in approvals:
        in_doubt = new.reason is ApprovalReason.IN_DOUBT
        status = CallStatus.IN_DOUBT if in_doubt else CallStatus.AWAITING
        ends = await turns.await_decision(
            uow, lease.session_key, run.id, new.call_id, status, new.tool_digest
        )
        deadlines[new.call_id] = ends if in_doubt else None
    await approvals_repository.ask(uow, lease.session_key, run.id, run.tenant, approvals, deadlines)
    asked = await approvals_repository.pending(uow, lease.session_key, run.id)
    await _tell(uow, parked, asked, len(approvals))
    await leases.park(uow, lease, run.id, store, hooked=hooked)
    return Parked(parked, asked)


_R = runs_table.c
_AWAIT = (
    update(runs_table)
    .where(
        _R.session_key == bindparam("b_key"),
        _R.id == bindparam("b_id"),
        _R.status == RunStatus.RUNNING.value,
        ~_R.cancel_requested,
    )
    .values(
        status=RunStatus.AWAITING_APPROVAL.value,
        parked_turn=bindparam("b_turn"),
        next_event=_R.next_event + bindparam("b_events"),
        # a run that got as far as to ask has made progress
        crashes=0,
        agent_missing_since=None,
    )
    .returning(*run_changes.SHORT)
)


def _awaiting(run: Run, turn: int, count: int) -> Change:
    values = {"b_key": run.session_key, "b_id": run.id, "b_turn": turn, "b_events": count}
    return Change(_AWAIT, values)


async def _pass(uow: UnitOfWork, lease: Lease, run: Run, turn: int, add: AddItems | None) -> None:
    boundary = boundary_of(turn)
    if add is not None and run.parked_turn != turn:  # it has not parked here before
        await boundaries.passed(uow, lease.session_key, run.id, boundary)
        await add(uow)
    elif await boundaries.pass_once(uow, lease.session_key, run.id, boundary):
        if add is not None:
            await add(uow)
    else:
        await boundaries.mark_done(uow, lease.session_key, run.id, boundary)


async def _tell(uow: UnitOfWork, run: Run, asked: Sequence[Approval], count: int) -> None:
    first = run.next_event - count
    told = [
        Event(run.id, first + index, EventType.APPROVAL_REQUESTED, _requested(approval))
        for index, approval in enumerate(asked)
    ]
    await events.add(uow, run.session_key, told)


def _requested(approval: Approval) -> dict[str, Json]:
    return {
        "approval_id": approval.id,
        "call_id": approval.call_id,
        "tool": approval.tool,
        "reason": approval.reason.value,
    }
