"""From one worker to four while work waits: all get some of it, and nothing is done twice."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from sqlalchemy import func, select

from tests.fakes.model_server import ScriptedModel, echo
from tests.fakes.processes import Processes
from tests.fakes.site import Site, all_ended
from tests.fakes.wait import eventually
from turnkeeper_storage.database import Database
from turnkeeper_storage.sql_types import now
from turnkeeper_storage.tables import sessions
from turnkeeper_storage.unit_of_work import UnitOfWork

SLOTS = 4
WORKERS = 4
RUNS = 40


@pytest.mark.timeout(240)
async def test_workers_that_are_added_take_what_waits(
    migrated_postgres: str, redis_url: str, processes: Processes
) -> None:
    async with ScriptedModel(answer=echo) as model:
        settings = {"TURNKEEPER_CONCURRENCY": str(SLOTS), "TURNKEEPER_LEASE_SECONDS": "30"}
        site = Site(processes, migrated_postgres, redis_url, model.base_url, settings=settings)
        model.hold()
        await asyncio.to_thread(site.workers, 1)
        async with site.client() as client, site.database() as database:
            for number in range(RUNS):
                await client.enqueue(f"s{number}", "Hello", agent="support")
            await model.wait_for_in_flight(SLOTS)
            assert len(await in_work(database)) == 1
            await asyncio.to_thread(site.workers, WORKERS - 1)

            async def all_work() -> bool:
                return len(await in_work(database)) == WORKERS

            await eventually(all_work, within=30)
            model.release()
            await all_ended(client, RUNS, within=60)
        asked = Counter(one.run_id for one in model.arrivals)
        assert set(asked.values()) == {1}
        assert len(asked) == RUNS


async def in_work(database: Database) -> list[int]:
    """How many sessions each worker has, of those that have some."""

    async def look(uow: UnitOfWork) -> list[int]:
        held = select(func.count()).where(sessions.c.lease_until >= now()).group_by(sessions.c.lease_owner)
        return [int(row[0]) for row in await uow.execute(held)]

    return await database.read(look)
