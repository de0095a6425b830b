"""The end of a session, wherever its items live: deleted by hand, kept no longer, or erased."""

from __future__ import annotations

import asyncio

from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import StoreUnavailable, TurnkeeperError
from turnkeeper_storage.session_edits import Edit
from turnkeeper_storage.sessions.protocol import Session, TransactionalSession, store_name
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs import session_life
from turnkeeper_storage.verbs.session_life import Seized

OUTSIDE_SECONDS = 30.0


async def delete_session(
    database: Database, key: str, tenant: str, session: Session, edit: Edit, *, owner: str
) -> None:
    """Delete a session, also from under a worker. `session` is how it is opened, `owner` who deletes.

    A worker in the middle of a write to a store outside may still end that write; it is emptied once more
    after the rows are gone, which leaves a gap of one call. Raises NotFound, StoreMismatch, StoreUnavailable.
    """
    store = store_name(session)

    async def take(uow: UnitOfWork) -> Seized:
        return await session_life.seize(uow, key, tenant, session.session_id, store=store, owner=owner)

    seized = await database.transact(take)
    await _empty(session)
    await database.transact(lambda uow: session_life.delete(uow, seized, edit))
    await _empty(session)


async def delete_if_over(
    database: Database, key: str, session: Session, edit: Edit, *, owner: str, default: float | None
) -> bool:
    """Delete a session whose retention is over; False when it is in use again.

    Raises StoreMismatch, StoreUnavailable.
    """
    store = store_name(session)

    async def take(uow: UnitOfWork) -> Seized | None:
        return await session_life.seize_over(uow, key, store=store, owner=owner, default=default)

    seized = await database.transact(take)
    if seized is None:
        return False
    await _empty(session)
    return await database.transact(lambda uow: session_life.delete(uow, seized, edit, only_idle=True))


async def erase_session(
    database: Database, key: str, tenant: str, session: Session, edit: Edit, *, owner: str
) -> bool:
    """Delete a session with all that the audit has of it; False when there was no such session.

    What is left of one that was deleted before goes too. Raises StoreMismatch, StoreUnavailable.
    """
    store = store_name(session)

    async def take(uow: UnitOfWork) -> tuple[Seized, bool]:
        return await session_life.seize_to_erase(
            uow, key, tenant, session.session_id, store=store, owner=owner
        )

    seized, was_there = await database.transact(take)
    await _empty(session)
    await database.transact(lambda uow: session_life.erase(uow, seized, edit))
    await _empty(session)
    return was_there


async def _empty(session: Session) -> None:
    """Remove the items of a store outside; those of the database go with the rows."""
    if isinstance(session, TransactionalSession):
        return
    try:
        async with asyncio.timeout(OUTSIDE_SECONDS):
            await session.clear_session()
    except TurnkeeperError:
        raise
    except Exception as error:  # noqa: BLE001 - of a user's own class: its text may quote anything
        raise StoreUnavailable(store_name(session), type(error).__name__) from None
