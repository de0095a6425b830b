"""Verbs that wait for a session's row while somebody else changes what they will find (PostgreSQL)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from sqlalchemy import text

from tests.fakes.wait import eventually
from turnkeeper_storage.database import Database
from turnkeeper_storage.repositories import sessions
from turnkeeper_storage.unit_of_work import UnitOfWork

T = TypeVar("T")


async def behind(
    database: Database,
    key: str,
    change: Callable[[UnitOfWork], Awaitable[object]],
    act: Callable[[], Coroutine[Any, Any, T]],
) -> T:
    """What `act` gives, which began to wait for the session's row before `change` was made and committed."""
    locked, is_waited_for = asyncio.Event(), asyncio.Event()

    async def hold(uow: UnitOfWork) -> None:
        await sessions.lock(uow, key)
        locked.set()
        await is_waited_for.wait()
        await change(uow)

    async with asyncio.timeout(20):
        holding = asyncio.create_task(database.transact(hold))
        await locked.wait()
        acting = asyncio.create_task(act())
        await eventually(lambda: database.read(_waits_for_a_lock))
        is_waited_for.set()
        await holding
        return await acting


async def _waits_for_a_lock(uow: UnitOfWork) -> bool:
    asked = text(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock')"
    )
    return bool((await uow.execute(asked)).scalar_one())
