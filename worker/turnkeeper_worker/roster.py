"""The list of workers, for people: this process says with each sweep that it is there, and how full it is.

Nothing rests on it. A worker that cannot write there works on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import TurnkeeperError
from turnkeeper_storage.repositories import workers
from turnkeeper_storage.settings import Settings
from turnkeeper_storage.unit_of_work import UnitOfWork

# who was silent for so many sweeps, and so many seconds, is no longer listed
FORGET_SWEEPS = 20
LEAST_FORGET_SECONDS = 300.0
# of the last transaction of a worker that ends
LEAVE_SECONDS = 2.0
log = logging.getLogger(__name__)


class Roster:
    """One process' row. `name`: the one that it has all its life; `in_flight` counts its sessions now."""

    def __init__(
        self, database: Database, name: str, settings: Settings, in_flight: Callable[[], int]
    ) -> None:
        self._database = database
        self._name = name
        self._queue = settings.queue
        self._slots = settings.concurrency
        self._in_flight = in_flight
        self._showing: asyncio.Task[int] | None = None
        self._forget_after = max(LEAST_FORGET_SECONDS, FORGET_SWEEPS * settings.sweep_seconds)

    async def show(self) -> int:
        """Write the row, and take away those of the dead; how many. Raises DatabaseUnavailable."""

        async def write(uow: UnitOfWork) -> int:
            await workers.show(uow, self._name, self._queue, self._slots, self._in_flight())
            return await workers.forget_silent(uow, self._forget_after)

        self._showing = asyncio.create_task(self._database.transact(write, is_lasting=False))
        return await asyncio.shield(self._showing)

    async def leave(self) -> None:
        """Take the row away; what goes wrong is logged, and others take it away later."""
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                if self._showing is not None:
                    # a transaction that has begun goes on: it would write the row anew
                    await asyncio.wait([self._showing])
                await self._database.transact(
                    lambda uow: workers.take_away(uow, self._name), is_lasting=False
                )
        except (TurnkeeperError, TimeoutError) as error:
            log.warning("this worker stays in the list of workers for a while: %s", type(error).__name__)
        except Exception:
            # nothing may keep a worker from its end
            log.exception("this worker stays in the list of workers for a while")
