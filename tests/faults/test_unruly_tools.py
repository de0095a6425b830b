"""Tools that hang or block, in a worker process: it names them, and it can still end."""

from __future__ import annotations

import asyncio
import sys

from tests.fakes.model_server import ScriptedModel
from tests.fakes.processes import Process, Processes
from tests.fakes.replies import calls, text
from tests.fakes.site import Site, ready
from tests.fakes.wait import eventually
from turnkeeper_client import AsyncClient
from turnkeeper_storage.model import RunStatus


def unruly(site: Site, **settings: str) -> Process:
    return ready(
        site.processes(sys.executable, "-m", "tests.fakes.unruly_agents", env={**site.env, **settings})
    )


async def has_a_turn(client: AsyncClient, run_id: str) -> bool:
    """Whether the model's answer is committed, after which its calls begin."""
    return (await client.get(run_id)).turn == 1


async def test_a_thread_that_hangs_in_a_tool_does_not_keep_the_worker_from_ending(
    migrated_url: str, redis_url: str, processes: Processes
) -> None:
    async with ScriptedModel(calls(("hang", {}))) as model:
        site = Site(processes, migrated_url, redis_url, model.base_url)
        worker = unruly(site, TURNKEEPER_GRACE_SECONDS="7")
        async with site.client() as client:
            run = await client.enqueue("s", "hello", agent="support")
            await eventually(lambda: has_a_turn(client, run.id), within=20)
            worker.terminate()
            assert await asyncio.to_thread(worker.wait, 20) == 0
            assert (await run.get()).status is RunStatus.RUNNING  # given back, for the next worker


async def test_a_worker_process_names_the_tool_that_blocks_its_loop(
    migrated_sqlite: str, redis_url: str, processes: Processes
) -> None:
    async with ScriptedModel(calls(("block", {})), text("done")) as model:
        site = Site(processes, migrated_sqlite, redis_url, model.base_url)
        worker = unruly(site, TURNKEEPER_WATCHDOG_SECONDS="0.4")
        async with site.client() as client:
            run = await client.enqueue("s", "hello", agent="support")
            assert (await run.wait(20)).output == "done"
        assert worker.log.count(f"blocked by tool block (run {run.id}") == 1
        assert "block (unruly_agents.py:" in worker.log
