"""Celery + openai-agents + SQLAlchemySession + a lock in Redis: what backends glue together today.

One worker with two prefork children. Tasks are acknowledged late, one is prefetched for each child, a message
whose session is in work is retried, the outcome goes to Celery's results in Redis. The order of the messages
of a session is left to chance.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import redis
from celery import Celery

from benchmarks.ground import Ground, cpu_seconds
from benchmarks.peers import celery_side, shared
from benchmarks.results import Figure
from tests.fakes.processes import Process


@dataclass(frozen=True, slots=True)
class Site:
    """The peer, running."""

    ground: Ground
    app: Celery
    results: redis.Redis
    worker: Process

    async def drained(self, given: list[shared.Message]) -> list[str]:
        """Enqueue these and return when the outcomes of all are there; the ids of the tasks."""
        await self.ground.model.reset()
        ids = await asyncio.to_thread(celery_side.send, self.app, "handwritten.answer", given)

        async def ended() -> int:
            return sum(one is not None for one in await self.outcomes(ids))

        # the outcomes are asked for only when all are about to be there
        await shared.answered(self.ground, len(ids), [self.worker])
        await shared.reached(len(ids), ended, [self.worker])
        return ids

    async def outcomes(self, ids: list[str]) -> list[str | None]:
        """What Celery stored for these tasks, as JSON."""
        keys = [f"celery-task-meta-{task_id}" for task_id in ids]
        found = await asyncio.to_thread(self.results.mget, keys)
        return [None if one is None else str(one) for one in found]


async def measure(ground: Ground, runs: int, per_session: int) -> list[Figure]:
    """The two figures of this peer."""
    given = shared.messages(runs, per_session)
    warm = shared.messages(max(20, runs // 10), per_session, "warm")
    with ground.empty_database() as database:
        await shared.make_session_tables(database)
        with _standing(ground, database) as site:
            worker = site.worker
            await site.drained(warm)
            before, began = cpu_seconds(worker.pid), time.monotonic()
            ids = await site.drained(given)
            seconds, cpu = time.monotonic() - began, cpu_seconds(worker.pid) - before
            for outcome in await site.outcomes(ids):
                told = json.loads(outcome or "{}")
                done = told.get("status") == "SUCCESS" and told.get("result") == shared.ANSWER
                shared.ensure(done, f"a run ended otherwise: {told}", [worker])
            order = await shared.ensure_stored(database, given, [worker])
    ground.say(
        f"handwritten: {runs / seconds:.0f} runs/s, {cpu / runs * 1000:.2f} ms of worker CPU "
        f"(one worker with {shared.WORKERS} prefork children, late acknowledgement, a lock with retries; "
        f"{runs} runs, {order}, which nothing ensures)"
    )
    return shared.figures("handwritten", runs, seconds, cpu)


@contextmanager
def _standing(ground: Ground, database: str) -> Iterator[Site]:
    with ground.redis_database() as url, ground.processes() as processes, celery_side.producer(url) as app:
        worker = celery_side.start_worker(
            ground,
            processes,
            "handwritten_worker",
            redis=url,
            database=shared.with_asyncpg(database),
            children=shared.WORKERS,
        )
        with redis.Redis.from_url(url, decode_responses=True, socket_timeout=10) as results:
            yield Site(ground, app, results, worker)
