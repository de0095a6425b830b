"""A whole site behind PgBouncer in transaction mode: workers and PgBouncer itself are killed, runs go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from tests.fakes.pgbouncer import PgBouncer
from tests.fakes.plans import plan
from tests.fakes.processes import Process, Processes
from tests.fakes.wait import eventually
from tests.fakes.world import World, world
from tests.faults.test_kill import owners_of_leases
from turnkeeper_storage.errors import DatabaseUnavailable
from turnkeeper_storage.model import RunStatus

COUNT = 8
# two workers, a client and the test have ten connections each
FEW = {"default_pool_size": "3"}


async def enqueue(there: World, name: str) -> list[str]:
    """A run with turns of tools and one that a person is asked about, in each of some sessions."""
    made = []
    for number in range(COUNT):
        text = plan("look,linger", "refund", "look", name=f"{name}{number}")
        made.append((await there.client.enqueue(f"s{number}", text, agent="support")).id)
    there.accepted += made
    return made


async def all_end(there: World, run_ids: list[str]) -> None:
    """People decide, and each run completes."""
    ended = await asyncio.gather(*(there.ended(run_id) for run_id in run_ids))
    assert {run.status for run in ended} == {RunStatus.COMPLETED}


async def one_at_work(there: World) -> Process | None:
    """A worker in whose name leases stand."""
    async with there.site.database() as database:
        held = await owners_of_leases(database)
    return next((worker for worker in there.workers if worker.pid in held), None)


async def test_the_runs_of_a_killed_worker_go_on_when_its_leases_end(
    poolers: Callable[..., PgBouncer],
    migrated_postgres: str,
    redis_url: str,
    processes: Processes,
    tmp_path: Path,
) -> None:
    url = poolers(**FEW).url(migrated_postgres)
    async with world(url, redis_url, processes, tmp_path) as there:
        assert all("no fast recovery: a pooler is between" in worker.log for worker in there.workers)
        runs = await enqueue(there, "a")
        victim = await eventually(lambda: one_at_work(there), within=20)
        assert victim is not None
        victim.kill9()
        await all_end(there, runs)
        (heir,) = (worker for worker in there.workers if worker is not victim)
        assert "workers died" not in heir.log
        await there.check(crashes=1)


async def test_a_killed_worker_is_found_at_once_by_locks_around_the_pooler(
    poolers: Callable[..., PgBouncer],
    migrated_postgres: str,
    redis_url: str,
    processes: Processes,
    tmp_path: Path,
) -> None:
    around = {
        "TURNKEEPER_DIRECT_DATABASE_URL": migrated_postgres,
        "TURNKEEPER_LEASE_SECONDS": "30",
        "TURNKEEPER_HEARTBEAT_SECONDS": "10",
    }
    url = poolers(**FEW).url(migrated_postgres)
    async with world(url, redis_url, processes, tmp_path, settings=around) as there:
        runs = await enqueue(there, "a")
        victim = await eventually(lambda: one_at_work(there), within=20)
        assert victim is not None
        victim.kill9()
        (heir,) = (worker for worker in there.workers if worker is not victim)
        await asyncio.to_thread(heir.wait_for_log, "workers died", within=15)
        await all_end(there, runs)
        await there.check(crashes=1)


async def test_a_pgbouncer_that_is_killed_and_started_again_costs_time_only(
    poolers: Callable[..., PgBouncer],
    migrated_postgres: str,
    redis_url: str,
    processes: Processes,
    tmp_path: Path,
) -> None:
    pooler = poolers(**FEW)
    url = pooler.url(migrated_postgres)
    async with world(url, redis_url, processes, tmp_path) as there:
        runs = await enqueue(there, "a")
        await eventually(lambda: one_at_work(there), within=20)
        await asyncio.to_thread(pooler.kill9)
        await eventually(lambda: is_away(there, runs[0]), within=20)
        await asyncio.to_thread(pooler.start_again)
        await eventually(lambda: is_there(there, runs[0]), within=20)
        await all_end(there, runs)
        await all_end(there, await enqueue(there, "b"))
        assert all(worker.returncode is None for worker in there.workers)
        # a transaction whose worker heard nothing is a turn asked again, as after a crash
        await there.check(crashes=2)


async def is_there(there: World, run_id: str) -> bool:
    return not await is_away(there, run_id)


async def is_away(there: World, run_id: str) -> bool:
    try:
        await there.client.get(run_id)
    except DatabaseUnavailable:
        return True
    return False
