"""How long after kill -9 of a worker another one asks the model again (PostgreSQL, real processes).

    python -m benchmarks.recovery --postgres postgresql://postgres@127.0.0.1/postgres \\
        --redis redis://127.0.0.1:6379 --rounds 20

Two workers with a lease of 30 seconds and the defaults of recovery. In each round a run is held in the middle
of its model call, the worker that has it is killed, and a new one is started in its place afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from tests.fakes import databases
from tests.fakes.model_server import ScriptedModel, echo
from tests.fakes.processes import Process, Processes
from tests.fakes.site import Site, ready
from tests.faults.test_kill import owners_of_leases
from turnkeeper_storage.migrate import upgrade_async

SETTINGS = {
    "TURNKEEPER_LEASE_SECONDS": "30",
    "TURNKEEPER_HEARTBEAT_SECONDS": "10",
    "TURNKEEPER_SWEEP_SECONDS": "5",
}


async def measure(postgres: str, redis: str, rounds: int) -> list[float]:
    """Seconds from the kill to the second request, of each round."""
    with (
        tempfile.TemporaryDirectory() as folder,
        databases.postgres_database(postgres) as database_url,
        databases.redis_database(redis) as redis_url,
    ):
        await upgrade_async(database_url)
        processes = Processes(Path(folder))
        try:
            async with ScriptedModel(answer=echo) as model:
                site = Site(processes, database_url, redis_url, model.base_url, settings=SETTINGS)
                workers = await asyncio.to_thread(site.workers, 2)
                return [await one_round(site, model, workers, number) for number in range(rounds)]
        finally:
            processes.end_all()


async def one_round(site: Site, model: ScriptedModel, workers: list[Process], number: int) -> float:
    """Kill the worker that holds a run; the seconds until the other one asks for it."""
    async with site.client() as client, site.database() as database:
        model.hold()
        before = len(model.arrivals)
        run = await client.enqueue(f"s{number}", "hello", agent="support")
        await model.wait_for(before + 1)
        (holder,) = await owners_of_leases(database)
        victim = next(worker for worker in workers if worker.pid == holder)
        killed_at = time.time()
        victim.kill9()
        await model.wait_for(before + 2, within=60)
        seconds = model.arrivals[-1].arrived_at - killed_at
        model.release()
        await run.wait(30)
        workers.remove(victim)
        workers.append(await asyncio.to_thread(ready, site.start_worker()))
        return seconds


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recovery")
    parser.add_argument("--postgres", default="postgresql://postgres@127.0.0.1:5432/postgres")
    parser.add_argument("--redis", default="redis://127.0.0.1:6379")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    found = sorted(asyncio.run(measure(options.postgres, options.redis, options.rounds)))
    print(f"kill -9 to the next request, {len(found)} rounds:")
    print(f"p50 {statistics.median(found):.2f} s, least {found[0]:.2f} s, most {found[-1]:.2f} s")


if __name__ == "__main__":
    main()
