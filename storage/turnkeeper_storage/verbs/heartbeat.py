"""Heartbeat: one renewal per worker process over all its leases (PROTOCOL 2.10)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from turnkeeper_storage.model import Lease
from turnkeeper_storage.repositories import leases, runs
from turnkeeper_storage.unit_of_work import UnitOfWork


@dataclass(frozen=True, slots=True)
class Beat:
    """What a heartbeat found, by session key.

    `renewed` leases are good for their full time again; `lost` ones stand in another name; the others were
    locked by somebody, and are tried alone. `cancelled` maps sessions to the run whose cancel was asked for.
    """

    renewed: frozenset[str]
    lost: frozenset[str]
    cancelled: dict[str, str]


async def heartbeat(uow: UnitOfWork, held: Sequence[Lease], seconds: float) -> Beat:
    """Renew these leases in one statement that waits for nobody."""
    keys = [lease.session_key for lease in held]
    renewed = await leases.renew(uow, held, seconds)
    left = [lease for lease in held if lease.session_key not in renewed]
    holders = await leases.holders(uow, [lease.session_key for lease in left]) if left else {}
    lost = {lease.session_key for lease in left if holders.get(lease.session_key) != lease.lease_id}
    cancelled = await runs.cancel_requested(uow, keys)
    return Beat(frozenset(renewed), frozenset(lost), cancelled)
