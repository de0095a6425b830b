"""The heartbeat of a worker process, and the watch that ends what it could not renew (PROTOCOL 2.10)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence

from turnkeeper_storage.database import Database
from turnkeeper_storage.errors import TurnkeeperError
from turnkeeper_storage.metrics import count
from turnkeeper_storage.model import Lease
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.heartbeat import Beat, heartbeat
from turnkeeper_worker.held import HeldLease

BATCH = 500
log = logging.getLogger(__name__)


class Heart:
    """Renews all leases of the process together. `beat` is the verb, `run` the loop around it."""

    def __init__(
        self, database: Database, held: Callable[[], Collection[HeldLease]], every: float, seconds: float
    ) -> None:
        self._database = database
        self._held = held
        self._every = every
        self._seconds = seconds

    async def run(self) -> None:
        """Beat for ever, and end leases whose time is over. Errors are logged: the watch is what protects."""
        watch = asyncio.create_task(self._watch(), name="turnkeeper-lease-watch")
        try:
            while True:
                await asyncio.sleep(self._every)
                try:
                    async with asyncio.timeout(self._seconds / 2):
                        await self.beat()
                except (TurnkeeperError, TimeoutError) as error:
                    count("turnkeeper.worker.heartbeat_failures")
                    log.warning("heartbeat failed: %s", type(error).__name__)
                except Exception:
                    count("turnkeeper.worker.heartbeat_failures")
                    # Whatever it was: a worker that no longer beats loses all that it works on.
                    log.exception("heartbeat failed")
        finally:
            watch.cancel()

    async def beat(self) -> None:
        """Renew every lease held; those that stand in another name are lost at once."""
        for group in _batches(list(self._held())):
            await self._beat(group)

    async def _beat(self, group: Sequence[HeldLease]) -> None:
        asked_at = time.monotonic()
        leases = [held.lease for held in group]
        beat = await self._database.transact(
            lambda uow: heartbeat(uow, leases, self._seconds), "heartbeat", is_lasting=False
        )
        stuck = self._apply(group, leases, beat, asked_at)
        for held in stuck:  # somebody has its row locked: alone, it may wait without holding up the others
            await self._beat_alone(held)

    def _apply(
        self, group: Sequence[HeldLease], leases: Sequence[Lease], beat: Beat, asked_at: float
    ) -> list[HeldLease]:
        stuck = []
        for held, lease in zip(group, leases, strict=True):
            key = lease.session_key
            if key in beat.renewed:
                held.renewed(asked_at, self._seconds)
            elif key not in beat.lost:
                stuck.append(held)
            elif held.lease == lease and held.task is not None and not held.task.done():
                # not the lease that was given back, and perhaps taken anew, while we asked
                count("turnkeeper.worker.lease_losses", reason="taken")
                told = {"session_key": key, "run_id": held.run_id, "epoch": lease.epoch}
                log.warning("lease lost", extra=told)
                held.lose()
            if beat.cancelled.get(key) == held.run_id:
                held.cancel_requested.set()
        return stuck

    async def _beat_alone(self, held: HeldLease) -> None:
        lease = held.lease

        async def once(uow: UnitOfWork) -> Beat:
            return await heartbeat(uow, [lease], self._seconds)

        asked_at = time.monotonic()
        beat = await self._database.transact(once, "heartbeat", is_lasting=False)
        self._apply([held], [lease], beat, asked_at)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(min(1.0, self._seconds / 10))
            for held in list(self._held()):
                if not held.is_lost and held.is_over():
                    count("turnkeeper.worker.lease_losses", reason="unrenewed")
                    told = {"session_key": held.session_key, "run_id": held.run_id}
                    log.warning("lease ran out unrenewed", extra=told)
                    held.lose()


def _batches(everything: Sequence[HeldLease]) -> Iterator[Sequence[HeldLease]]:
    for start in range(0, len(everything), BATCH):
        yield everything[start : start + BATCH]
