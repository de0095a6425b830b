"""DBOS with dbos-openai-agents: a durable workflow for each run, a queue partitioned by session.

Two worker processes. One run of a session is in work at a time (`partition_concurrency=1`, for which DBOS has
its fastest way to take from a queue). A queue of DBOS is polled; the workers look at it 20 times as often as
they would by default, which is as often as they end a run each.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from dbos import DBOSClient, EnqueueOptions

from benchmarks.ground import Ground, cpu_seconds
from benchmarks.peers import shared
from benchmarks.producing import PRODUCERS, at_once
from benchmarks.results import Figure
from tests.fakes.processes import Process, Processes

# those of the worker, which cannot be imported here
NAME, QUEUE, READY = "peer", "runs", "peer is ready"
# seconds that a start may take on a busy machine
START = 120.0
ENDED = "SELECT count(*) FROM dbos.workflow_status WHERE completed_at IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Site:
    """The peer, running."""

    ground: Ground
    client: DBOSClient
    database: str
    workers: list[Process]

    def cpu(self) -> float:
        """CPU seconds that the workers took so far."""
        return sum(cpu_seconds(worker.pid) for worker in self.workers)

    async def drained(self, given: list[shared.Message], before: int) -> list[str]:
        """Enqueue these and return when all have ended; the ids. `before`: how many ended earlier."""

        async def one(number: int) -> str:
            message = given[number]
            options: EnqueueOptions = {
                "workflow_name": "answer",
                "queue_name": QUEUE,
                "queue_partition_key": message.session,
            }
            handle = await self.client.enqueue_async(options, message.session, message.text)
            return str(handle.workflow_id)

        await self.ground.model.reset()
        ids = await at_once(one, len(given), PRODUCERS)
        # the database is asked only when all are about to have ended
        await shared.answered(self.ground, len(given), self.workers)
        await shared.reached(before + len(given), self._ended, self.workers)
        return ids

    async def _ended(self) -> int:
        return await asyncio.to_thread(_counted, self.database)


async def measure(ground: Ground, runs: int, per_session: int) -> list[Figure]:
    """The two figures of this peer."""
    given = shared.messages(runs, per_session)
    warm = shared.messages(max(40, runs // 10), per_session, "warm")
    with ground.empty_database() as database:
        await shared.make_session_tables(database)
        with ground.processes() as processes:
            workers = await asyncio.to_thread(_start, ground, processes, database)
            with _client(database) as client:
                site = Site(ground, client, database, workers)
                await site.drained(warm, 0)
                before, began = site.cpu(), time.monotonic()
                ids = await site.drained(given, len(warm))
                seconds, cpu = time.monotonic() - began, site.cpu() - before
                by = await _ensure_answered(site, ids)
                order = await shared.ensure_stored(database, given, workers)
    ground.say(
        f"DBOS: {runs / seconds:.0f} runs/s, {cpu / runs * 1000:.2f} ms of worker CPU ({shared.WORKERS} "
        f"processes that poll every 50 ms and did {by}; a workflow of three steps; {runs} runs, {order})"
    )
    return shared.figures("DBOS", runs, seconds, cpu)


async def _ensure_answered(site: Site, ids: list[str]) -> str:
    """NotDone unless each workflow gave the model's answer; how many each worker did, in words."""
    found = await site.client.list_workflows_async(workflow_ids=ids)
    shared.ensure(len(found) == len(ids), f"{len(found)} workflows are known of {len(ids)}", site.workers)
    by: dict[str, int] = {}
    for one in found:
        done = one.status == "SUCCESS" and one.output == shared.ANSWER
        shared.ensure(done, f"a run ended otherwise: {one.status} {one.output} {one.error}", site.workers)
        by[str(one.executor_id)] = by.get(str(one.executor_id), 0) + 1
    shared.ensure(len(by) == shared.WORKERS, f"not all workers worked: {by}", site.workers)
    return " and ".join(str(count) for count in by.values())


def _start(ground: Ground, processes: Processes, database: str) -> list[Process]:
    """One after the other: the first makes the tables and the queue."""
    workers = []
    for number in range(shared.WORKERS):
        worker = processes(
            *(sys.executable, "-m", "benchmarks.peers.dbos_worker"),
            env={
                "PEER_DATABASE_URL": database,
                "PEER_ASYNC_DATABASE_URL": shared.with_asyncpg(database),
                "PEER_EXECUTOR": f"worker-{number}",
                "OPENAI_BASE_URL": ground.model.url,
                "OPENAI_API_KEY": "bench",
            },
        )
        worker.wait_for_log(READY, within=START)
        workers.append(worker)
    return workers


@contextmanager
def _client(database: str) -> Iterator[DBOSClient]:
    """A backend's client, with a connection for each of the enqueues that are under way."""
    client = DBOSClient(
        system_database_url=database, system_database_pool_size=PRODUCERS, application_name=NAME
    )
    try:
        yield client
    finally:
        client.destroy()


def _counted(database: str) -> int:
    with psycopg.connect(database, connect_timeout=10) as connection:
        row = connection.execute(ENDED).fetchone()
    return int(row[0]) if row else 0
