"""A worker by hand, for tests of events: it claims a run, says what it is told to, and finishes it.

async with streaming(url, redis_url) as streamer:
    job = await streamer.start("customer-42")
    await job.say("Hello"); await job.finish()
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from sqlalchemy import literal, update

from tests.fakes.bell import Bell
from turnkeeper_client import AsyncClient
from turnkeeper_storage import ids
from turnkeeper_storage.database import Database
from turnkeeper_storage.model import Lease, Run, RunStatus, Turn, Usage
from turnkeeper_storage.publisher import Publisher, live_publisher
from turnkeeper_storage.settings import Settings, load_settings
from turnkeeper_storage.sql_types import SECONDS, after
from turnkeeper_storage.tables import sessions
from turnkeeper_storage.unit_of_work import UnitOfWork
from turnkeeper_storage.verbs.checkpoint import checkpoint_turn
from turnkeeper_storage.verbs.claim import Claimant, claim
from turnkeeper_storage.verbs.finish import Ending, finish
from turnkeeper_storage.verbs.restart import restart_turn
from turnkeeper_worker.deltas import Deltas
from turnkeeper_worker.models.base import Delta

LEASE = 60.0


@dataclass(slots=True)
class Job:
    """A run that is worked on by hand."""

    database: Database
    lease: Lease
    run: Run
    deltas: Deltas
    turn: int = 1

    async def say(self, *words: str) -> None:
        """Each word as a delta of its own, sent when this returns, if it can be."""
        for word in words:
            self.deltas.on_delta(Delta("text", word, "msg_1"))
            await self.deltas.flush()

    async def restart(self) -> None:
        """The model is asked again."""
        self.run = await self.database.transact(
            lambda uow: restart_turn(uow, self.lease, self.run, self.turn, LEASE)
        )
        self.deltas.begin(self.run.next_event - 1)

    async def next_turn(self) -> None:
        """The turn ends, and another one begins."""
        turn = Turn(self.turn, None, [], Usage(), deltas=await self.deltas.flush())
        self.run = await self.database.transact(
            lambda uow: checkpoint_turn(uow, self.lease, self.run, turn, [], None, LEASE)
        )
        self.turn += 1
        self.deltas.begin(self.run.next_event - 1)

    async def finish(self) -> None:
        """The run is completed."""
        ending = Ending(RunStatus.COMPLETED, self.turn, deltas=await self.deltas.flush())
        await self.database.transact(
            lambda uow: finish(
                uow, self.lease, self.run, ending, add=None, go_on=False, seconds=LEASE, crash_limit=3
            )
        )


@dataclass(slots=True)
class Streamer:
    """A process that works by hand, and the client of another that follows."""

    settings: Settings
    database: Database
    publisher: Publisher
    client: AsyncClient

    async def start(self, session_id: str) -> Job:
        """A new streamed run, claimed."""
        await self.client.enqueue(session_id, "Go on", agent="support", stream=True)
        return await self.claim(session_id)

    async def claim(self, session_id: str) -> Job:
        """The session's head, claimed."""
        claimant = Claimant(ids.new_lease_id(), "by hand", LEASE, 3)
        key = ids.session_key("default", session_id)
        job = await self.database.transact(lambda uow: claim(uow, key, claimant))
        assert job is not None
        deltas = Deltas(self.publisher, self.settings, job.run.id, job.lease.epoch)
        deltas.begin(job.run.next_event - 1)
        return Job(self.database, job.lease, job.run, deltas)

    async def take_over(self, session_id: str) -> Job:
        """The same as another worker, once the lease of the first has ended."""

        async def end(uow: UnitOfWork) -> None:
            key = ids.session_key("default", session_id)
            ended = {"lease_until": after(literal(-1.0, SECONDS))}
            await uow.execute(update(sessions).where(sessions.c.session_key == key).values(ended))

        await self.database.transact(end)
        return await self.claim(session_id)


@contextlib.asynccontextmanager
async def streaming(database_url: str, redis_url: str, **given: object) -> AsyncIterator[Streamer]:
    """A worker by hand until the block ends."""
    settings = load_settings(
        database_url=database_url, broker_url="memory://", redis_url=redis_url, delta_coalesce_ms=0, **given
    )
    publisher = live_publisher(settings)
    assert publisher is not None
    database = Database(database_url, on_events=publisher.tell)
    async with AsyncClient(settings=settings, doorbell=Bell()) as client:
        try:
            yield Streamer(settings, database, publisher, client)
        finally:
            await publisher.aclose()
            await database.aclose()
