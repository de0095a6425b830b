"""Add input to a parked run: what the model is told beside the outputs of its last calls."""

from __future__ import annotations

from collections.abc import Sequence

from turnkeeper_storage.errors import NotFound, NotParked
from turnkeeper_storage.items import Item
from turnkeeper_storage.model import Run, RunStatus
from turnkeeper_storage.repositories import runs, sessions, turns
from turnkeeper_storage.unit_of_work import UnitOfWork


async def add_input(uow: UnitOfWork, key: str, run_id: str, tenant: str, items: Sequence[Item]) -> Run:
    """Append items behind the outputs of the parked turn; the run as it is.

    Works while the run waits, or is queued after its last decision. The caller has checked the items and
    their size. Not idempotent: use it with `transact_once`. Raises NotFound, and NotParked with the status.
    """
    session = await sessions.lock(uow, key)
    run = await runs.get(uow, key, run_id, tenant) if session else None
    if run is None:
        raise NotFound("run", run_id)
    waits = run.status in (RunStatus.AWAITING_APPROVAL, RunStatus.QUEUED)
    if not waits or run.parked_turn is None or run.cancel_requested:
        raise NotParked(run_id, "being cancelled" if waits and run.cancel_requested else run.status.value)
    parked = next(t for t in await turns.list_turns(uow, key, run_id) if t.turn == run.parked_turn)
    await turns.set_added(uow, key, run_id, parked.turn, [*parked.added, *items])
    return run
