"""A run that kills its worker each time: found out, ended, and its neighbours and its session go on."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.fakes.plans import plan, told
from tests.fakes.processes import Processes
from tests.fakes.wait import pause
from tests.fakes.worker import texts
from tests.fakes.world import World, world
from turnkeeper_storage.model import RunStatus

NEIGHBOURS = 30


async def replace_the_dead(there: World) -> None:
    """What an init system does."""
    while True:
        there.workers = [worker for worker in there.workers if worker.returncode is None]
        while len(there.workers) < 2:
            there.start()
        await pause(0.1)


async def test_a_run_that_kills_its_process_each_time_fails_as_poisoned_and_all_others_complete(
    migrated_url: str, redis_url: str, processes: Processes, tmp_path: Path
) -> None:
    async with world(migrated_url, redis_url, processes, tmp_path) as there:
        replacing = asyncio.create_task(replace_the_dead(there))
        try:
            made = [
                await there.client.enqueue(f"s{number}", plan("look", name=str(number)), agent="support")
                for number in range(NEIGHBOURS)
            ]
            killer = await there.client.enqueue("k", plan("explode"), agent="support")
            after = await there.client.enqueue("k", plan("look", name="after"), agent="support")
            there.accepted += [run.id for run in (*made, killer, after)]
            ended = await there.client.wait(killer.id, 90)
            assert (ended.status, ended.error and ended.error.code) == (RunStatus.FAILED, "poisoned")
            for run in (*made, after):
                assert (await there.client.wait(run.id, 60)).status is RunStatus.COMPLETED
            last = texts(await there.client.session("k").get_items())[-4:]
            assert last == told(plan("look", name="after"))
        finally:
            replacing.cancel()
            await asyncio.gather(replacing, return_exceptions=True)
        await there.check(crashes=20)
