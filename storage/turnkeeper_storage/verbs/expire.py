"""Expiry: approvals that nobody decided in time, on the database's clock (PROTOCOL 2.9, 2.11)."""

from __future__ import annotations

from turnkeeper_storage.repositories import approvals
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.decide import Decided, lock, write_expiry


async def due(uow: UnitOfWork, limit: int) -> list[tuple[str, str]]:
    """(session key, approval id) of at most `limit` approvals whose time is over; takes no lock.

    Each is then expired in a transaction of its own, which looks again.
    """
    return await approvals.due(uow, limit)


async def expire(uow: UnitOfWork, key: str, approval_id: str) -> Decided:
    """Expire an approval whose time is over; one that was decided meanwhile stays as it is, with `conflict`.

    The call is denied with an output that says so, and the model goes on. Raises NotFound.
    """
    found = await lock(uow, key, approval_id, None)
    if found.approval.overdue:
        return await write_expiry(uow, found)
    standing = found.as_it_is
    return Decided(standing.approval, standing.run, standing.wake, conflict=found.approval.status.value)
