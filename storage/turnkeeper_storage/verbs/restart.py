"""Restart: a streamed turn is asked again under the same lease, after it gave deltas (DESIGN §5, Events)."""

from __future__ import annotations

from dataclasses import replace

from turnkeeper_storage.model import Event, EventType, Lease, Run
from turnkeeper_storage.repositories import events, leases, run_changes
from turnkeeper_storage.unit_of_work import UnitOfWork


async def restart_turn(uow: UnitOfWork, lease: Lease, run: Run, turn: int, seconds: float) -> Run:
    """Tell readers to discard what they have of this turn; the run with its next index. Raises LeaseLost.

    After a lost answer it may be told twice, which says no more than once.
    """
    await leases.fence(uow, lease, seconds)
    changed = await run_changes.change_and_read(uow, run, {}, events=1)
    data = {"turn": turn, "epoch": lease.epoch}
    event = Event(run.id, changed.next_event - 1, EventType.TURN_RESTARTED, data)
    await events.add(uow, lease.session_key, [event])
    return replace(run, next_event=changed.next_event)
