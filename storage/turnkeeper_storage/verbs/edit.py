"""Edits of a history from outside a run: refused while a run works in, or is parked in, the session."""

from __future__ import annotations

from collections.abc import Sequence

from turnkeeper_storage.errors import SessionBusy
from turnkeeper_storage.items import Item
from turnkeeper_storage.repositories import items, runs, sessions
from turnkeeper_storage.unit_of_work import UnitOfWork


async def add_items(uow: UnitOfWork, key: str, tenant: str, session_id: str, new: Sequence[Item]) -> None:
    """Append items, in a session made when new. Raises SessionBusy."""
    await sessions.ensure(uow, key, tenant, session_id, "database")
    await _refuse_while_active(uow, key, session_id)
    await items.append(uow, key, new)


async def pop_item(uow: UnitOfWork, key: str, session_id: str) -> Item | None:
    """Remove and return the newest item; None when there is none. Raises SessionBusy."""
    if await sessions.lock(uow, key) is None:
        return None
    await _refuse_while_active(uow, key, session_id)
    return await items.pop(uow, key)


async def clear(uow: UnitOfWork, key: str, session_id: str) -> None:
    """Remove all items. Raises SessionBusy."""
    if await sessions.lock(uow, key) is None:
        return
    await _refuse_while_active(uow, key, session_id)
    await items.clear(uow, key)


async def replace(uow: UnitOfWork, key: str, tenant: str, session_id: str, new: Sequence[Item]) -> None:
    """Put items in the place of all there are, in a session made when new. Raises SessionBusy."""
    await sessions.ensure(uow, key, tenant, session_id, "database")
    await _refuse_while_active(uow, key, session_id)
    await items.clear(uow, key)
    await items.append(uow, key, new)


async def _refuse_while_active(uow: UnitOfWork, key: str, session_id: str) -> None:
    active = await runs.active(uow, key)
    if active is not None:
        raise SessionBusy(session_id, active[0], active[1].value)
