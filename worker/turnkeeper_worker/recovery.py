"""Recovery: workers that died are found by their locks, and their leases ended before their time.

Only a light look at the locks is made each second. The sessions are asked when a lock is gone that was seen
before, and now and then for a worker that lived too short to be seen: owners of live leases whose lock nobody
holds are dead. Ending a lease that its owner still
works under is no harm but a turn asked twice, because every write is fenced (PROTOCOL 2.4).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial

from turnkeeper_storage import metrics
from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import TurnkeeperError
from turnkeeper_storage.owner_names import lock_key
from turnkeeper_storage.repositories import owners
from turnkeeper_worker.presence import Presence

# leases ended in one transaction
BATCH = 500
log = logging.getLogger(__name__)


class Recovery:
    """Keeps this process' own lock, and looks for others that are gone. `sweep` takes what became free.

    `every` and `ask_every`, between two looks and two questions to the sessions, are in seconds.
    """

    def __init__(
        self,
        database: Database,
        presence: Presence,
        sweep: Callable[[], Awaitable[int]],
        every: float,
        ask_every: float,
    ) -> None:
        self._database = database
        self._presence = presence
        self._sweep = sweep
        self._every = every
        self._ask_every = ask_every
        self._asks_from = 0.0
        # locks that were held when we last looked; None: whoever died before us is not known yet
        self._seen: set[int] | None = None

    async def run(self) -> None:
        """Look for ever, and at our own lock as soon as it breaks."""
        while True:
            try:
                await self._presence.keep()
                await self.look()
            except TurnkeeperError as error:
                log.warning("no look for workers that died: %s", type(error).__name__)
            except Exception:
                # Whatever it was: the leases of the dead would only run out.
                log.exception("no look for workers that died")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every * random.uniform(0.75, 1.25)):  # noqa: S311 - jitter
                    await self._presence.broken.wait()

    async def look(self) -> int:
        """End the leases of owners that died since the last look; how many sessions were taken here."""
        if not self._presence.may_judge:
            return 0
        held = await self._database.read(owners.held_locks)
        if not self._presence.is_in(held):
            await self._presence.doubt()
            return 0
        is_one_gone = self._seen is None or not self._seen <= held.keys()
        if not is_one_gone and time.monotonic() < self._asks_from:
            self._seen = set(held)
            return 0
        dead = await self._dead()
        if dead is None:
            return 0
        if dead:
            count = await self._end(dead)
            metrics.count("turnkeeper.worker.deaths", len(dead))
            log.warning("workers died: %s; %d leases ended", ", ".join(sorted(dead)), count)
        else:
            # only when none is left: after an error, or rows that were locked, the next look comes here again
            self._seen = set(held)
            self._asks_from = time.monotonic() + self._ask_every
        return await self._sweep() if dead or is_one_gone else 0

    async def _dead(self) -> set[str] | None:
        """Owners of live leases whose lock is gone, and still is after a while: it may be taken anew.

        None when our own lock is gone too, so that nobody can be judged.
        """
        # Owners first, then locks: an owner takes its lock before it takes a lease.
        missing = await self._without_lock(await self._database.read(owners.with_leases))
        if missing:
            await asyncio.sleep(self._every / 2)
            missing = await self._without_lock(missing)
        return missing

    async def _without_lock(self, names: set[str]) -> set[str] | None:
        held = await self._database.read(owners.held_locks)
        if not self._presence.is_in(held):  # the server was restarted, or another one answers
            return None
        return {name for name in names if lock_key(name) not in held}

    async def _end(self, dead: set[str]) -> int:
        count = 0
        while True:
            ended = await self._database.transact(partial(owners.end_leases, owners=dead, limit=BATCH))
            count += ended
            if ended < BATCH:
                return count
