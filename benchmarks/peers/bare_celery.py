"""Celery with a task that makes the model call and stores nothing: what a queue alone costs.

One worker with two prefork children on Celery's defaults (tasks are acknowledged early, four are prefetched
for each child, results are ignored): two processes do the tasks, and one parent fetches for both, where two
workers with a child each would have two parents. The call is posted by a plain synchronous HTTP client, which
costs less than the client of openai.
"""

from __future__ import annotations

import asyncio
import time

from celery import Celery

from benchmarks.ground import Ground, cpu_seconds
from benchmarks.peers import celery_side, shared
from benchmarks.results import Figure

MODULE = "bare_celery_worker"


async def measure(ground: Ground, runs: int, per_session: int) -> list[Figure]:
    """The two figures of this peer."""
    given = shared.messages(runs, per_session)
    warm = shared.messages(max(20, runs // 10), per_session, "warm")
    with (
        ground.redis_database() as redis,
        ground.processes() as processes,
        celery_side.producer(redis) as app,
    ):
        worker = await asyncio.to_thread(
            celery_side.start_worker, ground, processes, MODULE, redis=redis, children=shared.WORKERS
        )

        async def drained(messages: list[shared.Message]) -> None:
            await ground.model.reset()
            await asyncio.to_thread(celery_side.send, app, "bare.answer", messages)
            await shared.answered(ground, len(messages), [worker])

        await drained(warm)
        before, began = cpu_seconds(worker.pid), time.monotonic()
        await drained(given)
        seconds, cpu = time.monotonic() - began, cpu_seconds(worker.pid) - before
        taken = await asyncio.to_thread(_taken, app)
        shared.ensure(taken == len(warm) + runs, f"Celery took {taken} tasks", [worker])
        shared.ensure("Traceback" not in worker.log, "some tasks failed", [worker])
    ground.say(
        f"bare Celery: {runs / seconds:.0f} runs/s, {cpu / runs * 1000:.2f} ms of worker CPU "
        f"(one worker with {shared.WORKERS} prefork children, early acknowledgement, no result; {runs} runs)"
    )
    return shared.figures("bare Celery", runs, seconds, cpu)


def _taken(app: Celery) -> int:
    """How many tasks the worker says that it did."""
    told = app.control.inspect(timeout=10, limit=1).stats() or {}
    return sum(sum(one["total"].values()) for one in told.values())


async def round_trip(ground: Ground, count: int) -> list[float]:
    """Seconds from `delay()` of an empty task until its result is back through Redis, one after the other."""
    with (
        ground.redis_database() as redis,
        ground.processes() as processes,
        celery_side.producer(redis, results=True) as app,
    ):
        await asyncio.to_thread(celery_side.start_worker, ground, processes, MODULE, redis=redis, children=1)
        await asyncio.to_thread(_trips, app, 20)
        return await asyncio.to_thread(_trips, app, count)


def _trips(app: Celery, count: int) -> list[float]:
    empty = app.signature("bare.empty")
    found = []
    for _ in range(count):
        began = time.monotonic()
        empty.delay().get(timeout=30)
        found.append(time.monotonic() - began)
    return found
