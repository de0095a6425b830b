"""Checkpoints between boundaries: turns and tool results, each fenced (PROTOCOL 2.5, 2.6)."""

from __future__ import annotations

from collections.abc import Sequence

from turnkeeper_storage.model import CallStatus, Event, EventType, Lease, Merged, Run, ToolCall, Turn
from turnkeeper_storage.repositories import boundaries, events, leases, run_changes, runs, turns
from turnkeeper_storage.run_state import VERSION, check_loadable
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.adding import AddItems

# A run that got on: its crashes are forgotten, and that its agent was missing once.
PROGRESS: dict[str, object] = {"crashes": 0, "agent_missing_since": None}


async def checkpoint_turn(
    uow: UnitOfWork,
    lease: Lease,
    run: Run,
    turn: Turn,
    calls: Sequence[ToolCall],
    merged: Merged | None,
    seconds: float,
    agent_digest: str | None = None,
) -> Run:
    """Commit a model answer and its planned calls before any tool runs; the run as it is then.

    `merged` is given with the first checkpoint of a run whose input is not stored yet; `agent_digest` is
    the one of the agent that planned the calls. Raises LeaseLost.
    """
    values: dict[str, object] = {
        "turn": turn.turn,
        "state_version": VERSION,
        **PROGRESS,
        "usage": (run.usage + turn.usage).as_json(),
    }
    if agent_digest is not None:
        values["agent_digest"] = agent_digest
    if merged is not None:
        values |= {"merged_input": merged.model_input, "stored_input": merged.stored_input}
    change = run_changes.advancing(run, values, events=1)
    _, row = await leases.fence_and(uow, lease, seconds, change, progress=True)
    if row is None:  # the turn stands: written by an attempt whose answer was lost
        stored = await runs.get(uow, lease.session_key, run.id, run.tenant)
        return stored or run
    changed = run_changes.as_changed(run, values, row)
    await turns.add(uow, lease, run.id, turn)
    await turns.add_calls(uow, lease.session_key, run.id, calls)
    data = {"turn": turn.turn, "response_id": turn.response_id, "calls": [call.name for call in calls]}
    if turn.deltas:
        data["deltas"] = turn.deltas
    event = Event(run.id, changed.next_event - 1, EventType.TURN_FINISHED, data)
    await events.add(uow, lease.session_key, [event])
    return changed


async def store_input(
    uow: UnitOfWork,
    lease: Lease,
    run: Run,
    merged: Merged,
    add: AddItems | None,
    seconds: float,
    *,
    store: str | None = None,
) -> None:
    """The boundary of a streamed run before its first model call: its input enters the history.

    `store` names where that is.
    """
    key = lease.session_key
    stored = run_changes.storing_input(run, merged)
    _, row = await leases.fence_and(uow, lease, seconds, stored, store=store)
    if row is None:  # by an attempt whose answer was lost
        return
    if add is not None:  # in this very transaction: where the input was not stored, its items are not there
        await boundaries.passed(uow, key, run.id, "input")
        await add(uow)
    elif not await boundaries.pass_once(uow, key, run.id, "input"):
        await boundaries.mark_done(uow, key, run.id, "input")


async def start_call(
    uow: UnitOfWork, lease: Lease, run_id: str, call: ToolCall, tool_seconds: float, seconds: float
) -> bool:
    """Record `started` before the effect of a tool that must not run twice.

    False when it was recorded by an earlier attempt: whether it happened is in doubt.
    """
    start = turns.start_call(lease.session_key, run_id, call.call_id, tool_seconds)
    (started,) = await leases.fenced(uow, lease, seconds, start)
    return started > 0


async def settle_call(
    uow: UnitOfWork, lease: Lease, run_id: str, call_id: str, output: str, seconds: float
) -> None:
    """Commit the output of a call; progress, so the run's crashes start anew."""
    settle = turns.settle_call(lease.session_key, run_id, call_id, CallStatus.DONE, output)
    got_on = run_changes.changing(lease.session_key, run_id, **PROGRESS)
    # It lasts: the worker goes on with the output at hand, and must not know of one that the database forgot.
    await leases.fenced(uow, lease, seconds, settle, got_on, progress=True)


async def load_progress(uow: UnitOfWork, key: str, run_id: str) -> tuple[list[Turn], list[ToolCall]]:
    """What a run has done so far: its committed turns, and their calls with their outputs.

    Raises RunFailure `state_version_unknown` for a run that was written by code that this does not know.
    """
    version, taken, calls = await turns.progress(uow, key, run_id)
    check_loadable(version)
    return taken, calls
