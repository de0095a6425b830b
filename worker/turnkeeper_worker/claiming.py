"""Claims of sessions that were rung for: one transaction for all that were asked for meanwhile.

A claim alone waits for its session's row, so it is not waited for long; several at once wait for no row, and
those that somebody has locked are claimed alone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from itertools import islice

from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import InvalidInput, TurnkeeperError
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.claim import Claimant, ClaimedMany, Job, claim, claim_many

# sessions claimed in one transaction
BATCH = 100
# how long others wait for a claim that waits itself
PATIENCE = 0.05
log = logging.getLogger(__name__)


class Claiming:
    """The sessions that are being claimed. Use it on one loop.

    `ended` is called once for each key that was asked for, with the job, None when there is none, and the
    time.monotonic() at which it was claimed, or before.
    """

    def __init__(
        self,
        database: Database,
        claimant: Callable[[], Claimant],
        ended: Callable[[str, Job | None, float], None],
    ) -> None:
        self._database = database
        self._claimant = claimant
        self._ended = ended
        self._keys: set[str] = set()
        self._asked: dict[str, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._serving: asyncio.Task[None] | None = None

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def ask(self, key: str) -> None:
        """Claim this session soon."""
        self._keys.add(key)
        self._asked[key] = None
        if self._serving is None:
            self._serving = asyncio.create_task(self._serve(), name="turnkeeper-claims")

    async def settle(self, timeout: float) -> None:
        """Wait for the claims that are under way, for so many seconds."""
        limit = time.monotonic() + timeout
        # claims may lead to others: of sessions that were locked
        while self._keys and (left := limit - time.monotonic()) > 0:
            tasks = self._tasks | ({self._serving} if self._serving else set())
            await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)

    async def _serve(self) -> None:
        try:
            while self._asked:
                keys = list(islice(self._asked, BATCH))
                for key in keys:
                    del self._asked[key]
                await asyncio.wait({self._start(keys)}, timeout=PATIENCE)
        finally:
            self._serving = None

    def _start(self, keys: list[str]) -> asyncio.Task[None]:
        work = self._claim(keys[0]) if len(keys) == 1 else self._claim_many(keys)
        task = asyncio.create_task(work, name="turnkeeper-claim")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _claim(self, key: str) -> None:
        claimant = self._claimant()

        async def once(uow: UnitOfWork) -> Job | None:
            return await claim(uow, key, claimant, is_all=True)

        job: Job | None = None
        asked_at = time.monotonic()
        try:
            job = await self._database.transact(once, "claim", is_lasting=False)
        except TurnkeeperError as error:
            log.warning("claim failed (%s): the sweeper will find the session", type(error).__name__)
        finally:
            self._end(key, job, asked_at)

    async def _claim_many(self, keys: list[str]) -> None:
        claimant = self._claimant()

        async def once(uow: UnitOfWork) -> ClaimedMany:
            return await claim_many(uow, keys, claimant)

        found = ClaimedMany([], [])
        asked_at = time.monotonic()
        try:
            found = await self._database.transact(once, "claim", is_lasting=False)
        except InvalidInput:  # one that no database can look for must not take the others along
            found = ClaimedMany([], keys)
        except TurnkeeperError as error:
            log.warning("claims failed (%s): the sweeper will find the sessions", type(error).__name__)
        finally:
            jobs = {job.lease.session_key: job for job in found.jobs}
            for key in keys:
                if key in found.locked:
                    self._start([key])
                else:
                    self._end(key, jobs.get(key), asked_at)

    def _end(self, key: str, job: Job | None, asked_at: float) -> None:
        self._keys.discard(key)
        self._ended(key, job, asked_at)
