"""Edits of a history from outside a run: refused while a run works in, or is parked in, the session.

Also when its last decision was made and no worker has it yet: its calls stand there without their outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

from turnkeeper_storage.errors import SessionBusy, StoreMismatch
from turnkeeper_storage.items import Item
from turnkeeper_storage.repositories import items, runs, session_edits, sessions
from turnkeeper_storage.repositories.sessions import SessionRow
from turnkeeper_storage.session_edits import Edit
from turnkeeper_storage.sessions.stores import StoreChange, store_change
from turnkeeper_storage.unit_of_work import UnitOfWork


async def admit(uow: UnitOfWork, key: str, tenant: str, session_id: str, store: str, edit: Edit) -> None:
    """Let somebody edit a session, made when new, that was opened in `store`; the audit notes it.

    For a store outside the database it stands before the edit is made. Raises SessionBusy, StoreMismatch.
    """
    session = await sessions.ensure(uow, key, tenant, session_id, store)
    check_store(session, store)
    await refuse_while_active(uow, key, session_id)
    if session.store != store:
        await sessions.name_store(uow, key, store)
    await session_edits.note(uow, key, tenant, session_id, edit)


def check_store(session: SessionRow, store: str) -> None:
    """Raise StoreMismatch when the session's items live elsewhere than in what was opened."""
    if store_change(session.store, store) is StoreChange.MISMATCH:
        raise StoreMismatch(session.id, session.store, store)


async def add_items(uow: UnitOfWork, key: str, tenant: str, session_id: str, new: Sequence[Item]) -> None:
    """Append items, in a session made when new. Raises SessionBusy."""
    await sessions.ensure(uow, key, tenant, session_id, "database")
    await refuse_while_active(uow, key, session_id)
    await items.append(uow, key, new)


async def pop_item(uow: UnitOfWork, key: str, session_id: str) -> Item | None:
    """Remove and return the newest item; None when there is none. Raises SessionBusy."""
    if await sessions.lock(uow, key) is None:
        return None
    await refuse_while_active(uow, key, session_id)
    return await items.pop(uow, key)


async def clear(uow: UnitOfWork, key: str, session_id: str) -> None:
    """Remove all items. Raises SessionBusy."""
    if await sessions.lock(uow, key) is None:
        return
    await refuse_while_active(uow, key, session_id)
    await items.clear(uow, key)


async def remove(uow: UnitOfWork, key: str, session_id: str, positions: Sequence[int]) -> None:
    """Remove the items at these positions. Raises SessionBusy."""
    if await sessions.lock(uow, key) is None:
        return
    await refuse_while_active(uow, key, session_id)
    await items.remove(uow, key, positions)


async def replace(uow: UnitOfWork, key: str, tenant: str, session_id: str, new: Sequence[Item]) -> None:
    """Put items in the place of all there are, in a session made when new. Raises SessionBusy."""
    await sessions.ensure(uow, key, tenant, session_id, "database")
    await refuse_while_active(uow, key, session_id)
    await items.clear(uow, key)
    await items.append(uow, key, new)


async def refuse_while_active(uow: UnitOfWork, key: str, session_id: str) -> None:
    """Raise SessionBusy when a run is not through with the session's history."""
    busy = await runs.busy(uow, key)
    if busy is not None:
        raise SessionBusy(session_id, busy[0], busy[1].value)
