"""Repair: hold a session as a worker does, so that no run begins in it while items are taken out.

Died in between, the lease is over in a moment, and the session can be repaired again.
"""

from __future__ import annotations

from dataclasses import dataclass

from turnkeeper_storage.errors import NotFound, SessionBusy
from turnkeeper_storage.model import Lease
from turnkeeper_storage.repositories import leases, runs, session_edits, sessions, turns
from turnkeeper_storage.session_edits import Edit
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.edit import check_store, refuse_while_active

# of the lease, and so how long the removal itself may take
SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class InUse:
    """A run that is not through with a session's history, and the calls that it has asked for so far."""

    run_id: str
    call_ids: frozenset[str]


async def in_use(uow: UnitOfWork, key: str) -> InUse | None:
    """The run that works in the session, is parked in it, or was decided; None when it is free."""
    busy = await runs.busy(uow, key)
    if busy is None:
        return None
    calls = await turns.list_calls(uow, key, busy[0])
    return InUse(busy[0], frozenset(call.call_id for call in calls))


async def hold(
    uow: UnitOfWork, key: str, tenant: str, session_id: str, *, store: str, lease_id: str, owner: str
) -> Lease:
    """Take the session's lease when it is free. `store`: as it was opened by who repairs.

    `lease_id` is fresh for every repair, so that this can be asked for again when its answer is lost.
    Raises NotFound, StoreMismatch, SessionBusy.
    """
    session = await sessions.lock(uow, key)
    if session is None or session.tenant != tenant:
        raise NotFound("session", session_id)
    check_store(session, store)
    await refuse_while_active(uow, key, session_id)
    claimed = await leases.claim(uow, key, lease_id, owner, SECONDS)
    if claimed is None:
        raise SessionBusy(session_id)
    return claimed.lease


async def note(uow: UnitOfWork, lease: Lease, tenant: str, session_id: str, edit: Edit) -> None:
    """Write a repair that is about to be made into the audit. Raises LeaseLost."""
    await leases.fence(uow, lease, SECONDS)
    await session_edits.note(uow, lease.session_key, tenant, session_id, edit)
