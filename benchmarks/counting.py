"""Counts that need a worker process, or the server's own log: WAL, Redis commands, a worker's traffic."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import psycopg

from benchmarks.ground import Ground, Site
from tests.fakes.postgres_tap import PostgresTap
from tests.fakes.redis_monitor import RedisMonitor
from turnkeeper_client import AsyncClient
from turnkeeper_storage.settings import load_settings

# what a broker's transport asks however little there is to do
POLLS = ("BRPOP", "PING")


class Wal:
    """Bytes of the server's write-ahead log: of all its databases, so nobody else may write meanwhile."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True, connect_timeout=10)

    def close(self) -> None:
        self._connection.close()

    def checkpoint(self) -> None:
        """Have the next one far away: the first change of a page after a checkpoint logs all of it."""
        self._connection.execute("CHECKPOINT")

    def written(self) -> int:
        """Bytes since the server was made."""
        row = self._connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
        assert row is not None
        return int(row[0])

    async def least(self, work: Callable[[], Awaitable[None]], times: int) -> int:
        """What `work` wrote the time that it wrote least: others, and pages logged whole, only add."""
        found = []
        for _ in range(times):
            before = self.written()
            await work()
            found.append(self.written() - before)
        return min(found)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a span of time sent. `database` counts a worker's alone, `redis` all that goes there."""

    transactions: int
    statements: int
    round_trips: int
    redis: Counter[str]

    @property
    def commands(self) -> int:
        """Redis commands without polling."""
        return sum(count for name, count in self.redis.items() if name not in POLLS)

    @property
    def messages(self) -> int:
        """Celery messages that were published."""
        return self.redis["LPUSH"]


@dataclass(slots=True)
class TappedSite:
    """One worker process behind a tap, and a client that is not."""

    client: AsyncClient
    tap: PostgresTap
    monitor: RedisMonitor

    async def traffic(self) -> Traffic:
        """Since the last call."""
        taken = self.tap.taken()
        return Traffic(
            len(taken),
            sum(len(one.statements) for one in taken),
            sum(one.round_trips + one.prepares for one in taken),
            await self.monitor.taken(),
        )

    async def runs(self, count: int, prefix: str, *, at_once: bool) -> None:
        """Runs in sessions of their own, one after the other or all at once."""

        async def one(number: int) -> None:
            handle = await self.client.enqueue(f"{prefix}{number}", "hello", agent="plain")
            snapshot = await self.client.wait(handle.id, 60)
            assert snapshot.status == "completed", snapshot.error

        if at_once:
            await asyncio.gather(*(one(number) for number in range(count)))
        else:
            for number in range(count):
                await one(number)


@contextlib.asynccontextmanager
async def tapped_site(ground: Ground) -> AsyncIterator[TappedSite]:
    """A worker process that is ready and whose connections know their statements."""
    async with contextlib.AsyncExitStack() as stack:
        database = await stack.enter_async_context(ground.database())
        redis = stack.enter_context(ground.redis_database())
        processes = stack.enter_context(ground.processes())
        tap = await stack.enter_async_context(PostgresTap(database))
        site = Site(processes, tap.url, redis, ground.model.url, {})
        await site.start(1)
        settings = load_settings(database_url=database, broker_url=redis, queue=site.queue)
        client = await stack.enter_async_context(AsyncClient(settings=settings))
        monitor = await stack.enter_async_context(RedisMonitor(redis))
        tapped = TappedSite(client, tap, monitor)
        await tapped.runs(50, "warm", at_once=True)
        await tapped.traffic()
        yield tapped
