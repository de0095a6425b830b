"""The advisory lock that says that an owner of leases lives, on a connection that does nothing else.

PostgreSQL gives the lock free when the connection ends, and that ends when its process does: at once when it
is killed, in some seconds when its machine is gone. A process that stands still keeps it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from sqlalchemy.ext.asyncio import AsyncConnection

from turnkeeper_storage.database import Database
from turnkeeper_storage.engine import make_lock_engine
from turnkeeper_storage.errors import DatabaseUnavailable, PoolerBetween, TurnkeeperError
from turnkeeper_storage.faults import explained
from turnkeeper_storage.owner_names import lock_key
from turnkeeper_storage.repositories import owners
from turnkeeper_storage.unit_of_work import UnitOfWork

CLOSE_SECONDS = 2.0


class OwnerLock:
    """The lock of one owner's name. Use it on one loop; `on_broken` is called there when the lock is lost."""

    def __init__(self, url: str, owner: str, *, lease_seconds: float = 30.0) -> None:
        self.on_broken: Callable[[], None] = lambda: None
        self.key = lock_key(owner)
        self._engine = make_lock_engine(url, lease_seconds)
        self._connection: AsyncConnection | None = None
        # of the backend that holds the lock; None while it is not held
        self.backend: int | None = None
        self._is_pooled = False

    async def take(self) -> None:
        """Take the lock on a connection of its own; not behind a pooler. Raises DatabaseUnavailable.

        When a former connection of ours still holds it, unknown to us, this waits for the end of that, and
        there is no moment between in which nobody holds it.
        """
        await self.drop()
        self._is_pooled = False
        try:
            connection = await self._engine.connect()
            self._connection = connection
            raw = (await connection.get_raw_connection()).driver_connection
            if raw is None:
                raise DatabaseUnavailable("the connection for the owner's lock ended at once")
            backend = await owners.take_lock(UnitOfWork(connection, "postgresql"), self.key)
            raw.add_termination_listener(lambda _: self._broken(connection))
            if raw.is_closed():
                raise DatabaseUnavailable("the connection for the owner's lock ended at once")
            self.backend = backend
        except PoolerBetween:
            # a lock would stay with a connection of the pool, whoever has that next
            self._is_pooled = True
            await self.drop()
        except Exception as error:
            await self.drop()
            raise _unavailable(error) from error

    async def is_well(self) -> bool:
        """Whether the connection answers, from the backend that has the lock. Else the lock is dropped."""
        connection, backend = self._connection, self.backend
        if connection is None or backend is None:
            return False
        try:
            answered = await owners.backend(UnitOfWork(connection, "postgresql"))
        except Exception:  # noqa: BLE001 - whatever it was: what does not answer is no lock to rely on
            answered = None
        if answered != backend:
            await self.drop()
        return answered == backend

    async def fault(self, database: Database) -> str | None:
        """Why others cannot rely on the lock just taken; None when they can. Raises DatabaseUnavailable."""
        if self._is_pooled:
            return "a pooler is between worker and database, and would pass the lock on to other clients"
        held = await database.read(owners.held_locks)
        if self.backend is None or held.get(self.key) != self.backend:
            return "the lock of one connection is not seen by another one"
        return None

    async def drop(self) -> None:
        """Give the lock free by closing its connection, if there is one."""
        connection, self._connection, self.backend = self._connection, None, None
        if connection is None:
            return
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLOSE_SECONDS):
                await connection.invalidate()
        with contextlib.suppress(Exception):
            await connection.close()

    async def aclose(self) -> None:
        """`drop`, for good."""
        await self.drop()
        await self._engine.dispose()

    def _broken(self, connection: AsyncConnection) -> None:
        if self._connection is connection:
            self.backend = None
            self.on_broken()


def _unavailable(error: Exception) -> TurnkeeperError:
    if isinstance(error, TurnkeeperError):
        return error
    known = explained(error)
    return known or DatabaseUnavailable(f"the owner's lock could not be taken ({type(error).__name__})")
