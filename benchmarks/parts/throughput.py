"""Durable one-turn runs per second, and the CPU of their workers, beside what users would write instead.

Each system has two worker processes, the same PostgreSQL, Redis and model server (latency 0), and is given
the same runs by one producer: four messages to each of many sessions, in rounds. The clock runs from the
first enqueue to the last outcome.
"""

from __future__ import annotations

import importlib
import time

from benchmarks.ground import Ground
from benchmarks.producing import all_ended, at_once, took
from benchmarks.results import Budget, Figure, Measured
from turnkeeper_client import AsyncClient
from turnkeeper_storage.database import Database

PART = "throughput"
RUNS = 4000
PER_SESSION = 4
WORKERS = 2
# slower ones are given less to do
PEERS = (("bare_celery", RUNS), ("handwritten", RUNS // 4), ("dbos_queue", RUNS // 8))


async def measure(ground: Ground) -> Measured:
    """Turnkeeper, then its peers."""
    figures = await ours(ground)
    for peer, runs in PEERS:
        module = importlib.import_module(f"benchmarks.peers.{peer}")
        figures += await module.measure(ground, ground.scale.of(runs, 40), PER_SESSION)
    return Measured(figures)


async def ours(ground: Ground) -> list[Figure]:
    """Turnkeeper's figures alone."""
    count = ground.scale.of(RUNS, 40)
    async with ground.site(WORKERS) as site, site.client() as client:
        database = Database(site.database_url)
        try:
            await drained(client, database, ground.scale.of(400, 20), prefix="warm")
            before, producer, began = site.cpu(), time.process_time(), time.monotonic()
            await drained(client, database, count)
            seconds, cpu = time.monotonic() - began, site.cpu() - before
            producer = time.process_time() - producer
        finally:
            await database.aclose()
    ground.say(f"turnkeeper: {count / seconds:.0f} runs/s, {cpu / count * 1000:.2f} ms of worker CPU")
    return [
        Figure(
            PART,
            "turnkeeper: runs",
            count / seconds,
            "1/s",
            "handwritten: runs",
            Budget(3, "at least", "ratio"),
        ),
        Figure(
            PART,
            "turnkeeper: worker CPU",
            cpu / count * 1000,
            "ms/run",
            "handwritten: worker CPU",
            Budget(4),
        ),
        Figure(PART, "turnkeeper: producer CPU", producer / count * 1000, "ms/run"),
    ]


async def drained(
    client: AsyncClient, database: Database, count: int, *, agent: str = "plain", prefix: str = "s"
) -> None:
    """Enqueue so many runs and return when all have completed."""
    sessions = max(1, count // PER_SESSION)

    async def one(number: int) -> str:
        handle = await client.enqueue(f"{prefix}{number % sessions}", f"message {number}", agent=agent)
        return handle.id

    ids = await at_once(one, count)
    await all_ended(database, 120)
    await took(database, ids)
