"""How a boundary adds items: in its own transaction, or as an intent for a store outside the database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from turnkeeper_storage.items import Json
from turnkeeper_storage.model import Lease
from turnkeeper_storage.repositories import boundaries, leases
from turnkeeper_storage.unit_of_work import UnitOfWork

# Adds a boundary's items within the transaction that it is given.
AddItems: TypeAlias = Callable[[UnitOfWork], Awaitable[None]]


async def intend(
    uow: UnitOfWork,
    lease: Lease,
    run_id: str,
    boundary: str,
    intent: Json,
    seconds: float,
    *,
    store: str | None = None,
) -> Json:
    """Record what is about to be added outside; what stands is returned, and wins, on a retry.

    `store` names where that is.
    """
    await leases.fence(uow, lease, seconds, store=store)
    await boundaries.intend(uow, lease.session_key, run_id, boundary, intent)
    standing = await boundaries.get(uow, lease.session_key, run_id, boundary)
    return intent if standing is None else standing[0]


async def standing_intent(uow: UnitOfWork, key: str, run_id: str, boundary: str) -> tuple[Json, bool] | None:
    """(intent, done) of an earlier attempt at this boundary."""
    return await boundaries.get(uow, key, run_id, boundary)
